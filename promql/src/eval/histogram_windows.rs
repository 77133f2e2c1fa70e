//! Functions over windows in which there are histograms, alone or among numbers.
//!
//! The numbers of such a series go through the same kernel as any other's, as if there were no histograms; what a
//! window with histograms makes of that is decided here, window by window: some functions count both kinds, some pass
//! over histograms and say so, some refuse a mixture.
//! Source: Prometheus `promql/functions.go`.

use std::sync::Arc;

use mytsdb_storage::model::{LabelSet, ResetHint};

use super::annotate::Remarks;
use super::cells::{Cell, RowWriter};
use super::context::Context;
use super::histogram_rate::{self, HistogramWindow};
use super::rows::{MixedKernel, RowKernel, StartedKernel};
use super::samples::MixedSamples;
use crate::grid::WindowGrid;
use crate::histogram::{FloatHistogram, HistogramSum, IncompatibleSchemas};
use crate::kernel::rate::{Extended, RateKind};
use crate::kernel::{ABSENT, Samples, Scratch, is_absent, over_time, start_times};
use crate::parse::ast::Span;

/// Steps between two looks at the cancellation.
const STEPS_PER_LOOK: usize = 16;

/// What a function does with windows that have histograms.
#[derive(Debug, Clone, Copy)]
enum Treatment {
    /// `rate`, `increase`, `delta`.
    Rate(RateKind),
    /// `irate`, `idelta`.
    Instant {
        is_rate: bool,
    },
    Sum,
    Avg,
    Count,
    Present,
    First {
        wants_time: bool,
    },
    Last {
        wants_time: bool,
    },
    /// Counts neighbours that differ.
    Pairs {
        is_resets: bool,
    },
    /// Looks at numbers only.
    Ignores,
}

fn treatment(function: &str) -> Treatment {
    match function {
        "rate" => Treatment::Rate(RateKind { is_counter: true, is_rate: true }),
        "increase" => Treatment::Rate(RateKind { is_counter: true, is_rate: false }),
        "delta" => Treatment::Rate(RateKind { is_counter: false, is_rate: false }),
        "irate" => Treatment::Instant { is_rate: true },
        "idelta" => Treatment::Instant { is_rate: false },
        "sum_over_time" => Treatment::Sum,
        "avg_over_time" => Treatment::Avg,
        "count_over_time" => Treatment::Count,
        "present_over_time" | "absent_over_time" => Treatment::Present,
        "first_over_time" => Treatment::First { wants_time: false },
        "last_over_time" => Treatment::Last { wants_time: false },
        "ts_of_first_over_time" => Treatment::First { wants_time: true },
        "ts_of_last_over_time" => Treatment::Last { wants_time: true },
        "changes" => Treatment::Pairs { is_resets: false },
        "resets" => Treatment::Pairs { is_resets: true },
        _ => Treatment::Ignores,
    }
}

/// The samples of one series by kind.
struct SplitSamples<'a> {
    all: MixedSamples<'a>,
    float_times_ms: Vec<i64>,
    floats: Vec<f64>,
    /// Empty if no start time is known or wanted.
    float_starts_ms: Vec<i64>,
    histogram_times_ms: Vec<i64>,
    /// Empty if no start time is known or wanted.
    histogram_starts_ms: Vec<i64>,
    histograms: Vec<Arc<FloatHistogram>>,
    /// Histograms before each position.
    histograms_before: Vec<u32>,
}

impl<'a> SplitSamples<'a> {
    fn new(all: MixedSamples<'a>) -> Self {
        let mut split = Self {
            all,
            float_times_ms: Vec::new(),
            floats: Vec::new(),
            float_starts_ms: Vec::new(),
            histogram_starts_ms: Vec::new(),
            histogram_times_ms: Vec::new(),
            histograms: Vec::new(),
            histograms_before: Vec::with_capacity(all.times_ms.len() + 1),
        };
        for (position, time_ms) in all.times_ms.iter().enumerate() {
            split.histograms_before.push(split.histograms.len() as u32);
            match all.cell(position) {
                Cell::Histogram(histogram) => {
                    split.histogram_times_ms.push(*time_ms);
                    split.histogram_starts_ms.extend(all.starts_ms.get(position));
                    split.histograms.push(histogram);
                }
                Cell::Float(_) | Cell::Absent => {
                    split.float_times_ms.push(*time_ms);
                    split.float_starts_ms.extend(all.starts_ms.get(position));
                    split.floats.push(all.values[position]);
                }
            }
        }
        split.histograms_before.push(split.histograms.len() as u32);
        split
    }

    /// Whether a start time says that the counter began anew before the sample at `position`, which is not the first.
    fn is_restarted(&self, position: usize) -> bool {
        let started = |position: usize| {
            let start_ms = self.all.starts_ms.get(position).copied().unwrap_or(0);
            (start_ms, self.all.times_ms[position])
        };
        start_times::is_reset(started(position - 1), started(position))
    }

    /// The positions `low..high` of all samples as positions of histograms.
    fn histograms_in(&self, low: usize, high: usize) -> std::ops::Range<usize> {
        self.histograms_before[low] as usize..self.histograms_before[high] as usize
    }
}

/// The part of an extended window that counts: at most one sample at or before its beginning, at most one at or after
/// its end.
fn extended_bounds(
    times_ms: &[i64],
    low: usize,
    high: usize,
    (start_ms, end_ms): (i64, i64),
    is_smoothed: bool,
) -> (usize, usize) {
    let inside = &times_ms[low..high];
    let first = inside.partition_point(|time| *time <= start_ms).saturating_sub(1);
    let end = if is_smoothed {
        (inside.partition_point(|time| *time < end_ms) + 1).min(inside.len())
    } else {
        inside.len()
    };
    (low + first, low + end.max(first))
}

/// Everything that a mixed window is computed with.
struct MixedFunction<'a> {
    ctx: &'a Context<'a>,
    treatment: Treatment,
    windows: WindowGrid,
    extended: Option<Extended>,
    span: Span,
    names: Vec<LabelSet>,
}

/// The kernels of a function for numbers.
pub(crate) struct NumberKernels<'a> {
    pub(crate) plain: Arc<RowKernel<'a>>,
    /// For numbers with start times, if those make a difference.
    pub(crate) started: Option<Arc<StartedKernel<'a>>>,
}

impl NumberKernels<'_> {
    fn compute(&self, index: usize, split: &SplitSamples<'_>, scratch: &mut Scratch, out: &mut [f64]) {
        let samples = Samples::new(&split.float_times_ms, &split.floats);
        match &self.started {
            Some(started) if !split.float_starts_ms.is_empty() => {
                started(index, samples, &split.float_starts_ms, scratch, out);
            }
            _ => (self.plain)(index, samples, scratch, out),
        }
    }
}

/// The kernel of a function for series with histograms. `names`: labels by row; `span`: where remarks point to.
pub(crate) fn kernel<'a>(
    ctx: &'a Context<'a>,
    function: &str,
    windows: WindowGrid,
    extended: Option<Extended>,
    span: Span,
    names: Vec<LabelSet>,
    floats: NumberKernels<'a>,
) -> MixedKernel<'a> {
    let mixed = MixedFunction { ctx, treatment: treatment(function), windows, extended, span, names };
    Box::new(move |index, samples, scratch, out| mixed.compute(index, samples, &floats, scratch, out))
}

impl MixedFunction<'_> {
    fn compute(
        &self,
        index: usize,
        samples: MixedSamples<'_>,
        floats: &NumberKernels<'_>,
        scratch: &mut Scratch,
        out: &mut RowWriter<'_>,
    ) {
        let split = SplitSamples::new(samples);
        let mut numbers = vec![ABSENT; self.windows.count];
        if !split.floats.is_empty() {
            floats.compute(index, &split, scratch, &mut numbers);
        }
        let remarks = Remarks { ctx: self.ctx, span: self.span, name: self.names[index].metric_name() };
        let (before_ms, after_ms) = match self.extended {
            None => (0, 0),
            Some(extended) => {
                (extended.lookback_ms, if extended.is_smoothed { extended.lookback_ms } else { 0 })
            }
        };
        let wide = WindowGrid {
            end_ms: self.windows.end_ms.saturating_add(after_ms),
            range_ms: self.windows.range_ms.saturating_add(before_ms).saturating_add(after_ms),
            ..self.windows
        };
        let mut is_stopped = false;
        wide.for_each(samples.times_ms, |step, low, high| {
            // Whoever asked for the row looks as well, and returns the error.
            is_stopped |= step % STEPS_PER_LOOK == 0 && self.ctx.check_cancelled().is_err();
            if is_stopped {
                return;
            }
            let end_ms = self.windows.end_ms_at(step);
            let start_ms = end_ms.saturating_sub(self.windows.range_ms);
            let (low, high) = match self.extended {
                Some(extended) if high > low => {
                    let edges = (start_ms, end_ms);
                    extended_bounds(samples.times_ms, low, high, edges, extended.is_smoothed)
                }
                _ => (low, high),
            };
            let found = split.histograms_in(low, high);
            let cell = if found.is_empty() && !matches!(self.treatment, Treatment::Pairs { .. }) {
                number(numbers[step])
            } else {
                let window = HistogramWindow {
                    times_ms: &split.histogram_times_ms[found.clone()],
                    starts_ms: split.histogram_starts_ms.get(found.clone()).unwrap_or_default(),
                    histograms: &split.histograms[found],
                    start_ms,
                    end_ms,
                };
                self.window(&split, (low, high), window, numbers[step], &remarks)
            };
            out.set(step, cell);
        });
    }

    /// The result of one window that has histograms.
    fn window(
        &self,
        split: &SplitSamples<'_>,
        (low, high): (usize, usize),
        window: HistogramWindow<'_>,
        from_numbers: f64,
        remarks: &Remarks<'_>,
    ) -> Cell {
        let has_floats = high - low > window.histograms.len();
        let times_ms = split.all.times_ms;
        match self.treatment {
            Treatment::Rate(_) | Treatment::Sum | Treatment::Avg if has_floats => {
                remarks.mixed_kinds();
                Cell::Absent
            }
            Treatment::Rate(kind) => optional(match self.extended {
                None => histogram_rate::extrapolated(window, kind, remarks),
                Some(extended) => histogram_rate::extended(window, kind, extended.is_smoothed, remarks),
            }),
            Treatment::Instant { is_rate } if high - low >= 2 => {
                let last_two = (split.all.cell(high - 2), split.all.cell(high - 1));
                match &last_two {
                    (Cell::Histogram(previous), Cell::Histogram(last)) => optional(histogram_rate::instant(
                        (times_ms[high - 2], previous),
                        (times_ms[high - 1], last),
                        is_rate,
                        split.is_restarted(high - 1),
                        remarks,
                    )),
                    (Cell::Float(_), Cell::Float(_)) => number(from_numbers),
                    _ => {
                        remarks.mixed_kinds();
                        Cell::Absent
                    }
                }
            }
            Treatment::Instant { .. } => Cell::Absent,
            Treatment::Sum => optional(sum(window.histograms, remarks)),
            Treatment::Avg => optional(average(window.histograms, remarks)),
            Treatment::Count => Cell::Float((high - low) as f64),
            Treatment::Present => Cell::Float(1.0),
            Treatment::First { wants_time: true } => Cell::Float(times_ms[low] as f64 / 1000.0),
            Treatment::Last { wants_time: true } => Cell::Float(times_ms[high - 1] as f64 / 1000.0),
            Treatment::First { wants_time: false } => split.all.cell(low),
            Treatment::Last { wants_time: false } => split.all.cell(high - 1),
            Treatment::Pairs { is_resets } => {
                if high <= low || (self.extended.is_some() && times_ms[high - 1] <= window.start_ms) {
                    return Cell::Absent;
                }
                let pairs = low + 1..high;
                let count = pairs.filter(|position| {
                    (is_resets && split.is_restarted(*position))
                        || differs(&split.all.cell(position - 1), &split.all.cell(*position), is_resets)
                });
                Cell::Float(count.count() as f64)
            }
            Treatment::Ignores => {
                if has_floats {
                    remarks.ignored_in_range();
                }
                number(from_numbers)
            }
        }
    }
}

fn number(value: f64) -> Cell {
    if is_absent(value) { Cell::Absent } else { Cell::Float(value) }
}

fn optional(histogram: Option<FloatHistogram>) -> Cell {
    histogram.map_or(Cell::Absent, Cell::from)
}

/// Whether `changes` or `resets` counts the step from one sample to the next.
fn differs(previous: &Cell, current: &Cell, is_resets: bool) -> bool {
    match (previous, current) {
        (Cell::Float(previous), Cell::Float(current)) if is_resets => {
            over_time::is_reset(*previous, *current)
        }
        (Cell::Float(previous), Cell::Float(current)) => over_time::is_change(*previous, *current),
        (Cell::Histogram(previous), Cell::Histogram(current)) if is_resets => {
            current.is_reset_after(previous)
        }
        (Cell::Histogram(previous), Cell::Histogram(current)) => current != previous,
        _ => true,
    }
}

/// What sums of histograms tell, collected over one sum.
#[derive(Debug, Default)]
struct SumRemarks {
    has_reset: bool,
    has_no_reset: bool,
    has_reconciled_bounds: bool,
}

impl SumRemarks {
    fn of_hints(histograms: &[Arc<FloatHistogram>]) -> Self {
        let has = |hint: ResetHint| histograms.iter().any(|histogram| histogram.reset_hint == hint);
        Self {
            has_reset: has(ResetHint::Reset),
            has_no_reset: has(ResetHint::NotReset),
            has_reconciled_bounds: false,
        }
    }

    fn tell<T>(&self, result: Result<T, IncompatibleSchemas>, remarks: &Remarks<'_>) -> Option<T> {
        if self.has_reset && self.has_no_reset {
            remarks.conflicting_resets("aggregation");
        }
        if self.has_reconciled_bounds {
            remarks.reconciled("aggregation");
        }
        if result.is_err() {
            remarks.mixed_schemas();
        }
        result.ok()
    }
}

fn sum(histograms: &[Arc<FloatHistogram>], remarks: &Remarks<'_>) -> Option<FloatHistogram> {
    let mut found = SumRemarks::of_hints(histograms);
    let mut sum = HistogramSum::new(FloatHistogram::clone(histograms.first()?));
    let result = histograms[1..].iter().try_for_each(|histogram| {
        found.has_reconciled_bounds |= sum.add(histogram)?.has_reconciled_bounds;
        Ok(())
    });
    found.tell(result, remarks)?;
    Some(sum.finish())
}

fn average(histograms: &[Arc<FloatHistogram>], remarks: &Remarks<'_>) -> Option<FloatHistogram> {
    let mut found = SumRemarks::of_hints(histograms);
    let mut has_reconciled_bounds = false;
    let mean = HistogramSum::mean(histograms.iter().map(Arc::as_ref), |combined| {
        has_reconciled_bounds |= combined.has_reconciled_bounds;
    });
    found.has_reconciled_bounds = has_reconciled_bounds;
    found.tell(mean, remarks)?
}

/// The kernel of a smoothed instant selector for series with histograms.
pub(crate) fn smoothed_instant<'a>(
    ctx: &'a Context<'a>,
    span: Span,
    names: Vec<LabelSet>,
    windows: WindowGrid,
) -> MixedKernel<'a> {
    let lookback_ms = ctx.options.lookback_ms;
    let wide = WindowGrid {
        end_ms: windows.end_ms.saturating_add(lookback_ms),
        range_ms: lookback_ms.saturating_mul(2),
        ..windows
    };
    Box::new(move |index, samples, scratch, out| {
        let split = SplitSamples::new(samples);
        let mut numbers = vec![ABSENT; windows.count];
        let floats = Samples::new(&split.float_times_ms, &split.floats);
        crate::kernel::rate::smoothed_instant(floats, &windows, lookback_ms, &mut numbers);
        let _unused = scratch;
        let remarks = Remarks { ctx, span, name: names[index].metric_name() };
        wide.for_each(samples.times_ms, |step, low, high| {
            let found = split.histograms_in(low, high);
            let cell = if found.is_empty() {
                number(numbers[step])
            } else if found.len() < high - low {
                remarks.mixed_kinds();
                Cell::Absent
            } else {
                let times_ms = &split.histogram_times_ms[found.clone()];
                between(times_ms, &split.histograms[found], windows.end_ms_at(step), &remarks)
            };
            out.set(step, cell);
        });
    })
}

/// The histogram at `time_ms`, interpolated between its neighbours.
fn between(
    times_ms: &[i64],
    histograms: &[Arc<FloatHistogram>],
    time_ms: i64,
    remarks: &Remarks<'_>,
) -> Cell {
    let next = times_ms.partition_point(|time| *time < time_ms);
    if times_ms.get(next) == Some(&time_ms) {
        return Cell::Histogram(Arc::clone(&histograms[next]));
    }
    if next == 0 {
        return Cell::Absent;
    }
    if next == times_ms.len() {
        return Cell::Histogram(Arc::clone(&histograms[next - 1]));
    }
    let left = (times_ms[next - 1], &histograms[next - 1]);
    let right = (times_ms[next], &histograms[next]);
    let is_counter = right.1.reset_hint != ResetHint::Gauge;
    optional(histogram_rate::interpolate(left, right, time_ms, is_counter, remarks))
}
