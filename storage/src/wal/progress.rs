//! How far the replay at a start is, for whoever watches from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared between the thread that opens the storage and those that tell about it.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    /// Sequence numbers of the first and last segment, plus one; 0 = not known yet.
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
    is_done: AtomicBool,
}

/// A moment of a replay, in sequence numbers of WAL segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayState {
    /// First segment to be replayed.
    pub first: u64,
    /// Last segment to be replayed.
    pub last: u64,
    /// The segment being replayed; `last` when all are.
    pub current: u64,
    /// Whether the replay is over.
    pub is_done: bool,
}

impl ReplayProgress {
    pub(crate) fn begin(&self, first: u64, last: u64) {
        self.last.store(last.saturating_add(1), Ordering::Relaxed);
        self.current.store(first, Ordering::Relaxed);
        self.first.store(first.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn reach(&self, segment: u64) {
        self.current.store(segment, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self) {
        self.is_done.store(true, Ordering::Release);
    }

    /// Where the replay is; `None` before it began, or if it ended without any segment.
    pub fn state(&self) -> Option<ReplayState> {
        let is_done = self.is_done.load(Ordering::Acquire);
        let first = self.first.load(Ordering::Acquire).checked_sub(1)?;
        let last = self.last.load(Ordering::Relaxed).saturating_sub(1);
        let current = if is_done { last } else { self.current.load(Ordering::Relaxed) };
        Some(ReplayState { first, last, current, is_done })
    }

    /// Whether the replay is over.
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }
}
