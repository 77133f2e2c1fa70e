//! Histograms as PromQL computes with them: one type for native exponential and custom buckets, counts as floats.
//!
//! Input: stored histograms ([`FloatHistogram::from_stored`]). Output: new histograms and numbers. Pure: no labels, no
//! times, no storage. Buckets are a sorted list of indexes with their counts instead of spans: addition is a merge of
//! two lists, and histograms with the same buckets share the list.
//! Source: Prometheus `model/histogram/float_histogram.go`, `promql/quantile.go`.
//! Not here: which samples a function looks at (see `eval::histogram_windows`), what the user is told (see `eval`).

mod arithmetic;
mod bound_table;
mod bounds;
mod buckets;
mod custom;
mod quantile;
mod reset;
mod sum;
#[cfg(test)]
mod tests;
mod text;
mod trim;
mod zero_bucket;

use std::sync::Arc;

use mytsdb_storage::model::{CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout, ResetHint};

pub use arithmetic::{Combined, IncompatibleSchemas};
pub use bounds::Bucket;
pub(crate) use buckets::Buckets;
pub(crate) use quantile::NanRemark;
pub(crate) use sum::HistogramSum;
pub(crate) use trim::Kept;

/// A native histogram of PromQL.
///
/// Equal if all numbers are equal bit by bit and the buckets are the same ones, empty buckets included; what it knows
/// about counter resets does not count.
#[derive(Debug, Clone)]
pub struct FloatHistogram {
    /// -4 to 8: bucket `i` ends at `2^(i * 2^-schema)`; -53: bucket `i` ends at the custom bound `i`.
    pub schema: i8,
    /// What is known about a counter reset since the sample before.
    pub reset_hint: ResetHint,
    /// Observations of all buckets, and those that are NaN.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    pub(crate) custom_bounds: Arc<[f64]>,
}

impl Default for FloatHistogram {
    fn default() -> Self {
        Self {
            schema: 0,
            reset_hint: ResetHint::Unknown,
            count: 0.0,
            sum: 0.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Arc::from([]),
        }
    }
}

impl PartialEq for FloatHistogram {
    fn eq(&self, other: &Self) -> bool {
        let same = |left: f64, right: f64| left.to_bits() == right.to_bits();
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.has_bounds_of(other)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && self.negative.is_same(&other.negative)
            && self.positive.is_same(&other.positive)
    }
}

/// The buckets of one stored layout, to be shared by all samples that have it.
#[derive(Debug, Default)]
pub(crate) struct LayoutCache {
    layout: Option<Arc<HistogramLayout>>,
    positive: Arc<[i32]>,
    negative: Arc<[i32]>,
    custom_bounds: Arc<[f64]>,
}

impl LayoutCache {
    fn load(&mut self, layout: &Arc<HistogramLayout>) {
        if self.layout.as_ref().is_some_and(|known| Arc::ptr_eq(known, layout)) {
            return;
        }
        self.positive = buckets::indexes_of(&layout.positive_spans);
        self.negative = buckets::indexes_of(&layout.negative_spans);
        self.custom_bounds = Arc::from(layout.custom_bounds.as_slice());
        self.layout = Some(Arc::clone(layout));
    }
}

impl FloatHistogram {
    /// The histogram that storage keeps as `stored`.
    pub fn from_stored(stored: &Histogram) -> Self {
        Self::from_stored_with(stored, &mut LayoutCache::default())
    }

    /// As [`Self::from_stored`], for many samples one after another.
    pub(crate) fn from_stored_with(stored: &Histogram, cache: &mut LayoutCache) -> Self {
        cache.load(&stored.layout);
        Self {
            schema: stored.layout.schema,
            reset_hint: stored.reset_hint,
            count: stored.count,
            sum: stored.sum,
            zero_threshold: stored.layout.zero_threshold,
            zero_count: stored.zero_count,
            positive: Buckets::new(Arc::clone(&cache.positive), stored.positive_counts.clone()),
            negative: Buckets::new(Arc::clone(&cache.negative), stored.negative_counts.clone()),
            custom_bounds: Arc::clone(&cache.custom_bounds),
        }
    }

    /// Whether the buckets have custom bounds.
    #[inline]
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BOUNDS_SCHEMA
    }

    /// The custom bounds; empty for exponential buckets.
    pub fn custom_bounds(&self) -> &[f64] {
        &self.custom_bounds
    }

    /// Indexes and counts of the positive buckets, empty ones included.
    pub fn positive_buckets(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.positive.iter()
    }

    /// Indexes and counts of the negative buckets, which count away from zero, empty ones included.
    pub fn negative_buckets(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.negative.iter()
    }

    pub(crate) fn has_bounds_of(&self, other: &Self) -> bool {
        let same = |(left, right): (&f64, &f64)| left.to_bits() == right.to_bits();
        Arc::ptr_eq(&self.custom_bounds, &other.custom_bounds)
            || (self.custom_bounds.len() == other.custom_bounds.len()
                && self.custom_bounds.iter().zip(other.custom_bounds.iter()).all(same))
    }

    /// This with another hint.
    pub(crate) fn with_hint(mut self, hint: ResetHint) -> Self {
        self.reset_hint = hint;
        self
    }

    /// Drops all buckets that are empty.
    pub fn compact(&mut self) {
        self.positive.compact();
        self.negative.compact();
    }

    /// Bytes of memory, about; what is shared is counted by everyone who shares it.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive.len() + self.negative.len()) * (size_of::<f64>() + size_of::<i32>())
            + self.custom_bounds.len() * size_of::<f64>()
    }

    /// Whether any number of it has become infinite.
    pub(crate) fn has_overflow(&self) -> bool {
        self.zero_count.is_infinite()
            || self.count.is_infinite()
            || self.sum.is_infinite()
            || self.positive.counts().iter().chain(self.negative.counts()).any(|count| count.is_infinite())
    }
}
