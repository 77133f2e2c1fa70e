//! `rate`, `increase`, `delta`, `irate`, `idelta` of histograms, with their `anchored` and `smoothed` forms.
//!
//! Source: Prometheus `promql/functions.go` (`histogramRate`, `extrapolatedRate`, `instantValue`,
//! `extendedHistogramRate`).

use std::sync::Arc;

use mytsdb_storage::model::ResetHint;

use super::annotate::Remarks;
use crate::histogram::{FloatHistogram, IncompatibleSchemas};
use crate::kernel::rate::RateKind;
use crate::kernel::start_times;

/// The histograms of one window with their times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistogramWindow<'a> {
    pub(crate) times_ms: &'a [i64],
    /// Start time of each, 0 where it is unknown; empty if none is known or wanted.
    pub(crate) starts_ms: &'a [i64],
    pub(crate) histograms: &'a [Arc<FloatHistogram>],
    /// Beginning of the window (exclusive).
    pub(crate) start_ms: i64,
    /// End of the window (inclusive).
    pub(crate) end_ms: i64,
}

/// Says that exponential buckets and custom bounds cannot be combined.
fn settled<T>(result: Result<T, IncompatibleSchemas>, remarks: &Remarks<'_>) -> Option<T> {
    if result.is_err() {
        remarks.mixed_schemas();
    }
    result.ok()
}

/// Subtracts, telling what had to be settled.
fn subtract(histogram: &mut FloatHistogram, other: &FloatHistogram, remarks: &Remarks<'_>) -> Option<()> {
    let combined = settled(histogram.subtract(other), remarks)?;
    if combined.has_reconciled_bounds {
        remarks.reconciled("subtraction");
    }
    Some(())
}

/// Adds, telling what had to be settled.
fn add(histogram: &mut FloatHistogram, other: &FloatHistogram, remarks: &Remarks<'_>) -> Option<()> {
    let combined = settled(histogram.add(other), remarks)?;
    if combined.has_reconciled_bounds {
        remarks.reconciled("addition");
    }
    Some(())
}

/// A result: what is known about resets no longer means anything.
fn finished(mut histogram: FloatHistogram) -> FloatHistogram {
    histogram.compact();
    histogram.with_hint(ResetHint::Gauge)
}

fn is_gauge(histogram: &FloatHistogram) -> bool {
    histogram.reset_hint == ResetHint::Gauge
}

/// Difference of the last and first histogram, resets added up.
fn difference(
    window: HistogramWindow<'_>,
    is_counter: bool,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    let histograms = window.histograms;
    let (first, last) = (histograms.first()?, histograms.last()?);
    if is_counter && histograms.iter().any(|histogram| is_gauge(histogram)) {
        remarks.not_a_counter();
    }
    // After a reset right at the beginning the first sample does not matter, nor do its buckets.
    let emptied = match histograms.get(1) {
        Some(second) if is_counter && (window.is_restarted(1) || second.is_reset_after(first)) => {
            Some(FloatHistogram {
                schema: second.schema,
                custom_bounds: Arc::clone(&second.custom_bounds),
                ..FloatHistogram::default()
            })
        }
        _ => None,
    };
    let first = emptied.as_ref().unwrap_or(first);
    let is_custom = first.has_custom_bounds();
    let inside = &histograms[1..histograms.len() - 1];
    let is_mixed = last.has_custom_bounds() != is_custom
        || (is_counter && inside.iter().any(|histogram| histogram.has_custom_bounds() != is_custom));
    if is_mixed {
        remarks.mixed_schemas();
        return None;
    }
    let coarsest = if is_counter {
        inside.iter().map(|histogram| histogram.schema).min().unwrap_or(last.schema)
    } else {
        last.schema
    };
    let mut result = last.reduced_to(coarsest.min(first.schema));
    subtract(&mut result, first, remarks)?;
    if is_counter {
        if window.has_overlap() {
            remarks.overlapping_starts();
        }
        let mut previous = first;
        for (index, histogram) in histograms.iter().enumerate().skip(1) {
            if window.is_restarted(index) || histogram.is_reset_after(previous) {
                add(&mut result, previous, remarks)?;
            }
            previous = histogram;
        }
    } else if !is_gauge(&histograms[0]) || !is_gauge(last) {
        remarks.not_a_gauge();
    }
    Some(finished(result))
}

/// `rate` and `increase` of a window whose first histogram counts from `zero_ms` on, which is inside of it.
fn from_zero(
    window: HistogramWindow<'_>,
    zero_ms: i64,
    kind: RateKind,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    let (first, count) = (window.histograms.first()?, window.histograms.len());
    let mut result = FloatHistogram::clone(first);
    if count > 1 {
        result = difference(window, kind.is_counter, remarks)?;
        add(&mut result, first, remarks)?;
    }
    let edges = (window.times_ms[0], window.times_ms[count - 1]);
    let mut factor = start_times::factor_from_zero(zero_ms, edges, count, window.end_ms);
    if kind.is_rate {
        factor /= (window.end_ms - window.start_ms) as f64 / 1000.0;
    }
    result.multiply(factor);
    Some(result)
}

/// `rate`, `increase`, `delta` of a window: of at least two histograms, or one with a start time inside of the window.
pub(crate) fn extrapolated(
    window: HistogramWindow<'_>,
    kind: RateKind,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    let count = window.histograms.len();
    let zero_ms = if kind.is_counter { window.zero_ms() } else { None };
    if let Some(zero_ms) = zero_ms {
        return from_zero(window, zero_ms, kind, remarks);
    }
    if count < 2 {
        return None;
    }
    let mut result = difference(window, kind.is_counter, remarks)?;
    let (first_ms, last_ms) = (window.times_ms[0], window.times_ms[count - 1]);
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let mut to_start = (first_ms - window.start_ms) as f64 / 1000.0;
    let mut to_end = (window.end_ms - last_ms) as f64 / 1000.0;
    let average = sampled / (count - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    let first_count = window.histograms[0].count;
    if kind.is_counter && result.count > 0.0 && first_count >= 0.0 {
        // Where the line through the counts hits zero, a counter must have started.
        let to_zero = sampled * (first_count / result.count);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind.is_rate {
        factor /= (window.end_ms - window.start_ms) as f64 / 1000.0;
    }
    result.multiply(factor);
    Some(result)
}

/// `irate` and `idelta` of two histograms; `is_restarted`: a start time says that the counter began anew between them.
pub(crate) fn instant(
    previous: (i64, &Arc<FloatHistogram>),
    last: (i64, &Arc<FloatHistogram>),
    is_rate: bool,
    is_restarted: bool,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    let mut result = FloatHistogram::clone(last.1);
    if is_rate && (is_gauge(last.1) || is_gauge(previous.1)) {
        remarks.not_a_counter();
    }
    let are_gauges = is_gauge(last.1) && is_gauge(previous.1);
    if !is_rate && !are_gauges {
        remarks.not_a_gauge();
    }
    if !is_rate || !(is_restarted || last.1.is_reset_after(previous.1)) {
        subtract(&mut result, previous.1, remarks)?;
    }
    let mut result = finished(result);
    if is_rate {
        result.divide((last.0 - previous.0) as f64 / 1000.0);
    }
    Some(result)
}

/// The histogram on the straight line between two at `time_ms`; after a reset a counter rises from nothing.
pub(crate) fn interpolate(
    left: (i64, &Arc<FloatHistogram>),
    right: (i64, &Arc<FloatHistogram>),
    time_ms: i64,
    is_counter: bool,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    if left.1.has_custom_bounds() != right.1.has_custom_bounds() {
        remarks.mixed_schemas();
        return None;
    }
    let place = (time_ms - left.0) as f64 / (right.0 - left.0) as f64;
    let mut result = FloatHistogram::clone(right.1);
    if is_counter && right.1.is_reset_after(left.1) {
        result.multiply(place);
        return Some(result);
    }
    subtract(&mut result, left.1, remarks)?;
    result.multiply(place);
    add(&mut result, left.1, remarks)?;
    Some(result)
}

impl HistogramWindow<'_> {
    fn started(&self, index: usize) -> start_times::Started {
        (self.starts_ms.get(index).copied().unwrap_or(0), self.times_ms[index])
    }

    /// Whether a start time says that the counter began anew before the histogram at `index`, which is not the first.
    fn is_restarted(&self, index: usize) -> bool {
        !self.starts_ms.is_empty() && start_times::is_reset(self.started(index - 1), self.started(index))
    }

    /// Whether a histogram began in the middle of what the one before it counted.
    fn has_overlap(&self) -> bool {
        (1..self.starts_ms.len())
            .any(|index| start_times::is_overlap(self.started(index - 1), self.starts_ms[index]))
    }

    /// When the first histogram counted from zero, if that was inside of the window.
    fn zero_ms(&self) -> Option<i64> {
        (!self.histograms.is_empty()).then(|| start_times::zero_ms(self.started(0), self.start_ms)).flatten()
    }

    fn sample(&self, index: usize) -> (i64, &Arc<FloatHistogram>) {
        (self.times_ms[index], &self.histograms[index])
    }

    /// What resets inside of an extended window add, the edges' own resets left out.
    fn corrections(
        &self,
        (left, right): (&FloatHistogram, &FloatHistogram),
        is_smoothed: bool,
        remarks: &Remarks<'_>,
    ) -> Option<Option<FloatHistogram>> {
        let last = self.histograms.len() - 1;
        let mut first = 1;
        let mut previous = left;
        let starts_before = is_smoothed && self.times_ms[0] < self.start_ms && last > 0;
        if starts_before && self.histograms[1].is_reset_after(&self.histograms[0]) {
            // The interpolation at the left edge has dealt with this reset.
            previous = &self.histograms[1];
            first = 2;
        }
        if first > last {
            return Some(None);
        }
        let mut correction: Option<FloatHistogram> = None;
        let inside = self.histograms[first..last].iter().map(Arc::as_ref);
        for histogram in inside.chain([right]) {
            if histogram.is_reset_after(previous) {
                match &mut correction {
                    None => correction = Some(previous.clone()),
                    Some(correction) => add(correction, previous, remarks)?,
                }
            }
            previous = histogram;
        }
        Some(correction)
    }
}

/// `rate`, `increase`, `delta` of an `anchored` or `smoothed` window, which holds at most one sample at or before its
/// beginning and at most one at or after its end.
pub(crate) fn extended(
    window: HistogramWindow<'_>,
    kind: RateKind,
    is_smoothed: bool,
    remarks: &Remarks<'_>,
) -> Option<FloatHistogram> {
    let last = window.histograms.len().checked_sub(1)?;
    if window.times_ms[last] <= window.start_ms || (is_smoothed && window.times_ms[0] > window.end_ms) {
        return None;
    }
    let is_custom = window.histograms[0].has_custom_bounds();
    for histogram in window.histograms {
        if histogram.has_custom_bounds() != is_custom {
            remarks.mixed_schemas();
            return None;
        }
        if kind.is_counter && is_gauge(histogram) {
            remarks.not_a_counter();
        }
    }
    let left = if is_smoothed && window.times_ms[0] < window.start_ms {
        interpolate(window.sample(0), window.sample(1), window.start_ms, kind.is_counter, remarks)?
    } else {
        FloatHistogram::clone(&window.histograms[0])
    };
    let right = if is_smoothed && last > 0 && window.times_ms[last] > window.end_ms {
        interpolate(window.sample(last - 1), window.sample(last), window.end_ms, kind.is_counter, remarks)?
    } else {
        FloatHistogram::clone(&window.histograms[last])
    };
    let are_gauges = is_gauge(&left) && is_gauge(&right);
    if !kind.is_counter && !are_gauges {
        remarks.not_a_gauge();
    }
    let mut result = right.clone();
    subtract(&mut result, &left, remarks)?;
    if kind.is_counter
        && let Some(correction) = window.corrections((&left, &right), is_smoothed, remarks)?
    {
        add(&mut result, &correction, remarks)?;
    }
    if kind.is_rate {
        result.divide((window.end_ms - window.start_ms) as f64 / 1000.0);
    }
    Some(finished(result))
}
