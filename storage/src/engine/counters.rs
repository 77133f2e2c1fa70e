//! What background work has done since the start, for metrics.

use std::sync::atomic::AtomicU64;

/// Counts that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) compactions_done: AtomicU64,
    pub(super) compactions_failed: AtomicU64,
    pub(super) compaction_input_bytes: AtomicU64,
    pub(super) compaction_output_bytes: AtomicU64,
    pub(super) blocks_dropped_by_age: AtomicU64,
    pub(super) blocks_dropped_by_size: AtomicU64,
}
