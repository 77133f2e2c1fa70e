//! One tenant inside the engine: its series, its heads, its blocks, its metadata.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};

use super::rate::RateBucket;
use super::{WriteError, metadata};
use crate::block::view::BlockView;
use crate::head::{Collector, Generation, ReplayedTenant, SeriesTable};
use crate::limits::TenantLimits;
use crate::model::{LabelSet, MetricMetadata, TenantId};
use crate::snapshot::Snapshot;
use crate::wal::{Lsn, RecordBuilder, WalFailure, WalWriter};

/// Heads and blocks, swapped whole.
#[derive(Debug)]
struct TenantState {
    active: Arc<Generation>,
    /// Frozen by a flush that is not through yet.
    frozen: Option<Arc<Generation>>,
    /// By ascending precedence.
    blocks: Arc<[BlockView]>,
}

/// One tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    /// The name.
    pub(super) id: TenantId,
    /// The tenant's number in the WAL of this process.
    pub(super) number: u32,
    limits: ArcSwap<TenantLimits>,
    rate: Mutex<RateBucket>,
    /// WAL epoch that names the tenant.
    named_epoch: AtomicU32,
    state: RwLock<TenantState>,
    /// Finds out which series are dead.
    collector: Mutex<Collector>,
    /// The clock at the last write.
    pub(super) last_write_ms: AtomicI64,
    /// Sorted by metric name, each once.
    metadata: Mutex<Arc<Vec<MetricMetadata>>>,
}

impl Tenant {
    /// Creates a tenant without data.
    pub(super) fn new(id: TenantId, number: u32, limits: Arc<TenantLimits>, meter: Arc<AtomicUsize>) -> Self {
        Self::restored(id, number, limits, ReplayedTenant::new(meter), Vec::new())
    }

    /// Creates a tenant from what was on disk.
    pub(super) fn restored(
        id: TenantId,
        number: u32,
        limits: Arc<TenantLimits>,
        head: ReplayedTenant,
        mut blocks: Vec<BlockView>,
    ) -> Self {
        sort_by_precedence(&mut blocks);
        let tenant = Self {
            id,
            number,
            limits: ArcSwap::new(limits),
            rate: Mutex::default(),
            named_epoch: AtomicU32::new(0),
            state: RwLock::new(TenantState { active: head.generation, frozen: None, blocks: blocks.into() }),
            collector: Mutex::default(),
            last_write_ms: AtomicI64::new(i64::MIN),
            metadata: Mutex::default(),
        };
        tenant.merge_metadata(&head.metadata);
        tenant
    }

    /// What the tenant may do.
    pub(super) fn limits(&self) -> Guard<Arc<TenantLimits>> {
        self.limits.load()
    }

    /// Changes what the tenant may do.
    pub(super) fn set_limits(&self, limits: Arc<TenantLimits>) {
        self.limits.store(limits);
    }

    /// Takes `sample_count` samples out of what the tenant may write now.
    pub(super) fn check_rate(
        &self,
        limits: &TenantLimits,
        sample_count: usize,
        now_ms: i64,
    ) -> Result<(), WriteError> {
        let Some(limit) = limits.rate else { return Ok(()) };
        self.rate.lock().take(limit, sample_count, now_ms).map_err(|retry_after_ms| WriteError::RateLimited {
            given: sample_count,
            samples_per_second: limit.samples_per_second,
            retry_after_ms,
        })
    }

    /// The view of a tenant that does not exist.
    pub(super) fn empty_snapshot() -> Snapshot {
        Snapshot {
            generations: Vec::new(),
            blocks: Arc::new([]),
            metadata: Arc::default(),
            damaged: Vec::new(),
        }
    }

    /// The view of now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let metadata = Arc::clone(&self.metadata.lock());
        let state = self.state.read();
        let generations = state.frozen.iter().chain([&state.active]).cloned().collect();
        Snapshot { generations, blocks: Arc::clone(&state.blocks), metadata, damaged: Vec::new() }
    }

    /// The generation that takes writes. The caller holds the epoch.
    pub(super) fn active(&self) -> Arc<Generation> {
        Arc::clone(&self.state.read().active)
    }

    /// Says that names have to be logged again. The caller holds the epoch for writing.
    pub(super) fn begin_epoch(&self) {
        self.active().table().begin_epoch();
    }

    /// Prepares a freeze: the series that the next generation begins with, if dead ones are to be left behind.
    /// Takes its time, so nobody should be kept waiting meanwhile.
    pub(super) fn collect_dead_series(&self, now_ms: i64) -> Option<Arc<SeriesTable>> {
        self.collector.lock().survivors(&self.active(), now_ms)
    }

    /// Freezes the active generation if it has samples; `next_table` takes the place of its table in the next.
    /// The caller holds the epoch for writing.
    pub(super) fn freeze(&self, next_table: Option<Arc<SeriesTable>>) {
        let mut state = self.state.write();
        state.active.table().begin_epoch();
        if state.active.is_empty() && next_table.is_none() {
            return;
        }
        let table = next_table.unwrap_or_else(|| Arc::clone(state.active.table()));
        let next = Arc::new(state.active.successor(table));
        let previous = std::mem::replace(&mut state.active, next);
        if !previous.is_empty() {
            debug_assert!(state.frozen.is_none(), "one flush at a time");
            state.frozen = Some(previous);
        }
    }

    /// The generation that a flush has to write.
    pub(super) fn frozen(&self) -> Option<Arc<Generation>> {
        self.state.read().frozen.clone()
    }

    /// Puts the blocks in the place of the frozen generation, in one step.
    pub(super) fn publish(&self, new_blocks: Vec<BlockView>) {
        let mut state = self.state.write();
        let mut blocks = state.blocks.to_vec();
        blocks.extend(new_blocks);
        sort_by_precedence(&mut blocks);
        state.blocks = blocks.into();
        state.frozen = None;
    }

    /// Takes the blocks with these ids out of the view and puts `added` in their place, in one step; queries that
    /// hold them read on.
    pub(super) fn swap_blocks(&self, ids: &[u64], added: Option<BlockView>) {
        let mut state = self.state.write();
        let kept = state.blocks.iter().filter(|block| !ids.contains(&block.meta().id)).cloned();
        let mut blocks: Vec<BlockView> = kept.chain(added).collect();
        sort_by_precedence(&mut blocks);
        state.blocks = blocks.into();
    }

    /// Puts the views in the place of those of the same blocks, in one step.
    pub(super) fn replace_blocks(&self, views: &[BlockView]) {
        let mut state = self.state.write();
        let replaced = state.blocks.iter().map(|block| {
            let newer = views.iter().find(|view| view.meta().id == block.meta().id);
            newer.unwrap_or(block).clone()
        });
        state.blocks = replaced.collect();
    }

    /// Names series in the WAL. Called with the table locked, so one thread at a time.
    pub(super) fn log_series(
        &self,
        wal: &WalWriter,
        epoch: u32,
        series: &[(u32, LabelSet)],
    ) -> Result<Lsn, WalFailure> {
        let mut builder = RecordBuilder::default();
        self.name_in(&mut builder, epoch);
        builder.series(self.number, series.iter().map(|(series_ref, labels)| (*series_ref, labels)));
        let lsn = wal.append(builder.bytes())?;
        self.named_epoch.store(epoch, Ordering::Release);
        Ok(lsn)
    }

    fn name_in(&self, builder: &mut RecordBuilder, epoch: u32) {
        if self.named_epoch.load(Ordering::Acquire) != epoch {
            builder.tenant(self.number, self.id.as_str());
        }
    }

    /// Logs and keeps facts about metrics that are new; returns the position in the log, if any, and how many facts
    /// found no room.
    pub(super) fn log_metadata(
        &self,
        wal: &WalWriter,
        epoch: u32,
        given: &[MetricMetadata],
    ) -> Result<(Option<Lsn>, usize), WalFailure> {
        if given.is_empty() {
            return Ok((None, 0));
        }
        let known = Arc::clone(&self.metadata.lock());
        let admitted = metadata::admit(&known, given);
        if admitted.fresh.is_empty() {
            return Ok((None, admitted.refused_count));
        }
        let lsn = self.append_metadata(wal, epoch, &admitted.fresh)?;
        self.merge_metadata(&admitted.fresh);
        Ok((Some(lsn), admitted.refused_count))
    }

    fn append_metadata(
        &self,
        wal: &WalWriter,
        epoch: u32,
        metadata: &[MetricMetadata],
    ) -> Result<Lsn, WalFailure> {
        let mut builder = RecordBuilder::default();
        self.name_in(&mut builder, epoch);
        builder.metadata(self.number, metadata);
        wal.append(builder.bytes())
    }

    /// Logs all known metadata again, because the epoch before is about to be dropped.
    pub(super) fn relog_metadata(&self, wal: &WalWriter, epoch: u32) -> Result<Option<Lsn>, WalFailure> {
        let known = Arc::clone(&self.metadata.lock());
        if known.is_empty() {
            return Ok(None);
        }
        self.append_metadata(wal, epoch, &known).map(Some)
    }

    /// Keeps facts that were logged, as far as the limits allow: another write may have taken the room meanwhile.
    fn merge_metadata(&self, facts: &[MetricMetadata]) {
        let mut known = self.metadata.lock();
        let admitted = metadata::admit(&known, facts);
        if !admitted.fresh.is_empty() {
            *known = Arc::new(metadata::merged(&known, admitted.fresh));
        }
    }
}

/// Later blocks win where they overlap with earlier ones.
fn sort_by_precedence(blocks: &mut [BlockView]) {
    blocks.sort_by_key(|block| (block.meta().precedence, block.meta().id));
}
