//! Foreign bytes as a WAL segment: it is replayed up to the damage, what is left is stable, and what was replayed can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb_storage::fuzzing::wal(input));
