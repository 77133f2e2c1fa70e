//! How fast a merge may go, and when it must stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A merge sleeps when so much of a second's bytes is used up.
const SLICES_PER_SECOND: u64 = 8;

/// Handed to a merge, which reports what it has done.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    is_stopping: &'a AtomicBool,
    /// 0 = as fast as it goes.
    bytes_per_second: u64,
    unpaid_bytes: u64,
}

impl<'a> Pace<'a> {
    /// A pace of at most `bytes_per_second` bytes read (0 = no limit), until `is_stopping` is set.
    pub(crate) fn new(is_stopping: &'a AtomicBool, bytes_per_second: u64) -> Self {
        Self { is_stopping, bytes_per_second, unpaid_bytes: 0 }
    }

    /// Returns whether to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Takes note of bytes that were read, and sleeps for as long as they should have taken.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.unpaid_bytes = self.unpaid_bytes.saturating_add(bytes);
        if self.bytes_per_second == 0 || self.unpaid_bytes < self.bytes_per_second / SLICES_PER_SECOND {
            return;
        }
        // The work itself took time too: the limit is kept from below. One series never sleeps longer than a second.
        let milliseconds = self.unpaid_bytes.saturating_mul(1000) / self.bytes_per_second;
        #[expect(clippy::disallowed_methods, reason = "a limit on the rate is what this is for")]
        thread::sleep(Duration::from_millis(milliseconds.min(1000)));
        self.unpaid_bytes = 0;
    }
}
