//! Sums and means of many histograms, compensated bucket by bucket.

use super::FloatHistogram;
use super::arithmetic::{Combined, IncompatibleSchemas};
use crate::kernel::kahan;

/// What rounding has lost, number by number, in the layout of the histogram it belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) zero_count: f64,
    pub(super) positive: Vec<f64>,
    pub(super) negative: Vec<f64>,
}

impl Losses {
    fn none_of(histogram: &FloatHistogram) -> Self {
        Self {
            positive: vec![0.0; histogram.positive.len()],
            negative: vec![0.0; histogram.negative.len()],
            ..Self::default()
        }
    }

    fn scale(&mut self, scale: impl Fn(f64) -> f64) {
        let numbers = [&mut self.count, &mut self.sum, &mut self.zero_count];
        for number in numbers.into_iter().chain(&mut self.positive).chain(&mut self.negative) {
            *number = scale(*number);
        }
    }
}

/// A sum of histograms that is as exact as a sum of numbers.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    value: FloatHistogram,
    losses: Losses,
}

impl HistogramSum {
    /// The sum of one histogram.
    pub(crate) fn new(first: FloatHistogram) -> Self {
        let losses = Losses::none_of(&first);
        Self { value: first, losses }
    }

    /// The sum so far, without what rounding has lost.
    pub(crate) fn value(&self) -> &FloatHistogram {
        &self.value
    }

    /// Bytes of memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.value.memory_bytes() * 2
    }

    /// Adds a histogram.
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        self.value.combine(other, 1.0, Some(&mut self.losses))
    }

    /// Adds the histograms of another sum, which come after those of this one.
    pub(crate) fn merge(&mut self, later: &Self) -> Result<Combined, IncompatibleSchemas> {
        let first = self.add(&later.value)?;
        let second = self.add(&later.lost())?;
        Ok(Combined {
            has_reset_conflict: first.has_reset_conflict || second.has_reset_conflict,
            has_reconciled_bounds: first.has_reconciled_bounds || second.has_reconciled_bounds,
        })
    }

    /// Multiplies the sum.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.value.multiply(factor);
        self.losses.scale(|number| number * factor);
    }

    /// Divides the sum; `divisor` is not 0.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.value.divide(divisor);
        self.losses.scale(|number| number / divisor);
    }

    /// What rounding has lost, as a histogram.
    fn lost(&self) -> FloatHistogram {
        let mut lost = self.value.clone();
        lost.count = self.losses.count;
        lost.sum = self.losses.sum;
        lost.zero_count = self.losses.zero_count;
        lost.positive.counts_mut().copy_from_slice(&self.losses.positive);
        lost.negative.counts_mut().copy_from_slice(&self.losses.negative);
        lost
    }

    /// The sum with what rounding has lost.
    pub(crate) fn finish(self) -> FloatHistogram {
        let Self { mut value, losses } = self;
        value.count += losses.count;
        value.sum += losses.sum;
        value.zero_count += losses.zero_count;
        let add = |(count, lost): (&mut f64, &f64)| *count += lost;
        value.positive.counts_mut().iter_mut().zip(&losses.positive).for_each(add);
        value.negative.counts_mut().iter_mut().zip(&losses.negative).for_each(add);
        value
    }

    /// The mean of histograms in order: direct while the sum is finite, incremental from where it would overflow.
    /// Calls `combined` with what each addition had to settle.
    pub(crate) fn mean<'a>(
        mut histograms: impl Iterator<Item = &'a FloatHistogram>,
        mut combined: impl FnMut(Combined),
    ) -> Result<Option<FloatHistogram>, IncompatibleSchemas> {
        let Some(first) = histograms.next() else { return Ok(None) };
        let mut sum = Self::new(first.clone());
        let mut count = 1.0;
        let mut is_incremental = false;
        for histogram in histograms {
            count += 1.0;
            if !is_incremental {
                let mut next = sum.clone();
                combined(next.add(histogram)?);
                if !next.value.has_overflow() {
                    sum = next;
                    continue;
                }
                is_incremental = true;
                sum.divide(count - 1.0);
            }
            sum.multiply((count - 1.0) / count);
            let mut part = histogram.clone();
            part.divide(count);
            combined(sum.add(&part)?);
        }
        if !is_incremental {
            sum.divide(count);
        }
        Ok(Some(sum.finish()))
    }
}

/// Compensated sum of products, for means and variances over buckets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NumberSum {
    sum: f64,
    lost: f64,
}

impl NumberSum {
    pub(super) fn add(&mut self, value: f64) {
        (self.sum, self.lost) = kahan::add(value, self.sum, self.lost);
    }

    pub(super) fn finish(self) -> f64 {
        self.sum + self.lost
    }
}
