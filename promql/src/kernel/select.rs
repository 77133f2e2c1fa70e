//! Instant selectors: the newest sample of each window, and its time.

use super::{ABSENT, Samples, is_absent};
use crate::grid::WindowGrid;

/// The newest sample's value per window; absent if there is none or it is a stale marker.
pub(crate) fn newest_value(samples: Samples<'_>, windows: &WindowGrid, out: &mut [f64]) {
    // A stale marker is copied as it is: it has the bits of ABSENT.
    let mut one = |step_index: usize, low: usize, high: usize| {
        out[step_index] = if high > low { samples.values[high - 1] } else { ABSENT };
    };
    let Some(regular) = windows.regular(samples) else {
        return windows.for_each(samples, one);
    };
    let Some((steps, first, advance)) = regular.interior() else {
        return regular.for_each(0..windows.count, one);
    };
    regular.for_each(0..steps.start, &mut one);
    regular.for_each(steps.end..windows.count, &mut one);
    // PERF (bench `kernel`, `instant_selector`): most steps are these, and nothing is to be decided at them.
    let newest = samples.values[first.end - 1..].iter().step_by(advance);
    for (slot, value) in out[steps].iter_mut().zip(newest) {
        *slot = *value;
    }
}

/// 1 per window whose newest sample is no stale marker; values do not matter otherwise.
pub(crate) fn presence(samples: Samples<'_>, windows: &WindowGrid, out: &mut [f64]) {
    let has_stale = samples.values.iter().fold(false, |any, value| any | is_absent(*value));
    let mut one = |step_index: usize, low: usize, high: usize| {
        let is_present = high > low && !(has_stale && is_absent(samples.values[high - 1]));
        out[step_index] = if is_present { 1.0 } else { ABSENT };
    };
    let Some(regular) = windows.regular(samples) else {
        return windows.for_each(samples, one);
    };
    let Some((steps, ..)) = regular.interior().filter(|_| !has_stale) else {
        return regular.for_each(0..windows.count, one);
    };
    regular.for_each(0..steps.start, &mut one);
    regular.for_each(steps.end..windows.count, &mut one);
    out[steps].fill(1.0);
}

/// The newest sample's time in seconds per window; absent if there is none or it is a stale marker.
pub(crate) fn newest_time(samples: Samples<'_>, windows: &WindowGrid, out: &mut [f64]) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high > low && !is_absent(samples.values[high - 1]) {
            samples.times_ms[high - 1] as f64 / 1000.0
        } else {
            ABSENT
        };
    });
}

/// The newest sample's start time in seconds per window, 0 if it is unknown; absent as in [`newest_time`].
/// `starts_ms`: one for each sample, or empty if none is known.
pub(crate) fn newest_start(samples: Samples<'_>, starts_ms: &[i64], windows: &WindowGrid, out: &mut [f64]) {
    windows.for_each(samples, |step_index, low, high| {
        out[step_index] = if high > low && !is_absent(samples.values[high - 1]) {
            starts_ms.get(high - 1).map_or(0.0, |start_ms| *start_ms as f64 / 1000.0)
        } else {
            ABSENT
        };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_where_values_are() {
        let stale_at = |position: usize| {
            (0..40).map(|index| if index == position { ABSENT } else { 3.0 }).collect::<Vec<f64>>()
        };
        let times_ms: Vec<i64> = (0..40).map(|index| index * 10).collect();
        for (values, step_ms, range_ms) in [
            (stale_at(99), 20, 50),
            (stale_at(7), 20, 50),
            (stale_at(39), 15, 5),
            (stale_at(99), 30, 5),
            (stale_at(99), 0, 50),
        ] {
            let samples = Samples::new(&times_ms, &values);
            let windows = WindowGrid { end_ms: -30, step_ms, count: 30, range_ms };
            let (mut found, mut expected) = ([0.0; 30], [0.0; 30]);
            presence(samples, &windows, &mut found);
            newest_value(samples, &windows, &mut expected);
            let is_present = |row: [f64; 30]| row.map(|value| !is_absent(value));
            assert_eq!(is_present(found), is_present(expected));
            assert!(found.iter().all(|value| is_absent(*value) || *value == 1.0));
        }
    }

    #[test]
    fn lookback_is_left_open_and_the_newest_sample_decides() {
        let samples = Samples::new(&[0, 10, 20], &[1.0, 2.0, ABSENT]);
        let windows = WindowGrid { end_ms: 0, step_ms: 5, count: 7, range_ms: 10 };
        let mut out = [0.0; 7];
        newest_value(samples, &windows, &mut out);
        let seen: Vec<Option<f64>> = out.iter().map(|v| (!is_absent(*v)).then_some(*v)).collect();
        assert_eq!(seen, [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None, None, None]);
    }
}
