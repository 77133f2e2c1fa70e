//! Compaction: when it is due, and how its outcome becomes what counts.
//!
//! Merging happens without any lock that a write, a read or a flush takes; choosing and committing take the lock of
//! maintenance for a moment. What happened to the inputs meanwhile (dropped, more deleted) makes the outcome worthless:
//! it is thrown away, and the next call chooses anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use tracing::{info, warn};

use super::Storage;
use super::maintain::{MaintainError, Maintenance, reference};
use super::tenant::Tenant;
use crate::block::layout::{BlockRef, Day};
use crate::block::manifest::ManifestEdit;
use crate::block::view::BlockView;
use crate::block::writer::BlockMeta;
use crate::compact::planner::{self, BlockFacts, DayState, Plan};
use crate::compact::{FINAL_LEVEL, MergeError, MergeTarget, Pace, merge_blocks};
use crate::fs::remove_durably;
use crate::model::TenantId;

/// After its end a day may still be written for so long before it counts as over.
const DAY_GRACE_MS: i64 = 3_600_000;
/// So long after the last write, what was written is compacted though its day is not over.
const QUIET_MS: i64 = 2 * 60_000;
/// A day whose compaction failed is left alone for so long.
const RETRY_AFTER_MS: i64 = 3_600_000;

/// What a compaction may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactScope {
    /// What is worth it by now.
    Due,
    /// Everything in blocks, down to one block a day, the present day included.
    Everything,
}

/// Why a compaction failed. Nothing is lost: the blocks are as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The heads could not be flushed first.
    #[error("cannot flush before compacting: {0}")]
    Flush(MaintainError),
    /// Blocks could not be merged.
    #[error("cannot compact {block_count} blocks of {day} of tenant {tenant}: {reason}")]
    Merge {
        /// Whose blocks.
        tenant: String,
        /// Of which day.
        day: String,
        /// How many.
        block_count: usize,
        /// What went wrong.
        reason: String,
    },
    /// The MANIFEST could not be written.
    #[error("cannot commit to the MANIFEST: {reason}")]
    Manifest {
        /// What went wrong.
        reason: String,
    },
    /// The storage is closing.
    #[error("compaction stopped, as the storage is closing")]
    Stopped,
}

/// What one compaction at a time knows.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    /// When each block was first seen.
    seen_ms: HashMap<u64, i64>,
    /// Until when days are left alone after a failure.
    retry_ms: HashMap<(TenantId, Day), i64>,
}

/// A plan with what it needs.
struct Job {
    tenant: Arc<Tenant>,
    day: Day,
    inputs: Vec<BlockView>,
    target: MergeTarget,
}

impl Storage {
    /// Does one step of compaction if there is one to do; returns whether there was. Call it from a thread of its own:
    /// it may take minutes. Reads, writes and flushes go on meanwhile. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`CompactError`]; the day is then left alone for an hour, other days are not.
    pub fn compact_one(&self, now_ms: i64, scope: CompactScope) -> Result<bool, CompactError> {
        let mut compaction = self.compaction.lock();
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(CompactError::Stopped);
        }
        let Some(job) = self.choose(&mut compaction, now_ms, scope) else { return Ok(false) };
        let outcome = self.run(&job);
        let key = (job.tenant.id.clone(), job.day);
        match &outcome {
            Ok(()) => drop(compaction.retry_ms.remove(&key)),
            Err(CompactError::Stopped) => {}
            Err(_) => {
                self.counters.compactions_failed.fetch_add(1, Ordering::Relaxed);
                compaction.retry_ms.insert(key, now_ms.saturating_add(RETRY_AFTER_MS));
            }
        }
        outcome.map(|()| true)
    }

    /// Flushes the heads and compacts everything down to one block a day, the present day included.
    ///
    /// # Errors
    /// [`CompactError`] of the first step that fails; earlier steps count.
    pub fn compact_all(&self, now_ms: i64) -> Result<(), CompactError> {
        let stats = self.stats();
        if stats.head_sample_count + stats.head_exemplar_count > 0 {
            self.flush(now_ms).map_err(CompactError::Flush)?;
        }
        // Somebody asks: what failed before is tried again.
        self.compaction.lock().retry_ms.clear();
        while self.compact_one(now_ms, CompactScope::Everything)? {}
        Ok(())
    }

    fn choose(&self, compaction: &mut Compaction, now_ms: i64, scope: CompactScope) -> Option<Job> {
        let mut maintenance = self.maintenance.lock();
        let mut seen_ms = HashMap::new();
        let mut chosen: Option<(Arc<Tenant>, Day, Vec<BlockView>, Plan)> = None;
        for tenant in self.all_tenants() {
            let snapshot = tenant.snapshot();
            let mut days: HashMap<Day, Vec<BlockView>> = HashMap::new();
            for block in snapshot.blocks.iter() {
                let id = block.meta().id;
                seen_ms.insert(id, compaction.seen_ms.get(&id).copied().unwrap_or(now_ms));
                days.entry(Day::of_ms(block.meta().min_ms)).or_default().push(block.clone());
            }
            for (day, blocks) in days {
                let retry_ms = compaction.retry_ms.get(&(tenant.id.clone(), day));
                let is_older = chosen.as_ref().is_none_or(|(_, other, ..)| day < *other);
                if !is_older || retry_ms.is_some_and(|retry_ms| now_ms < *retry_ms) {
                    continue;
                }
                let facts: Vec<BlockFacts> = blocks.iter().map(|block| facts(block, &seen_ms)).collect();
                let state = match scope {
                    CompactScope::Everything => DayState::Forced,
                    CompactScope::Due => self.day_state(&tenant, day, &facts, &maintenance, now_ms),
                };
                if let Some(plan) = planner::choose(&facts, state, u64::MAX, now_ms) {
                    chosen = Some((Arc::clone(&tenant), day, blocks, plan));
                }
            }
        }
        compaction.seen_ms = seen_ms;
        let (tenant, day, mut inputs, plan) = chosen?;
        inputs.retain(|block| plan.inputs.contains(&block.meta().id));
        let block = new_block(&mut maintenance, &tenant, day);
        Some(Job { tenant, day, inputs, target: MergeTarget { block, level: plan.level } })
    }

    fn day_state(
        &self,
        tenant: &Tenant,
        day: Day,
        blocks: &[BlockFacts],
        maintenance: &Maintenance,
        now_ms: i64,
    ) -> DayState {
        let newest_block_ms = blocks.iter().map(|block| block.seen_ms).max().unwrap_or(now_ms);
        let is_quiet = |since_ms: i64| now_ms.saturating_sub(since_ms) >= QUIET_MS;
        let day_end_ms = day.next().start_ms();
        // Of a day that is over, the heads hold no more than late samples once they are younger than its end.
        let is_over = now_ms >= day_end_ms.saturating_add(DAY_GRACE_MS)
            && maintenance.unflushed_since_ms.is_none_or(|since_ms| since_ms >= day_end_ms);
        let is_idle = is_quiet(tenant.last_write_ms.load(Ordering::Relaxed));
        if is_quiet(newest_block_ms) && (is_over || is_idle) { DayState::Quiet } else { DayState::Open }
    }

    fn run(&self, job: &Job) -> Result<(), CompactError> {
        let mut pace = Pace::new(&self.is_closing, self.options.compaction_bytes_per_second);
        let meta = merge_blocks(&self.fs, &self.options.data_dir, &job.inputs, &job.target, &mut pace)
            .map_err(|error| match error {
                MergeError::Stopped => CompactError::Stopped,
                error => job.failed(&error),
            })?;
        self.put_in_place(job, meta)
    }

    /// Makes the output count instead of the inputs, unless something happened to them meanwhile.
    fn put_in_place(&self, job: &Job, meta: Option<BlockMeta>) -> Result<(), CompactError> {
        let output = match &meta {
            Some(_) => Some(self.open_block(&job.target.block).map_err(|error| {
                self.throw_away(job);
                job.failed(&error)
            })?),
            None => None,
        };
        let mut maintenance = self.maintenance.lock();
        let blocks = job.tenant.snapshot().blocks;
        let is_unchanged = |input: &BlockView| {
            blocks.iter().any(|block| {
                block.meta().id == input.meta().id
                    && block.tombstone_generation() == input.tombstone_generation()
            })
        };
        if !job.inputs.iter().all(is_unchanged) {
            drop(maintenance);
            info!(tenant = %job.tenant.id, day = %job.day, "blocks changed while they were compacted");
            self.throw_away(job);
            return Ok(());
        }
        let edit = ManifestEdit {
            add: meta.iter().map(|_| job.target.block.clone()).collect(),
            del: job.inputs.iter().map(reference).collect(),
            next_id: Some(maintenance.next_block_id),
            ..ManifestEdit::default()
        };
        // After a failed commit the output stays: whether it counts may be unknown until the next start.
        maintenance
            .manifest
            .commit(edit)
            .map_err(|error| CompactError::Manifest { reason: crate::error::with_sources(&error) })?;
        let input_ids: Vec<u64> = job.inputs.iter().map(|input| input.meta().id).collect();
        job.tenant.swap_blocks(&input_ids, output);
        drop(maintenance);
        job.inputs.iter().for_each(|input| self.remove_files(input));
        let input_bytes: u64 = job.inputs.iter().map(|input| input.meta().file_bytes).sum();
        let output_bytes = meta.as_ref().map_or(0, |meta| meta.file_bytes);
        self.counters.compactions_done.fetch_add(1, Ordering::Relaxed);
        self.counters.compaction_input_bytes.fetch_add(input_bytes, Ordering::Relaxed);
        self.counters.compaction_output_bytes.fetch_add(output_bytes, Ordering::Relaxed);
        info!(
            tenant = %job.tenant.id, day = %job.day, block = job.target.block.id, level = job.target.level,
            input_count = job.inputs.len(), input_bytes, output_bytes,
            sample_count = meta.map_or(0, |meta| meta.sample_count), "blocks compacted"
        );
        Ok(())
    }

    /// Removes an output that no commit names.
    fn throw_away(&self, job: &Job) {
        let path = job.target.block.path(&self.options.data_dir);
        if let Err(error) = remove_durably(self.fs.as_ref(), &path) {
            warn!(path = %path.display(), %error, "cannot remove a block of a compaction that does not count");
        }
    }

    /// Rewrites each block of the tenant from which something was deleted, without what was deleted. Returns how many.
    ///
    /// # Errors
    /// [`CompactError`] of the first block that cannot be rewritten; those before it are.
    pub fn clean_tombstones(&self, tenant: &TenantId) -> Result<usize, CompactError> {
        let Some(tenant) = self.tenants.read().get(tenant).cloned() else { return Ok(0) };
        let mut cleaned_count = 0;
        let _one_at_a_time = self.compaction.lock();
        for block in tenant.snapshot().blocks.iter().filter(|block| block.tombstones.is_some()) {
            let day = Day::of_ms(block.meta().min_ms);
            let output = new_block(&mut self.maintenance.lock(), &tenant, day);
            let level = block.meta().level.min(FINAL_LEVEL);
            let target = MergeTarget { block: output, level };
            self.run(&Job { tenant: Arc::clone(&tenant), day, inputs: vec![block.clone()], target })?;
            cleaned_count += 1;
        }
        Ok(cleaned_count)
    }
}

impl Job {
    fn failed(&self, error: &dyn std::error::Error) -> CompactError {
        CompactError::Merge {
            tenant: self.tenant.id.to_string(),
            day: self.day.to_string(),
            block_count: self.inputs.len(),
            reason: crate::error::with_sources(error),
        }
    }
}

fn facts(block: &BlockView, seen_ms: &HashMap<u64, i64>) -> BlockFacts {
    let meta = block.meta();
    BlockFacts {
        id: meta.id,
        precedence: meta.precedence,
        level: meta.level,
        file_bytes: meta.file_bytes,
        seen_ms: seen_ms.get(&meta.id).copied().unwrap_or(i64::MIN),
        has_tombstones: block.tombstones.is_some(),
    }
}

/// Takes the next number for a block of the day.
fn new_block(maintenance: &mut Maintenance, tenant: &Tenant, day: Day) -> BlockRef {
    let id = maintenance.next_block_id;
    maintenance.next_block_id += 1;
    BlockRef { tenant: tenant.id.clone(), day, id }
}
