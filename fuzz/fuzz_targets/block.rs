//! Foreign bytes as a block: whatever it is asked, it answers or names the damage.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mytsdb_storage::fuzzing::block(input));
