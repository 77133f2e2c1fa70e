//! Quantiles and fractions of classic histograms (cumulative buckets).
//!
//! Source: Prometheus `promql/quantile.go` (`BucketQuantile`, `BucketFraction`).

/// One cumulative bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    /// Upper bound, inclusive; never NaN in a meaningful histogram.
    pub(crate) upper_bound: f64,
    /// Observations at or below it.
    pub(crate) count: f64,
}

/// What had to be changed to make counts ascend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ForcedMonotonicity {
    /// Smallest bound of a changed bucket.
    pub(crate) min_bucket: f64,
    /// Largest bound of a changed bucket.
    pub(crate) max_bucket: f64,
    /// Largest change.
    pub(crate) max_diff: f64,
}

/// Relative difference below which neighbouring counts are taken as equal.
const SMALL_DELTA: f64 = 1e-12;

fn almost_equal(left: f64, right: f64) -> bool {
    let magnitude = left.abs() + right.abs();
    let difference = (left - right).abs();
    left == right || difference / magnitude.min(f64::MAX) < SMALL_DELTA
}

/// Sorts by bound and sums buckets with the same bound; `false` if the highest is not `+Inf`.
fn normalize(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|left, right| left.upper_bound.total_cmp(&right.upper_bound));
    if buckets.last().is_none_or(|bucket| bucket.upper_bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let is_same = next.upper_bound == kept.upper_bound;
        if is_same {
            kept.count += next.count;
        }
        is_same
    });
    true
}

fn force_monotonicity(buckets: &mut [Bucket]) -> Option<ForcedMonotonicity> {
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let current = bucket.count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current) {
            bucket.count = previous;
        } else if current < previous {
            let bound = bucket.upper_bound;
            let entry = forced.get_or_insert(ForcedMonotonicity {
                min_bucket: bound,
                max_bucket: bound,
                max_diff: 0.0,
            });
            entry.min_bucket = entry.min_bucket.min(bound);
            entry.max_bucket = entry.max_bucket.max(bound);
            entry.max_diff = entry.max_diff.max(previous - current);
            bucket.count = previous;
        } else {
            previous = current;
        }
    }
    forced
}

/// The `q`-quantile, interpolated linearly inside its bucket, and what had to be fixed first.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<ForcedMonotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !normalize(buckets) {
        return (f64::NAN, None);
    }
    let forced = force_monotonicity(buckets);
    let count = buckets.len();
    let observations = buckets[count - 1].count;
    if count < 2 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, None);
    }
    let mut rank = q * observations;
    let found = buckets[..count - 1].partition_point(|bucket| bucket.count < rank);
    if found == count - 1 {
        return (buckets[count - 2].upper_bound, forced);
    }
    let bucket = buckets[found];
    if found == 0 && bucket.upper_bound <= 0.0 {
        return (bucket.upper_bound, forced);
    }
    let (mut lower_bound, mut inside) = (0.0, bucket.count);
    if found > 0 {
        lower_bound = buckets[found - 1].upper_bound;
        inside -= buckets[found - 1].count;
        rank -= buckets[found - 1].count;
    }
    (lower_bound + (bucket.upper_bound - lower_bound) * (rank / inside), forced)
}

/// The share of observations between `lower` and `upper`.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !normalize(buckets) {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let share = rank_at(upper, buckets, total) - rank_at(lower, buckets, total);
    share / total
}

/// How many observations lie below `value`.
fn rank_at(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut below = 0.0_f64;
    let mut lower_bound = f64::NEG_INFINITY;
    for (index, bucket) in buckets.iter().enumerate() {
        if index == 0 && bucket.upper_bound > 0.0 {
            lower_bound = 0.0;
        }
        if lower_bound >= value {
            return below.min(total);
        }
        if bucket.upper_bound > value {
            let rank = if lower_bound == f64::NEG_INFINITY {
                // No meaningful place inside an endless bucket.
                bucket.count
            } else {
                below + (bucket.count - below) * (value - lower_bound) / (bucket.upper_bound - lower_bound)
            };
            return rank.min(total);
        }
        below = bucket.count;
        lower_bound = bucket.upper_bound;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    #[test]
    fn quantiles_interpolate_from_zero() {
        let (value, forced) = bucket_quantile(0.5, &mut buckets(&[(f64::INFINITY, 4.0), (1.0, 4.0)]));
        assert_eq!((value, forced), (0.5, None));
    }

    #[test]
    fn without_an_infinite_bucket_there_is_no_quantile() {
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 4.0), (2.0, 5.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_raised_and_reported() {
        let (_, forced) = bucket_quantile(0.5, &mut buckets(&[(1.0, 4.0), (2.0, 3.0), (f64::INFINITY, 8.0)]));
        let expected = ForcedMonotonicity { min_bucket: 2.0, max_bucket: 2.0, max_diff: 1.0 };
        assert_eq!(forced, Some(expected));
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let mut all = buckets(&[(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 8.0)]);
        assert_eq!(bucket_fraction(1.0, 2.0, &mut all), 0.5);
        assert_eq!(bucket_fraction(f64::NEG_INFINITY, f64::INFINITY, &mut all), 1.0);
    }
}
