//! Where buckets begin and end, and their order from the lowest to the highest.

use super::FloatHistogram;
use super::bound_table::FRACTIONS;

/// One bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound itself belongs to it.
    pub is_lower_inclusive: bool,
    /// Whether the upper bound itself belongs to it.
    pub is_upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// `fraction * 2^exponent`.
fn scaled(mut fraction: f64, mut exponent: i64) -> f64 {
    exponent = exponent.clamp(-2_200, 2_200);
    while exponent > 1_000 {
        fraction *= f64::from_bits((1_000 + 1_023) << 52);
        exponent -= 1_000;
    }
    while exponent < -1_000 {
        fraction *= f64::from_bits((1_023 - 1_000) << 52);
        exponent += 1_000;
    }
    fraction * f64::from_bits(((exponent + 1_023) as u64) << 52)
}

/// The upper bound of bucket `index` of an exponential schema.
pub(super) fn exponential_bound(index: i64, schema: i8) -> f64 {
    if schema <= 0 {
        let exponent = index.saturating_mul(1 << -i32::from(schema).max(-62));
        // The bucket that would end at 2^1024 ends at the largest number; one further holds infinity.
        return if exponent == 1_024 { f64::MAX } else { scaled(1.0, exponent) };
    }
    let steps = 1_i64 << schema.min(8);
    let fraction = FRACTIONS[(index.rem_euclid(steps) * (256 / steps)) as usize];
    let exponent = index.div_euclid(steps) + 1;
    if fraction == 0.5 && exponent == 1_025 { f64::MAX } else { scaled(fraction, exponent) }
}

impl FloatHistogram {
    /// The upper bound of bucket `index`, the lower one of the next.
    pub(super) fn bound(&self, index: i64) -> f64 {
        if !self.has_custom_bounds() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => self.custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// A positive bucket.
    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = self.bound(i64::from(index) - 1);
        let upper = self.bound(i64::from(index));
        let is_custom = self.has_custom_bounds();
        Bucket {
            lower,
            upper,
            is_lower_inclusive: if is_custom { index == 0 } else { lower < 0.0 },
            is_upper_inclusive: is_custom || upper > 0.0,
            count,
        }
    }

    /// A negative bucket.
    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = -self.bound(i64::from(index));
        let upper = -self.bound(i64::from(index) - 1);
        Bucket { lower, upper, is_lower_inclusive: lower < 0.0, is_upper_inclusive: upper > 0.0, count }
    }

    /// The zero bucket.
    pub(super) fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            is_lower_inclusive: true,
            is_upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets from the lowest to the highest; those that overlap with the zero bucket begin or end where it does.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut buckets = Vec::with_capacity(self.negative.len() + 1 + self.positive.len());
        let threshold = self.zero_threshold;
        for (index, count) in self.negative.iter().rev() {
            let mut bucket = self.negative_bucket(index, count);
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            buckets.push(bucket);
        }
        if self.zero_count > 0.0 {
            buckets.push(self.zero_bucket());
        }
        for (index, count) in self.positive.iter() {
            let mut bucket = self.positive_bucket(index, count);
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            buckets.push(bucket);
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_prometheus() {
        assert_eq!([-1, 0, 1, 10].map(|index| exponential_bound(index, 0)), [0.5, 1.0, 2.0, 1024.0]);
        assert_eq!(
            [1, 2, 3].map(|index| exponential_bound(index, 1)),
            [2.0 * 0.7071067811865475, 2.0, 4.0 * 0.7071067811865475]
        );
        assert_eq!(exponential_bound(1, 2), 1.189207115002721);
        assert_eq!(exponential_bound(1, 3), 1.0905077326652577);
        assert_eq!(exponential_bound(-1, 3), 0.9170040432046711);
        assert_eq!(exponential_bound(1, 8), 1.0027112750502025);
        assert_eq!(exponential_bound(1, -4), 65_536.0);
    }

    #[test]
    fn bounds_end_at_the_largest_number_and_infinity() {
        assert_eq!(exponential_bound(1_024, 0), f64::MAX);
        assert_eq!(exponential_bound(1_025, 0), f64::INFINITY);
        assert_eq!(exponential_bound(8_192, 3), f64::MAX);
        assert_eq!(exponential_bound(8_193, 3), f64::INFINITY);
        assert_eq!(exponential_bound(-1_075, 0), 0.0);
        assert_eq!(exponential_bound(i64::from(i32::MIN), -4), 0.0);
        assert_eq!(exponential_bound(i64::from(i32::MAX), -4), f64::INFINITY);
        assert_eq!(exponential_bound(-1_074, 0), f64::from_bits(1));
    }
}
