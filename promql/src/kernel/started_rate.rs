//! `rate`, `increase`, `irate` and `resets` of counters that say when counting began.
//!
//! Input: as in [`super::rate`], and a start time for each sample, 0 where it is unknown. Counters without any go through
//! [`super::rate`], at its speed. Source: Prometheus `promql/functions.go` (`extrapolatedRate`, `instantValue`).

use super::rate::{Edges, RateKind};
use super::{ABSENT, Samples, Scratch, start_times};
use crate::grid::WindowGrid;

/// Whether the counter fell or began anew before the sample at `index`, which is not the first.
#[inline]
pub(crate) fn is_reset(samples: Samples<'_>, starts_ms: &[i64], index: usize) -> bool {
    let started = |index: usize| (starts_ms[index], samples.times_ms[index]);
    samples.values[index] < samples.values[index - 1]
        || start_times::is_reset(started(index - 1), started(index))
}

/// Whether in any window there are samples of which one began in the middle of what the one before counted.
pub(crate) fn has_overlap(
    samples: Samples<'_>,
    starts_ms: &[i64],
    windows: &WindowGrid,
    scratch: &mut Scratch,
) -> bool {
    let times_ms = samples.times_ms;
    let overlaps = &mut scratch.indexes;
    overlaps.clear();
    let is_overlap = |index: &usize| {
        start_times::is_overlap((starts_ms[index - 1], times_ms[index - 1]), starts_ms[*index])
    };
    overlaps.extend((1..times_ms.len()).filter(is_overlap).map(|index| index as u32));
    let mut is_found = false;
    if !overlaps.is_empty() {
        windows.for_each(samples, |_, low, high| {
            let next = overlaps.partition_point(|index| *index as usize <= low);
            is_found |= overlaps.get(next).is_some_and(|index| (*index as usize) < high);
        });
    }
    is_found
}

/// `rate` and `increase`: a window whose first sample began inside of it begins with zero there, so one sample is enough.
///
/// # Cost
/// O(samples + steps), as [`super::rate::extrapolated`].
pub(crate) fn extrapolated(
    samples: Samples<'_>,
    starts_ms: &[i64],
    windows: &WindowGrid,
    is_rate: bool,
    scratch: &mut Scratch,
    out: &mut [f64],
) {
    let Samples { times_ms, values, .. } = samples;
    let kind = RateKind { is_counter: true, is_rate };
    let divisor = if is_rate { windows.range_ms as f64 / 1000.0 } else { 1.0 };
    let resets = &mut scratch.indexes;
    resets.clear();
    let is_reset = |index: &usize| is_reset(samples, starts_ms, *index);
    resets.extend((1..values.len()).filter(is_reset).map(|index| index as u32));
    let mut reset_low = 0;
    let mut edges = Edges::default();
    windows.for_each(samples, |step_index, low, high| {
        if high <= low {
            out[step_index] = ABSENT;
            return;
        }
        let last = high - 1;
        let first_value = values[low];
        let mut increase = values[last] - first_value;
        while reset_low < resets.len() && resets[reset_low] as usize <= low {
            reset_low += 1;
        }
        for reset in resets[reset_low..].iter().take_while(|reset| **reset as usize <= last) {
            increase += values[*reset as usize - 1];
        }
        let end_ms = windows.end_ms_at(step_index);
        let start_ms = end_ms.saturating_sub(windows.range_ms);
        out[step_index] = match start_times::zero_ms((starts_ms[low], times_ms[low]), start_ms) {
            Some(zero_ms) => {
                let ends_ms = (times_ms[low], times_ms[last]);
                let factor = start_times::factor_from_zero(zero_ms, ends_ms, high - low, end_ms);
                (increase + first_value) * (factor / divisor)
            }
            None if last == low => ABSENT,
            None => {
                edges.move_to(&times_ms[low..high], windows, step_index, kind);
                edges.extrapolate(first_value, increase, kind)
            }
        };
    });
}

/// `irate`.
pub(crate) fn instant(samples: Samples<'_>, starts_ms: &[i64], windows: &WindowGrid, out: &mut [f64]) {
    let Samples { times_ms, values, .. } = samples;
    windows.for_each(samples, |step_index, low, high| {
        if high < low + 2 {
            out[step_index] = ABSENT;
            return;
        }
        let last = high - 1;
        let from = if is_reset(samples, starts_ms, last) { 0.0 } else { values[last - 1] };
        out[step_index] = (values[last] - from) / ((times_ms[last] - times_ms[last - 1]) as f64 / 1000.0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::rate;
    use proptest::prelude::*;

    proptest! {
        /// Without start times everything is as in the kernels that know none.
        #[test]
        fn unknown_starts_change_nothing(
            gaps in proptest::collection::vec((1..30_i64, -3..9_i32), 1..40),
            end in 0..600_i64,
            step in 0..40_i64,
            range in 1..200_i64,
        ) {
            let (mut time_ms, mut value) = (0, 0.0);
            let (mut times_ms, mut values) = (Vec::new(), Vec::new());
            for (gap, change) in gaps {
                time_ms += gap;
                value = if change < 0 { 1.0 } else { value + f64::from(change) };
                times_ms.push(time_ms);
                values.push(value);
            }
            let samples = Samples::new(&times_ms, &values);
            let starts_ms = vec![0; times_ms.len()];
            let windows = WindowGrid { end_ms: end, step_ms: step, count: 6, range_ms: range };
            let scratch = &mut Scratch::default();
            let bits = |values: [f64; 6]| values.map(f64::to_bits);
            for is_rate in [false, true] {
                let (mut expected, mut found) = ([0.0; 6], [0.0; 6]);
                rate::extrapolated(samples, &windows, RateKind { is_counter: true, is_rate }, scratch, &mut expected);
                extrapolated(samples, &starts_ms, &windows, is_rate, scratch, &mut found);
                prop_assert_eq!(bits(found), bits(expected));
            }
            let (mut expected, mut found) = ([0.0; 6], [0.0; 6]);
            rate::instant(samples, &windows, true, &mut expected);
            instant(samples, &starts_ms, &windows, &mut found);
            prop_assert_eq!(bits(found), bits(expected));
            prop_assert!(!has_overlap(samples, &starts_ms, &windows, scratch));
        }
    }

    #[test]
    fn overlaps_count_only_inside_of_a_window() {
        let samples = Samples::new(&[10, 20, 30], &[1.0, 2.0, 3.0]);
        let starts_ms = [5, 8, 8];
        let at = |end_ms, range_ms| {
            let windows = WindowGrid { end_ms, step_ms: 0, count: 1, range_ms };
            has_overlap(samples, &starts_ms, &windows, &mut Scratch::default())
        };
        assert!(at(30, 25) && at(20, 15));
        assert!(!at(30, 15), "the two that overlap are not both inside");
    }
}
