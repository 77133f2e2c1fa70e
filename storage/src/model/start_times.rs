//! Start times of a column of float samples: when counting began, as runs.
//!
//! Most series have one start time for thousands of samples, many have none: a column of them would cost as much as
//! the values. Native histograms carry theirs themselves ([`super::Histogram::start_ms`]).

use std::ops::Range;

/// In the place of a start time: the sender did not say. Senders write zero for it themselves.
pub const UNKNOWN_START_MS: i64 = 0;

/// From this sample on, up to the next run, samples have this start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartRun {
    /// Position of the run's first sample in its column.
    pub position: usize,
    /// Milliseconds since the Unix epoch, or [`UNKNOWN_START_MS`].
    pub start_ms: i64,
}

/// The start time of a sample under runs; before the first run it is unknown.
fn start_at(runs: &[StartRun], position: usize) -> i64 {
    let after = runs.partition_point(|run| run.position <= position);
    after.checked_sub(1).and_then(|at| runs.get(at)).map_or(UNKNOWN_START_MS, |run| run.start_ms)
}

/// The start times of one column. Equal if every sample's is.
///
/// Positions ascend, neighbouring runs differ, the first is not [`UNKNOWN_START_MS`]. Empty means that no start time is
/// known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartTimes {
    runs: Vec<StartRun>,
}

impl StartTimes {
    /// Start times of a column of which none is known.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Returns whether no start time is known.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs.
    pub fn runs(&self) -> &[StartRun] {
        &self.runs
    }

    /// The start time of a sample, or [`UNKNOWN_START_MS`]. O(log runs).
    #[inline]
    pub fn at(&self, position: usize) -> i64 {
        if self.runs.is_empty() { UNKNOWN_START_MS } else { start_at(&self.runs, position) }
    }

    /// Those of the first `sample_count` samples.
    pub fn up_to(&self, sample_count: usize) -> StartSlice<'_> {
        StartSlice::new(&self.runs, 0..sample_count)
    }

    /// Those of some samples.
    pub fn slice(&self, range: Range<usize>) -> StartSlice<'_> {
        StartSlice::new(&self.runs, range)
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Memory of the runs in bytes.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<StartRun>()
    }

    /// The start time of the last sample.
    pub(crate) fn last_start_ms(&self) -> i64 {
        self.runs.last().map_or(UNKNOWN_START_MS, |run| run.start_ms)
    }

    /// Gives the samples from `position` on a start time; `position` is not below that of the last run.
    #[inline]
    pub fn push(&mut self, position: usize, start_ms: i64) {
        if self.last_start_ms() != start_ms {
            self.push_run(position, start_ms);
        }
    }

    fn push_run(&mut self, position: usize, start_ms: i64) {
        if self.runs.last().is_some_and(|last| last.position >= position) {
            // The last run has no samples.
            self.runs.pop();
            return self.push(position, start_ms);
        }
        self.runs.push(StartRun { position, start_ms });
    }

    /// Gives the `sample_count` samples from `position` on those of `slice`.
    #[inline]
    pub fn append(&mut self, position: usize, sample_count: usize, slice: StartSlice<'_>) {
        if sample_count == 0 || (self.is_empty() && slice.is_empty()) {
            return;
        }
        self.push(position, UNKNOWN_START_MS);
        for run in slice.runs() {
            self.push(position + run.position, run.start_ms);
        }
    }

    /// Forgets those from `position` on.
    pub fn truncate(&mut self, position: usize) {
        let kept = self.runs.partition_point(|run| run.position < position);
        self.runs.truncate(kept);
    }

    /// Takes the samples of `range` out: those behind move up. A caller who takes the last ones calls
    /// [`StartTimes::truncate`] after.
    pub fn remove(&mut self, range: Range<usize>) {
        if self.is_empty() || range.is_empty() {
            return;
        }
        let mut kept = Self::new();
        kept.append(0, range.start, self.slice(0..range.start));
        kept.append(range.start, 1, self.slice(range.end..usize::MAX));
        *self = kept;
    }

    /// Takes those from `position` on out, of `sample_count` samples.
    pub(crate) fn split_off(&mut self, position: usize, sample_count: usize) -> Self {
        let mut rest = Self::new();
        let position = position.min(sample_count);
        rest.append(0, sample_count - position, self.slice(position..sample_count));
        self.truncate(position);
        rest
    }
}

/// The start times of some neighbouring samples of a column.
#[derive(Debug, Clone, Copy)]
pub struct StartSlice<'a> {
    runs: &'a [StartRun],
    from: usize,
    to: usize,
}

impl Default for StartSlice<'_> {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl<'a> StartSlice<'a> {
    /// No start time is known.
    pub const UNKNOWN: Self = Self { runs: &[], from: 0, to: 0 };

    /// Those of the samples `range` of a column with these runs, by ascending position; neighbours may repeat.
    pub fn new(runs: &'a [StartRun], range: Range<usize>) -> Self {
        Self { runs, from: range.start, to: range.end }.narrowed()
    }

    /// Without the runs of other samples.
    fn narrowed(mut self) -> Self {
        if self.runs.is_empty() || self.from >= self.to {
            return Self::UNKNOWN;
        }
        let first = self.runs.partition_point(|run| run.position <= self.from).saturating_sub(1);
        let end = self.runs.partition_point(|run| run.position < self.to);
        self.runs = self.runs.get(first..end).unwrap_or_default();
        self
    }

    /// Those of some of these samples.
    pub fn slice(&self, range: Range<usize>) -> Self {
        if self.runs.is_empty() {
            return Self::UNKNOWN;
        }
        let from = self.from.saturating_add(range.start).min(self.to);
        let to = self.from.saturating_add(range.end).min(self.to);
        Self { runs: self.runs, from, to }.narrowed()
    }

    /// Returns whether no start time is known.
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.start_ms == UNKNOWN_START_MS)
    }

    /// The start time of one of these samples, or [`UNKNOWN_START_MS`].
    #[inline]
    pub fn at(&self, position: usize) -> i64 {
        if self.runs.is_empty() { UNKNOWN_START_MS } else { start_at(self.runs, self.from + position) }
    }

    /// The runs, positions counted from the first of these samples.
    pub fn runs(&self) -> impl Iterator<Item = StartRun> + Clone + 'a {
        let from = self.from;
        self.runs
            .iter()
            .map(move |run| StartRun { position: run.position.saturating_sub(from), start_ms: run.start_ms })
    }

    /// One start time for each of the first `sample_count` samples.
    pub fn each(&self, sample_count: usize) -> impl Iterator<Item = i64> + 'a {
        let mut runs = self.runs().peekable();
        let mut start_ms = UNKNOWN_START_MS;
        (0..sample_count).map(move |position| {
            while let Some(run) = runs.next_if(|run| run.position <= position) {
                start_ms = run.start_ms;
            }
            start_ms
        })
    }
}

/// Collects one start time per sample.
impl FromIterator<i64> for StartTimes {
    fn from_iter<I: IntoIterator<Item = i64>>(starts_ms: I) -> Self {
        let mut times = Self::new();
        for (position, start_ms) in starts_ms.into_iter().enumerate() {
            times.push(position, start_ms);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts() -> impl Strategy<Value = Vec<i64>> {
        proptest::collection::vec(0..3_i64, 0..20)
    }

    fn is_canonical(times: &StartTimes) -> bool {
        times
            .runs()
            .is_sorted_by(|left, right| left.position < right.position && left.start_ms != right.start_ms)
            && times.runs().first().is_none_or(|run| run.start_ms != UNKNOWN_START_MS)
    }

    proptest! {
        #[test]
        fn runs_say_what_a_column_would(left in starts(), right in starts(), a in 0..25_usize, b in 0..25_usize) {
            let (a, b) = (a.min(b), a.max(b));
            let times: StartTimes = left.iter().copied().collect();
            prop_assert!(is_canonical(&times));
            prop_assert_eq!(times.up_to(left.len()).each(left.len()).collect::<Vec<_>>(), left.clone());
            for (position, start_ms) in left.iter().enumerate() {
                prop_assert_eq!(times.at(position), *start_ms);
            }
            // A part, and a part of a part.
            let end = b.min(left.len());
            let part = &left[a.min(end)..end];
            let slice = times.slice(a.min(end)..end);
            prop_assert_eq!(slice.each(part.len()).collect::<Vec<_>>(), part);
            prop_assert_eq!(slice.is_empty(), part.iter().all(|start_ms| *start_ms == 0));
            if part.len() > 2 {
                prop_assert_eq!(slice.slice(1..part.len() - 1).each(part.len() - 2).collect::<Vec<_>>(), &part[1..part.len() - 1]);
                prop_assert_eq!(slice.slice(1..2).at(0), part[1]);
            }
            // One behind the other.
            let mut both = times.clone();
            both.append(left.len(), right.len(), right.iter().copied().collect::<StartTimes>().up_to(right.len()));
            let joined: Vec<i64> = left.iter().chain(&right).copied().collect();
            prop_assert!(is_canonical(&both));
            prop_assert_eq!(&both, &joined.iter().copied().collect::<StartTimes>());
            // Without some.
            let mut fewer = both.clone();
            fewer.remove(a..b);
            let kept: Vec<i64> = joined.iter().enumerate().filter(|(at, _)| !(a..b).contains(at)).map(|(_, start_ms)| *start_ms).collect();
            prop_assert_eq!(fewer.up_to(kept.len()).each(kept.len()).collect::<Vec<_>>(), kept.clone());
            fewer.truncate(kept.len());
            prop_assert_eq!(fewer, kept.into_iter().collect::<StartTimes>());
            let rest = both.split_off(a, joined.len());
            let at = a.min(joined.len());
            prop_assert_eq!(&rest, &joined[at..].iter().copied().collect::<StartTimes>());
            prop_assert_eq!(&both, &joined[..at].iter().copied().collect::<StartTimes>());
        }
    }
}
