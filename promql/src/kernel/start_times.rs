//! What start times say about resets and about the beginning of a counter. Used for numbers and histograms alike.
//!
//! A start time of 0 is unknown, and so is one that is not before its sample.
//! Source: Prometheus `promql/functions.go` (`isStartTimestampReset`, `checkStartTimeOverlap`, `extrapolatedRate`).

/// Start time and time of a sample, in milliseconds.
pub(crate) type Started = (i64, i64);

/// Whether the counter began anew between two neighbouring samples.
#[inline]
pub(crate) fn is_reset((previous_start_ms, previous_ms): Started, (start_ms, time_ms): Started) -> bool {
    if start_ms == 0 || start_ms >= time_ms || start_ms < previous_ms {
        return false;
    }
    if start_ms > previous_ms {
        return true;
    }
    // It began at the sample before: a delta, unless nobody knows when that one began, which is how OpenTelemetry sends
    // counters whose start is not known.
    previous_start_ms != 0 && previous_start_ms < previous_ms
}

/// Whether a sample began in the middle of what the sample before it counted.
#[inline]
pub(crate) fn is_overlap((previous_start_ms, previous_ms): Started, start_ms: i64) -> bool {
    start_ms != 0 && start_ms < previous_ms && start_ms != previous_start_ms
}

/// When the first sample of a window counted from zero, if that was inside of the window.
#[inline]
pub(crate) fn zero_ms((start_ms, time_ms): Started, window_start_ms: i64) -> Option<i64> {
    (start_ms != 0 && start_ms > window_start_ms && start_ms < time_ms).then_some(start_ms)
}

/// What the increase since `zero_ms` is multiplied with: nothing to extrapolate at the beginning, and at the end not
/// more than for other windows; a single sample says nothing about the distance of samples.
///
/// `times_ms`: first and last sample; `count`: how many there are.
pub(crate) fn factor_from_zero(
    zero_ms: i64,
    (first_ms, last_ms): (i64, i64),
    count: usize,
    window_end_ms: i64,
) -> f64 {
    let average = if count > 1 { (last_ms - first_ms) as f64 / (count - 1) as f64 } else { 0.0 };
    let sampled = (last_ms - zero_ms) as f64;
    let mut to_end = (window_end_ms - last_ms) as f64;
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    (sampled + to_end) / sampled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_between_two_samples_is_a_reset() {
        let previous = (50, 100);
        assert!(is_reset(previous, (150, 200)));
        assert!(!is_reset(previous, (50, 200)), "one start for both");
        assert!(!is_reset(previous, (0, 200)), "unknown");
        assert!(!is_reset(previous, (200, 200)), "not before its sample");
        assert!(!is_reset(previous, (201, 200)), "after its sample");
    }

    #[test]
    fn a_start_at_the_sample_before_is_a_delta_if_that_one_has_a_start() {
        assert!(is_reset((50, 100), (100, 200)));
        assert!(!is_reset((0, 100), (100, 200)));
        assert!(!is_reset((100, 100), (100, 200)));
        assert!(!is_reset((160, 100), (100, 200)));
    }

    #[test]
    fn overlaps_are_starts_inside_of_what_was_counted_already() {
        assert!(is_overlap((50, 100), 60));
        assert!(!is_overlap((50, 100), 50) && !is_overlap((50, 100), 100) && !is_overlap((50, 100), 0));
    }

    #[test]
    fn a_single_sample_is_not_extrapolated() {
        assert_eq!(zero_ms((40, 100), 30), Some(40));
        assert_eq!([(30, 100), (0, 100), (100, 100)].map(|started| zero_ms(started, 30)), [None; 3]);
        assert_eq!(factor_from_zero(40, (100, 100), 1, 150), 1.0);
        assert_eq!(factor_from_zero(40, (60, 100), 3, 115), 75.0 / 60.0);
        assert_eq!(factor_from_zero(40, (60, 100), 3, 150), 70.0 / 60.0);
    }
}
