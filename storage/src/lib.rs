//! The storage engine of MyTSDB: one write door, one read door, no network, no runtime, no clock.
//!
//! Way of a write: [`Storage::write`] resolves series, logs to the WAL and appends to the head.
//! Way of a read: [`Storage::reader`] gives one immutable [`Snapshot`]; [`Snapshot::select`] finds series,
//! [`read::SeriesSet::read`] decodes their samples into columns.
//! Not here: protocols, PromQL, async, the wall clock.

mod batch;
#[allow(dead_code, reason = "the engine is joined to this room in a change of its own")]
mod block;
pub mod coding;
mod engine;
#[allow(dead_code, reason = "the engine is joined to this room in a change of its own")]
mod fs;
#[allow(dead_code, reason = "the engine is joined to this room in a change of its own")]
mod index;
pub mod model;
pub mod read;
mod snapshot;

#[cfg(feature = "bench")]
#[doc(hidden)]
pub use block::door::IndexDoor;

pub use batch::{LabelSource, RejectReason, Rejection, WriteBatch, WriteReport};
pub use engine::{Commit, OpenError, Storage, StorageOptions, WalSync, WriteError};
pub use snapshot::{Cardinality, Snapshot};
