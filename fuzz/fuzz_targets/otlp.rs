//! Foreign bytes as an OTLP metrics request: the hand-written reader and prost read the same, or both refuse.
//!
//! The reader comes without the server around it, which would take long to build.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/otlp/read/mod.rs"]
mod read;
#[path = "../../src/wire.rs"]
mod wire;

fuzz_target!(|input: &[u8]| read::rebuild::compare(input));
