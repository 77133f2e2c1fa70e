//! Foreign bytes as the messages of an Arrow Flight stream: an error, or batches that can be read to their last row.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb::flight::fuzzing::messages(input));
