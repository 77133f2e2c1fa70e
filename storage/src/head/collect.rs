//! Finds series that are dead and builds a table without them.
//!
//! A series is dead if no sample came since the collector last decided. It decides at a flush, and only if that is
//! a while ago or the table has grown much since: two flushes in quick succession must not throw away series that
//! are merely between two scrapes. The old table stays whole until the last generation over it is gone.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tracing::info;

use super::{Generation, SeriesTable};

/// A decision is due after this time.
const DECISION_AGE_MS: i64 = 10 * 60_000;
/// Fewer dead series are not worth a new table.
const DEAD_COUNT_MIN: u64 = 10_000;

/// Watches one tenant's series from flush to flush.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Series written since the last decision.
    seen: RoaringBitmap,
    /// When the last decision was, or the first flush.
    since_ms: Option<i64>,
    /// Series in the table at the last decision.
    series_count: u64,
}

impl Collector {
    /// Takes note of what `active`, which is about to be frozen, has samples of; returns a table of the live
    /// series if too many others are dead.
    pub(crate) fn survivors(&mut self, active: &Generation, now_ms: i64) -> Option<Arc<SeriesTable>> {
        let table = active.table();
        // Before the references are listed: a series that comes in between is not taken for dead.
        let known_count = table.series_count() as u64;
        self.seen |= RoaringBitmap::from_sorted_iter(active.series_refs()).unwrap_or_default();
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let is_grown = known_count > self.series_count + self.series_count / 2;
        if !is_grown && now_ms.saturating_sub(since_ms) < DECISION_AGE_MS {
            return None;
        }
        let live = std::mem::take(&mut self.seen);
        self.since_ms = Some(now_ms);
        let live_count = live.len();
        let dead_count = known_count.saturating_sub(live_count);
        let is_worth_it = dead_count > DEAD_COUNT_MIN && dead_count > known_count / 5;
        let survivors = if live.is_empty() && known_count > 0 {
            Some(Arc::default())
        } else if is_worth_it {
            Some(Arc::new(table.retain(&live)))
        } else {
            None
        };
        self.series_count = if survivors.is_some() { live_count } else { known_count };
        if survivors.is_some() {
            info!(live_count, dead_count, "series without new samples leave the head");
        }
        survivors
    }
}
