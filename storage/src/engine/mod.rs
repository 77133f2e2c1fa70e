//! The engine's doors: open, submit and write, reader, delete, snapshot, flush, maintain, close. No algorithm itself.
//!
//! Way of a write: resolve series ([`crate::head::SeriesTable`]) → log ([`crate::wal::WalWriter`]) → append
//! ([`crate::head::Generation`]). Way of a flush: freeze all heads and begin a WAL epoch → write blocks → commit
//! in the MANIFEST → swap the snapshot → drop the old WAL segments.
//!
//! Locks, in the order in which they are taken: `snapshots` or `compaction` → `maintenance` → `epoch` → a tenant's
//! table → the WAL → a tenant's state → a shard of a generation. A write holds `epoch` for reading from resolving to
//! appending, so a freeze sees every logged write in the head.

mod compact;
mod counters;
mod delete;
#[cfg(test)]
mod faults;
mod maintain;
mod metadata;
mod open;
mod options;
mod plan;
mod plan_sparse;
mod rate;
mod retention;
mod snapshot;
mod tenant;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

pub use compact::{CompactError, CompactScope};
pub use delete::{DeleteError, DeleteReport};
pub use maintain::MaintainError;
pub use open::OpenError;
pub use options::{StorageOptions, WalSync};
pub use snapshot::{SnapshotError, SnapshotInfo};
use tenant::Tenant;

use crate::batch::{Rejection, ResolvedSeries, WriteBatch, WriteReport};
use crate::damage::{DamageList, DamagedFile};
use crate::fs::FileSystem;
use crate::fs::lock::DirectoryLock;
use crate::fs::space::{DiskFull, DiskWatch};
use crate::limits::{LimitsBook, LongLabelCounts, TenantLimits, TenantLimitsByTenant};
use crate::model::{SeriesKeys, TenantId};
use crate::snapshot::Snapshot;
use crate::wal::{Lsn, RecordBuilder, WalFailure, WalWriter};
use plan::{TimeWindow, WritePlan};

/// Writes are refused when the heads are so many times as large as they should be when they are flushed.
const HEAD_FULL_FACTOR: usize = 4;
/// Heads below this size never refuse a write.
const HEAD_FULL_BYTES_MIN: usize = 64 << 20;

/// Why a batch could not be written at all.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The columns of the batch do not fit together; a mistake of the caller.
    #[error("batch shape: {0}")]
    Shape(String),
    /// The WAL does not take writes after a failed write or sync.
    #[error("storage is read-only after a failed WAL write: {reason}")]
    ReadOnly {
        /// What went wrong first.
        reason: String,
    },
    /// The disk has no room. Writes are taken again when it has.
    #[error("disk is full: {free_bytes} bytes are free, {reserve_bytes} are kept in reserve")]
    DiskFull {
        /// Bytes that were free.
        free_bytes: u64,
        /// Bytes that are kept for flushes.
        reserve_bytes: u64,
    },
    /// The heads take too much memory because flushes do not get through; try again later.
    #[error("head is full: {given_bytes} bytes of samples wait to be flushed, the limit is {limit_bytes}")]
    HeadFull {
        /// Bytes of samples in memory.
        given_bytes: usize,
        /// Bytes above which writes are refused.
        limit_bytes: usize,
    },
    /// The tenant writes faster than it may; nothing of the batch was taken.
    #[error(
        "too many samples: {given} more are above the limit of {samples_per_second} samples a second, try again in {retry_after_ms} ms"
    )]
    RateLimited {
        /// Samples of the batch.
        given: usize,
        /// The tenant's limit.
        samples_per_second: u64,
        /// When there is room for the batch.
        retry_after_ms: u64,
    },
}

impl WriteError {
    /// Whether the same write may go well later, possibly after a restart of the server.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Shape(_) => false,
            Self::ReadOnly { .. }
            | Self::DiskFull { .. }
            | Self::HeadFull { .. }
            | Self::RateLimited { .. } => true,
        }
    }

    /// When the same write is worth another try, in milliseconds, if that is known.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms, .. } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

impl From<WalFailure> for WriteError {
    fn from(failure: WalFailure) -> Self {
        match failure {
            WalFailure::DiskFull(full) => full.into(),
            WalFailure::ReadOnly(reason) | WalFailure::Segment(reason) => {
                Self::ReadOnly { reason: reason.to_string() }
            }
        }
    }
}

impl From<DiskFull> for WriteError {
    fn from(full: DiskFull) -> Self {
        Self::DiskFull { free_bytes: full.free_bytes, reserve_bytes: full.reserve_bytes }
    }
}

/// The promise that a submitted write becomes durable.
#[derive(Debug)]
#[must_use = "a write may be acknowledged only after its commit"]
pub struct Commit {
    wal: Arc<WalWriter>,
    /// Position that must be durable; `None` if nothing was logged.
    lsn: Option<Lsn>,
}

impl Commit {
    /// Blocks until the write is durable as [`WalSync`] says.
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`] if the WAL could not be written; the write must not be acknowledged then.
    pub fn wait(self) -> Result<(), WriteError> {
        match self.lsn {
            Some(lsn) => Ok(self.wal.wait(lsn)?),
            None => Ok(()),
        }
    }

    /// Calls `notify` once, from the WAL's thread or at once, when the outcome is known. It must not block.
    pub fn on_durable(self, notify: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        match self.lsn {
            Some(lsn) => {
                self.wal.on_durable(lsn, Box::new(|outcome| notify(outcome.map_err(WriteError::from))));
            }
            None => notify(Ok(())),
        }
    }
}

/// Facts for metrics and status pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageStats {
    /// Tenants with data.
    pub tenant_count: usize,
    /// Series known to the heads.
    pub head_series_count: usize,
    /// Samples in the heads.
    pub head_sample_count: usize,
    /// Exemplars in the heads.
    pub head_exemplar_count: usize,
    /// Bytes of memory of the heads' samples and exemplars.
    pub head_bytes: usize,
    /// Bytes in the WAL since the last flush.
    pub wal_bytes: u64,
    /// Blocks.
    pub block_count: usize,
    /// Samples in blocks.
    pub block_sample_count: u64,
    /// Bytes of all block files.
    pub block_bytes: u64,
    /// Newest sample's time, if any.
    pub newest_ms: Option<i64>,
    /// Files that are damaged; [`Storage::damage`] names them.
    pub damaged_file_count: usize,
    /// Whether no write is taken: [`Storage::write_failure`] says why.
    pub is_refusing_writes: bool,
    /// Compactions since the start that came through.
    pub compactions_done: u64,
    /// Compactions since the start that failed.
    pub compactions_failed: u64,
    /// Bytes of blocks that compactions have replaced since the start.
    pub compaction_input_bytes: u64,
    /// Bytes of blocks that compactions have written since the start.
    pub compaction_output_bytes: u64,
    /// Blocks dropped since the start because they were too old.
    pub blocks_dropped_by_age: u64,
    /// Blocks dropped since the start because there were too many bytes.
    pub blocks_dropped_by_size: u64,
    /// Labels of new series that were cut or left out since the start because they were too long.
    pub long_labels: LongLabelCounts,
}

/// The storage engine of one data directory.
#[derive(Debug)]
pub struct Storage {
    fs: Arc<dyn FileSystem>,
    options: StorageOptions,
    /// What each tenant may do; a tenant with data has its own copy.
    limits: ArcSwap<LimitsBook>,
    keys: SeriesKeys,
    /// Read by every write, written by a freeze; the number of the WAL's epoch.
    epoch: RwLock<u32>,
    wal: Arc<WalWriter>,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    maintenance: Mutex<maintain::Maintenance>,
    /// Held by a compaction from choosing to the commit.
    compaction: Mutex<compact::Compaction>,
    is_closing: AtomicBool,
    counters: counters::Counters,
    /// Held while a snapshot is taken: one at a time.
    snapshots: Mutex<()>,
    /// Newest sample of all; retention is reckoned from it when it is ahead of the clock.
    newest_ms: AtomicI64,
    /// Bytes of samples in all heads, those of running queries included.
    head_meter: Arc<AtomicUsize>,
    wal_dir: PathBuf,
    disk: Arc<DiskWatch>,
    damage: Arc<DamageList>,
    _lock: DirectoryLock,
}

impl Storage {
    /// Returns the key of a series from any bytes that determine its labels within a tenant.
    ///
    /// Why: different bytes for the same labels are fine, equal bytes for different labels are not.
    #[inline]
    pub fn series_key(&self, bytes: &[u8]) -> u128 {
        self.keys.key(bytes)
    }

    /// What [`Storage::series_key`] makes keys with, random per process, for rooms that fold hashes themselves.
    pub fn series_keys(&self) -> &SeriesKeys {
        &self.keys
    }

    /// Writes a batch and waits until it is durable as [`WalSync`] says. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`WriteError`]; refused samples are not an error but part of the report.
    pub fn write(
        &self,
        tenant: &TenantId,
        batch: &WriteBatch<'_>,
        now_ms: i64,
    ) -> Result<WriteReport, WriteError> {
        let (report, commit) = self.submit(tenant, batch, now_ms)?;
        commit.wait()?;
        Ok(report)
    }

    /// Writes a batch without waiting for the disk: the samples are readable at once, durable when the
    /// returned [`Commit`] says so. Does no I/O itself, so an async task may call it.
    ///
    /// # Errors
    /// [`WriteError`]; refused samples are not an error but part of the report.
    pub fn submit(
        &self,
        tenant: &TenantId,
        batch: &WriteBatch<'_>,
        now_ms: i64,
    ) -> Result<(WriteReport, Commit), WriteError> {
        plan::check_shape(batch)?;
        if let Some(full) = self.disk.full() {
            return Err(full.into());
        }
        self.check_head_bytes()?;
        let tenant = self.tenant(tenant);
        let limits = tenant.limits();
        tenant.check_rate(&limits, batch.values.len() + batch.histograms.len(), now_ms)?;
        let epoch = self.epoch.read();
        let active = tenant.active();
        let resolution = active
            .table()
            .resolve(batch, &limits, |series| tenant.log_series(&self.wal, *epoch, series).map(|_lsn| ()))?;
        self.counters.long_labels(resolution.long_labels);
        let mut report = WriteReport { long_labels: resolution.long_labels, ..WriteReport::default() };
        for (series_index, reason) in resolution.rejected {
            let sample_count = plan::run_range(batch, series_index).len();
            report.rejections.push(Rejection { series_index, sample_count, reason });
        }
        let window = self.window(&limits, now_ms);
        let mut plan = WritePlan::new(batch, &resolution.series_refs, window, &mut report);
        plan.add_sparse(batch, &resolution.series_refs, window, &mut report);
        let (mut lsn, refused_metadata_count) = tenant.log_metadata(&self.wal, *epoch, batch.metadata)?;
        report.refused_metadata_count = refused_metadata_count;
        let mut builder = RecordBuilder::default();
        plan.log(tenant.number, &mut builder);
        if !builder.bytes().is_empty() {
            lsn = Some(self.wal.append(builder.bytes())?);
        }
        tenant.last_write_ms.store(now_ms, Ordering::Relaxed);
        if let Some(newest_ms) = plan.newest_ms() {
            self.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
        }
        report.accepted_sample_count = plan.sample_count();
        plan.apply(&active);
        report.series = ResolvedSeries::new(active.table().id(), resolution.series_refs);
        Ok((report, Commit { wal: Arc::clone(&self.wal), lsn }))
    }

    fn check_head_bytes(&self) -> Result<(), WriteError> {
        let given_bytes = self.head_meter.load(Ordering::Relaxed);
        let limit_bytes =
            self.options.head_bytes_max.saturating_mul(HEAD_FULL_FACTOR).max(HEAD_FULL_BYTES_MIN);
        if given_bytes > limit_bytes {
            return Err(WriteError::HeadFull { given_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Returns an immutable view of one tenant's data.
    pub fn reader(&self, tenant: &TenantId) -> Snapshot {
        let found = self.tenants.read().get(tenant).cloned();
        let mut snapshot = found.map_or_else(Tenant::empty_snapshot, |tenant| tenant.snapshot());
        snapshot.damaged = self.damage.of_tenant(tenant);
        snapshot
    }

    /// Returns facts for metrics and status pages.
    pub fn stats(&self) -> StorageStats {
        let newest_ms = self.newest_ms.load(Ordering::Relaxed);
        let mut stats = StorageStats {
            wal_bytes: self.wal.epoch_bytes(),
            newest_ms: (newest_ms > i64::MIN).then_some(newest_ms),
            damaged_file_count: self.damage.len(),
            is_refusing_writes: self.write_failure().is_some(),
            compactions_done: self.counters.compactions_done.load(Ordering::Relaxed),
            compactions_failed: self.counters.compactions_failed.load(Ordering::Relaxed),
            compaction_input_bytes: self.counters.compaction_input_bytes.load(Ordering::Relaxed),
            compaction_output_bytes: self.counters.compaction_output_bytes.load(Ordering::Relaxed),
            blocks_dropped_by_age: self.counters.blocks_dropped_by_age.load(Ordering::Relaxed),
            blocks_dropped_by_size: self.counters.blocks_dropped_by_size.load(Ordering::Relaxed),
            long_labels: LongLabelCounts {
                truncated: self.counters.labels_truncated.load(Ordering::Relaxed),
                dropped: self.counters.labels_dropped.load(Ordering::Relaxed),
            },
            ..StorageStats::default()
        };
        for tenant in self.all_tenants() {
            let snapshot = tenant.snapshot();
            stats.tenant_count += 1;
            stats.head_series_count += tenant.active().table().series_count();
            for generation in &snapshot.generations {
                stats.head_sample_count += generation.sample_count();
                stats.head_exemplar_count += generation.exemplar_count();
                stats.head_bytes += generation.memory_bytes();
            }
            for block in snapshot.blocks.iter() {
                stats.block_count += 1;
                stats.block_sample_count += block.meta().sample_count;
                stats.block_bytes += block.meta().file_bytes;
            }
        }
        stats
    }

    /// Returns what `tenant` may do, whether it has data or not.
    pub fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        self.limits.load().of(tenant)
    }

    /// Puts other limits in the place of all there are; writes that begin afterwards obey them.
    pub fn set_limits(&self, defaults: TenantLimits, by_tenant: TenantLimitsByTenant) {
        let book = Arc::new(LimitsBook::new(defaults, by_tenant));
        // Under the lock, so that no tenant is made from the old book afterwards.
        let tenants = self.tenants.write();
        for (id, tenant) in tenants.iter() {
            tenant.set_limits(book.of(id));
        }
        self.limits.store(book);
    }

    /// Returns the names of all tenants with data, sorted.
    pub fn tenant_ids(&self) -> Vec<TenantId> {
        let mut ids: Vec<TenantId> = self.tenants.read().keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Why writes are refused, if they are.
    pub fn write_failure(&self) -> Option<WriteError> {
        let full = || self.disk.full().map(WriteError::from);
        self.wal.failure().map(WriteError::from).or_else(full)
    }

    /// Returns what of the data directory is damaged, by path. None of it is ever deleted or read over.
    pub fn damage(&self) -> Vec<DamagedFile> {
        self.damage.all()
    }

    fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.read().get(id) {
            return Arc::clone(tenant);
        }
        let mut tenants = self.tenants.write();
        let number = tenants.len() as u32;
        let limits = self.limits.load().of(id);
        let create = || Arc::new(Tenant::new(id.clone(), number, limits, Arc::clone(&self.head_meter)));
        Arc::clone(tenants.entry(id.clone()).or_insert_with(create))
    }

    fn all_tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.read().values().cloned().collect()
    }

    /// The times that are accepted now.
    fn window(&self, limits: &TenantLimits, now_ms: i64) -> TimeWindow {
        TimeWindow {
            oldest_ms: self.oldest_kept_ms(limits, now_ms),
            newest_ms: now_ms.saturating_add(limits.ahead_ms),
        }
    }

    /// Retention is reckoned from the newer of the clock and the newest sample.
    fn oldest_kept_ms(&self, limits: &TenantLimits, now_ms: i64) -> i64 {
        let newest_ms = self.newest_ms.load(Ordering::Relaxed).max(now_ms);
        limits.retention_ms.map_or(i64::MIN, |retention_ms| newest_ms.saturating_sub(retention_ms))
    }
}
