//! What a series has at its steps: nothing, a number, or a histogram.
//!
//! Rows stay columns of `f64`. Where a series has a histogram, the number has the bits of [`HISTOGRAM`] and the
//! histogram stands in a sparse list beside the row, by ascending step. A row without histograms has an empty list and
//! costs nothing. The number decides: a list entry whose number was overwritten is no histogram any more, so code that
//! only removes or replaces numbers need not know about histograms; code that reads numbers must ask whether there are
//! any. The bits without an entry are the NaN of a sender that happens to look like it.

use std::sync::Arc;

use mytsdb_storage::model::ResetHint;

use crate::histogram::FloatHistogram;
use crate::kernel::{ABSENT, HISTOGRAM, is_absent, is_histogram};

/// The histograms of one row: steps and values, by ascending step.
pub(crate) type HistogramRow = Vec<(u32, Arc<FloatHistogram>)>;

/// What a series has at one step.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// Nothing.
    Absent,
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
}

impl From<FloatHistogram> for Cell {
    fn from(histogram: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

impl Cell {
    /// This times `factor`.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Float(value) => Self::Float(value * factor),
            Self::Histogram(histogram) => {
                let mut histogram = Arc::unwrap_or_clone(histogram);
                histogram.multiply(factor);
                histogram.into()
            }
        }
    }
}

/// One row of a block, or one that was computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Per step.
    pub(crate) values: &'a [f64],
    /// The histograms among them.
    pub(crate) histograms: &'a [(u32, Arc<FloatHistogram>)],
}

/// The histogram at `step`, if `value` says that there is one.
#[inline]
pub(crate) fn histogram_at(
    histograms: &[(u32, Arc<FloatHistogram>)],
    value: f64,
    step: usize,
) -> Option<&Arc<FloatHistogram>> {
    if histograms.is_empty() || !is_histogram(value) {
        return None;
    }
    let position = histograms.binary_search_by_key(&(step as u32), |(step, _)| *step).ok()?;
    Some(&histograms[position].1)
}

impl<'a> Row<'a> {
    /// A row of numbers.
    pub(crate) fn floats(values: &'a [f64]) -> Self {
        Self { values, histograms: &[] }
    }

    /// What is there at `step`.
    #[inline]
    pub(crate) fn cell(&self, step: usize) -> Cell {
        let value = self.values[step];
        match histogram_at(self.histograms, value, step) {
            Some(histogram) => Cell::Histogram(Arc::clone(histogram)),
            None if is_absent(value) => Cell::Absent,
            None => Cell::Float(value),
        }
    }

    /// The numbers alone: nothing where there are histograms. `buffer` is used if there are any.
    pub(crate) fn without_histograms<'b>(&self, buffer: &'b mut Vec<f64>) -> &'b [f64]
    where
        'a: 'b,
    {
        if self.histograms.is_empty() {
            return self.values;
        }
        buffer.clear();
        buffer.extend_from_slice(self.values);
        for (step, _) in self.histograms {
            let value = &mut buffer[*step as usize];
            if is_histogram(*value) {
                *value = ABSENT;
            }
        }
        buffer
    }

    /// Steps and histograms that are still there.
    pub(crate) fn present_histograms(
        &self,
    ) -> impl Iterator<Item = (usize, &'a Arc<FloatHistogram>)> + use<'a> {
        let values = self.values;
        self.histograms
            .iter()
            .filter(move |(step, _)| is_histogram(values[*step as usize]))
            .map(|(step, histogram)| (*step as usize, histogram))
    }
}

/// A row that is being written, step by step.
#[derive(Debug)]
pub(crate) struct RowWriter<'a> {
    values: &'a mut [f64],
    histograms: &'a mut HistogramRow,
}

impl<'a> RowWriter<'a> {
    /// Starts with what is in `values`; `histograms` is emptied.
    pub(crate) fn new(values: &'a mut [f64], histograms: &'a mut HistogramRow) -> Self {
        histograms.clear();
        Self { values, histograms }
    }

    /// The numbers that are written, nothing where there are histograms.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let mut buffer = Vec::new();
        let row = Row { values: self.values, histograms: self.histograms };
        row.without_histograms(&mut buffer).to_vec()
    }

    /// Multiplies everything that is written.
    pub(crate) fn scale(&mut self, factor: f64) {
        let histograms = std::mem::take(self.histograms);
        for value in self.values.iter_mut().filter(|value| !is_absent(**value) && !is_histogram(**value)) {
            *value *= factor;
        }
        for (step, histogram) in histograms {
            self.set(step as usize, Cell::Histogram(histogram).scaled(factor));
        }
    }

    /// Sets one step. Steps ascend.
    pub(crate) fn set(&mut self, step: usize, cell: Cell) {
        self.values[step] = match cell {
            Cell::Absent => ABSENT,
            Cell::Float(value) => value,
            Cell::Histogram(histogram) => {
                self.histograms.push((step as u32, histogram));
                HISTOGRAM
            }
        };
    }
}

/// Bytes that the histograms of a row take, about.
pub(crate) fn histogram_bytes(histograms: &[(u32, Arc<FloatHistogram>)]) -> usize {
    histograms.iter().map(|(_, histogram)| histogram.memory_bytes() + 16).sum()
}

/// The histogram as another evaluation time sees it: what was known about resets no longer holds.
pub(crate) fn without_reset(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(FloatHistogram::clone(histogram).with_hint(ResetHint::Unknown))
        }
    }
}
