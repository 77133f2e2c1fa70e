//! Histograms with explicit bounds and summaries: as series per bucket and quantile, or as one native histogram.

use std::sync::Arc;

use mytsdb_storage::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout};

use super::Part;
use super::builder::{Builder, Point};
use super::exponential::is_exact;
use crate::otlp::read::{HistogramPoint, SummaryPoint};

/// Most quantiles of one point; two bytes of a request may be one.
const QUANTILE_COUNT_MAX: usize = 1_000;

impl<'a> Builder<'a, '_> {
    pub(super) fn take_histogram(&mut self, point: &HistogramPoint<'a, '_>) {
        let (counts, bounds) = (point.bucket_counts, point.bounds);
        let fits = if counts.is_empty() { bounds.is_empty() } else { counts.len() == bounds.len() + 1 };
        if !fits {
            let (counts, bounds) = (counts.len(), bounds.len());
            return self.refuse("bucket_shape", || {
                format!("{counts} bucket counts with {bounds} bounds; allowed is one count more")
            });
        }
        if !bounds.is_sorted_by(|left, right| left < right) {
            return self.refuse("bucket_order", || "the bounds do not ascend".to_owned());
        }
        let times = (point.start_ns, point.time_ns);
        let Some(at) = self.point(point.attributes, times, point.flags) else { return };
        if self.options().convert_histograms_to_nhcb {
            let histogram = custom_bounds_histogram(point);
            self.push_native(&at, histogram, point.exemplars);
        } else {
            self.push_classic(&at, point);
        }
        self.push_range(&at, point.min, point.max);
    }

    fn push_classic(&mut self, at: &Point, point: &HistogramPoint<'a, '_>) {
        if point.sum.is_some() || at.is_stale {
            self.push(at, Part::Sum, point.sum.unwrap_or(0.0), true);
        }
        let count = self.float_count(point.count);
        self.push(at, Part::Count, count, true);
        // A last bound of infinity would be the same series as the bucket that holds everything.
        let finite = match point.bounds {
            [finite @ .., f64::INFINITY] => finite,
            bounds => bounds,
        };
        let first_bucket = self.out.keys.len();
        let mut cumulative = 0_u64;
        for (bound, in_bucket) in finite.iter().zip(point.bucket_counts) {
            cumulative = cumulative.saturating_add(*in_bucket);
            self.push(at, Part::Bucket(*bound), cumulative as f64, true);
        }
        self.push(at, Part::Bucket(f64::INFINITY), count, true);
        // Deltas of the same moment are added to series that are there already: those keep their exemplars.
        let is_whole = self.out.keys.len() == first_bucket + finite.len() + 1;
        if !point.exemplars.is_empty() && is_whole {
            self.take_exemplars(point.exemplars, at.time_ms, |value| {
                let below = finite.partition_point(|bound| *bound < value);
                first_bucket + if value.is_nan() { finite.len() } else { below }
            });
        }
    }

    pub(super) fn take_summary(&mut self, point: &SummaryPoint<'a, '_>) {
        let given = point.quantiles.len();
        if given > QUANTILE_COUNT_MAX {
            return self.refuse("too_many_quantiles", || {
                format!("the point has {given} quantiles, the limit is {QUANTILE_COUNT_MAX}")
            });
        }
        let times = (point.start_ns, point.time_ns);
        let Some(at) = self.point(point.attributes, times, point.flags) else { return };
        self.push(&at, Part::Sum, point.sum, true);
        let count = self.float_count(point.count);
        self.push(&at, Part::Count, count, true);
        for (quantile, value) in point.quantiles {
            self.push(&at, Part::Quantile(*quantile), *value, false);
        }
    }
}

/// The native histogram with the same bounds: one run of buckets, empty ones included, so that all points look alike.
fn custom_bounds_histogram(point: &HistogramPoint<'_, '_>) -> Histogram {
    let mut counts = point.bucket_counts.to_vec();
    let mut custom_bounds = point.bounds.to_vec();
    if custom_bounds.last() == Some(&f64::INFINITY) {
        custom_bounds.pop();
        let above_all = counts.pop().unwrap_or(0);
        if let Some(last) = counts.last_mut() {
            *last = last.saturating_add(above_all);
        }
    }
    if counts.is_empty() {
        counts.push(point.count);
    }
    let is_integer = is_exact(point.count) && counts.iter().all(|count| is_exact(*count));
    Histogram {
        layout: Arc::new(HistogramLayout {
            schema: CUSTOM_BOUNDS_SCHEMA,
            is_integer,
            positive_spans: vec![BucketSpan { offset: 0, length: counts.len() as u32 }],
            custom_bounds,
            ..HistogramLayout::default()
        }),
        count: point.count as f64,
        // Without a sum only the buckets mean something; zero would look like a sum.
        sum: point.sum.unwrap_or(f64::NAN),
        positive_counts: counts.iter().map(|count| *count as f64).collect(),
        ..Histogram::default()
    }
}
