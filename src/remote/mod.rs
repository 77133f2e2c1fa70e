//! Prometheus remote write: HTTP and snappy in [`receive`], bytes to [`columns`] in [`write_v1`] and [`write_v2`], answers
//! in [`reply`]. Remote read: [`read`].
//!
//! Not here: storing (see `mytsdb_storage`), OTLP, Flight.

pub mod columns;
mod metadata;
#[cfg(test)]
#[expect(unreachable_pub, reason = "the fuzz targets see it, too")]
mod oracle;
pub mod read;
mod receive;
pub mod refusals;
mod reply;
mod sample;
pub mod snappy;
pub mod sparse;
#[cfg(test)]
mod sparse_tests;
pub mod write_v1;
pub mod write_v2;

pub use receive::router;

pub use crate::wire;
