//! Prometheus remote write: HTTP and snappy in [`receive`], bytes to columns in [`write_v1`], answers in [`reply`].
//! Remote read: [`read`].
//!
//! Not here: storing (see `mytsdb_storage`), OTLP, Flight.

pub mod read;
mod receive;
mod reply;
pub mod write_v1;

pub use receive::router;

pub use crate::wire;
