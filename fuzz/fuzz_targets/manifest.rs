//! Foreign bytes as a MANIFEST: a state or a named error, and the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb_storage::fuzzing::manifest(input));
