//! Everything an engine is opened with: each setting with its unit and default.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{TenantLimits, TenantLimitsByTenant};
use crate::wal::ReplayProgress;

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
    /// Tells how far the replay is while the storage opens.
    pub replay_progress: Arc<ReplayProgress>,
    /// Limits of a tenant that has none of its own.
    pub limits: TenantLimits,
    /// Limits of tenants that have their own.
    pub tenant_limits: TenantLimitsByTenant,
    /// Bytes of samples in memory at which the heads are flushed to blocks.
    pub head_bytes_max: usize,
    /// Bytes in the WAL at which the heads are flushed to blocks.
    pub wal_bytes_max: u64,
    /// Bytes after which the WAL begins a new segment file.
    pub wal_segment_bytes_max: u64,
    /// Bytes of the disk that are kept free for flushes: with less, writes are refused. `None`: a twentieth of the
    /// disk, at most 64 MiB.
    pub disk_reserve_bytes: Option<u64>,
    /// Age of the oldest unflushed write at which the heads are flushed to blocks.
    pub head_age_ms_max: i64,
    /// Most bytes of block files of all tenants together; the oldest days go first. `None` = no limit.
    pub retention_bytes: Option<u64>,
    /// Most bytes a second that compaction reads; 0 = as fast as it goes.
    pub compaction_bytes_per_second: u64,
}

impl StorageOptions {
    /// The defaults, for data in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            wal_sync: WalSync::Group,
            replay_progress: Arc::default(),
            limits: TenantLimits::default(),
            tenant_limits: TenantLimitsByTenant::default(),
            head_bytes_max: 128 << 20,
            wal_bytes_max: 512 << 20,
            wal_segment_bytes_max: 64 << 20,
            disk_reserve_bytes: None,
            head_age_ms_max: 2 * 3_600_000,
            retention_bytes: None,
            compaction_bytes_per_second: 0,
        }
    }
}
