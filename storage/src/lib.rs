//! The storage engine of MyTSDB: one write door, one read door, no network, no runtime, no clock.
//!
//! Way of a write: [`Storage::submit`] resolves series, logs to the WAL and appends to the head.
//! Way of a read: [`Storage::reader`] gives one immutable [`Snapshot`]; [`Snapshot::select`] finds series,
//! [`read::SeriesSet::read`] decodes their samples into columns.
//! Not here: protocols, PromQL, async, the wall clock.

mod batch;
mod block;
mod check;
pub mod chunk;
pub mod coding;
mod compact;
mod damage;
mod engine;
mod error;
mod fs;
mod head;
mod index;
mod limits;
pub mod model;
#[cfg(any(test, feature = "fuzzing"))]
mod proof;
pub mod read;
mod snapshot;
mod wal;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use proof::doors as fuzzing;

#[cfg(feature = "bench")]
#[doc(hidden)]
pub use block::door::IndexDoor;

pub use batch::{
    ExemplarSample, HistogramSample, LabelSource, RejectReason, Rejection, ResolvedSeries, SeriesHint,
    WriteBatch, WriteReport,
};
pub use check::{CheckError, CheckReport, Finding, RestoreError, RestoreReport, Severity, check, restore};
pub use damage::DamagedFile;
pub use engine::{
    Commit, CompactError, CompactScope, DeleteError, DeleteReport, MaintainError, OpenError, SnapshotError,
    SnapshotInfo, Storage, StorageOptions, StorageStats, WalSync, WriteError,
};
pub use limits::{LongLabelCounts, LongLabels, RateLimit, TenantLimits, TenantLimitsByTenant};
pub use snapshot::{BlockInfo, Cardinality, Snapshot};
pub use wal::{ReplayProgress, ReplayState};
