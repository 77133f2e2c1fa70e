//! What becomes of a batch: which samples are refused, which are logged one by one, which as encoded chunks.
//!
//! Pure but for encoding. Long ascending runs are encoded at once: the WAL and the head then take a byte a sample
//! instead of ten.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashSet;

use super::WriteError;
use crate::batch::{RejectReason, Rejection, WriteBatch, WriteReport};
use crate::head::{CHUNK_SAMPLE_COUNT, Codec, Generation, Resolution, SampleRuns, SealedChunk};
use crate::model::{Exemplar, StartRun, StartSlice, StartTimes};
use crate::wal::{ChunkRecord, RecordBuilder};

/// Runs at least this long are encoded before they are logged.
const ENCODED_RUN_SAMPLE_COUNT_MIN: usize = 120;

/// A record of chunks ends after so many bytes: a body of histograms may grow tenfold, and records have a limit.
const RECORD_CHUNK_BYTES: usize = 64 << 20;

/// The times that are accepted, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeWindow {
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
}

impl TimeWindow {
    pub(super) fn refusal(self, time_ms: i64) -> Option<RejectReason> {
        if time_ms < self.oldest_ms {
            Some(RejectReason::TooOld { given_ms: time_ms, limit_ms: self.oldest_ms })
        } else if time_ms > self.newest_ms {
            Some(RejectReason::TooFarAhead { given_ms: time_ms, limit_ms: self.newest_ms })
        } else {
            None
        }
    }
}

/// Checks that the columns of a batch fit together.
///
/// # Errors
/// [`WriteError::Shape`].
pub(super) fn check_shape(batch: &WriteBatch<'_>) -> Result<(), WriteError> {
    let shape = |text: String| Err(WriteError::Shape(text));
    if batch.keys.len() != batch.sample_ends.len() {
        return shape(format!("{} keys for {} runs", batch.keys.len(), batch.sample_ends.len()));
    }
    let hint_count = batch.labels.hints().len();
    if hint_count != 0 && hint_count != batch.keys.len() {
        return shape(format!("{hint_count} hints for {} keys", batch.keys.len()));
    }
    if batch.timestamps_ms.len() != batch.values.len() {
        return shape(format!("{} timestamps for {} values", batch.timestamps_ms.len(), batch.values.len()));
    }
    if !batch.sample_ends.is_sorted() {
        return shape("ends of runs do not ascend".to_owned());
    }
    let last_end = batch.sample_ends.last().copied().unwrap_or(0);
    if last_end != batch.values.len() {
        return shape(format!("runs end at {last_end}, there are {} samples", batch.values.len()));
    }
    if !batch.starts.is_sorted_by(|left, right| left.position < right.position) {
        return shape("positions of start times do not ascend".to_owned());
    }
    if let Some(last) = batch.starts.last()
        && last.position >= batch.values.len()
    {
        return shape(format!("a start time of sample {}, there are {}", last.position, batch.values.len()));
    }
    let sparse = batch.histograms.iter().map(|sample| sample.series_index);
    let indices = sparse.chain(batch.exemplars.iter().map(|sample| sample.series_index));
    match indices.max() {
        Some(index) if index >= batch.keys.len() => {
            shape(format!("a histogram or exemplar of series {index}, there are {}", batch.keys.len()))
        }
        _ => Ok(()),
    }
}

/// The samples of one series of a batch.
pub(super) fn run_range(batch: &WriteBatch<'_>, series_index: usize) -> Range<usize> {
    let start = if series_index == 0 { 0 } else { batch.sample_ends[series_index - 1] };
    start..batch.sample_ends[series_index]
}

/// What is logged and appended.
#[derive(Debug)]
pub(super) struct WritePlan<'a> {
    series_refs: Cow<'a, [u32]>,
    sample_ends: Cow<'a, [usize]>,
    timestamps_ms: Cow<'a, [i64]>,
    values: Cow<'a, [f64]>,
    starts: Cow<'a, [StartRun]>,
    pub(super) chunks: Vec<(u32, Arc<SealedChunk>)>,
    pub(super) exemplars: Vec<(u32, Exemplar)>,
}

impl<'a> WritePlan<'a> {
    /// Splits a batch by what becomes of it; refusals go to `report`.
    pub(super) fn new(
        batch: &WriteBatch<'a>,
        series_refs: &'a [u32],
        window: TimeWindow,
        report: &mut WriteReport,
    ) -> Self {
        let is_inside =
            batch.timestamps_ms.iter().all(|time_ms| (window.oldest_ms..=window.newest_ms).contains(time_ms));
        let has_long_runs = batch.values.len() >= batch.keys.len().saturating_mul(2)
            && (0..batch.keys.len())
                .any(|index| run_range(batch, index).len() >= ENCODED_RUN_SAMPLE_COUNT_MIN);
        if is_inside && !has_long_runs && report.rejections.is_empty() {
            return Self {
                series_refs: Cow::Borrowed(series_refs),
                sample_ends: Cow::Borrowed(batch.sample_ends),
                timestamps_ms: Cow::Borrowed(batch.timestamps_ms),
                values: Cow::Borrowed(batch.values),
                starts: Cow::Borrowed(batch.starts),
                chunks: Vec::new(),
                exemplars: Vec::new(),
            };
        }
        let starts = StartSlice::new(batch.starts, 0..batch.values.len());
        let mut plan = OwnedPlan { repeated: repeated(series_refs), ..OwnedPlan::default() };
        for (series_index, series_ref) in series_refs.iter().enumerate() {
            if *series_ref == Resolution::REJECTED {
                continue;
            }
            let range = run_range(batch, series_index);
            let run = Run {
                timestamps_ms: &batch.timestamps_ms[range.clone()],
                values: &batch.values[range.clone()],
                starts: starts.slice(range),
            };
            if is_inside || run.timestamps_ms.iter().all(|time_ms| window.refusal(*time_ms).is_none()) {
                plan.add_run(*series_ref, run);
            } else {
                report.rejections.extend(
                    plan.add_inside(*series_ref, run, window).map(|(sample_count, reason)| Rejection {
                        series_index,
                        sample_count,
                        reason,
                    }),
                );
            }
        }
        Self {
            series_refs: Cow::Owned(plan.series_refs),
            sample_ends: Cow::Owned(plan.sample_ends),
            timestamps_ms: Cow::Owned(plan.timestamps_ms),
            values: Cow::Owned(plan.values),
            starts: Cow::Owned(plan.starts.runs().to_vec()),
            chunks: plan.chunks,
            exemplars: Vec::new(),
        }
    }

    fn runs(&self) -> SampleRuns<'_> {
        SampleRuns {
            series_refs: &self.series_refs,
            sample_ends: &self.sample_ends,
            timestamps_ms: &self.timestamps_ms,
            values: &self.values,
            starts: StartSlice::new(&self.starts, 0..self.values.len()),
        }
    }

    /// How many samples are accepted.
    pub(super) fn sample_count(&self) -> usize {
        self.values.len() + self.chunks.iter().map(|(_, chunk)| chunk.sample_count as usize).sum::<usize>()
    }

    /// The newest accepted sample, if any.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        let in_chunks = self.chunks.iter().map(|(_, chunk)| chunk.max_ms).max();
        self.timestamps_ms.iter().copied().max().max(in_chunks)
    }

    /// Adds the records of the plan to `builder`.
    pub(super) fn log(&self, tenant_number: u32, builder: &mut RecordBuilder) {
        if !self.values.is_empty() {
            let runs = self.runs();
            let mut rest_ms = &*self.timestamps_ms;
            let mut run_start = 0;
            let timestamps = self.series_refs.iter().zip(&*self.sample_ends).map(|(series_ref, run_end)| {
                let (run_ms, behind_ms) = rest_ms.split_at(run_end - run_start);
                (rest_ms, run_start) = (behind_ms, *run_end);
                (*series_ref, run_ms)
            });
            builder.samples(tenant_number, self.series_refs.len(), timestamps, &self.values, runs.starts);
        }
        for run in record_runs(&self.chunks, RECORD_CHUNK_BYTES) {
            let records = run.iter().map(|(series_ref, chunk)| ChunkRecord {
                series_ref: *series_ref,
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                sample_count: chunk.sample_count,
                timestamps: &chunk.timestamps,
                values: &chunk.values,
            });
            builder.chunks(tenant_number, records);
        }
        if !self.exemplars.is_empty() {
            builder.exemplars(tenant_number, &self.exemplars);
        }
    }

    /// Appends the plan to the head.
    pub(super) fn apply(self, generation: &Generation) {
        if !self.values.is_empty() {
            generation.append_samples(&self.runs());
        }
        if !self.chunks.is_empty() {
            generation.append_chunks(self.chunks);
        }
        generation.append_exemplars(&self.exemplars);
    }
}

/// The series that occur more than once.
fn repeated(series_refs: &[u32]) -> HashSet<u32> {
    let mut seen = HashSet::with_capacity(series_refs.len());
    series_refs.iter().copied().filter(|series_ref| !seen.insert(*series_ref)).collect()
}

/// Splits chunks into runs that end once they have `bytes_enough`.
fn record_runs(
    chunks: &[(u32, Arc<SealedChunk>)],
    bytes_enough: usize,
) -> impl Iterator<Item = &[(u32, Arc<SealedChunk>)]> {
    let mut bytes = 0;
    chunks.chunk_by(move |(_, chunk), _| {
        bytes += chunk.timestamps.len() + chunk.values.len();
        let is_enough = bytes >= bytes_enough;
        bytes = if is_enough { 0 } else { bytes };
        !is_enough
    })
}

/// The samples of one series.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    timestamps_ms: &'a [i64],
    values: &'a [f64],
    starts: StartSlice<'a>,
}

#[derive(Debug, Default)]
struct OwnedPlan {
    /// Series with several runs in the batch: all go one by one, because chunks come after samples in the log and
    /// in the head, and the last write must win.
    repeated: HashSet<u32>,
    series_refs: Vec<u32>,
    sample_ends: Vec<usize>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
    chunks: Vec<(u32, Arc<SealedChunk>)>,
}

impl OwnedPlan {
    fn add_run(&mut self, series_ref: u32, run: Run<'_>) {
        let Run { timestamps_ms, values, starts } = run;
        if values.is_empty() {
            return;
        }
        let is_long = values.len() >= ENCODED_RUN_SAMPLE_COUNT_MIN && !self.repeated.contains(&series_ref);
        if is_long && timestamps_ms.is_sorted_by(|left, right| left < right) {
            Codec::with(|codec| {
                let chunk_count = values.len().div_ceil(CHUNK_SAMPLE_COUNT);
                let chunk_samples = values.len().div_ceil(chunk_count);
                let mut position = 0;
                for (times, values) in timestamps_ms.chunks(chunk_samples).zip(values.chunks(chunk_samples)) {
                    let starts = starts.slice(position..position + values.len());
                    self.chunks.push((series_ref, Arc::new(codec.seal(times, values, starts))));
                    position += values.len();
                }
            });
            return;
        }
        self.series_refs.push(series_ref);
        self.starts.append(self.values.len(), values.len(), starts);
        self.timestamps_ms.extend_from_slice(timestamps_ms);
        self.values.extend_from_slice(values);
        self.sample_ends.push(self.values.len());
    }

    /// Adds what lies inside `window`; returns how many samples do not, with the first reason.
    fn add_inside(
        &mut self,
        series_ref: u32,
        run: Run<'_>,
        window: TimeWindow,
    ) -> Option<(usize, RejectReason)> {
        let mut refused: Option<(usize, RejectReason)> = None;
        let mut kept_timestamps_ms = Vec::new();
        let mut kept_values = Vec::new();
        let mut kept_starts = StartTimes::new();
        for (position, (time_ms, value)) in run.timestamps_ms.iter().zip(run.values).enumerate() {
            match (window.refusal(*time_ms), &mut refused) {
                (None, _) => {
                    kept_starts.push(kept_values.len(), run.starts.at(position));
                    kept_timestamps_ms.push(*time_ms);
                    kept_values.push(*value);
                }
                (Some(_), Some((sample_count, _))) => *sample_count += 1,
                (Some(reason), None) => refused = Some((1, reason)),
            }
        }
        let kept = Run {
            timestamps_ms: &kept_timestamps_ms,
            values: &kept_values,
            starts: kept_starts.up_to(kept_values.len()),
        };
        self.add_run(series_ref, kept);
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_chunks_end_once_they_are_large_enough() {
        let chunk = |bytes: usize| {
            let values = vec![0; bytes].into();
            let timestamps: Arc<[u8]> = Arc::new([]);
            (1, Arc::new(SealedChunk { min_ms: 0, max_ms: 0, sample_count: 1, timestamps, values }))
        };
        let chunks = [chunk(3), chunk(3), chunk(5), chunk(1), chunk(50), chunk(2)];
        let lengths = |bytes_enough| record_runs(&chunks, bytes_enough).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(10), [3, 2, 1]);
        assert_eq!(lengths(1), [1; 6]);
        assert_eq!(lengths(1_000), [6]);
        assert_eq!(record_runs(&[], 10).count(), 0);
    }
}
