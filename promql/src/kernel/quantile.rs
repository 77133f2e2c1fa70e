//! Quantiles of plain values.
//!
//! Source: Prometheus `promql/quantile.go` (`quantile`).

use std::cmp::Ordering;

/// Orders values ascending with NaN first, as Prometheus sorts before taking a quantile.
#[inline]
pub(crate) fn nan_first(left: &f64, right: &f64) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (false, false) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// The `q`-quantile of `values`, which it reorders. NaN if there are none; ±Inf if `q` lies outside `[0, 1]`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let count = values.len();
    let rank = q * (count as f64 - 1.0);
    let lower_index = rank.floor().max(0.0) as usize;
    let upper_index = (lower_index + 1).min(count - 1);
    let weight = rank - rank.floor();
    let (_, lower, above) = values.select_nth_unstable_by(lower_index, nan_first);
    let lower = *lower;
    let upper = if upper_index == lower_index {
        lower
    } else {
        above.iter().copied().min_by(nan_first).unwrap_or(lower)
    };
    lower * (1.0 - weight) + upper * weight
}

/// The median absolute deviation of `values`, NaN if one of them is; `scratch` is overwritten.
pub(crate) fn median_absolute_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend_from_slice(values);
    let median = quantile(0.5, scratch);
    scratch.clear();
    scratch.extend(values.iter().map(|value| (value - median).abs()));
    quantile(0.5, scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [4.0, 1.0]), 4.0);
        assert_eq!(quantile(0.0, &mut [4.0, 1.0]), 1.0);
    }

    #[test]
    fn nan_counts_as_smallest() {
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(1.0, &mut [1.0, f64::NAN, 2.0]), 2.0);
    }

    #[test]
    fn quantiles_outside_of_zero_to_one_are_infinite() {
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
