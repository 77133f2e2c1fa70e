//! `deriv`, `predict_linear`, `double_exponential_smoothing`.
//!
//! Source: Prometheus `promql/functions.go` (`linearRegression`).

use super::{ABSENT, Samples, kahan};
use crate::grid::{StepGrid, WindowGrid};

/// Least squares through samples: `(slope per second, value at intercept_ms)`.
fn linear(times_ms: &[i64], values: &[f64], intercept_ms: i64) -> (f64, f64) {
    let (mut x, mut y, mut xy, mut xx) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    let first = values[0];
    let is_constant = values.iter().skip(1).all(|value| *value == first);
    if is_constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    for (time_ms, value) in times_ms.iter().zip(values) {
        let seconds = (time_ms - intercept_ms) as f64 / 1e3;
        x = kahan::add(seconds, x.0, x.1);
        y = kahan::add(*value, y.0, y.1);
        xy = kahan::add(seconds * value, xy.0, xy.1);
        xx = kahan::add(seconds * seconds, xx.0, xx.1);
    }
    let count = values.len() as f64;
    let (x, y, xy, xx) = (x.0 + x.1, y.0 + y.1, xy.0 + xy.1, xx.0 + xx.1);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// Slope per second of each window.
pub(crate) fn deriv(samples: Samples<'_>, windows: &WindowGrid, out: &mut [f64]) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high < low + 2 {
            ABSENT
        } else {
            // Around the first sample's time: large numbers would cost precision.
            linear(&samples.times_ms[low..high], &samples.values[low..high], samples.times_ms[low]).0
        };
    });
}

/// Value of each window's line `seconds_at(step)` after the evaluation time.
pub(crate) fn predict_linear(
    samples: Samples<'_>,
    windows: &WindowGrid,
    grid: &StepGrid,
    seconds_at: impl Fn(usize) -> f64,
    out: &mut [f64],
) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high < low + 2 {
            ABSENT
        } else {
            let (times_ms, values) = (&samples.times_ms[low..high], &samples.values[low..high]);
            let (slope, intercept) = linear(times_ms, values, grid.time_ms(step_index));
            slope * seconds_at(step_index) + intercept
        };
    });
}

/// Holt's double exponential smoothing of each window; `factors_at(step)` = (smoothing, trend), both inside (0, 1).
pub(crate) fn double_exponential_smoothing(
    samples: Samples<'_>,
    windows: &WindowGrid,
    factors_at: impl Fn(usize) -> (f64, f64),
    out: &mut [f64],
) {
    windows.for_each(samples, |step_index, low, high| {
        if high < low + 2 {
            out[step_index] = ABSENT;
            return;
        }
        let values = &samples.values[low..high];
        let (smoothing, trend) = factors_at(step_index);
        let mut before = 0.0;
        let mut level = values[0];
        let mut slope = values[1] - values[0];
        for (index, value) in values.iter().enumerate().skip(1) {
            if index > 1 {
                slope = trend * (level - before) + (1.0 - trend) * slope;
            }
            let next = smoothing * value + (1.0 - smoothing) * (level + slope);
            (before, level) = (level, next);
        }
        out[step_index] = level;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_series_have_slope_exactly_zero_and_infinite_ones_none() {
        assert_eq!(linear(&[0, 1_000, 2_000], &[0.1, 0.1, 0.1], 0), (0.0, 0.1));
        assert!(linear(&[0, 1_000], &[f64::INFINITY, f64::INFINITY], 0).0.is_nan());
    }

    #[test]
    fn a_line_is_found() {
        let (slope, intercept) = linear(&[0, 1_000, 2_000], &[1.0, 3.0, 5.0], 1_000);
        assert!((slope - 2.0).abs() < 1e-12 && (intercept - 3.0).abs() < 1e-12);
    }
}
