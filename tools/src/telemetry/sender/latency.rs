//! Counts durations in buckets that grow with the value: any quantile, to better than one percent, in a fixed 58 KiB.
//!
//! Input: durations. Output: quantiles and the exact maximum. Values below 256 ns have a bucket each; above, every power of
//! two is cut into 128 equal buckets, so a bucket is at most 1/128 of its value wide.
//! Source: the idea of HdrHistogram (Tene 2012).

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets of a power of two, as a power of two.
const SUB_BUCKET_BITS: u32 = 7;
const SUB_BUCKET_COUNT: u64 = 1 << SUB_BUCKET_BITS;
const BUCKET_COUNT: usize = (u64::BITS - SUB_BUCKET_BITS + 1) as usize * SUB_BUCKET_COUNT as usize;

/// A histogram of durations.
#[derive(Debug, Clone)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    count: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKET_COUNT], count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl LatencyHistogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket_of(duration_ns)) {
            *count += 1;
        }
        self.count += 1;
        self.sum_ns += u128::from(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
    }

    /// Returns how many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of all durations, seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Returns the longest duration; nothing = 0.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// Returns the duration that this share (0 to 1) of all durations does not exceed; nothing = 0.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(bucket).min(self.max_ns));
            }
        }
        self.max()
    }

    /// Returns quantiles, maximum and mean in milliseconds, for reports.
    pub fn summary_ms(&self) -> Value {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        json!({
            "p50": ms(self.quantile(0.5)),
            "p90": ms(self.quantile(0.9)),
            "p99": ms(self.quantile(0.99)),
            "p999": ms(self.quantile(0.999)),
            "max": ms(self.max()),
            "mean": if self.count == 0 { 0.0 } else { self.sum_s() * 1e3 / self.count as f64 },
            "count": self.count,
        })
    }
}

fn bucket_of(duration_ns: u64) -> usize {
    let magnitude = u64::BITS - (duration_ns | 1).leading_zeros();
    let shift = magnitude.saturating_sub(SUB_BUCKET_BITS + 1);
    (u64::from(shift) * SUB_BUCKET_COUNT + (duration_ns >> shift)) as usize
}

/// The largest value that is counted in `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB_BUCKET_COUNT {
        return bucket;
    }
    let shift = bucket / SUB_BUCKET_COUNT - 1;
    let first_of_next = u128::from(bucket - shift * SUB_BUCKET_COUNT + 1) << shift;
    u64::try_from(first_of_next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_load::random::Random;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let mut values: Vec<u64> = (0..2_000).chain((0..64).map(|bit| 1 << bit)).collect();
        values.extend((0..64).map(|bit| (1_u64 << bit).wrapping_sub(1)));
        let mut random = Random::new(7);
        values.extend((0..10_000).map(|_| random.bits() >> random.below(64)));
        for value in values {
            let bucket = bucket_of(value);
            let (upper, lower) =
                (upper_bound(bucket), bucket.checked_sub(1).map_or(0, |before| upper_bound(before) + 1));
            assert!((lower..=upper).contains(&value), "{value} is not in {lower}..={upper}");
            assert!(upper - lower <= value / 128, "{lower}..={upper} is too wide");
            assert!(bucket < BUCKET_COUNT);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values_within_a_percent() {
        let mut random = Random::new(11);
        let mut values: Vec<u64> =
            (0..50_000).map(|_| 1_000 + (random.unit().powi(8) * 5e9) as u64).collect();
        let mut histogram = LatencyHistogram::default();
        values.iter().for_each(|value| histogram.record(Duration::from_nanos(*value)));
        values.sort_unstable();
        for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = values[(values.len() as f64 * share).ceil() as usize - 1] as f64;
            let found = histogram.quantile(share).as_nanos() as f64;
            assert!((found - exact).abs() <= exact / 100.0, "p{share}: {found} instead of {exact}");
        }
        assert_eq!(histogram.max().as_nanos() as u64, *values.last().unwrap());
        assert_eq!(histogram.count(), 50_000);
    }

    #[test]
    fn nothing_counted_is_zero() {
        let histogram = LatencyHistogram::default();
        assert_eq!((histogram.quantile(0.99), histogram.max()), (Duration::ZERO, Duration::ZERO));
        assert_eq!(histogram.summary_ms()["mean"], 0.0);
    }
}
