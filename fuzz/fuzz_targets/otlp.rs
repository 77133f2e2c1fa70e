//! Foreign bytes as an OTLP metrics request: the hand-written reader and prost read the same, or both refuse.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb::otlp::read::rebuild::compare(input));
