//! Foreign bytes as an OTLP metrics request, translated into columns of the right shape, labels included.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb::otlp::columns::fuzz(input));
