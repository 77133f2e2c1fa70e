//! `rate`, `increase`, `delta`, `irate`, `idelta`, and their `anchored` and `smoothed` forms.
//!
//! Input: samples without stale markers, windows. Output: one value per step.
//! Source: Prometheus `promql/functions.go` (`extrapolatedRate`, `extendedRate`, `instantValue`). Times are kept in
//! whole milliseconds where Prometheus divides by 1000 first; the ratios are the same.

use super::{ABSENT, Samples, Scratch, is_absent};
use crate::grid::WindowGrid;

/// Which of `rate`, `increase`, `delta`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateKind {
    /// Whether a falling value is a counter reset.
    pub(crate) is_counter: bool,
    /// Whether the result is per second.
    pub(crate) is_rate: bool,
}

/// Fills `resets` with the index of every sample before which a counter fell.
fn find_resets(values: &[f64], resets: &mut Vec<u32>) {
    resets.clear();
    for start in (0..values.len()).step_by(RESET_BLOCK) {
        let block = &values[start..values.len().min(start + RESET_BLOCK + 1)];
        // PERF (bench `kernel`, `rate`): a sum is vectorised, and nearly no block has a reset.
        let pairs = block[1..].iter().zip(block);
        let reset_count = pairs.fold(0_u64, |count, (later, value)| count + u64::from(later < value));
        if reset_count > 0 {
            let is_reset = |index: &usize| block[*index] < block[*index - 1];
            resets.extend((1..block.len()).filter(is_reset).map(|index| (start + index) as u32));
        }
    }
}

/// Pairs of neighbours that are looked at together.
const RESET_BLOCK: usize = 128;

/// Extrapolated difference between the last and first sample of each window.
///
/// # Cost
/// O(samples + steps): resets are found once per series, and the extrapolation factor is kept from step to step
/// while the sample positions relative to the window stay the same.
pub(crate) fn extrapolated(
    samples: Samples<'_>,
    windows: &WindowGrid,
    kind: RateKind,
    scratch: &mut Scratch,
    out: &mut [f64],
) {
    let Samples { times_ms, values, .. } = samples;
    let resets = &mut scratch.indexes;
    resets.clear();
    if kind.is_counter {
        find_resets(values, resets);
    }
    let mut reset_low = 0;
    let mut edges = Edges::default();
    let mut one = |step_index: usize, low: usize, high: usize| {
        if high < low + 2 {
            out[step_index] = ABSENT;
            return;
        }
        let last = high - 1;
        let first_value = values[low];
        let mut increase = values[last] - first_value;
        if !resets.is_empty() {
            while reset_low < resets.len() && resets[reset_low] as usize <= low {
                reset_low += 1;
            }
            for reset in resets[reset_low..].iter().take_while(|reset| **reset as usize <= last) {
                increase += values[*reset as usize - 1];
            }
        }
        edges.move_to(&times_ms[low..high], windows, step_index, kind);
        out[step_index] = edges.extrapolate(first_value, increase, kind);
    };
    let Some(regular) = windows.regular(samples) else {
        return windows.for_each(samples, one);
    };
    let interior = regular.interior().filter(|(_, first, _)| resets.is_empty() && first.len() > 1);
    let Some((steps, first, advance)) = interior else {
        return regular.for_each(0..windows.count, one);
    };
    regular.for_each(0..steps.start, &mut one);
    regular.for_each(steps.end..windows.count, &mut one);
    // PERF (bench `kernel`, `rate`): nearly all steps of nearly all series; the edges are the same at all of them.
    edges.move_to(&times_ms[first.clone()], windows, steps.start, kind);
    let oldest = values[first.start..].iter().step_by(advance);
    let newest = values[first.end - 1..].iter().step_by(advance);
    for ((slot, oldest), newest) in out[steps].iter_mut().zip(oldest).zip(newest) {
        *slot = edges.extrapolate(*oldest, newest - oldest, kind);
    }
}

/// How far a window reaches beyond its first and last sample, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Milliseconds between the samples, from the last to the end, and how many pairs of neighbours.
    shape: (i64, i64, usize),
    sampled: f64,
    start: f64,
    end: f64,
    divisor: f64,
    factor: f64,
}

impl Edges {
    /// Looks at the window of a step, with the times of its samples (at least two).
    #[inline]
    pub(super) fn move_to(
        &mut self,
        times_ms: &[i64],
        windows: &WindowGrid,
        step_index: usize,
        kind: RateKind,
    ) {
        let (first_ms, last_ms) = (times_ms[0], times_ms[times_ms.len() - 1]);
        let end_ms = windows.end_ms_at(step_index);
        let sampled_ms = last_ms - first_ms;
        let to_end_ms = end_ms - last_ms;
        // PERF: on a regular column these numbers rarely change, and with them a division goes.
        let shape = (sampled_ms, to_end_ms, times_ms.len() - 1);
        if shape == self.shape {
            return;
        }
        self.shape = shape;
        let to_start_ms = first_ms - end_ms.saturating_sub(windows.range_ms);
        let sampled = sampled_ms as f64;
        let average = sampled / (times_ms.len() - 1) as f64;
        let threshold = average * 1.1;
        let reach = |distance_ms: i64| {
            let distance = distance_ms as f64;
            if distance >= threshold { average / 2.0 } else { distance }
        };
        (self.sampled, self.start, self.end) = (sampled, reach(to_start_ms), reach(to_end_ms));
        self.divisor = if kind.is_rate { windows.range_ms as f64 / 1000.0 } else { 1.0 };
        self.factor = (sampled + self.start + self.end) / sampled / self.divisor;
    }

    #[inline]
    pub(super) fn extrapolate(&self, first_value: f64, increase: f64, kind: RateKind) -> f64 {
        // Where the line through the samples hits zero, a counter must have started. PERF: one seldom branch instead of
        // three; whether a counter rose within a window is anybody's guess.
        let is_young =
            (increase > 0.0) & (first_value >= 0.0) & (self.sampled * first_value < self.start * increase);
        if is_young && kind.is_counter {
            let to_zero = self.sampled * (first_value / increase);
            return increase * ((self.sampled + to_zero + self.end) / self.sampled / self.divisor);
        }
        increase * self.factor
    }
}

/// Difference of the last two samples of each window; per second and reset-aware if `is_rate`.
pub(crate) fn instant(samples: Samples<'_>, windows: &WindowGrid, is_rate: bool, out: &mut [f64]) {
    let Samples { times_ms, values, .. } = samples;
    windows.for_each(samples, |step_index, low, high| {
        if high < low + 2 {
            out[step_index] = ABSENT;
            return;
        }
        let (previous, last) = (values[high - 2], values[high - 1]);
        let is_reset = is_rate && last < previous;
        let difference = if is_reset { last } else { last - previous };
        out[step_index] = if is_rate {
            difference / ((times_ms[high - 1] - times_ms[high - 2]) as f64 / 1000.0)
        } else {
            difference
        };
    });
}

/// The newest sample of each window per second since the one before it, for samples that are increases themselves.
pub(crate) fn instant_of_deltas(samples: Samples<'_>, windows: &WindowGrid, out: &mut [f64]) {
    let Samples { times_ms, values, .. } = samples;
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high < low + 2 {
            ABSENT
        } else {
            values[high - 1] / ((times_ms[high - 1] - times_ms[high - 2]) as f64 / 1000.0)
        };
    });
}

/// Multiplies a row where it has values.
pub(crate) fn scale(out: &mut [f64], factor: f64) {
    for value in out.iter_mut().filter(|value| !is_absent(**value)) {
        *value *= factor;
    }
}

/// How an extended window gets its value at the edges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extended {
    /// Interpolate at both edges instead of taking the sample before.
    pub(crate) is_smoothed: bool,
    /// How far samples outside the window are looked for.
    pub(crate) lookback_ms: i64,
}

/// The samples that an extended window may use, and its edges.
struct ExtendedWindow<'a> {
    /// Position of the first of them in the series.
    position: usize,
    times_ms: &'a [i64],
    values: &'a [f64],
    start_ms: i64,
    end_ms: i64,
}

impl Extended {
    /// Calls `body` for every window that has samples, with the samples up to `lookback_ms` outside of it.
    fn for_each<'a>(
        &self,
        samples: Samples<'a>,
        windows: &WindowGrid,
        mut body: impl FnMut(usize, Option<ExtendedWindow<'a>>),
    ) {
        let after_ms = if self.is_smoothed { self.lookback_ms } else { 0 };
        let wide = WindowGrid {
            end_ms: windows.end_ms.saturating_add(after_ms),
            range_ms: windows.range_ms.saturating_add(self.lookback_ms).saturating_add(after_ms),
            ..*windows
        };
        wide.for_each(samples, |step_index, low, high| {
            let end_ms = windows.end_ms_at(step_index);
            let window = (high > low).then(|| ExtendedWindow {
                position: low,
                times_ms: &samples.times_ms[low..high],
                values: &samples.values[low..high],
                start_ms: end_ms.saturating_sub(windows.range_ms),
                end_ms,
            });
            body(step_index, window);
        });
    }
}

/// Straight line between two samples at `time_ms`; a counter that fell between them rises from zero.
fn interpolate(left: (i64, f64), right: (i64, f64), time_ms: i64, is_counter: bool) -> f64 {
    let from = if is_counter && right.1 < left.1 { 0.0 } else { left.1 };
    from + (right.1 - from) * (time_ms - left.0) as f64 / (right.0 - left.0) as f64
}

impl ExtendedWindow<'_> {
    fn sample(&self, index: usize) -> (i64, f64) {
        (self.times_ms[index], self.values[index])
    }

    /// The index of the last sample at or before the start, else 0.
    fn first_index(&self) -> usize {
        let searched = self.times_ms.len() - 1;
        self.times_ms[..searched].partition_point(|time| *time <= self.start_ms).saturating_sub(1)
    }

    /// First and last sample that count, and the values at both edges.
    fn edges(&self, is_smoothed: bool, is_counter: bool) -> Option<(usize, usize, f64, f64)> {
        let first = self.first_index();
        let mut last = self.times_ms.len() - 1;
        if is_smoothed {
            last = self.times_ms[..last].partition_point(|time| *time < self.end_ms);
        }
        let is_before = self.times_ms[last] <= self.start_ms;
        let is_after = is_smoothed && self.times_ms[first] > self.end_ms;
        if is_before || is_after {
            return None;
        }
        let left = if is_smoothed && self.times_ms[first] < self.start_ms {
            interpolate(self.sample(first), self.sample(first + 1), self.start_ms, is_counter)
        } else {
            self.values[first]
        };
        let right = if is_smoothed && last > 0 && self.times_ms[last] > self.end_ms {
            interpolate(self.sample(last - 1), self.sample(last), self.end_ms, is_counter)
        } else {
            self.values[last]
        };
        Some((first, last, left, right))
    }

    fn difference(&self, is_smoothed: bool, is_counter: bool) -> Option<f64> {
        let (mut first, last, left, right) = self.edges(is_smoothed, is_counter)?;
        let mut difference = right - left;
        if is_counter {
            let mut end = last + 1;
            if self.times_ms[first] <= self.start_ms {
                first += 1;
            }
            if self.times_ms[last] >= self.end_ms {
                end -= 1;
            }
            let mut previous = left;
            let inside = self.values.get(first..end).unwrap_or(&[]);
            for value in inside.iter().copied().chain([right]) {
                if value < previous {
                    difference += previous;
                }
                previous = value;
            }
        }
        Some(difference)
    }
}

/// `rate`, `increase`, `delta` over `anchored` or `smoothed` windows: no extrapolation.
pub(crate) fn extended(
    samples: Samples<'_>,
    windows: &WindowGrid,
    extended: Extended,
    kind: RateKind,
    out: &mut [f64],
) {
    let range_seconds = windows.range_ms as f64 / 1000.0;
    extended.for_each(samples, windows, |step_index, window| {
        let difference = window.and_then(|window| window.difference(extended.is_smoothed, kind.is_counter));
        out[step_index] = match difference {
            Some(difference) if kind.is_rate => difference / range_seconds,
            Some(difference) => difference,
            None => ABSENT,
        };
    });
}

/// `changes` and `resets` over `anchored` windows: `differs(previous, current)` is counted from the anchor on.
pub(crate) fn extended_count(
    samples: Samples<'_>,
    windows: &WindowGrid,
    extended: Extended,
    differs: impl Fn(f64, f64) -> bool,
    out: &mut [f64],
) {
    let is_counted = |index: usize| differs(samples.values[index - 1], samples.values[index]);
    extended_count_at(samples, windows, extended, is_counted, out);
}

/// As [`extended_count`], with `is_counted` of the position of a sample that is not the first.
pub(crate) fn extended_count_at(
    samples: Samples<'_>,
    windows: &WindowGrid,
    extended: Extended,
    is_counted: impl Fn(usize) -> bool,
    out: &mut [f64],
) {
    extended.for_each(samples, windows, |step_index, window| {
        out[step_index] = match window {
            Some(window) if window.times_ms[window.times_ms.len() - 1] > window.start_ms => {
                let inside = window.first_index() + 1..window.values.len();
                inside.filter(|index| is_counted(window.position + index)).count() as f64
            }
            _ => ABSENT,
        };
    });
}

/// The samples of one extended window as a query result shows them: the edges' values stand at the edges.
pub(crate) fn extended_samples(
    samples: Samples<'_>,
    windows: &WindowGrid,
    is_smoothed: bool,
) -> (Vec<i64>, Vec<f64>) {
    let end_ms = windows.end_ms;
    let start_ms = end_ms.saturating_sub(windows.range_ms);
    let Samples { times_ms, values, .. } = samples;
    let window = ExtendedWindow { position: 0, times_ms, values, start_ms, end_ms };
    let Some((first, last, left, right)) =
        (!samples.times_ms.is_empty()).then(|| window.edges(is_smoothed, false)).flatten()
    else {
        return (Vec::new(), Vec::new());
    };
    let first = first + usize::from(samples.times_ms[first] <= start_ms);
    let end = last + usize::from(samples.times_ms[last] < end_ms);
    let inside = first..end.max(first);
    let times_ms = [&[start_ms], &samples.times_ms[inside.clone()], &[end_ms]].concat();
    let values = [&[left], &samples.values[inside], &[right]].concat();
    (times_ms, values)
}

/// A smoothed instant selector: the value at each window's end, interpolated between its neighbours.
pub(crate) fn smoothed_instant(
    samples: Samples<'_>,
    windows: &WindowGrid,
    lookback_ms: i64,
    out: &mut [f64],
) {
    let wide = WindowGrid {
        end_ms: windows.end_ms.saturating_add(lookback_ms),
        range_ms: lookback_ms.saturating_mul(2),
        ..*windows
    };
    wide.for_each(samples, |step_index, low, high| {
        let time_ms = windows.end_ms_at(step_index);
        let times_ms = &samples.times_ms[low..high];
        let values = &samples.values[low..high];
        let next = times_ms.partition_point(|time| *time < time_ms);
        out[step_index] = if times_ms.get(next) == Some(&time_ms) {
            values[next]
        } else if next == 0 {
            ABSENT
        } else if next < times_ms.len() {
            let left = (times_ms[next - 1], values[next - 1]);
            interpolate(left, (times_ms[next], values[next]), time_ms, false)
        } else {
            values[next - 1]
        };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::is_absent;

    fn rate_of(times_ms: &[i64], values: &[f64], windows: WindowGrid) -> Vec<f64> {
        let mut out = vec![0.0; windows.count];
        let kind = RateKind { is_counter: true, is_rate: false };
        extrapolated(Samples::new(times_ms, values), &windows, kind, &mut Scratch::default(), &mut out);
        out
    }

    #[test]
    fn increase_extrapolates_to_both_edges() {
        let times: Vec<i64> = (0..5).map(|i| i * 15_000).collect();
        let windows = WindowGrid { end_ms: 60_000, step_ms: 0, count: 1, range_ms: 60_000 };
        assert_eq!(rate_of(&times, &[10.0, 11.0, 12.0, 13.0, 14.0], windows), [4.0]);
    }

    #[test]
    fn resets_are_found_wherever_they_are() {
        for length in [0, 1, 2, 127, 128, 129, 130, 257, 600] {
            let values: Vec<f64> = (0..length)
                .map(
                    |index| {
                        if [1, 127, 128, 129, 256, 599].contains(&index) { -1.0 } else { f64::from(index) }
                    },
                )
                .collect();
            let expected: Vec<u32> = (1..values.len())
                .filter(|index| values[*index] < values[*index - 1])
                .map(|index| index as u32)
                .collect();
            let mut found = vec![7];
            find_resets(&values, &mut found);
            assert_eq!(found, expected, "{length}");
        }
    }

    #[test]
    fn resets_add_the_value_before_them() {
        let times = [1_000, 2_000, 3_000];
        let windows = WindowGrid { end_ms: 3_000, step_ms: 0, count: 1, range_ms: 2_001 };
        let out = rate_of(&times, &[10.0, 12.0, 3.0], windows);
        assert!((out[0] - 5.0 * (2_001.0 / 2_000.0)).abs() < 1e-12, "{out:?}");
    }

    #[test]
    fn one_sample_gives_nothing() {
        let windows = WindowGrid { end_ms: 1_000, step_ms: 0, count: 1, range_ms: 1_000 };
        assert!(is_absent(rate_of(&[500], &[1.0], windows)[0]));
    }

    #[test]
    fn irate_after_a_reset_starts_from_zero() {
        let windows = WindowGrid { end_ms: 2_000, step_ms: 0, count: 1, range_ms: 2_000 };
        let mut out = [0.0];
        instant(Samples::new(&[1_000, 2_000], &[9.0, 4.0]), &windows, true, &mut out);
        assert_eq!(out, [4.0]);
    }
}
