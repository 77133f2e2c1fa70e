//! Which times an evaluation looks at: step grids and the windows of range selectors.
//!
//! Input: start, end, step, range, offset, `@` in milliseconds. Output: evaluation times, window ends, and the
//! half-open [`TimeRange`] that storage must be asked for. Prometheus' left-open intervals live here and in the
//! kernels only. Not here: reading samples.

use std::ops::Range;

use mytsdb_storage::model::TimeRange;

use crate::kernel::Samples;
use crate::stop;

/// Windows between two looks at the cancellation.
const WINDOWS_PER_CHECK: usize = 64;

/// The evaluation times `start_ms + i * step_ms` for `i < count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepGrid {
    /// First evaluation time.
    pub(crate) start_ms: i64,
    /// Distance of evaluation times; any value if there is only one.
    pub(crate) step_ms: i64,
    /// How many there are.
    pub(crate) count: usize,
}

impl StepGrid {
    /// One evaluation time.
    pub(crate) fn single(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, count: 1 }
    }

    /// All multiples of the step from `start_ms` up to and including `end_ms`; empty if `end_ms < start_ms`.
    pub(crate) fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let span = i128::from(end_ms) - i128::from(start_ms);
        let count = if span < 0 { 0 } else { (span / i128::from(step_ms.max(1))) as usize + 1 };
        Self { start_ms, step_ms: step_ms.max(1), count }
    }

    /// The grid of a subquery: absolute multiples of `step_ms` inside `(first_end_ms - range_ms, last_end_ms]`.
    pub(crate) fn subquery(first_end_ms: i64, last_end_ms: i64, range_ms: i64, step_ms: i64) -> Self {
        let open_start_ms = first_end_ms.saturating_sub(range_ms);
        let start_ms = open_start_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        Self::new(start_ms, last_end_ms, step_ms)
    }

    /// The evaluation time of one step.
    #[inline]
    pub(crate) fn time_ms(&self, step_index: usize) -> i64 {
        self.start_ms.wrapping_add(self.step_ms.wrapping_mul(step_index as i64))
    }

    /// The grid that has only the first evaluation time.
    pub(crate) fn first(&self) -> Self {
        Self { count: self.count.min(1), ..*self }
    }
}

/// Times of samples, ascending, and what is known about them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times<'a> {
    times_ms: &'a [i64],
    /// The distance between neighbours if it is the same everywhere.
    spacing_ms: Option<i64>,
}

impl<'a> From<&'a [i64]> for Times<'a> {
    fn from(times_ms: &'a [i64]) -> Self {
        Self { times_ms, spacing_ms: constant_spacing_ms(times_ms) }
    }
}

impl<'a> From<Samples<'a>> for Times<'a> {
    fn from(samples: Samples<'a>) -> Self {
        Self { times_ms: samples.times_ms, spacing_ms: samples.spacing_ms }
    }
}

/// The windows `(end - range_ms, end]` of a selector, one per step, where `end = end_ms + i * step_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowGrid {
    /// End of the first window (inclusive).
    pub(crate) end_ms: i64,
    /// Distance of ends; 0 if `@` fixes them.
    pub(crate) step_ms: i64,
    /// How many windows there are.
    pub(crate) count: usize,
    /// Length of a window.
    pub(crate) range_ms: i64,
}

impl WindowGrid {
    /// The windows of a selector with this offset and `@` over `grid`.
    pub(crate) fn new(grid: &StepGrid, at_ms: Option<i64>, offset_ms: i64, range_ms: i64) -> Self {
        match at_ms {
            Some(at_ms) => {
                Self { end_ms: at_ms.saturating_sub(offset_ms), step_ms: 0, count: grid.count, range_ms }
            }
            None => Self {
                end_ms: grid.start_ms.saturating_sub(offset_ms),
                step_ms: grid.step_ms,
                count: grid.count,
                range_ms,
            },
        }
    }

    /// End of one window (inclusive).
    #[inline]
    pub(crate) fn end_ms_at(&self, step_index: usize) -> i64 {
        self.end_ms.wrapping_add(self.step_ms.wrapping_mul(step_index as i64))
    }

    /// End of the last window.
    pub(crate) fn last_end_ms(&self) -> i64 {
        self.end_ms_at(self.count.saturating_sub(1))
    }

    /// What storage must be asked for so that every window is covered, `before_ms` and `after_ms` more than it.
    pub(crate) fn read_range(&self, before_ms: i64, after_ms: i64) -> TimeRange {
        let first_ms = self.end_ms.saturating_sub(self.range_ms).saturating_sub(before_ms).saturating_add(1);
        TimeRange::from_inclusive(first_ms, self.last_end_ms().saturating_add(after_ms))
    }

    /// The windows in numbers of samples, if the samples lie on a constant grid that the step is a multiple of.
    #[inline]
    pub(crate) fn regular<'a>(&self, times: impl Into<Times<'a>>) -> Option<RegularWindows> {
        let Times { times_ms, spacing_ms } = times.into();
        let spacing_ms = spacing_ms?;
        if self.step_ms % spacing_ms != 0 {
            return None;
        }
        let first_ms = i128::from(times_ms[0]);
        // How many samples have a time <= limit, not clamped to those that exist.
        let count_until =
            |limit_ms: i128| ((limit_ms - first_ms).div_euclid(i128::from(spacing_ms)) + 1) as i64;
        Some(RegularWindows {
            low: count_until(i128::from(self.end_ms) - i128::from(self.range_ms)),
            high: count_until(i128::from(self.end_ms)),
            advance: self.step_ms / spacing_ms,
            step_count: self.count,
            length: times_ms.len() as i64,
        })
    }

    /// Calls `body(step_index, low, high)` for every window, where `times_ms[low..high]` are the samples in it. Gives up
    /// when the query is stopped (see [`stop`]).
    ///
    /// # Cost
    /// O(windows) if the samples lie on a constant grid that the step is a multiple of, else O(samples + windows).
    #[inline]
    pub(crate) fn for_each<'a>(
        &self,
        times: impl Into<Times<'a>>,
        mut body: impl FnMut(usize, usize, usize),
    ) {
        let times = times.into();
        let times_ms = times.times_ms;
        let length = times_ms.len();
        if length == 0 {
            for step_index in 0..self.count {
                body(step_index, 0, 0);
            }
            return;
        }
        if let Some(regular) = self.regular(times) {
            for start in (0..self.count).step_by(WINDOWS_PER_CHECK) {
                if stop::is_stopped() {
                    return;
                }
                regular.for_each(start..(start + WINDOWS_PER_CHECK).min(self.count), &mut body);
            }
            return;
        }
        let (mut low, mut high) = (0, 0);
        for step_index in 0..self.count {
            if step_index % WINDOWS_PER_CHECK == 0 && stop::is_stopped() {
                return;
            }
            let end_ms = self.end_ms_at(step_index);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while high < length && times_ms[high] <= end_ms {
                high += 1;
            }
            while low < high && times_ms[low] <= start_ms {
                low += 1;
            }
            body(step_index, low, high);
        }
    }
}

/// Windows over samples at a constant distance: each moves by the same number of samples from step to step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegularWindows {
    /// Samples before the first window; negative if the window begins before the samples do.
    low: i64,
    /// Samples before the end of the first window, as if there were samples everywhere.
    high: i64,
    /// Samples per step.
    advance: i64,
    step_count: usize,
    length: i64,
}

impl RegularWindows {
    /// Calls `body(step_index, low, high)` for the windows of `steps`.
    #[inline]
    pub(crate) fn for_each(&self, steps: Range<usize>, mut body: impl FnMut(usize, usize, usize)) {
        let mut low = self.low + self.advance * steps.start as i64;
        let mut high = self.high + self.advance * steps.start as i64;
        for step_index in steps {
            body(step_index, low.clamp(0, self.length) as usize, high.clamp(0, self.length) as usize);
            low += self.advance;
            high += self.advance;
        }
    }

    /// The steps whose windows lie within the samples on both sides, with the samples of the first of them and how
    /// many further each next one is; nothing if there are none or the windows stand still.
    #[inline]
    pub(crate) fn interior(&self) -> Option<(Range<usize>, Range<usize>, usize)> {
        if self.advance < 1 || self.low >= self.high {
            return None;
        }
        let steps_until = |samples: i64| usize::try_from(samples.max(0) / self.advance).ok();
        let start = steps_until((-self.low).max(0) + self.advance - 1)?;
        let end = steps_until(self.length - self.high + self.advance)?.min(self.step_count);
        if start >= end {
            return None;
        }
        let moved = self.advance * start as i64;
        let (low, high) = ((self.low + moved) as usize, (self.high + moved) as usize);
        Some((start..end, low..high, self.advance as usize))
    }
}

/// The distance between neighbours if it is the same everywhere.
///
/// # Cost
/// O(samples), a vectorised pass.
#[inline]
pub(crate) fn constant_spacing_ms(times_ms: &[i64]) -> Option<i64> {
    let [first_ms, second_ms, ..] = times_ms else { return None };
    let spacing_ms = second_ms.checked_sub(*first_ms)?;
    let span_ms = times_ms[times_ms.len() - 1].checked_sub(*first_ms)?;
    if spacing_ms <= 0 || spacing_ms.checked_mul(times_ms.len() as i64 - 1) != Some(span_ms) {
        return None;
    }
    // Branch-free and without comparisons, which vectors of any x86-64 do not have for integers of this size; irregular
    // columns nearly always fail the check above already.
    let pairs = times_ms[1..].iter().zip(times_ms);
    let difference = pairs.fold(0, |any, (later, time)| any | (later.wrapping_sub(*time) ^ spacing_ms));
    (difference == 0).then_some(spacing_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(grid: &WindowGrid, times_ms: &[i64]) -> Vec<(usize, usize)> {
        (0..grid.count)
            .map(|step| {
                let end = grid.end_ms_at(step);
                let start = end - grid.range_ms;
                let low = times_ms.iter().filter(|time| **time <= start).count();
                let high = times_ms.iter().filter(|time| **time <= end).count();
                (low, high)
            })
            .collect()
    }

    #[test]
    fn subquery_steps_are_multiples_strictly_after_the_start() {
        let grid = StepGrid::subquery(100, 100, 50, 10);
        assert_eq!((grid.start_ms, grid.count), (60, 5));
        assert_eq!(StepGrid::subquery(-5, -5, 20, 10).start_ms, -20);
    }

    #[test]
    fn windows_end_early_when_their_query_is_stopped() {
        let grid = WindowGrid { end_ms: 0, step_ms: 10, count: 1000, range_ms: 100 };
        for times in [vec![0, 10, 20, 30], vec![0, 10, 25, 30]] {
            let cancellation = crate::Cancellation::default();
            let windows = || {
                let mut count = 0;
                grid.for_each(&times[..], |_, _, _| {
                    count += 1;
                    if count == 500 {
                        cancellation.cancel(crate::CancelReason::TimedOut);
                    }
                });
                count
            };
            let watched = {
                let _watch = stop::watch(&cancellation);
                windows()
            };
            assert_eq!(watched, 500_usize.next_multiple_of(WINDOWS_PER_CHECK), "{times:?}");
            // Nobody watches any more.
            assert_eq!(windows(), 1000);
        }
    }

    #[test]
    fn an_end_before_the_start_gives_no_steps() {
        assert_eq!(StepGrid::new(10, 9, 5).count, 0);
    }

    proptest! {
        #[test]
        fn windows_hold_exactly_the_samples_of_left_open_ranges(
            first in -1000_i64..1000,
            gaps in proptest::collection::vec(1_i64..40, 0..60),
            is_regular: bool,
            end in -1500_i64..2500,
            step in 0_i64..50,
            range in 0_i64..300,
        ) {
            let mut times = vec![first];
            for gap in gaps {
                times.push(times[times.len() - 1] + if is_regular { 10 } else { gap });
            }
            let grid = WindowGrid { end_ms: end, step_ms: if is_regular { step * 10 } else { step }, count: 20, range_ms: range };
            let mut found = Vec::new();
            grid.for_each(&times[..], |_, low, high| found.push((low, high)));
            let expected = naive(&grid, &times);
            for ((low, high), (naive_low, naive_high)) in found.iter().zip(&expected) {
                prop_assert_eq!(&times[*low..*high], &times[*naive_low..*naive_high]);
            }
            if let Some((steps, first, advance)) = grid.regular(&times[..]).and_then(|regular| regular.interior()) {
                for (offset, step) in steps.clone().enumerate() {
                    prop_assert_eq!((first.start + offset * advance, first.end + offset * advance), expected[step]);
                }
                let spacing = constant_spacing_ms(&times).unwrap();
                // Nothing is left out: the windows beside reach over an end, or have no sample of their own there.
                let is_whole = |step: usize| {
                    let (end, start) = (grid.end_ms_at(step), grid.end_ms_at(step) - grid.range_ms);
                    start >= times[0] - spacing && end < times[times.len() - 1] + spacing
                };
                prop_assert!((0..grid.count).all(|step| steps.contains(&step) == is_whole(step)));
            }
        }
    }
}
