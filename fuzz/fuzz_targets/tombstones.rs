//! Foreign bytes as the tombstones of a block: what is read survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb_storage::fuzzing::tombstones(input));
