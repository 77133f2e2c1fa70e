//! Foreign bytes as a value chunk: never a panic, and what decodes survives a round trip bit by bit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mytsdb_storage::chunk::{ChunkDecoder, ChunkEncoder};

fuzz_target!(|input: (u16, &[u8])| {
    let (count, bytes) = (usize::from(input.0), input.1);
    let mut decoder = ChunkDecoder::new();
    let mut values = Vec::new();
    if decoder.decode_values(bytes, count, &mut values).is_err() {
        assert!(values.is_empty());
        return;
    }
    assert_eq!(values.len(), count);
    let mut encoded = Vec::new();
    ChunkEncoder::new().encode_values(&values, &mut encoded);
    let mut decoded = Vec::new();
    decoder.decode_values(&encoded, count, &mut decoded).expect("an encoded chunk decodes");
    assert!(values.iter().map(|value| value.to_bits()).eq(decoded.iter().map(|value| value.to_bits())));
});
