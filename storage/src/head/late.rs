//! Late samples: those that were not newer than everything before them.
//!
//! They are kept in order of arrival, because for equal times the later arrival wins, and become chunks of their
//! own when there are enough. They are merged with the rest on read and at flush.

use std::sync::Arc;

use super::CHUNK_SAMPLE_COUNT;
use super::series::{Codec, HeadPieces, SealedChunk};
use crate::model::TimeRange;

/// The late samples of one series.
#[derive(Debug)]
pub(crate) struct LateSamples {
    open: Vec<(i64, f64)>,
    chunks: Vec<Arc<SealedChunk>>,
    newest_ms: i64,
}

impl Default for LateSamples {
    fn default() -> Self {
        Self { open: Vec::new(), chunks: Vec::new(), newest_ms: i64::MIN }
    }
}

impl LateSamples {
    /// Time of the newest late sample.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Appends one sample; returns by how many bytes the memory grew.
    pub(crate) fn append(&mut self, time_ms: i64, value: f64, codec: &mut Codec) -> isize {
        self.newest_ms = self.newest_ms.max(time_ms);
        let before = self.open.capacity();
        self.open.push((time_ms, value));
        let grown = (self.open.capacity() - before) * size_of::<(i64, f64)>();
        let sealed = if self.open.len() >= CHUNK_SAMPLE_COUNT { self.seal(codec) } else { 0 };
        grown.cast_signed() + sealed
    }

    /// Adds a chunk that wins over all late samples so far.
    pub(crate) fn push_chunk(&mut self, chunk: Arc<SealedChunk>) {
        debug_assert!(self.open.is_empty());
        self.newest_ms = self.newest_ms.max(chunk.max_ms);
        self.chunks.push(chunk);
    }

    /// Turns the open samples into a chunk; returns by how many bytes the memory grew.
    pub(crate) fn seal(&mut self, codec: &mut Codec) -> isize {
        if self.open.is_empty() {
            return 0;
        }
        let freed = self.open.capacity() * size_of::<(i64, f64)>();
        let (timestamps_ms, values) = sort_late(&mut self.open);
        let chunk = codec.seal(&timestamps_ms, &values);
        self.open = Vec::new();
        let grown = chunk.memory_bytes();
        self.chunks.push(Arc::new(chunk));
        grown.cast_signed() - freed.cast_signed()
    }

    /// Copies what touches `range`.
    pub(crate) fn collect(&self, range: TimeRange, pieces: &mut HeadPieces) {
        pieces.late_chunks.extend(self.chunks.iter().filter(|chunk| chunk.touches(range)).cloned());
        pieces.late.extend(self.open.iter().filter(|(time_ms, _)| range.contains(*time_ms)));
    }
}

/// Sorts samples by time; of several at one time the last arrival stays.
pub(crate) fn sort_late(samples: &mut [(i64, f64)]) -> (Vec<i64>, Vec<f64>) {
    samples.sort_by_key(|(time_ms, _)| *time_ms);
    let mut timestamps_ms = Vec::with_capacity(samples.len());
    let mut values = Vec::with_capacity(samples.len());
    for (index, (time_ms, value)) in samples.iter().enumerate() {
        if samples.get(index + 1).is_none_or(|(next_ms, _)| next_ms != time_ms) {
            timestamps_ms.push(*time_ms);
            values.push(*value);
        }
    }
    (timestamps_ms, values)
}
