//! Retention: whole blocks are dropped, those of the oldest day first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashSet;
use tracing::info;

use super::Storage;
use super::maintain::{MaintainError, reference};
use super::tenant::Tenant;
use crate::block::layout::Day;
use crate::block::manifest::ManifestEdit;
use crate::block::view::BlockView;

/// A block with its owner.
type Owned = (Arc<Tenant>, BlockView);

impl Storage {
    /// Drops the blocks whose newest sample is older than its tenant's retention, then the oldest days of tenants that
    /// have too many bytes, then the oldest days of all if all together have. The newest day of a tenant stays
    /// whatever its size.
    pub(super) fn drop_expired(&self, now_ms: i64) -> Result<(), MaintainError> {
        let mut kept: Vec<Owned> = Vec::new();
        let (mut by_age, mut by_size): (Vec<Owned>, Vec<Owned>) = Default::default();
        // The lock from here on: nobody else takes blocks away, a flush adds some that are the newest.
        let mut maintenance = self.maintenance.lock();
        for tenant in self.all_tenants() {
            let limits = tenant.limits();
            let oldest_ms = self.oldest_kept_ms(&limits, now_ms);
            let (old, rest): (Vec<Owned>, Vec<Owned>) = tenant
                .snapshot()
                .blocks
                .iter()
                .map(|block| (Arc::clone(&tenant), block.clone()))
                .partition(|(_, block)| block.meta().max_ms < oldest_ms);
            by_age.extend(old);
            let (large, rest) = split_by_bytes(rest, limits.retention_bytes);
            by_size.extend(large);
            kept.extend(rest);
        }
        by_size.extend(split_by_bytes(kept, self.options.retention_bytes).0);
        if by_age.is_empty() && by_size.is_empty() {
            return Ok(());
        }
        let del = by_age.iter().chain(&by_size).map(|(_, block)| reference(block)).collect();
        maintenance.manifest.commit(ManifestEdit { del, ..ManifestEdit::default() })?;
        // Still under the lock: a compaction must not take up what is listed no more.
        self.drop_blocks(by_age, "block is older than retention", &self.counters.blocks_dropped_by_age);
        self.drop_blocks(by_size, "block is beyond retention by size", &self.counters.blocks_dropped_by_size);
        Ok(())
    }

    /// Takes blocks out of the views and unlinks them; the MANIFEST names them no more.
    fn drop_blocks(&self, blocks: Vec<Owned>, why: &str, counter: &AtomicU64) {
        for (tenant, block) in blocks {
            tenant.swap_blocks(&[block.meta().id], None);
            let meta = block.meta();
            info!(tenant = %tenant.id, block = meta.id, file_bytes = meta.file_bytes, "{why}");
            self.remove_files(&block);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Splits off the blocks of the oldest days until what is kept has at most `bytes_max`; the newest day of each tenant
/// is always kept.
fn split_by_bytes(mut blocks: Vec<Owned>, bytes_max: Option<u64>) -> (Vec<Owned>, Vec<Owned>) {
    let mut bytes: u64 = blocks.iter().map(|(_, block)| block.meta().file_bytes).sum();
    let Some(bytes_max) = bytes_max.filter(|bytes_max| bytes > *bytes_max) else {
        return (Vec::new(), blocks);
    };
    let day_of = |(_, block): &Owned| Day::of_ms(block.meta().min_ms);
    blocks.sort_by_key(|owned| std::cmp::Reverse(day_of(owned)));
    let mut tenants = HashSet::new();
    let mut newest_days = HashSet::new();
    for owned in &blocks {
        if tenants.insert(owned.0.id.clone()) {
            newest_days.insert((owned.0.id.clone(), day_of(owned)));
        }
    }
    let mut dropped = Vec::new();
    let mut kept = Vec::new();
    let mut dropped_day = None;
    while let Some(owned) = blocks.pop() {
        let day = day_of(&owned);
        // A day goes as a whole: half a day would look as if nothing had happened in the other half.
        let is_over = bytes > bytes_max || dropped_day == Some((owned.0.id.clone(), day));
        if is_over && !newest_days.contains(&(owned.0.id.clone(), day)) {
            bytes -= owned.1.meta().file_bytes;
            dropped_day = Some((owned.0.id.clone(), day));
            dropped.push(owned);
        } else {
            kept.push(owned);
        }
    }
    (dropped, kept)
}
