//! `*_over_time`, `changes`, `resets`: one number per window.
//!
//! Short windows are folded sample by sample in Prometheus' order. Long ones are folded from partial results over
//! fixed blocks of [`BLOCK_LENGTH`] samples, so that a window of a day costs what its blocks cost.
//! Source: Prometheus `promql/functions.go`.

use super::kahan::{self, Mean};
use super::{ABSENT, Samples, Scratch, quantile};
use crate::grid::WindowGrid;

/// Samples per block of partial results.
const BLOCK_LENGTH: usize = 64;
/// Windows with fewer samples are folded directly.
const LONG_WINDOW: usize = 4 * BLOCK_LENGTH;

/// Applies `fold(values, times)` to every window that has samples.
#[inline]
pub(crate) fn fold(
    samples: Samples<'_>,
    windows: &WindowGrid,
    mut fold: impl FnMut(&[f64], &[i64]) -> f64,
    out: &mut [f64],
) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] =
            if high > low { fold(&samples.values[low..high], &samples.times_ms[low..high]) } else { ABSENT };
    });
}

fn is_long(samples: Samples<'_>, windows: &WindowGrid) -> bool {
    let length = samples.times_ms.len();
    if length < LONG_WINDOW || windows.count < 8 {
        return false;
    }
    let span_ms = samples.times_ms[length - 1].saturating_sub(samples.times_ms[0]).max(1);
    // Samples per window if they were evenly spread.
    (length as f64) * (windows.range_ms as f64) / (span_ms as f64) >= LONG_WINDOW as f64
}

/// Samples of all windows together for each sample from which on sums are worth a running total.
const OVERLAP_MIN: usize = 4;

/// Whether most samples lie in several windows.
fn is_overlapping(samples: Samples<'_>, windows: &WindowGrid) -> bool {
    let length = samples.times_ms.len();
    windows.count >= 8
        && length >= BLOCK_LENGTH
        && windows.step_ms.saturating_mul(OVERLAP_MIN as i64) <= windows.range_ms
        && windows.range_ms > 0
}

/// Fills `totals` with the sums of the first 0, 1, 2 … values, if those are integers so small that every sum is exact:
/// then the sum of a window is a difference of two of them, the same as if its values were added up.
///
/// # Shape
/// `totals`: `[values.len() + 1]`.
fn running_totals(values: &[f64], totals: &mut Vec<f64>) -> bool {
    /// Adding it leaves no room for fractions; taking it away again shows whether there were any. 1.5 * 2^52.
    const NO_FRACTION: f64 = 6_755_399_441_055_744.0;
    /// Below it all integers are exact, and what is above has no place for a fraction in the sum.
    const TOTAL_MAX: f64 = 2_251_799_813_685_248.0;
    // PERF (kernel/sum_over_time): both without a branch and side by side; whatever is no number fails the first.
    let is_whole =
        values.iter().fold(true, |all, value| all & ((value + NO_FRACTION) - NO_FRACTION == *value));
    let largest = values
        .iter()
        .fold(0.0_f64, |largest, value| if value.abs() > largest { value.abs() } else { largest });
    if !is_whole || largest * values.len() as f64 > TOTAL_MAX {
        return false;
    }
    totals.clear();
    totals.reserve(values.len() + 1);
    totals.push(0.0);
    let mut total = 0.0;
    totals.extend(values.iter().map(|value| {
        total += value;
        total
    }));
    true
}

#[inline]
fn kahan_sum(values: &[f64]) -> (f64, f64) {
    // PERF (kernel/sum_over_time): four sums side by side; one alone waits for itself at every addition.
    const LANE_COUNT: usize = 4;
    let mut lanes = [(0.0, 0.0); LANE_COUNT];
    let mut chunks = values.chunks_exact(LANE_COUNT);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = kahan::add(*value, lane.0, lane.1);
        }
    }
    let mut total = lanes[0];
    if values.len() >= LANE_COUNT {
        for lane in &lanes[1..] {
            total = kahan::merge(total, *lane);
        }
    }
    for value in chunks.remainder() {
        total = kahan::add(*value, total.0, total.1);
    }
    total
}

#[inline]
fn finish_sum((sum, compensation): (f64, f64)) -> f64 {
    if sum.is_infinite() { sum } else { sum + compensation }
}

/// Splits `low..high` into a head, whole blocks, and a tail.
#[inline]
fn split_blocks(low: usize, high: usize) -> Option<(usize, usize)> {
    let first_block = low.div_ceil(BLOCK_LENGTH);
    let end_block = high / BLOCK_LENGTH;
    (first_block < end_block).then_some((first_block, end_block))
}

/// Compensated sum of each window, through `finish(sum, compensation, count)`.
fn sums(
    samples: Samples<'_>,
    windows: &WindowGrid,
    scratch: &mut Scratch,
    finish: impl Fn((f64, f64), &[f64]) -> f64,
    out: &mut [f64],
) {
    if is_overlapping(samples, windows) && running_totals(samples.values, &mut scratch.values) {
        let totals = &scratch.values;
        return windows.for_each(samples, |step_index, low, high| {
            out[step_index] = if high > low {
                finish((totals[high] - totals[low], 0.0), &samples.values[low..high])
            } else {
                ABSENT
            };
        });
    }
    if !is_long(samples, windows) {
        return fold(samples, windows, |values, _| finish(kahan_sum(values), values), out);
    }
    let (block_sums, block_compensations) = (&mut scratch.values, &mut scratch.more_values);
    block_sums.clear();
    block_compensations.clear();
    for block in samples.values.chunks_exact(BLOCK_LENGTH) {
        let (sum, compensation) = kahan_sum(block);
        block_sums.push(sum);
        block_compensations.push(compensation);
    }
    windows.for_each(samples, |step_index, low, high| {
        if high <= low {
            out[step_index] = ABSENT;
            return;
        }
        let values = &samples.values[low..high];
        let total = match split_blocks(low, high) {
            None => kahan_sum(values),
            Some((first, end)) => {
                let mut total = kahan_sum(&samples.values[low..first * BLOCK_LENGTH]);
                for block in first..end {
                    total = kahan::merge(total, (block_sums[block], block_compensations[block]));
                }
                for value in &samples.values[end * BLOCK_LENGTH..high] {
                    total = kahan::add(*value, total.0, total.1);
                }
                total
            }
        };
        out[step_index] = finish(total, values);
    });
}

/// Sum of each window.
pub(crate) fn sum(samples: Samples<'_>, windows: &WindowGrid, scratch: &mut Scratch, out: &mut [f64]) {
    sums(samples, windows, scratch, |total, _| finish_sum(total), out);
}

fn mean_of(values: &[f64]) -> f64 {
    let mut mean = Mean::new(values[0]);
    for value in &values[1..] {
        mean.add(*value);
    }
    mean.finish()
}

/// Mean of each window.
pub(crate) fn avg(samples: Samples<'_>, windows: &WindowGrid, scratch: &mut Scratch, out: &mut [f64]) {
    let finish = |(sum, compensation): (f64, f64), values: &[f64]| {
        if sum.is_finite() {
            sum / values.len() as f64 + compensation / values.len() as f64
        } else {
            // Overflow or infinite samples: the incremental mean decides.
            mean_of(values)
        }
    };
    sums(samples, windows, scratch, finish, out);
}

/// Smallest (or largest, by `is_better(candidate, best)`) value of each window; NaN only if all are NaN.
pub(crate) fn extreme(
    samples: Samples<'_>,
    windows: &WindowGrid,
    scratch: &mut Scratch,
    is_better: impl Fn(f64, f64) -> bool + Copy,
    out: &mut [f64],
) {
    // PERF (kernel/max_over_time): without NaN, which is looked for once, a comparison is all there is.
    let has_nan = samples.values.iter().fold(false, |any, value| any | value.is_nan());
    let pick = |best: f64, value: f64| {
        if is_better(value, best) || (has_nan && best.is_nan()) { value } else { best }
    };
    let best_of = |values: &[f64]| {
        if has_nan {
            return values[1..].iter().fold(values[0], |best, value| pick(best, *value));
        }
        let mut lanes = [values[0]; 4];
        let mut chunks = values.chunks_exact(4);
        for chunk in &mut chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = if is_better(*value, *lane) { *value } else { *lane };
            }
        }
        lanes.iter().chain(chunks.remainder()).fold(values[0], |best, value| pick(best, *value))
    };
    if !is_long(samples, windows) {
        return fold(samples, windows, |values, _| best_of(values), out);
    }
    let blocks = &mut scratch.values;
    blocks.clear();
    blocks.extend(samples.values.chunks_exact(BLOCK_LENGTH).map(best_of));
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = match split_blocks(low, high) {
            _ if high <= low => ABSENT,
            None => best_of(&samples.values[low..high]),
            Some((first, end)) => {
                let best = blocks[first..end].iter().copied().reduce(pick).unwrap_or(f64::NAN);
                let head = samples.values[low..first * BLOCK_LENGTH].iter();
                let tail = samples.values[end * BLOCK_LENGTH..high].iter();
                head.chain(tail).fold(best, |best, value| pick(best, *value))
            }
        };
    });
}

/// Time in seconds of the last smallest (or largest, by `is_better_or_equal`) value of each window.
pub(crate) fn time_of_extreme(
    samples: Samples<'_>,
    windows: &WindowGrid,
    is_better_or_equal: impl Fn(f64, f64) -> bool,
    out: &mut [f64],
) {
    let time_of = |values: &[f64], times_ms: &[i64]| {
        let mut best = 0;
        for (index, value) in values.iter().enumerate() {
            if is_better_or_equal(*value, values[best]) || values[best].is_nan() {
                best = index;
            }
        }
        times_ms[best] as f64 / 1000.0
    };
    fold(samples, windows, time_of, out);
}

/// Population variance of each window (Welford with compensation), through `finish`.
pub(crate) fn variance(
    samples: Samples<'_>,
    windows: &WindowGrid,
    finish: impl Fn(f64) -> f64,
    out: &mut [f64],
) {
    let variance_of = |values: &[f64], _: &[i64]| {
        let (mut mean, mut squares) = ((0.0, 0.0), (0.0, 0.0));
        let mut count = 0.0;
        for value in values {
            count += 1.0;
            let delta = value - (mean.0 + mean.1);
            mean = kahan::add(delta / count, mean.0, mean.1);
            squares = kahan::add(delta * (value - (mean.0 + mean.1)), squares.0, squares.1);
        }
        finish((squares.0 + squares.1) / count)
    };
    fold(samples, windows, variance_of, out);
}

/// Whether `changes` counts the step from one value to the next.
#[inline]
pub(crate) fn is_change(previous: f64, current: f64) -> bool {
    current != previous && !(current.is_nan() && previous.is_nan())
}

/// Whether `resets` counts the step from one value to the next.
#[inline]
pub(crate) fn is_reset(previous: f64, current: f64) -> bool {
    current < previous
}

/// How many neighbours in each window `differs` says yes to.
///
/// # Cost
/// O(samples + steps): counted once per series as a running total.
pub(crate) fn count_pairs(
    samples: Samples<'_>,
    windows: &WindowGrid,
    scratch: &mut Scratch,
    differs: impl Fn(f64, f64) -> bool,
    out: &mut [f64],
) {
    let pairs = samples.values.windows(2);
    count_flags(samples, windows, scratch, pairs.map(|pair| differs(pair[0], pair[1])), out);
}

/// As [`count_pairs`], with a flag for each sample but the first.
pub(crate) fn count_flags(
    samples: Samples<'_>,
    windows: &WindowGrid,
    scratch: &mut Scratch,
    flags: impl Iterator<Item = bool>,
    out: &mut [f64],
) {
    let totals = &mut scratch.indexes;
    totals.clear();
    totals.push(0);
    let mut total = 0_u32;
    for is_counted in flags {
        total += u32::from(is_counted);
        totals.push(total);
    }
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high > low { f64::from(totals[high - 1] - totals[low]) } else { ABSENT };
    });
}

/// The quantile `q_at(step)` of each window.
pub(crate) fn quantiles(
    samples: Samples<'_>,
    windows: &WindowGrid,
    scratch: &mut Scratch,
    q_at: impl Fn(usize) -> f64,
    out: &mut [f64],
) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high > low {
            scratch.values.clear();
            scratch.values.extend_from_slice(&samples.values[low..high]);
            quantile::quantile(q_at(step_index), &mut scratch.values)
        } else {
            ABSENT
        };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: f64, right: f64) -> bool {
        left.to_bits() == right.to_bits() || (left - right).abs() <= 1e-9 * left.abs().max(1.0)
    }

    proptest! {
        #[test]
        fn long_windows_agree_with_direct_folds(
            values in proptest::collection::vec(-1e6_f64..1e6, 600..900),
            range in 256_i64..500,
        ) {
            let times: Vec<i64> = (0..values.len() as i64).collect();
            let samples = Samples::new(&times, &values);
            let windows = WindowGrid { end_ms: 100, step_ms: 37, count: 24, range_ms: range };
            prop_assert!(is_long(samples, &windows));
            let mut scratch = Scratch::default();
            let (mut fast, mut slow) = (vec![0.0; 24], vec![0.0; 24]);
            sum(samples, &windows, &mut scratch, &mut fast);
            fold(samples, &windows, |values, _| finish_sum(kahan_sum(values)), &mut slow);
            prop_assert!(fast.iter().zip(&slow).all(|(l, r)| close(*l, *r)));
            avg(samples, &windows, &mut scratch, &mut fast);
            fold(samples, &windows, |values, _| mean_of(values), &mut slow);
            prop_assert!(fast.iter().zip(&slow).all(|(l, r)| close(*l, *r)));
            extreme(samples, &windows, &mut scratch, |value, best| value > best, &mut fast);
            fold(samples, &windows, |v, _| v.iter().copied().fold(f64::NEG_INFINITY, f64::max), &mut slow);
            prop_assert!(fast.iter().zip(&slow).all(|(l, r)| l.to_bits() == r.to_bits()));
        }
    }

    proptest! {
        #[test]
        fn sums_of_integers_are_exact_and_other_values_are_left_to_others(
            integers in proptest::collection::vec(-1_000_000_000_000_i64..1_000_000_000_000, 64..200),
            odd in proptest::option::of((0_usize..64, prop_oneof![Just(0.5), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)])),
        ) {
            let mut values: Vec<f64> = integers.iter().map(|integer| *integer as f64).collect();
            if let Some((position, value)) = odd {
                values[position] = value;
            }
            let times: Vec<i64> = (0..values.len() as i64).collect();
            let samples = Samples::new(&times, &values);
            let windows = WindowGrid { end_ms: -3, step_ms: 7, count: 24, range_ms: 40 };
            prop_assert!(is_overlapping(samples, &windows));
            let mut scratch = Scratch::default();
            prop_assert_eq!(running_totals(&values, &mut scratch.values), odd.is_none());
            let (mut fast, mut slow) = (vec![0.0; 24], vec![0.0; 24]);
            sum(samples, &windows, &mut scratch, &mut fast);
            fold(samples, &windows, |values, _| finish_sum(kahan_sum(values)), &mut slow);
            prop_assert!(fast.iter().zip(&slow).all(|(l, r)| l.to_bits() == r.to_bits()));
        }
    }

    #[test]
    fn changes_ignore_repeated_nan() {
        let samples = Samples::new(&[1, 2, 3, 4], &[f64::NAN, f64::NAN, 1.0, 1.0]);
        let windows = WindowGrid { end_ms: 4, step_ms: 0, count: 1, range_ms: 4 };
        let mut out = [0.0];
        count_pairs(samples, &windows, &mut Scratch::default(), is_change, &mut out);
        assert_eq!(out, [1.0]);
    }
}
