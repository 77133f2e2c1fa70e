//! The quantile of a classic histogram, written down a second time for the oracle.
//!
//! Source: the description of `histogram_quantile` in Prometheus' documentation: linear inside a bucket, the lower
//! bound of the first bucket is 0, an answer in the `+Inf` bucket is the highest finite bound; buckets that fall
//! because of rounding are raised to their predecessor.

/// Counts that differ by less than this share are the same count with rounding.
const ROUNDING: f64 = 1e-12;

/// Returns the `quantile` of cumulative `buckets` (upper bound, count), sorted by bound; NaN if there is no answer.
pub(super) fn histogram_quantile(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
    let Some(((last_bound, _), finite)) = buckets.split_last() else {
        return f64::NAN;
    };
    if *last_bound != f64::INFINITY || finite.is_empty() {
        return f64::NAN;
    }
    let counts = monotonic(buckets);
    let total = counts[counts.len() - 1];
    if total == 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = quantile * total;
    let bucket = counts[..finite.len()].iter().position(|count| *count >= rank).unwrap_or(finite.len());
    if bucket == finite.len() {
        return finite[finite.len() - 1].0;
    }
    let (lower_bound, lower_count) =
        if bucket == 0 { (0.0, 0.0) } else { (buckets[bucket - 1].0, counts[bucket - 1]) };
    let (upper_bound, upper_count) = (buckets[bucket].0, counts[bucket]);
    lower_bound + (upper_bound - lower_bound) * ((rank - lower_count) / (upper_count - lower_count))
}

fn monotonic(buckets: &[(f64, f64)]) -> Vec<f64> {
    let mut highest = 0.0;
    let mut raised = Vec::with_capacity(buckets.len());
    for (position, (_, count)) in buckets.iter().enumerate() {
        let is_rounding = (count - highest).abs() < ROUNDING * (count.abs() + highest);
        if position == 0 || (*count > highest && !is_rounding) {
            highest = *count;
        }
        raised.push(highest);
    }
    raised
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_are_linear_inside_a_bucket() {
        let buckets = [(0.1, 50.0), (0.2, 90.0), (1.0, 98.0), (INF, 100.0)];
        assert_eq!(histogram_quantile(0.25, &buckets), 0.05);
        assert!((histogram_quantile(0.7, &buckets) - 0.15).abs() < 1e-12);
        assert_eq!(histogram_quantile(0.99, &buckets), 1.0);
    }

    #[test]
    fn without_observations_or_infinity_there_is_no_answer() {
        assert!(histogram_quantile(0.9, &[]).is_nan());
        assert!(histogram_quantile(0.9, &[(1.0, 3.0)]).is_nan());
        assert!(histogram_quantile(0.9, &[(1.0, 0.0), (INF, 0.0)]).is_nan());
    }

    #[test]
    fn buckets_that_fall_are_raised() {
        let fallen = [(0.1, 50.0), (0.2, 49.999999999999), (1.0, 98.0), (INF, 100.0)];
        let level = [(0.1, 50.0), (0.2, 50.0), (1.0, 98.0), (INF, 100.0)];
        assert_eq!(histogram_quantile(0.8, &fallen), histogram_quantile(0.8, &level));
    }
}
