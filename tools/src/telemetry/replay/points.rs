//! Patch tables of points, by what is patched, and the loops over them.
//!
//! A loop gets what is common to a target (`now`: curved seconds since its start, for each phase) and writes value after
//! value. PERF: example `replay_speed`.

use super::patches::{put, put_array};
use crate::telemetry::model::{PHASES, Phases, mixture, walk};
use crate::telemetry::template::protobuf::{WIDE_VARINT_BYTES, wide_varint};
use crate::telemetry::template::{Metric, MetricType, Model, Patch, Place, QUANTILE_STRIDE, Shape};

/// How far apart the phases of the two modes of a histogram are.
const SLOW_PHASE: u8 = 5;

/// Points of one target and temporality.
#[derive(Debug, Default)]
pub(super) struct Points {
    starts: Vec<u32>,
    counters: Vec<Counter>,
    gauges: Vec<Gauge>,
    histograms: Vec<Histogram>,
    summaries: Vec<Summary>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Integer,
    Double,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    at: u32,
    phase: u8,
    form: Form,
    rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Gauge {
    at: u32,
    phase: u8,
    form: Form,
    shift: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Copy)]
struct Histogram {
    count_at: u32,
    sum_at: u32,
    /// Absent for explicit histograms.
    zero_at: Option<u32>,
    buckets_at: u32,
    /// Position of the metric, whose shape this has.
    metric: u32,
    phase: u8,
    fast_rate: f64,
    slow_rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Summary {
    count_at: u32,
    sum_at: u32,
    quantiles_at: u32,
    metric: u32,
    phase: u8,
    rate: f64,
    shift: f64,
}

/// What the values of a request depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// Start of the points.
    pub(super) start_ns: u64,
    /// Curved seconds since the start of the target.
    pub(super) now: &'a Phases,
    /// The same for the last point; zeros for cumulative ones.
    pub(super) before: &'a Phases,
    /// Positions of the walks.
    pub(super) walks: &'a Phases,
    /// Metrics of the template.
    pub(super) metrics: &'a [Metric],
}

#[inline]
fn of(phases: &Phases, phase: u8) -> f64 {
    phases[usize::from(phase) % PHASES]
}

/// Returns what a counter counted until curved time `now`.
#[inline]
pub(super) fn counted(rate: f64, now: f64) -> i64 {
    (rate * now) as i64
}

/// Returns the value of a gauge with three decimals.
#[inline]
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0) as i64 as f64 / 1_000.0
}

impl Points {
    /// Adds a point that begins at `begin`; `cut` bytes of its message are left out.
    pub(super) fn add(&mut self, metric: &Metric, model: Model, patches: &[Patch], begin: u32, cut: u32) {
        let at = |place: Place| {
            let patch = patches.iter().find(|patch| patch.place == place)?;
            patch.offset.checked_sub(cut).map(|offset| begin + offset)
        };
        let Model::Series { metric: metric_index, phase, first, second, shift } = model else { return };
        self.starts.extend(at(Place::Start));
        let form = if metric.is_integer { Form::Integer } else { Form::Double };
        match metric.metric_type {
            MetricType::Counter => {
                self.counters.extend(at(Place::Number).map(|at| Counter { at, phase, form, rate: first }));
            }
            MetricType::Gauge | MetricType::UpDownCounter => {
                let gauge = |at| Gauge { at, phase, form, shift, low: first, high: second };
                self.gauges.extend(at(Place::Number).map(gauge));
            }
            MetricType::Histogram | MetricType::ExponentialHistogram => {
                let buckets_at = at(Place::Buckets).or_else(|| at(Place::ExponentialBuckets));
                let places = (at(Place::Count), at(Place::Sum), buckets_at);
                if let (Some(count_at), Some(sum_at), Some(buckets_at)) = places {
                    self.histograms.push(Histogram {
                        count_at,
                        sum_at,
                        zero_at: at(Place::ZeroCount),
                        buckets_at,
                        metric: metric_index,
                        phase,
                        fast_rate: first,
                        slow_rate: second,
                    });
                }
            }
            MetricType::Summary => {
                let places = (at(Place::Count), at(Place::Sum), at(Place::Quantiles));
                if let (Some(count_at), Some(sum_at), Some(quantiles_at)) = places {
                    self.summaries.push(Summary {
                        count_at,
                        sum_at,
                        quantiles_at,
                        metric: metric_index,
                        phase,
                        rate: first,
                        shift,
                    });
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.gauges.is_empty()
    }

    /// Writes everything but times and exemplars.
    pub(super) fn patch<const IS_DELTA: bool>(&self, body: &mut [u8], moment: &Moment<'_>) {
        for start_at in &self.starts {
            put(body, *start_at, moment.start_ns);
        }
        patch_counters::<IS_DELTA>(body, &self.counters, moment.now, moment.before);
        patch_gauges(body, &self.gauges, moment.walks);
        for histogram in &self.histograms {
            if let Some(metric) = moment.metrics.get(histogram.metric as usize) {
                patch_histogram::<IS_DELTA>(body, histogram, &metric.shape, moment.now, moment.before);
            }
        }
        for summary in &self.summaries {
            if let Some(metric) = moment.metrics.get(summary.metric as usize) {
                patch_summary(body, summary, &metric.shape, moment.now, moment.walks);
            }
        }
    }
}

fn patch_counters<const IS_DELTA: bool>(
    body: &mut [u8],
    counters: &[Counter],
    now: &Phases,
    before: &Phases,
) {
    for counter in counters {
        let now = of(now, counter.phase);
        let before = if IS_DELTA { of(before, counter.phase) } else { 0.0 };
        let bits = match counter.form {
            Form::Integer => counted(counter.rate, now).wrapping_sub(counted(counter.rate, before)) as u64,
            Form::Double => (counter.rate * now - counter.rate * before).to_bits(),
        };
        put(body, counter.at, bits);
    }
}

fn patch_gauges(body: &mut [u8], gauges: &[Gauge], walks: &Phases) {
    for gauge in gauges {
        let value = walk::within(of(walks, gauge.phase), gauge.shift, gauge.low, gauge.high);
        let bits = match gauge.form {
            Form::Integer => value as i64 as u64,
            Form::Double => rounded(value).to_bits(),
        };
        put(body, gauge.at, bits);
    }
}

/// Observations of both modes of a histogram: (fast, slow).
#[inline]
pub(super) fn observations(phases: &Phases, phase: u8, fast_rate: f64, slow_rate: f64) -> (f64, f64) {
    (fast_rate * of(phases, phase), slow_rate * of(phases, phase.wrapping_add(SLOW_PHASE)))
}

fn patch_histogram<const IS_DELTA: bool>(
    body: &mut [u8],
    histogram: &Histogram,
    shape: &Shape,
    now: &Phases,
    before: &Phases,
) {
    let (fast, slow) = observations(now, histogram.phase, histogram.fast_rate, histogram.slow_rate);
    let (fast_before, slow_before) = if IS_DELTA {
        observations(before, histogram.phase, histogram.fast_rate, histogram.slow_rate)
    } else {
        (0.0, 0.0)
    };
    let between = |fast_share: f64, slow_share: f64| {
        let counted = mixture::bucket(fast, fast_share, slow, slow_share);
        if IS_DELTA {
            counted.wrapping_sub(mixture::bucket(fast_before, fast_share, slow_before, slow_share))
        } else {
            counted
        }
    };
    let mut count = 0;
    let mut at = histogram.buckets_at;
    let shares = shape.fast.iter().zip(&shape.slow);
    if let Some(zero_at) = histogram.zero_at {
        count = between(shape.zero, 0.0);
        put(body, zero_at, count);
        for (fast_share, slow_share) in shares {
            let bucket = between(*fast_share, *slow_share);
            count = bucket.wrapping_add(count);
            let [bytes @ .., _, _] = wide_varint(bucket).to_le_bytes();
            put_array::<WIDE_VARINT_BYTES>(body, at, bytes);
            at += WIDE_VARINT_BYTES as u32;
        }
    } else {
        for (fast_share, slow_share) in shares {
            let bucket = between(*fast_share, *slow_share);
            count = bucket.wrapping_add(count);
            put(body, at, bucket);
            at += 8;
        }
    }
    put(body, histogram.count_at, count);
    let sum = (fast - fast_before) * shape.fast_mean + (slow - slow_before) * shape.slow_mean;
    put(body, histogram.sum_at, sum.to_bits());
}

fn patch_summary(body: &mut [u8], summary: &Summary, shape: &Shape, now: &Phases, walks: &Phases) {
    let observed = summary.rate * of(now, summary.phase);
    put(body, summary.count_at, observed as i64 as u64);
    put(body, summary.sum_at, (observed * shape.fast_mean).to_bits());
    let factor = quantile_factor(of(walks, summary.phase), summary.shift);
    let mut at = summary.quantiles_at;
    for value in &shape.fast {
        put(body, at, (value * factor).to_bits());
        at += QUANTILE_STRIDE as u32;
    }
}

/// Returns by how much the quantiles of a summary are above those of its shape.
#[inline]
pub(super) fn quantile_factor(position: f64, shift: f64) -> f64 {
    0.5 + walk::fold(position + shift)
}
