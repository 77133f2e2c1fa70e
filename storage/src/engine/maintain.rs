//! Work behind the doors: flush the heads to blocks, close. Not here: retention, compaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use tracing::{error, info, warn};

use super::Storage;
use super::tenant::Tenant;
use crate::block::layout::{BlockRef, Day};
use crate::block::manifest::{Manifest, ManifestEdit, ManifestError};
use crate::block::reader::{BlockOpenError, BlockReader};
use crate::block::view::BlockView;
use crate::error::with_sources;
use crate::fs::remove_durably;
use crate::fs::space::DiskFull;
use crate::head::{FlushError, SeriesTable, write_blocks};
use crate::wal::{Lsn, WalFailure, delete_segments_below};

/// How long a flush that failed on a full disk waits for the next try.
const FULL_RETRY_MS: i64 = 10_000;

/// Why maintenance failed. Nothing is lost: it is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaintainError {
    /// The WAL does not work any more.
    #[error("storage is read-only after a failed WAL write: {reason}")]
    ReadOnly {
        /// What went wrong first.
        reason: String,
    },
    /// The disk has no room for what is due.
    #[error("disk is full: {free_bytes} bytes are free, {reserve_bytes} are kept in reserve")]
    DiskFull {
        /// Bytes that were free.
        free_bytes: u64,
        /// Bytes that are kept for flushes.
        reserve_bytes: u64,
    },
    /// A WAL segment could not be begun; the one before goes on.
    #[error("{reason}")]
    Wal {
        /// What went wrong.
        reason: String,
    },
    /// A block could not be written or read back.
    #[error("cannot flush tenant {tenant}: {reason}")]
    Block {
        /// Whose block.
        tenant: String,
        /// What went wrong.
        reason: String,
    },
    /// The MANIFEST could not be written.
    #[error("cannot commit to the MANIFEST: {reason}")]
    Manifest {
        /// What went wrong.
        reason: String,
    },
}

impl From<WalFailure> for MaintainError {
    fn from(failure: WalFailure) -> Self {
        match failure {
            WalFailure::DiskFull(DiskFull { free_bytes, reserve_bytes }) => {
                Self::DiskFull { free_bytes, reserve_bytes }
            }
            WalFailure::ReadOnly(reason) => Self::ReadOnly { reason: reason.to_string() },
            WalFailure::Segment(reason) => Self::Wal { reason: reason.to_string() },
        }
    }
}

impl From<ManifestError> for MaintainError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest { reason: with_sources(&error) }
    }
}

/// What only one thread at a time may do.
#[derive(Debug)]
pub(super) struct Maintenance {
    pub(super) manifest: Manifest,
    pub(super) next_block_id: u64,
    /// First WAL segment that is needed once the frozen heads are in blocks; set while a flush is not through.
    pub(super) pending_wal_floor: Option<u64>,
    /// Whether the metadata of all tenants must be logged in the new epoch before the old one may go.
    pub(super) is_relog_due: bool,
    /// When the oldest unflushed write came, as far as known.
    pub(super) unflushed_since_ms: Option<i64>,
    /// When a flush failed last on a full disk.
    pub(super) failed_full_ms: Option<i64>,
}

/// What became of one tenant's frozen head.
struct Flushed {
    tenant: Arc<Tenant>,
    blocks: Vec<BlockView>,
}

impl Storage {
    /// Does what is due: flushes the heads if they are large or old, drops blocks beyond retention. Call it every
    /// second or so; compaction is apart (see [`Storage::compact_one`]). `now_ms` is the clock.
    ///
    /// # Errors
    /// [`MaintainError`]; call again.
    pub fn maintain(&self, now_ms: i64) -> Result<(), MaintainError> {
        let full = self.disk.check();
        // Before the flush: what is beyond retention makes room.
        self.drop_expired(now_ms)?;
        if full.is_none() {
            self.resume_writes()?;
        }
        if self.is_flush_due(full.is_some(), now_ms) {
            let outcome = self.flush(now_ms);
            let failed_full = outcome.is_err() && full.is_some();
            self.maintenance.lock().failed_full_ms = failed_full.then_some(now_ms);
            outcome?;
        }
        Ok(())
    }

    /// Takes writes again after the WAL had no room. Names may be among what it dropped: a new epoch begins for them.
    fn resume_writes(&self) -> Result<(), MaintainError> {
        if !matches!(self.wal.failure(), Some(WalFailure::DiskFull(_))) {
            return Ok(());
        }
        let mut epoch = self.epoch.write();
        self.wal.resume()?;
        *epoch += 1;
        self.all_tenants().iter().for_each(|tenant| tenant.begin_epoch());
        self.relog_metadata(*epoch)?;
        Ok(())
    }

    /// Logs the metadata of all tenants again; returns the last position.
    fn relog_metadata(&self, epoch: u32) -> Result<Option<Lsn>, WalFailure> {
        let mut last_lsn = None;
        for tenant in self.all_tenants() {
            last_lsn = tenant.relog_metadata(&self.wal, epoch)?.or(last_lsn);
        }
        Ok(last_lsn)
    }

    fn is_flush_due(&self, is_disk_full: bool, now_ms: i64) -> bool {
        let stats = self.stats();
        let since_ms = {
            let mut maintenance = self.maintenance.lock();
            let since_failed_ms =
                maintenance.failed_full_ms.map(|failed_ms| now_ms.saturating_sub(failed_ms));
            if is_disk_full && since_failed_ms.is_some_and(|passed_ms| passed_ms < FULL_RETRY_MS) {
                return false;
            }
            if maintenance.pending_wal_floor.is_some() {
                return true;
            }
            // Series without samples are worth a flush, too: it lets go of them.
            if stats.head_sample_count + stats.head_exemplar_count + stats.head_series_count == 0 {
                maintenance.unflushed_since_ms = None;
                return false;
            }
            *maintenance.unflushed_since_ms.get_or_insert(now_ms)
        };
        // A block takes less than the log it stands for.
        let frees_room = stats.head_sample_count + stats.head_exemplar_count > 0;
        is_disk_full && frees_room
            || stats.head_bytes >= self.options.head_bytes_max
            || stats.wal_bytes >= self.options.wal_bytes_max
            || now_ms.saturating_sub(since_ms) >= self.options.head_age_ms_max
    }

    /// Writes the heads of all tenants to blocks now and drops the WAL behind them. Reads and writes go on.
    ///
    /// # Errors
    /// [`MaintainError`]; what could not be written stays in memory and in the WAL, and the next flush takes it up.
    pub fn flush(&self, now_ms: i64) -> Result<(), MaintainError> {
        self.flush_locked(&mut self.maintenance.lock(), now_ms)
    }

    pub(super) fn flush_locked(
        &self,
        maintenance: &mut Maintenance,
        now_ms: i64,
    ) -> Result<(), MaintainError> {
        if maintenance.pending_wal_floor.is_some() {
            // An earlier flush did not get through: its heads come first.
            self.flush_frozen(maintenance)?;
        }
        self.freeze(maintenance, now_ms)?;
        maintenance.unflushed_since_ms = Some(now_ms);
        self.flush_frozen(maintenance)
    }

    /// Freezes all heads and begins a WAL epoch, with nobody writing meanwhile.
    fn freeze(&self, maintenance: &mut Maintenance, now_ms: i64) -> Result<(), MaintainError> {
        let mut survivors: HashMap<u32, Arc<SeriesTable>> = self
            .all_tenants()
            .into_iter()
            .filter_map(|tenant| Some((tenant.number, tenant.collect_dead_series(now_ms)?)))
            .collect();
        let mut epoch = self.epoch.write();
        let wal_floor = self.wal.rotate()?;
        *epoch += 1;
        // At once: whatever fails from here on, what is frozen must be written before anything else is frozen.
        maintenance.pending_wal_floor = Some(wal_floor);
        maintenance.is_relog_due = true;
        // All of them, and before anything that may fail: what the new epoch names begins with nothing.
        for tenant in self.all_tenants() {
            tenant.freeze(survivors.remove(&tenant.number));
        }
        Ok(())
    }

    /// The new epoch must say of metrics what the old one said, durably, before the old one goes.
    fn carry_metadata_over(&self, maintenance: &mut Maintenance) -> Result<(), MaintainError> {
        if maintenance.is_relog_due {
            let epoch = self.epoch.read();
            let last_lsn = self.relog_metadata(*epoch)?;
            drop(epoch);
            last_lsn.map_or(Ok(()), |lsn| self.wal.wait(lsn))?;
            maintenance.is_relog_due = false;
        }
        Ok(())
    }

    fn flush_frozen(&self, maintenance: &mut Maintenance) -> Result<(), MaintainError> {
        let Some(wal_floor) = maintenance.pending_wal_floor else { return Ok(()) };
        self.carry_metadata_over(maintenance)?;
        let mut edit = ManifestEdit { wal_floor: Some(wal_floor), ..ManifestEdit::default() };
        let flushed = self
            .write_frozen(&mut maintenance.next_block_id, &mut edit.add)
            .inspect_err(|_| self.remove_written(&edit.add))?;
        edit.next_id = Some(maintenance.next_block_id);
        let written = edit.add.clone();
        if let Err(error) = maintenance.manifest.commit(edit) {
            // If nobody knows what the MANIFEST says now, it may name them.
            if !maintenance.manifest.is_poisoned() {
                self.remove_written(&written);
            }
            return Err(error.into());
        }
        for Flushed { tenant, blocks } in flushed {
            for block in &blocks {
                let meta = block.meta();
                info!(
                    tenant = %tenant.id, block = meta.id, series_count = meta.series_count,
                    sample_count = meta.sample_count, file_bytes = meta.file_bytes, "block written"
                );
            }
            tenant.publish(blocks);
        }
        maintenance.pending_wal_floor = None;
        if let Err(error) = delete_segments_below(self.fs.as_ref(), &self.wal_dir, wal_floor) {
            // Harmless: the MANIFEST says that they are not needed, the next start removes them.
            error!(%error, wal_floor, "cannot delete WAL segments");
        }
        Ok(())
    }

    /// Removes the blocks of a flush that failed. The next try writes them again: they must not fill the disk meanwhile.
    fn remove_written(&self, blocks: &[BlockRef]) {
        for block in blocks {
            let path = block.path(&self.options.data_dir);
            if let Err(error) = remove_durably(self.fs.as_ref(), &path) {
                warn!(path = %path.display(), %error, "cannot remove a block of a flush that failed");
            }
        }
    }

    /// Writes and opens the blocks of all frozen heads; `written` names the complete files even after an error.
    fn write_frozen(
        &self,
        next_block_id: &mut u64,
        written: &mut Vec<BlockRef>,
    ) -> Result<Vec<Flushed>, MaintainError> {
        let mut flushed = Vec::new();
        for tenant in self.all_tenants() {
            let Some(generation) = tenant.frozen() else { continue };
            let first = written.len();
            let next_id = || {
                let id = *next_block_id;
                *next_block_id += 1;
                id
            };
            write_blocks(&generation, &self.fs, &self.options.data_dir, &tenant.id, next_id, written)
                .map_err(|error| flush_failed(&tenant, &error))?;
            let blocks = written[first..]
                .iter()
                .map(|block| self.open_block(block))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| block_failed(&tenant, &error))?;
            flushed.push(Flushed { tenant, blocks });
        }
        Ok(flushed)
    }

    pub(super) fn open_block(&self, block: &BlockRef) -> Result<BlockView, BlockOpenError> {
        BlockReader::open_reporting(self.fs.as_ref(), &block.path(&self.options.data_dir), &self.damage)
            .map(|reader| BlockView::whole(Arc::new(reader)))
    }

    /// Unlinks a block that no commit names any more, and its tombstones. What is left is removed by the next start.
    pub(super) fn remove_files(&self, block: &BlockView) {
        let reference = reference(block);
        let data_dir = &self.options.data_dir;
        let tombstones = block.tombstones.as_ref();
        let tombstones =
            tombstones.map(|tombstones| reference.tombstone_path(data_dir, tombstones.generation()));
        self.damage.forget(&reference.path(data_dir));
        for path in tombstones.into_iter().chain([reference.path(data_dir)]) {
            if let Err(error) = remove_durably(self.fs.as_ref(), &path) {
                error!(path = %path.display(), %error, "cannot delete a file that is not needed any more");
            }
        }
    }

    /// Flushes what is in memory, so that the next start has no WAL to replay. Without it nothing is lost either.
    /// The data directory is let go when the last owner drops the storage.
    ///
    /// # Errors
    /// [`MaintainError`] if the flush fails; the WAL still has everything.
    pub fn close(&self, now_ms: i64) -> Result<(), MaintainError> {
        self.is_closing.store(true, Ordering::Relaxed);
        // A compaction notices within one series; its inputs are as before.
        drop(self.compaction.lock());
        let stats = self.stats();
        if stats.head_sample_count + stats.head_exemplar_count > 0 {
            self.flush(now_ms)?;
        }
        Ok(())
    }
}

/// Where a block lies: the whole of it is inside one UTC day.
pub(super) fn reference(block: &BlockView) -> BlockRef {
    let meta = block.meta();
    BlockRef { tenant: meta.tenant.clone(), day: Day::of_ms(meta.min_ms), id: meta.id }
}

fn flush_failed(tenant: &Tenant, error: &FlushError) -> MaintainError {
    MaintainError::Block { tenant: tenant.id.to_string(), reason: with_sources(error) }
}

fn block_failed(tenant: &Tenant, error: &BlockOpenError) -> MaintainError {
    MaintainError::Block { tenant: tenant.id.to_string(), reason: with_sources(error) }
}
