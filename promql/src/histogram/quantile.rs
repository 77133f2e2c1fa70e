//! Quantiles, fractions, mean and variance of one histogram.
//!
//! Source: Prometheus `promql/quantile.go`, `promql/functions.go` (`histogramVariance`).

use super::sum::NumberSum;
use super::{Bucket, FloatHistogram};

/// What the user should be told about observations that are NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanRemark {
    /// The quantile lies among them.
    ResultIsNan,
    /// They count as the largest observations.
    SkewsHigher,
    /// They belong to no fraction.
    ExcludedFromFractions,
}

/// Place of `value` between the bounds of an exponential bucket, 0 to 1 from the lower to the upper bound.
fn exponential_place(value: f64, bucket: &Bucket) -> f64 {
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let value_log = value.abs().log2();
    if value > 0.0 {
        (value_log - lower) / (upper - lower)
    } else {
        1.0 - (value_log - upper) / (lower - upper)
    }
}

impl FloatHistogram {
    /// With buckets of one sign only, the zero bucket does not reach to the other side.
    fn cut_at_zero(&self, bucket: &mut Bucket) {
        if self.negative.is_empty() && !self.positive.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive.is_empty() && !self.negative.is_empty() {
            bucket.upper = 0.0;
        }
    }

    /// The `q`-quantile: exponential interpolation inside of exponential buckets, linear in the zero bucket and between
    /// custom bounds. NaN without observations; infinite outside of 0 to 1.
    pub(crate) fn quantile(&self, q: f64) -> (f64, Option<NanRemark>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // Observations that are NaN are in the count and in no bucket: only counting from below makes sense then.
        let is_forward = self.sum.is_nan() || q < 0.5;
        let mut buckets = self.buckets();
        if !is_forward {
            buckets.reverse();
        }
        let mut rank = if is_forward { q * self.count } else { (1.0 - q) * self.count };
        let mut rest = buckets.iter();
        let mut count = 0.0;
        let mut bucket = Bucket {
            lower: 0.0,
            upper: 0.0,
            is_lower_inclusive: false,
            is_upper_inclusive: false,
            count: 0.0,
        };
        for next in rest.by_ref() {
            bucket = *next;
            if bucket.count == 0.0 {
                continue;
            }
            count += bucket.count;
            if count >= rank {
                break;
            }
        }
        if self.has_custom_bounds() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.cut_at_zero(&mut bucket);
        }
        count = count.min(self.count);
        if count < rank {
            if self.sum.is_nan() {
                return (f64::NAN, Some(NanRemark::ResultIsNan));
            }
            return (bucket.upper, None);
        }
        if is_forward {
            rank -= count - bucket.count;
        } else {
            rank = count - rank;
        }
        let mut remark = None;
        if self.sum.is_nan() {
            let in_buckets = rest.fold(count, |sum, bucket| sum + bucket.count);
            remark = (in_buckets < self.count).then_some(NanRemark::SkewsHigher);
        }
        let place = rank / bucket.count;
        let is_linear = self.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0);
        if is_linear {
            return (bucket.lower + (bucket.upper - bucket.lower) * place, remark);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = if bucket.lower > 0.0 {
            (lower + (upper - lower) * place).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - place)).exp2()
        };
        (value, remark)
    }

    /// The share of observations between `lower` and `upper`.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<NanRemark>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let mut in_buckets = 0.0;
        let mut rank = 0.0;
        let mut found: [Option<f64>; 2] = [None, None];
        for mut bucket in self.buckets() {
            in_buckets += bucket.count;
            let is_zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero_bucket {
                self.cut_at_zero(&mut bucket);
            }
            let rank_of = |value: f64| {
                if !(self.has_custom_bounds() || is_zero_bucket) {
                    rank + bucket.count * exponential_place(value, &bucket)
                } else if bucket.lower == f64::NEG_INFINITY {
                    // No place inside an endless bucket means anything.
                    bucket.count
                } else {
                    rank + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower)
                }
            };
            for (value, found) in [lower, upper].into_iter().zip(&mut found) {
                if found.is_none() {
                    if bucket.lower >= value {
                        *found = Some(rank);
                    } else if bucket.upper > value {
                        *found = Some(rank_of(value));
                    }
                }
            }
            rank += bucket.count;
        }
        let mut remark = None;
        let mut total = self.count;
        if self.sum.is_nan() {
            total = in_buckets;
            remark = (in_buckets < self.count).then_some(NanRemark::ExcludedFromFractions);
        }
        let [lower_rank, upper_rank] = found.map(|rank| rank.map_or(total, |rank| rank.min(total)));
        ((upper_rank - lower_rank) / self.count, remark)
    }

    /// The variance, each observation taken as the middle of its bucket.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut sum = NumberSum::default();
        for bucket in self.buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.has_custom_bounds() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                let middle = (bucket.upper * bucket.lower).sqrt();
                if bucket.upper < 0.0 { -middle } else { middle }
            };
            let delta = middle - mean;
            sum.add(bucket.count * delta * delta);
        }
        sum.finish() / self.count
    }
}
