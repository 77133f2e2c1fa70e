//! Samples of one series as columns, with the memory that decoding needs.

use std::sync::Arc;

use hashbrown::HashMap;

use super::merge_samples;
use crate::chunk::ChunkDecoder;
use crate::head::{HeadPieces, HistogramRows};
use crate::model::{Histogram, StartTimes, TimeRange};

/// Decoded timestamp columns kept per worker: neighbouring series of a block share them.
const CACHED_COLUMN_COUNT_MAX: usize = 64;

/// Samples of one series as columns, ascending by time without repeats. Reuse it between series.
///
/// # Shape
/// `timestamps_ms` and `values` have the same length. `histograms` is empty for a series of floats.
#[derive(Debug, Default)]
pub struct SampleColumns {
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub timestamps_ms: Vec<i64>,
    /// Values, bit-exact; stale markers included.
    pub values: Vec<f64>,
    /// When counting began, of the samples that are no histograms; those carry theirs themselves.
    pub starts: StartTimes,
    /// Samples that are histograms, by ascending position; `values` holds an ordinary NaN there.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    pub(super) times_id: Option<TimesId>,
    pub(super) scratch: ReadScratch,
}

/// Names the times that a read gave: reads with equal names gave equal times.
///
/// Why: the series of a target share their times, and what a reader found out about them holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimesId {
    pub(super) set_id: u64,
    pub(super) source_index: u32,
    pub(super) timestamps_id: u32,
    /// First sample of the column and how many.
    pub(super) first: u32,
    pub(super) count: u32,
}

/// Memory that decoding reuses; holds nothing that a reader of the columns needs.
#[derive(Debug, Default)]
pub(super) struct ReadScratch {
    pub(super) decoder: ChunkDecoder,
    pub(super) pieces: HeadPieces,
    pub(super) rows: HistogramRows,
    pub(super) chunk_views: Vec<crate::block::reader::ChunkView>,
    /// The series set that the cache belongs to.
    pub(super) cache_owner: u64,
    /// By source and timestamp column: decoded times.
    pub(super) cached_columns: HashMap<(u32, u32), Vec<i64>>,
}

impl ReadScratch {
    /// Makes room in the cache and forgets what belongs to another series set.
    pub(super) fn prepare_cache(&mut self, owner: u64) {
        if self.cache_owner != owner || self.cached_columns.len() > CACHED_COLUMN_COUNT_MAX {
            self.cached_columns.clear();
            self.cache_owner = owner;
        }
    }
}

/// Copies the samples, not the scratch memory.
impl Clone for SampleColumns {
    fn clone(&self) -> Self {
        Self {
            timestamps_ms: self.timestamps_ms.clone(),
            values: self.values.clone(),
            starts: self.starts.clone(),
            histograms: self.histograms.clone(),
            times_id: self.times_id,
            scratch: ReadScratch::default(),
        }
    }
}

impl SampleColumns {
    /// Empties the columns, keeping their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.times_id = None;
    }

    /// Names the times that the last read gave, if they are one column of a block. Says nothing of what was done with
    /// them since.
    pub fn times_id(&self) -> Option<TimesId> {
        self.times_id
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Returns whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Merges what was appended from `middle` on into what was there before: the later samples win.
    pub(super) fn merge(&mut self, middle: usize) {
        let Self { timestamps_ms, values, starts, histograms, .. } = self;
        merge_samples(middle, timestamps_ms, values, starts, histograms);
    }

    /// Drops the samples from position `from` on whose times lie in `deleted` (ascending, disjoint).
    pub(super) fn drop_deleted(&mut self, from: usize, deleted: &[TimeRange]) {
        for interval in deleted {
            // Behind `from` the times ascend, before it they may not.
            let fresh = &self.timestamps_ms[from..];
            let start = from + fresh.partition_point(|time_ms| *time_ms < interval.start_ms);
            let end = from + fresh.partition_point(|time_ms| *time_ms < interval.end_ms);
            self.timestamps_ms.drain(start..end);
            self.values.drain(start..end);
            self.starts.remove(start..end);
            if !self.histograms.is_empty() {
                let (start, end) = (start as u32, end as u32);
                self.histograms.retain_mut(|(position, _)| {
                    let is_kept = !(start..end).contains(position);
                    *position -= if *position >= end { end - start } else { 0 };
                    is_kept
                });
            }
        }
    }

    /// Drops what lies outside `range`.
    pub(super) fn trim(&mut self, range: TimeRange) {
        let end = self.timestamps_ms.partition_point(|time_ms| *time_ms < range.end_ms);
        self.timestamps_ms.truncate(end);
        self.values.truncate(end);
        self.starts.truncate(end);
        let start = self.timestamps_ms.partition_point(|time_ms| *time_ms < range.start_ms);
        if start > 0 {
            self.timestamps_ms.drain(..start);
            self.values.drain(..start);
            self.starts.remove(0..start);
        }
        if !self.histograms.is_empty() {
            self.histograms.retain_mut(|(position, _)| {
                let is_inside = (start..end).contains(&(*position as usize));
                *position = position.wrapping_sub(start as u32);
                is_inside
            });
        }
    }
}
