//! Reading: selected series, and their samples as columns.

use std::sync::Arc;

use crate::model::{LabelSet, TimeRange};

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Bytes on disk are not what was written.
    #[error("corrupt data in {path}: {reason}")]
    Corrupt {
        /// The damaged file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A section of a block is not what was written.
    #[error("corrupt block {path}: section {section} at byte {offset} of the file: {reason}")]
    CorruptBlock {
        /// The damaged file.
        path: String,
        /// The section's name in `docs/format/block.md`.
        section: &'static str,
        /// Offset inside the file.
        offset: u64,
        /// What was found.
        reason: String,
    },
}

/// Samples of one series as columns, ascending by time without repeats. Reuse it between series.
///
/// # Shape
/// Both columns have the same length.
#[derive(Debug, Clone, Default)]
pub struct SampleColumns {
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub timestamps_ms: Vec<i64>,
    /// Values, bit-exact; stale markers included.
    pub values: Vec<f64>,
}

impl SampleColumns {
    /// Empties the columns, keeping their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Returns whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }
}

/// The series that a selection found, in order of their label sets.
///
/// Shared between worker threads: every method takes `&self`.
#[derive(Debug)]
pub struct SeriesSet {
    pub(crate) series: Vec<(LabelSet, Arc<std::collections::BTreeMap<i64, f64>>)>,
}

impl SeriesSet {
    /// How many series were found.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Returns whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The labels of one series.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn labels(&self, series_index: usize) -> &LabelSet {
        &self.series[series_index].0
    }

    /// An upper estimate of how many samples [`SeriesSet::read`] gives, without decoding.
    pub fn estimated_sample_count(&self, series_index: usize, range: TimeRange) -> usize {
        self.series[series_index].1.range(range.start_ms..range.end_ms.max(range.start_ms)).count()
    }

    /// Reads the samples of one series inside `range` into `columns` (cleared first).
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if a block is damaged.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn read(
        &self,
        series_index: usize,
        range: TimeRange,
        columns: &mut SampleColumns,
    ) -> Result<(), ReadError> {
        columns.clear();
        if range.is_empty() {
            return Ok(());
        }
        for (time_ms, value) in self.series[series_index].1.range(range.start_ms..range.end_ms) {
            columns.timestamps_ms.push(*time_ms);
            columns.values.push(*value);
        }
        Ok(())
    }
}
