//! Templates → requests: a copy of encoded bytes, patched with times, values and ids.
//!
//! One [`Replay`] a worker. Workers own disjoint series, and a worker's requests are in time order (but for the detours
//! that were asked for), so every series stays in order if a worker's requests are answered one after the other.
//! Bodies are copied and patched, never encoded again.
//!
//! The time of a request is the time handed to [`Replay::next`], but at least a millisecond after the last request of the
//! same series: servers keep milliseconds, and points that share one would be lost without anybody's fault.

mod catalog;
mod options;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

pub use catalog::{Catalog, MetricInfo, MetricKind, Tally};
pub use options::{BatchSizes, Detours, ReplayOptions, Wire};

use super::template::{Signal, TemplateError};

/// One request to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it carries.
    pub signal: Signal,
    /// The message, not compressed; empty for [`Wire::Flight`].
    pub body: Bytes,
    /// The rows, for [`Wire::Flight`] only.
    pub columns: Option<RecordBatch>,
    /// Points, spans or log records; for other wires than OTLP the samples that the points come to.
    pub events: u64,
    /// Which batch of the worker's template this is, for the [`Tally`].
    pub batch: usize,
    /// Time of its points.
    pub time_ns: u64,
    /// Whether it repeats a request handed out before.
    pub is_repeat: bool,
}

/// Hands out the requests of one worker.
#[derive(Debug)]
pub struct Replay {
    catalog: Arc<Catalog>,
    waiting: VecDeque<Request>,
}

impl Replay {
    /// Reads the templates of `folder` and prepares the share of this worker.
    ///
    /// # Errors
    /// [`TemplateError`] if there is no template, one is damaged, or the options are outside their limits.
    pub fn open(folder: &Path, options: ReplayOptions) -> Result<Self, TemplateError> {
        options.check()?;
        let is_there = |signal: &Signal| folder.join(signal.file_name()).is_file();
        if !options.signals.iter().any(is_there) {
            return Err(TemplateError::NoTemplates { folder: folder.to_owned() });
        }
        Ok(Self { catalog: Arc::default(), waiting: VecDeque::new() })
    }

    /// Returns the next request at `now_ns`, nanoseconds since the Unix epoch; nothing once all was replayed as often as asked.
    ///
    /// The time may also be one of the past, for a backfill, but should not go back from call to call.
    pub fn next(&mut self, now_ns: u64) -> Option<Request> {
        self.waiting.pop_front().map(|request| Request { time_ns: now_ns, ..request })
    }

    /// Returns what this worker sends.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}
