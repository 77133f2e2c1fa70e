//! The native histogram: one sample that counts observations in buckets.
//!
//! One struct for integer and float histograms: counts are absolute `f64` values, integers up to 2^53 are exact.
//! What seldom changes from sample to sample (schema, spans, bounds) is the [`HistogramLayout`], shared by samples
//! that were stored together. Not here: quantiles and arithmetic (see PromQL), the wire forms of protocols.

use std::sync::Arc;

use super::stale::{is_stale, stale_nan};

/// Schema of histograms with custom bounds.
pub const CUSTOM_BOUNDS_SCHEMA: i8 = -53;
/// Coarsest exponential schema: one bucket is 2^16 times as wide as the one before.
pub const SCHEMA_MIN: i8 = -4;
/// Finest exponential schema: one bucket is 2^(1/256) times as wide as the one before.
pub const SCHEMA_MAX: i8 = 8;
/// Most spans of one sign.
pub const SPAN_COUNT_MAX: usize = 1_000;
/// Most buckets of one histogram, and most custom bounds.
pub const BUCKET_COUNT_MAX: usize = 8_192;
/// Integers up to here are exact as `f64`.
pub const INTEGER_COUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BucketSpan {
    /// The first span: index of its first bucket. Later ones: empty buckets since the end of the span before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// What the sender says about counter resets. Numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ResetHint {
    /// Nobody said: compare with the sample before.
    #[default]
    Unknown = 0,
    /// The counts began anew with this sample.
    Reset = 1,
    /// They did not.
    NotReset = 2,
    /// The counts may shrink: resets mean nothing.
    Gauge = 3,
}

impl ResetHint {
    /// The hint with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Unknown, Self::Reset, Self::NotReset, Self::Gauge]
            .into_iter()
            .find(|hint| *hint as u64 == number)
    }
}

/// What tells which buckets a histogram has.
///
/// Equal if all bits are.
#[derive(Debug, Clone, Default)]
pub struct HistogramLayout {
    /// -4 to 8: bucket `i` ends at `2^(i * 2^-schema)`, itself included. [`CUSTOM_BOUNDS_SCHEMA`]: bucket `i` ends at
    /// `custom_bounds[i]`, the one after the last bound at infinity.
    pub schema: i8,
    /// Whether the counts are integers.
    pub is_integer: bool,
    /// Width of the zero bucket: it holds `-zero_threshold..=zero_threshold`.
    pub zero_threshold: f64,
    /// Which positive buckets there are.
    pub positive_spans: Vec<BucketSpan>,
    /// Which negative buckets there are; indices count away from zero.
    pub negative_spans: Vec<BucketSpan>,
    /// Ascending upper bounds without infinity; only with [`CUSTOM_BOUNDS_SCHEMA`].
    pub custom_bounds: Vec<f64>,
}

/// One sample of a native histogram.
///
/// Equal if all bits are, NaN sums included.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Which buckets.
    pub layout: Arc<HistogramLayout>,
    /// What the sender says about resets.
    pub reset_hint: ResetHint,
    /// When counting began, in milliseconds since the Unix epoch, if the sender said.
    pub start_ms: Option<i64>,
    /// Observations of all buckets, and those that are NaN.
    pub count: f64,
    /// Sum of all observations. The stale marker here means: the series has ended.
    pub sum: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Absolute counts of the positive buckets, in the order of their spans.
    pub positive_counts: Vec<f64>,
    /// Absolute counts of the negative buckets, in the order of their spans.
    pub negative_counts: Vec<f64>,
}

/// Why a histogram is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// The schema is unknown.
    #[error(
        "schema {given} is not supported, allowed are {SCHEMA_MIN} to {SCHEMA_MAX} and {CUSTOM_BOUNDS_SCHEMA}"
    )]
    Schema {
        /// The schema.
        given: i8,
    },
    /// The zero bucket has an impossible width.
    #[error("zero threshold {given} is not a finite number of at least 0 (0 with custom bounds)")]
    ZeroThreshold {
        /// The threshold.
        given: f64,
    },
    /// There are too many spans.
    #[error("{given} {sign} spans, the limit is {SPAN_COUNT_MAX}")]
    TooManySpans {
        /// `"positive"` or `"negative"`.
        sign: &'static str,
        /// How many.
        given: usize,
    },
    /// There are too many buckets or bounds.
    #[error("{given} {what}, the limit is {BUCKET_COUNT_MAX}")]
    TooMany {
        /// `"buckets"` or `"custom bounds"`.
        what: &'static str,
        /// How many.
        given: u64,
    },
    /// Only the first span may begin below its predecessor's end.
    #[error(
        "{sign} span {index} has the negative offset {given}, only the first may (not with custom bounds)"
    )]
    NegativeOffset {
        /// `"positive"` or `"negative"`.
        sign: &'static str,
        /// Which span.
        index: usize,
        /// Its offset.
        given: i32,
    },
    /// A bucket lies where none can be.
    #[error("{sign} buckets reach index {given}, the limit is {limit}")]
    IndexOutOfRange {
        /// `"positive"` or `"negative"`.
        sign: &'static str,
        /// Index of the last bucket.
        given: i64,
        /// Largest index.
        limit: i64,
    },
    /// Spans and counts do not fit together.
    #[error("{sign} spans hold {spanned} buckets, there are {given} counts")]
    BucketCount {
        /// `"positive"` or `"negative"`.
        sign: &'static str,
        /// Buckets of the spans.
        spanned: u64,
        /// Counts.
        given: usize,
    },
    /// Custom bounds do not ascend.
    #[error("custom bound {index} ({given}) is not finite or not above the one before")]
    CustomBound {
        /// Which bound.
        index: usize,
        /// The bound.
        given: f64,
    },
    /// An exponential histogram has custom bounds.
    #[error("{given} custom bounds with the exponential schema {schema}")]
    UnexpectedCustomBounds {
        /// How many.
        given: usize,
        /// The schema.
        schema: i8,
    },
    /// Histograms with custom bounds have positive buckets only.
    #[error("custom bounds allow no negative buckets and no zero bucket")]
    NegativeBucketsWithCustomBounds,
    /// A count is impossible.
    #[error("{what} is {given}, allowed are {}", if *.is_integer { "integers from 0 to 2^53" } else { "finite numbers from 0" })]
    Count {
        /// Which count.
        what: &'static str,
        /// Its value.
        given: f64,
        /// Whether only integers are allowed.
        is_integer: bool,
    },
    /// The buckets hold more than there was.
    #[error("buckets hold {in_buckets} observations, the count is {count}")]
    CountBelowBuckets {
        /// Sum of all buckets.
        in_buckets: f64,
        /// The count.
        count: f64,
    },
}

impl PartialEq for HistogramLayout {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.is_integer == other.is_integer
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && bits_equal(&self.custom_bounds, &other.custom_bounds)
    }
}

impl Eq for HistogramLayout {}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.has_layout_of(other)
            && self.reset_hint == other.reset_hint
            && self.start_ms == other.start_ms
            && bits_equal(
                &[self.count, self.sum, self.zero_count],
                &[other.count, other.sum, other.zero_count],
            )
            && bits_equal(&self.positive_counts, &other.positive_counts)
            && bits_equal(&self.negative_counts, &other.negative_counts)
    }
}

impl Eq for Histogram {}

fn bits_equal(left: &[f64], right: &[f64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.to_bits() == right.to_bits())
}

impl HistogramLayout {
    /// Buckets of the positive and of the negative spans.
    pub fn bucket_counts(&self) -> (u64, u64) {
        (spanned(&self.positive_spans), spanned(&self.negative_spans))
    }

    /// Checks schema, spans and bounds.
    ///
    /// # Errors
    /// [`HistogramError`] naming the first thing that is wrong.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let is_custom = self.schema == CUSTOM_BOUNDS_SCHEMA;
        if !is_custom && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema { given: self.schema });
        }
        let is_width = self.zero_threshold.is_finite() && self.zero_threshold >= 0.0;
        if !is_width || (is_custom && self.zero_threshold != 0.0) {
            return Err(HistogramError::ZeroThreshold { given: self.zero_threshold });
        }
        if is_custom && !self.negative_spans.is_empty() {
            return Err(HistogramError::NegativeBucketsWithCustomBounds);
        }
        self.validate_bounds(is_custom)?;
        let index_limit = if is_custom { self.custom_bounds.len() as i64 } else { i64::from(i32::MAX) };
        validate_spans("positive", &self.positive_spans, is_custom, index_limit)?;
        validate_spans("negative", &self.negative_spans, is_custom, index_limit)?;
        let (positive, negative) = self.bucket_counts();
        let given = positive.saturating_add(negative);
        if given > BUCKET_COUNT_MAX as u64 {
            return Err(HistogramError::TooMany { what: "buckets", given });
        }
        Ok(())
    }

    fn validate_bounds(&self, is_custom: bool) -> Result<(), HistogramError> {
        let given = self.custom_bounds.len();
        if !is_custom && given > 0 {
            return Err(HistogramError::UnexpectedCustomBounds { given, schema: self.schema });
        }
        if given > BUCKET_COUNT_MAX {
            return Err(HistogramError::TooMany { what: "custom bounds", given: given as u64 });
        }
        let mut previous = f64::NEG_INFINITY;
        for (index, bound) in self.custom_bounds.iter().enumerate() {
            if !bound.is_finite() || *bound <= previous {
                return Err(HistogramError::CustomBound { index, given: *bound });
            }
            previous = *bound;
        }
        Ok(())
    }
}

fn spanned(spans: &[BucketSpan]) -> u64 {
    spans.iter().map(|span| u64::from(span.length)).sum()
}

fn validate_spans(
    sign: &'static str,
    spans: &[BucketSpan],
    is_custom: bool,
    index_limit: i64,
) -> Result<(), HistogramError> {
    if spans.len() > SPAN_COUNT_MAX {
        return Err(HistogramError::TooManySpans { sign, given: spans.len() });
    }
    // At most 1000 spans of 32 bits each: far inside 64 bits.
    let mut next_index = 0_i64;
    for (index, span) in spans.iter().enumerate() {
        if span.offset < 0 && (index > 0 || is_custom) {
            return Err(HistogramError::NegativeOffset { sign, index, given: span.offset });
        }
        next_index += i64::from(span.offset) + i64::from(span.length);
        if next_index - 1 > index_limit {
            return Err(HistogramError::IndexOutOfRange { sign, given: next_index - 1, limit: index_limit });
        }
    }
    Ok(())
}

impl Histogram {
    /// The marker that ends a series of histograms.
    pub fn stale() -> Self {
        Self { sum: stale_nan(), ..Self::default() }
    }

    /// Returns whether this is the marker that ends a series.
    #[inline]
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Returns whether both have the same buckets.
    #[inline]
    pub fn has_layout_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layout, &other.layout) || self.layout == other.layout
    }

    /// All counts of buckets: the positive ones, then the negative ones.
    pub fn bucket_values(&self) -> impl Iterator<Item = f64> {
        self.positive_counts.iter().chain(&self.negative_counts).copied()
    }

    /// Bytes of memory, about; the shared layout is not counted.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + (self.positive_counts.len() + self.negative_counts.len()) * size_of::<f64>()
    }

    /// Checks everything that a sender may get wrong.
    ///
    /// # Errors
    /// [`HistogramError`] naming the first thing that is wrong.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.layout.validate()?;
        let (positive, negative) = self.layout.bucket_counts();
        for (sign, spanned, given) in [
            ("positive", positive, self.positive_counts.len()),
            ("negative", negative, self.negative_counts.len()),
        ] {
            if spanned != given as u64 {
                return Err(HistogramError::BucketCount { sign, spanned, given });
            }
        }
        if self.layout.schema == CUSTOM_BOUNDS_SCHEMA && self.zero_count != 0.0 {
            return Err(HistogramError::NegativeBucketsWithCustomBounds);
        }
        let is_integer = self.layout.is_integer;
        let named = [("count", self.count), ("zero count", self.zero_count)];
        let in_buckets = self.bucket_values().map(|count| ("count of a bucket", count));
        for (what, given) in named.into_iter().chain(in_buckets) {
            if !is_possible_count(given, is_integer) {
                return Err(HistogramError::Count { what, given, is_integer });
            }
        }
        // Float histograms may be results of arithmetic, whose rounding this would refuse.
        let in_buckets = self.bucket_values().sum::<f64>() + self.zero_count;
        if is_integer && in_buckets > self.count {
            return Err(HistogramError::CountBelowBuckets { in_buckets, count: self.count });
        }
        Ok(())
    }
}

/// Returns whether a bucket can hold that many observations.
#[inline]
pub(crate) fn is_possible_count(count: f64, is_integer: bool) -> bool {
    let is_number = count.is_finite() && count >= 0.0;
    is_number && (!is_integer || (count <= INTEGER_COUNT_MAX && count.fract() == 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential() -> Histogram {
        Histogram {
            layout: Arc::new(HistogramLayout {
                schema: 3,
                is_integer: true,
                zero_threshold: 1e-128,
                positive_spans: vec![
                    BucketSpan { offset: -2, length: 2 },
                    BucketSpan { offset: 3, length: 1 },
                ],
                negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
                custom_bounds: Vec::new(),
            }),
            count: 20.0,
            sum: 18.5,
            zero_count: 3.0,
            positive_counts: vec![4.0, 5.0, 6.0],
            negative_counts: vec![2.0],
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            layout: Arc::new(HistogramLayout {
                schema: CUSTOM_BOUNDS_SCHEMA,
                is_integer: true,
                positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
                custom_bounds: vec![0.1, 1.0],
                ..HistogramLayout::default()
            }),
            count: 6.0,
            sum: 3.0,
            positive_counts: vec![1.0, 2.0, 3.0],
            ..Histogram::default()
        }
    }

    fn with_layout(mut histogram: Histogram, change: impl FnOnce(&mut HistogramLayout)) -> HistogramError {
        change(Arc::make_mut(&mut histogram.layout));
        histogram.validate().unwrap_err()
    }

    #[test]
    fn whole_histograms_pass() {
        assert_eq!(exponential().validate(), Ok(()));
        assert_eq!(custom().validate(), Ok(()));
        assert_eq!(Histogram::stale().validate(), Ok(()));
        let mut fraction = exponential();
        Arc::make_mut(&mut fraction.layout).is_integer = false;
        fraction.positive_counts[0] = 0.25;
        fraction.count = 1.0;
        assert_eq!(fraction.validate(), Ok(()), "only integer counts are added up");
    }

    #[test]
    fn what_is_wrong_is_named() {
        use HistogramError as E;
        assert_eq!(with_layout(exponential(), |l| l.schema = 9), E::Schema { given: 9 });
        assert_eq!(with_layout(exponential(), |l| l.schema = -5), E::Schema { given: -5 });
        assert_eq!(with_layout(custom(), |l| l.zero_threshold = 1.0), E::ZeroThreshold { given: 1.0 });
        assert!(matches!(with_layout(exponential(), |l| l.zero_threshold = -1.0), E::ZeroThreshold { .. }));
        let late_negative = E::NegativeOffset { sign: "positive", index: 1, given: -1 };
        assert_eq!(with_layout(exponential(), |l| l.positive_spans[1].offset = -1), late_negative);
        assert!(matches!(
            with_layout(custom(), |l| l.positive_spans[0].offset = -1),
            E::NegativeOffset { .. }
        ));
        let outside = E::IndexOutOfRange { sign: "positive", given: 3, limit: 2 };
        assert_eq!(with_layout(custom(), |l| l.positive_spans[0].offset = 1), outside);
        let other_count = E::BucketCount { sign: "negative", spanned: 2, given: 1 };
        assert_eq!(with_layout(exponential(), |l| l.negative_spans[0].length = 2), other_count);
        assert_eq!(
            with_layout(custom(), |l| l.custom_bounds[1] = 0.1),
            E::CustomBound { index: 1, given: 0.1 }
        );
        let infinite = E::CustomBound { index: 1, given: f64::INFINITY };
        assert_eq!(with_layout(custom(), |l| l.custom_bounds[1] = f64::INFINITY), infinite);
        let unexpected = E::UnexpectedCustomBounds { given: 2, schema: 0 };
        assert_eq!(with_layout(custom(), |l| l.schema = 0), unexpected);
        let negative = |l: &mut HistogramLayout| l.negative_spans.push(BucketSpan::default());
        assert_eq!(with_layout(custom(), negative), E::NegativeBucketsWithCustomBounds);
        let many = |l: &mut HistogramLayout| l.positive_spans[0].length = 9_000;
        assert_eq!(with_layout(exponential(), many), E::TooMany { what: "buckets", given: 9_002 });
        let spans = |l: &mut HistogramLayout| l.positive_spans = vec![BucketSpan::default(); 1_001];
        assert_eq!(with_layout(exponential(), spans), E::TooManySpans { sign: "positive", given: 1_001 });
    }

    #[test]
    fn impossible_counts_are_named() {
        for given in [-1.0, f64::NAN, f64::INFINITY, 0.5, 1e16] {
            let mut histogram = exponential();
            histogram.positive_counts[1] = given;
            let error = histogram.validate().unwrap_err();
            assert!(matches!(error, HistogramError::Count { what: "count of a bucket", .. }), "{error}");
        }
        let mut histogram = exponential();
        histogram.count = 19.0;
        let expected = HistogramError::CountBelowBuckets { in_buckets: 20.0, count: 19.0 };
        assert_eq!(histogram.validate(), Err(expected));
        histogram.count = 21.0;
        assert_eq!(histogram.validate(), Ok(()), "NaN was observed once");
    }

    #[test]
    fn equality_is_that_of_bits() {
        let mut stale = exponential();
        stale.sum = stale_nan();
        assert!(stale.is_stale());
        assert_eq!(stale, stale.clone());
        let mut other = stale.clone();
        other.sum = f64::NAN;
        assert_ne!(stale, other);
        assert!(!other.is_stale());
    }
}
