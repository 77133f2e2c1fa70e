//! How latencies spread: log-logistic modes, which have the long tail of real ones and need only multiplications.
//!
//! Cumulative share at `x` of a mode with a median: `r⁴ / (1 + r⁴)`, `r = x / median`. A histogram has two modes with rates of
//! their own, so the mixture changes over time while every bucket only grows.

use crate::telemetry::template::Shape;

/// Mean of a log-logistic distribution of shape 4 and median 1: (π/4) / sin(π/4).
const MEAN: f64 = 1.110_720_734_539_591_6;

/// 2^(i/8).
const EIGHTHS: [f64; 8] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_2,
];
/// The largest scale whose bounds the table above has.
pub const SCALE_MAX: i32 = 3;

/// Returns the share of observations up to `bound`.
pub fn share_below(bound: f64, median: f64) -> f64 {
    let ratio = bound / median;
    let fourth = ratio * ratio * ratio * ratio;
    if fourth.is_finite() { fourth / (1.0 + fourth) } else { 1.0 }
}

/// Returns the value below which `share` of the observations are, for shares whose quantile is known without a root.
fn quantile(share: f64, median: f64) -> f64 {
    // r = (q / (1 - q))^(1/4): two square roots, which are exact on every platform.
    (share / (1.0 - share)).sqrt().sqrt() * median
}

/// Returns the shape of a histogram with bounds that double from `first`; the last bucket is open.
pub fn explicit(bucket_count: usize, first: f64, fast_median: f64, slow_median: f64) -> Shape {
    let mut bounds = Vec::with_capacity(bucket_count.saturating_sub(1));
    let mut bound = first;
    for _ in 1..bucket_count {
        bounds.push(bound);
        bound *= 2.0;
    }
    Shape {
        fast: shares(&bounds, fast_median),
        slow: shares(&bounds, slow_median),
        bounds,
        fast_mean: fast_median * MEAN,
        slow_mean: slow_median * MEAN,
        ..Shape::default()
    }
}

/// Shares between bounds; one more than bounds, together 1.
fn shares(bounds: &[f64], median: f64) -> Vec<f64> {
    let mut last = 0.0;
    let ends = bounds.iter().map(|bound| share_below(*bound, median)).chain([1.0]);
    ends.map(|end| {
        let share = end - last;
        last = end;
        share
    })
    .collect()
}

/// Returns the shape of an exponential histogram whose buckets lie around the medians of both modes.
///
/// What lies outside of the buckets is counted in the outermost ones. `scale` is 0 to [`SCALE_MAX`].
pub fn exponential(bucket_count: usize, scale: i32, fast_median: f64, slow_median: f64, zero: f64) -> Shape {
    let middle = (fast_median + slow_median) / 2.0;
    let mut offset = -(bucket_count as i32) / 2;
    // The buckets are moved until the middle one holds the middle of both modes.
    while upper_bound(offset + bucket_count as i32 / 2, scale) < middle {
        offset += 1;
    }
    while upper_bound(offset + bucket_count as i32 / 2 - 1, scale) > middle {
        offset -= 1;
    }
    let inner: Vec<f64> =
        (0..bucket_count as i32 - 1).map(|bucket| upper_bound(offset + bucket, scale)).collect();
    let mut fast = shares(&inner, fast_median);
    for share in &mut fast {
        *share *= 1.0 - zero;
    }
    Shape {
        slow: shares(&inner, slow_median),
        fast,
        zero,
        fast_mean: fast_median * MEAN * (1.0 - zero),
        slow_mean: slow_median * MEAN,
        offset,
        scale,
        ..Shape::default()
    }
}

/// Upper bound of bucket `index`: base^(index + 1), base = 2^(2^-scale).
fn upper_bound(index: i32, scale: i32) -> f64 {
    let eighths = (index + 1) << (SCALE_MAX - scale);
    let power = eighths.div_euclid(8);
    let factor = EIGHTHS[eighths.rem_euclid(8) as usize];
    let two = if power >= 0 { 2.0 } else { 0.5 };
    (0..power.unsigned_abs()).fold(factor, |bound, _| bound * two)
}

/// Returns the shape of a summary: value at each quantile.
pub fn summary(quantiles: &[f64], median: f64) -> Shape {
    Shape {
        bounds: quantiles.to_vec(),
        fast: quantiles.iter().map(|share| quantile(*share, median)).collect(),
        fast_mean: median * MEAN,
        ..Shape::default()
    }
}

/// Returns the number of observations in a bucket; never falls while both counts rise.
#[inline]
pub fn bucket(fast_count: f64, fast_share: f64, slow_count: f64, slow_share: f64) -> u64 {
    (fast_count * fast_share + slow_count * slow_share) as i64 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one() {
        for shape in [explicit(12, 0.005, 0.03, 0.9), exponential(40, 3, 0.03, 0.9, 0.0)] {
            assert!((shape.fast.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((shape.slow.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(shape.fast.iter().chain(&shape.slow).all(|share| *share >= 0.0));
        }
    }

    #[test]
    fn half_lies_below_the_median_and_quantiles_agree_with_shares() {
        assert_eq!(share_below(0.25, 0.25), 0.5);
        for share in [0.1, 0.5, 0.9, 0.99] {
            let value = quantile(share, 0.2);
            assert!((share_below(value, 0.2) - share).abs() < 1e-12, "{share}");
        }
    }

    #[test]
    fn bounds_of_exponential_buckets_are_powers_of_their_base() {
        assert_eq!(upper_bound(0, 0), 2.0);
        assert_eq!(upper_bound(-1, 0), 1.0);
        assert_eq!(upper_bound(-3, 0), 0.25);
        assert_eq!(upper_bound(7, 3), 2.0);
        assert!((upper_bound(0, 3) - 2.0_f64.powf(0.125)).abs() < 1e-15);
        assert!((upper_bound(-13, 2) - 2.0_f64.powf(-3.0)).abs() < 1e-15);
    }

    #[test]
    fn exponential_buckets_lie_around_the_middle_of_the_modes() {
        let shape = exponential(32, 2, 0.02, 0.5, 0.1);
        let middle = shape.offset + 16;
        assert!(upper_bound(middle - 1, 2) <= 0.26 && upper_bound(middle, 2) >= 0.26, "{}", shape.offset);
        assert!((shape.fast.iter().sum::<f64>() + shape.zero - 1.0).abs() < 1e-12);
    }
}
