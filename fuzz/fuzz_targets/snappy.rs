//! Foreign bytes as a snappy block: what is taken is what the block declares, inside the limit, and packs and unpacks to the
//! same bytes again; nothing is taken from the request before.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod remote;

/// A small limit, so that inputs reach it.
const LIMIT: usize = 1 << 16;

fuzz_target!(|compressed: &[u8]| {
    let mut body = vec![0xa5; 7];
    let Ok(length) = remote::snappy::decompress(compressed, &mut body, LIMIT) else { return };
    assert!(length <= LIMIT && body.len() >= length);
    let mut dirty = vec![0x5a; LIMIT];
    assert_eq!(remote::snappy::decompress(compressed, &mut dirty, LIMIT), Ok(length));
    assert_eq!(dirty[..length], body[..length], "bytes of the request before");
    let again = snap::raw::Encoder::new().compress_vec(&body[..length]).unwrap();
    let mut unpacked = Vec::new();
    assert_eq!(remote::snappy::decompress(&again, &mut unpacked, LIMIT), Ok(length));
    assert_eq!(unpacked, body[..length]);
});
