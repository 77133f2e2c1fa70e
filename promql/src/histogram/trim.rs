//! `</` and `>/`: the observations below or above a value.
//!
//! Buckets on the kept side stay, the bucket around the value is divided as a quantile would divide it, the sum is
//! estimated anew from the middles of what stays. A histogram that nothing is taken from stays as it is.
//! Source: Prometheus `model/histogram/float_histogram.go` (`TrimBuckets`).

use super::{Bucket, FloatHistogram};

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Those below the value (`</`).
    Below,
    /// Those above the value (`>/`).
    Above,
}

/// The value that stands for the observations between two bounds.
fn middle(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if is_linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if is_positive { mean } else { -mean }
        }
    }
}

/// Observations of a bucket at or below `value`, which lies inside of it.
fn count_below(bucket: &Bucket, value: f64, is_positive: bool, is_linear: bool) -> f64 {
    if value <= bucket.lower {
        return 0.0;
    }
    if value >= bucket.upper {
        return bucket.count;
    }
    let place = if is_linear {
        (value - bucket.lower) / (bucket.upper - bucket.lower)
    } else {
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = value.abs().log2();
        if is_positive { (value - lower) / (upper - lower) } else { 1.0 - (value - upper) / (lower - upper) }
    };
    bucket.count * place
}

/// How many observations of an endless bucket stay, and the value that stands for them. Nobody knows where in the
/// bucket they lie, so it goes as a whole, unless one side can be taken as zero.
fn divide_endless(bucket: &Bucket, value: f64, kept: Kept) -> (f64, f64) {
    let finite = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    let starts_at_zero = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
    if bucket.lower == f64::NEG_INFINITY {
        return match kept {
            Kept::Below if value >= bucket.upper => (bucket.count, 0.0),
            Kept::Below if value > 0.0 && starts_at_zero => {
                (bucket.count * value / bucket.upper, value / 2.0)
            }
            Kept::Below if bucket.upper <= 0.0 => (bucket.count, value),
            Kept::Above if value <= bucket.lower => (bucket.count, 0.0),
            Kept::Above if value >= 0.0 && bucket.upper > value && starts_at_zero => {
                (bucket.count * (1.0 - value / bucket.upper), (value + bucket.upper) / 2.0)
            }
            _ => (0.0, finite(bucket.upper)),
        };
    }
    match kept {
        Kept::Above if value >= bucket.lower => (bucket.count, value),
        _ => (0.0, finite(bucket.lower)),
    }
}

/// How many observations of a bucket stay, and the value that stands for them.
fn divide(bucket: &Bucket, value: f64, kept: Kept, is_positive: bool, is_linear: bool) -> (f64, f64) {
    let whole = || (bucket.count, middle(bucket.lower, bucket.upper, is_positive, is_linear));
    match kept {
        Kept::Below if bucket.upper <= value => return whole(),
        Kept::Above if bucket.lower >= value => return whole(),
        Kept::Below if bucket.lower < value => {}
        Kept::Above if bucket.upper > value => {}
        // On the other side, or the value is NaN.
        Kept::Below | Kept::Above => return (0.0, 0.0),
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return divide_endless(bucket, value, kept);
    }
    let below = count_below(bucket, value, is_positive, is_linear);
    match kept {
        Kept::Below => (below, middle(bucket.lower, value, is_positive, is_linear)),
        Kept::Above => (bucket.count - below, middle(value, bucket.upper, is_positive, is_linear)),
    }
}

/// As [`divide`] for the zero bucket, whose observations lie evenly.
fn divide_zero_bucket(bucket: &Bucket, value: f64, kept: Kept) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = *bucket;
    let whole = (count, (lower + upper) / 2.0);
    match kept {
        Kept::Below if value <= lower => (0.0, 0.0),
        Kept::Below if value >= upper => whole,
        Kept::Below => (count * ((value - lower) / (upper - lower)), (lower + value) / 2.0),
        Kept::Above if value <= lower => whole,
        Kept::Above if value >= upper => (0.0, 0.0),
        Kept::Above => (count * ((upper - value) / (upper - lower)), (value + upper) / 2.0),
    }
}

impl FloatHistogram {
    /// The observations below or above `value`.
    pub(crate) fn trimmed(&self, value: f64, kept: Kept) -> Self {
        let mut trimmed = self.clone();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut is_changed = false;
        let is_linear = self.has_custom_bounds();
        let mut has_sign = [false, false];
        for is_positive in [true, false] {
            let (own, result) = if is_positive {
                (&self.positive, &mut trimmed.positive)
            } else {
                (&self.negative, &mut trimmed.negative)
            };
            for ((index, before), now) in own.iter().zip(result.counts_mut()) {
                if before == 0.0 {
                    continue;
                }
                has_sign[usize::from(is_positive)] = true;
                let bucket = if is_positive {
                    self.positive_bucket(index, before)
                } else {
                    self.negative_bucket(index, before)
                };
                let (stays, middle) = divide(&bucket, value, kept, is_positive, is_linear);
                count += stays;
                sum += middle * stays;
                is_changed |= stays != before;
                *now = stays;
            }
        }
        if self.zero_count > 0.0 {
            let mut bucket = self.zero_bucket();
            match has_sign {
                [true, false] => bucket.upper = 0.0,
                [false, true] => bucket.lower = 0.0,
                _ => {}
            }
            let (stays, middle) = divide_zero_bucket(&bucket, value, kept);
            count += stays;
            sum += middle * stays;
            is_changed |= stays != self.zero_count;
            trimmed.zero_count = stays;
        }
        if is_changed {
            trimmed.count = count;
            trimmed.sum = sum;
            trimmed.compact();
        }
        trimmed
    }
}
