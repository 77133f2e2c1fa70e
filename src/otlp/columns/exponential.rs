//! Exponential histograms: the same buckets as a native histogram.
//!
//! OTLP's bucket `i` lies above `base^i`, a native bucket `i` ends at `base^i`: the index grows by one. Scales above 8
//! are brought down by merging neighbours; scales below -4 have no native form.
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics compatibility", exponential histograms.

use std::sync::Arc;

use mytsdb_storage::HistogramSample;
use mytsdb_storage::model::{
    BucketSpan, Histogram, HistogramLayout, INTEGER_COUNT_MAX, ResetHint, SCHEMA_MAX, SCHEMA_MIN,
};

use super::Part;
use super::builder::{Builder, Point};
use crate::otlp::read::{BUCKET_COUNT_READ_MAX, Buckets, ExponentialPoint};

/// Width of the zero bucket where the sender does not say: as Prometheus' client libraries have it.
const ZERO_THRESHOLD_DEFAULT: f64 = 1e-128;
/// Empty buckets that are written out rather than begin a new span.
const GAP_LENGTH_MAX: i64 = 2;

/// Why an exponential histogram has no native form: a short fixed word, and what is wrong.
type Refusal = (&'static str, String);

impl<'a> Builder<'a, '_> {
    pub(super) fn take_exponential(&mut self, point: &ExponentialPoint<'a, '_>) {
        let times = (point.start_ns, point.time_ns);
        let is_stale = point.flags & super::builder::NO_RECORDED_VALUE != 0;
        let histogram = if is_stale { Ok(Histogram::stale()) } else { native_histogram(point) };
        let histogram = match histogram {
            Ok(histogram) => histogram,
            Err((reason, message)) => return self.refuse(reason, || message),
        };
        let Some(at) = self.point(point.attributes, times, point.flags) else { return };
        self.push_native(&at, histogram, point.exemplars);
        self.push_range(&at, point.min, point.max);
    }

    /// Adds a native histogram as a sample of the point's own series.
    pub(super) fn push_native(&mut self, at: &Point, histogram: Histogram, exemplars: &[u8]) {
        let mut histogram = if at.is_stale { Histogram::stale() } else { histogram };
        let is_delta = self.is_delta();
        histogram.start_ms = Some(at.start_ms).filter(|_| at.start_ns != 0 && !at.is_stale);
        if is_delta && !at.is_stale {
            histogram.reset_hint = ResetHint::Gauge;
        }
        let key = self.part_key(at, Part::Native);
        let histogram = if is_delta {
            match self.merged_histogram(key, at, histogram) {
                Some(histogram) => histogram,
                None => return,
            }
        } else {
            histogram
        };
        let series_index = self.out.keys.len();
        self.push_series(key, at, Part::Native);
        self.out.histograms.push(HistogramSample { series_index, time_ms: at.time_ms, histogram });
        if !exemplars.is_empty() {
            self.take_exemplars(exemplars, at.time_ms, |_| series_index);
        }
    }
}

/// Whether a count is exact as `f64`.
pub(super) fn is_exact(count: u64) -> bool {
    count as f64 <= INTEGER_COUNT_MAX
}

fn native_histogram(point: &ExponentialPoint<'_, '_>) -> Result<Histogram, Refusal> {
    if point.scale < i32::from(SCHEMA_MIN) {
        return Err((
            "scale_too_small",
            format!("scale {} is below the smallest, {SCHEMA_MIN}", point.scale),
        ));
    }
    let Some(sum) = point.sum else {
        return Err(("no_sum", "an exponential histogram needs a sum".to_owned()));
    };
    let schema = point.scale.min(i32::from(SCHEMA_MAX));
    let shift = (point.scale - schema).min(63);
    let (positive_spans, positive_counts) = spans("positive", &point.positive, shift)?;
    let (negative_spans, negative_counts) = spans("negative", &point.negative, shift)?;
    let counts = point.positive.counts.iter().chain(point.negative.counts);
    let is_integer = counts.chain([&point.count, &point.zero_count]).all(|count| is_exact(*count));
    let zero_threshold =
        if point.zero_threshold == 0.0 { ZERO_THRESHOLD_DEFAULT } else { point.zero_threshold };
    Ok(Histogram {
        layout: Arc::new(HistogramLayout {
            schema: schema as i8,
            is_integer,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds: Vec::new(),
        }),
        count: point.count as f64,
        sum,
        zero_count: point.zero_count as f64,
        positive_counts,
        negative_counts,
        ..Histogram::default()
    })
}

/// The buckets of one sign with `2^shift` neighbours in one.
fn spans(
    sign: &'static str,
    buckets: &Buckets<'_>,
    shift: i32,
) -> Result<(Vec<BucketSpan>, Vec<f64>), Refusal> {
    if buckets.counts.len() > BUCKET_COUNT_READ_MAX {
        let message = format!("more than {BUCKET_COUNT_READ_MAX} {sign} buckets");
        return Err(("too_many_buckets", message));
    }
    let mut writer = SpanWriter::default();
    for (position, count) in (0_i64..).zip(buckets.counts) {
        if *count > 0 {
            let index = ((i64::from(buckets.offset) + position) >> shift) + 1;
            writer.add(index, *count as f64);
        }
    }
    writer.finish().ok_or_else(|| {
        let offset = buckets.offset;
        ("bucket_index", format!("{sign} buckets with the offset {offset} lie beyond the largest index"))
    })
}

/// Makes spans of buckets that come by ascending index.
#[derive(Debug, Default)]
pub(super) struct SpanWriter {
    spans: Vec<BucketSpan>,
    counts: Vec<f64>,
    /// Index behind the last bucket.
    end: i64,
    is_out_of_range: bool,
}

impl SpanWriter {
    /// Adds to the bucket `index`, which is the last one or comes behind it.
    pub(super) fn add(&mut self, index: i64, count: f64) {
        match (self.spans.last_mut(), self.counts.last_mut()) {
            (Some(_), Some(last)) if index + 1 == self.end => *last += count,
            (Some(span), Some(_)) if index - self.end <= GAP_LENGTH_MAX => {
                let gap = (index - self.end).max(0);
                self.counts.extend(std::iter::repeat_n(0.0, gap as usize));
                self.counts.push(count);
                span.length += gap as u32 + 1;
            }
            (found, _) => {
                // The first offset counts from zero, later ones from the end of the span before.
                let from = if found.is_some() { self.end } else { 0 };
                let offset = i32::try_from(index - from);
                self.is_out_of_range |= offset.is_err() || i32::try_from(index).is_err();
                self.spans.push(BucketSpan { offset: offset.unwrap_or(0), length: 1 });
                self.counts.push(count);
            }
        }
        self.end = index + 1;
    }

    /// The spans and counts; `None` if an index is beyond what a span can say.
    pub(super) fn finish(self) -> Option<(Vec<BucketSpan>, Vec<f64>)> {
        (!self.is_out_of_range).then_some((self.spans, self.counts))
    }
}
