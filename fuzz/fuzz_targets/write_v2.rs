//! Foreign bytes as a request of remote write 2.0: the hand-written reader finds what `prost` finds, or both fail.
//!
//! Where the two differ on purpose is listed at `remote::oracle`.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod remote;

fuzz_target!(|body: &[u8]| {
    if let Err(difference) = remote::oracle::compare_v2(body) {
        panic!("{difference}");
    }
});
