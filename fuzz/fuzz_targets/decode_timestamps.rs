//! Foreign bytes as a timestamp chunk: never a panic, and what decodes ascends and survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mytsdb_storage::chunk::{ChunkDecoder, ChunkEncoder};

fuzz_target!(|input: (u16, &[u8])| {
    let (count, bytes) = (usize::from(input.0), input.1);
    let mut decoder = ChunkDecoder::new();
    let mut timestamps = Vec::new();
    if decoder.decode_timestamps(bytes, count, &mut timestamps).is_err() {
        assert!(timestamps.is_empty());
        return;
    }
    assert_eq!(timestamps.len(), count);
    assert!(timestamps.is_sorted_by(|a, b| a < b));
    let mut encoded = Vec::new();
    ChunkEncoder::new().encode_timestamps(&timestamps, &mut encoded);
    let mut decoded = Vec::new();
    decoder.decode_timestamps(&encoded, count, &mut decoded).expect("an encoded chunk decodes");
    assert_eq!(timestamps, decoded);
});
