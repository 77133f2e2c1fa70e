//! The write-ahead log: what was acknowledged is here until a block holds it.
//!
//! One log for all tenants. [`WalWriter`] appends records from many threads and makes them durable together;
//! [`replay`] gives them back in order after a restart and stops at the torn tail.
//! An *epoch* is the run of segments since the last head flush; it is self-contained: it names every tenant and
//! every series that its samples refer to.
//! Not here: what the records mean for the head (see `head::replay`).
//!
//! Format: docs/format/wal.md

mod failure;
mod format;
mod inspect;
mod progress;
mod reader;
mod segment;
mod writer;

pub(crate) use failure::WalFailure;
pub(crate) use format::{ChunkRecord, Record, RecordBuilder, SamplesView, SeriesRecord};
pub(crate) use inspect::{InspectedSegment, inspect};
pub use progress::{ReplayProgress, ReplayState};
pub(crate) use reader::{ReplayError, replay};
pub(crate) use segment::{delete_segments_below, list_aside, write_segment};
pub(crate) use writer::{Lsn, WalOptions, WalWriter};

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod tests;
