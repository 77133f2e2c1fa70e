//! Late samples: those that were not newer than everything before them.
//!
//! They are kept in order of arrival, because for equal times the later arrival wins, and become chunks of their
//! own when there are enough. They are merged with the rest on read and at flush.

use std::sync::Arc;

use super::CHUNK_SAMPLE_COUNT;
use super::series::{Codec, HeadPieces, SealedChunk};
use crate::model::{StartTimes, TimeRange};

/// The late samples of one series.
#[derive(Debug)]
pub(crate) struct LateSamples {
    open: Vec<(i64, f64)>,
    open_starts: StartTimes,
    chunks: Vec<Arc<SealedChunk>>,
    newest_ms: i64,
}

impl Default for LateSamples {
    fn default() -> Self {
        Self { open: Vec::new(), open_starts: StartTimes::new(), chunks: Vec::new(), newest_ms: i64::MIN }
    }
}

impl LateSamples {
    /// Time of the newest late sample.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Appends one sample; returns by how many bytes the memory grew.
    pub(crate) fn append(&mut self, time_ms: i64, value: f64, start_ms: i64, codec: &mut Codec) -> isize {
        self.newest_ms = self.newest_ms.max(time_ms);
        let before = self.open_bytes();
        self.open_starts.push(self.open.len(), start_ms);
        self.open.push((time_ms, value));
        let grown = self.open_bytes() - before;
        let sealed = if self.open.len() >= CHUNK_SAMPLE_COUNT { self.seal(codec) } else { 0 };
        grown.cast_signed() + sealed
    }

    fn open_bytes(&self) -> usize {
        self.open.capacity() * size_of::<(i64, f64)>() + self.open_starts.capacity_bytes()
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
        let freed = self.open_bytes();
        let (timestamps_ms, values, starts) = sort_late(&mut self.open, &self.open_starts);
        let chunk = codec.seal(&timestamps_ms, &values, starts.up_to(values.len()));
        self.open = Vec::new();
        self.open_starts = StartTimes::new();
        let grown = chunk.memory_bytes();
        self.chunks.push(Arc::new(chunk));
        grown.cast_signed() - freed.cast_signed()
    }

    /// Copies what touches `range`.
    pub(crate) fn collect(&self, range: TimeRange, pieces: &mut HeadPieces) {
        pieces.late_chunks.extend(self.chunks.iter().filter(|chunk| chunk.touches(range)).cloned());
        for (position, sample) in
            self.open.iter().enumerate().filter(|(_, (time_ms, _))| range.contains(*time_ms))
        {
            pieces.late_starts.push(pieces.late.len(), self.open_starts.at(position));
            pieces.late.push(*sample);
        }
    }
}

/// Sorts samples by time; of several at one time the last arrival stays.
pub(crate) fn sort_late(samples: &mut [(i64, f64)], starts: &StartTimes) -> (Vec<i64>, Vec<f64>, StartTimes) {
    let mut sorted_starts_ms = Vec::new();
    if !starts.is_empty() {
        let mut order: Vec<usize> = (0..samples.len()).collect();
        order.sort_by_key(|position| samples[*position].0);
        sorted_starts_ms.extend(order.into_iter().map(|position| starts.at(position)));
    }
    samples.sort_by_key(|(time_ms, _)| *time_ms);
    let mut timestamps_ms = Vec::with_capacity(samples.len());
    let mut values = Vec::with_capacity(samples.len());
    let mut kept_starts = StartTimes::new();
    for (index, (time_ms, value)) in samples.iter().enumerate() {
        if samples.get(index + 1).is_none_or(|(next_ms, _)| next_ms != time_ms) {
            if let Some(start_ms) = sorted_starts_ms.get(index) {
                kept_starts.push(values.len(), *start_ms);
            }
            timestamps_ms.push(*time_ms);
            values.push(*value);
        }
    }
    (timestamps_ms, values, kept_starts)
}
