//! Foreign bytes as a chunk of native histograms: what decodes survives a round trip bit by bit.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb_storage::fuzzing::histograms(input));
