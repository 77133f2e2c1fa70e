//! What background work has done since the start, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::limits::LongLabelCounts;

/// Counts that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) compactions_done: AtomicU64,
    pub(super) compactions_failed: AtomicU64,
    pub(super) compaction_input_bytes: AtomicU64,
    pub(super) compaction_output_bytes: AtomicU64,
    pub(super) blocks_dropped_by_age: AtomicU64,
    pub(super) blocks_dropped_by_size: AtomicU64,
    pub(super) labels_truncated: AtomicUsize,
    pub(super) labels_dropped: AtomicUsize,
}

impl Counters {
    /// Counts labels of new series that were too long; most writes have none.
    pub(super) fn long_labels(&self, counts: LongLabelCounts) {
        if counts != LongLabelCounts::default() {
            self.labels_truncated.fetch_add(counts.truncated, Ordering::Relaxed);
            self.labels_dropped.fetch_add(counts.dropped, Ordering::Relaxed);
        }
    }
}
