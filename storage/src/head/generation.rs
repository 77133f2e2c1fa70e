//! The samples of one tenant between two flushes, by series reference, in lock-sharded arrays.
//!
//! Series `r` lives in shard `r % 16` at index `r / 16`. A write takes each shard's lock once.
//! While active it grows; once frozen by a flush nobody writes to it any more.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::exemplars::ExemplarLane;
use super::histograms::HistogramShard;
use super::series::{Codec, HeadPieces, SealedChunk, SeriesBuffer};
use super::{SHARD_COUNT, SeriesTable, TOUCH_COUNT, read_ahead};
use crate::chunk::is_histogram_chunk;
use crate::model::{Exemplar, StartSlice, TimeRange, UNKNOWN_START_MS};

/// Samples by series, as the head takes them.
///
/// # Shape
/// Run `i` belongs to `series_refs[i]` and owns `sample_ends[i-1]..sample_ends[i]` of both columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SampleRuns<'a> {
    pub(crate) series_refs: &'a [u32],
    pub(crate) sample_ends: &'a [usize],
    pub(crate) timestamps_ms: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Start times of the samples of all runs.
    pub(crate) starts: StartSlice<'a>,
}

impl<'a> SampleRuns<'a> {
    /// The columns of one run.
    #[inline]
    pub(crate) fn run(&self, index: usize) -> (&'a [i64], &'a [f64]) {
        let range = self.range(index);
        (&self.timestamps_ms[range.clone()], &self.values[range])
    }

    /// The start times of one run.
    pub(crate) fn starts(&self, index: usize) -> StartSlice<'a> {
        self.starts.slice(self.range(index))
    }

    #[inline]
    fn range(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.sample_ends[index - 1] };
        start..self.sample_ends[index]
    }
}

#[derive(Debug, Default)]
struct Shard {
    series: Vec<SeriesBuffer>,
    histograms: HistogramShard,
}

impl Shard {
    /// The series at `local_index`, created empty if need be.
    fn series_mut(&mut self, local_index: usize, grown: &mut isize) -> &mut SeriesBuffer {
        if local_index >= self.series.len() {
            let before = self.series.capacity();
            self.series.resize_with(local_index + 1, SeriesBuffer::default);
            *grown += ((self.series.capacity() - before) * SeriesBuffer::EMPTY_BYTES).cast_signed();
        }
        &mut self.series[local_index]
    }

    /// Reads what an append to each of these series begins with, step by step for all of them.
    ///
    /// PERF: an append follows two pointers, and each time waits for memory that another core wrote last; here the
    /// series wait together.
    fn touch(&self, local_indices: impl Iterator<Item = usize> + Clone) {
        self.touch_each(local_indices.clone(), SeriesBuffer::touch_self);
        self.touch_each(local_indices.clone(), SeriesBuffer::touch_open);
        self.touch_each(local_indices, SeriesBuffer::touch_stream);
    }

    #[inline]
    fn touch_each(&self, local_indices: impl Iterator<Item = usize>, read: impl Fn(&SeriesBuffer) -> u8) {
        read_ahead(local_indices.map(|index| self.series.get(index).map_or(0, &read)));
    }
}

/// All samples of one tenant since the last flush.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The series that the references of this generation mean.
    table: Arc<SeriesTable>,
    shards: Vec<Mutex<Shard>>,
    memory_bytes: AtomicUsize,
    /// Sum of `memory_bytes` over all generations of the storage.
    meter: Arc<AtomicUsize>,
    sample_count: AtomicUsize,
    exemplars: ExemplarLane,
}

/// Facts about a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GenerationStats {
    /// Series with samples.
    pub(crate) series_count: usize,
    /// Chunks, open ones included.
    pub(crate) chunk_count: usize,
    /// Oldest and newest sample.
    pub(crate) span_ms: Option<(i64, i64)>,
}

impl Default for Generation {
    fn default() -> Self {
        Self::new(Arc::default(), Arc::default())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.meter.fetch_sub(*self.memory_bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The shard of a series.
pub(super) fn shard_of(series_ref: u32) -> usize {
    place(series_ref).0
}

fn place(series_ref: u32) -> (usize, usize) {
    (series_ref as usize % SHARD_COUNT, series_ref as usize / SHARD_COUNT)
}

impl Generation {
    /// Creates an empty generation over the series of `table`, whose memory is counted in `meter`, too.
    pub(crate) fn new(table: Arc<SeriesTable>, meter: Arc<AtomicUsize>) -> Self {
        Self {
            table,
            shards: (0..SHARD_COUNT).map(|_| Mutex::default()).collect(),
            memory_bytes: AtomicUsize::new(0),
            meter,
            sample_count: AtomicUsize::new(0),
            exemplars: ExemplarLane::default(),
        }
    }

    /// The series that the references of this generation mean.
    pub(crate) fn table(&self) -> &Arc<SeriesTable> {
        &self.table
    }

    /// Creates the generation after this one, over `table`.
    pub(crate) fn successor(&self, table: Arc<SeriesTable>) -> Self {
        Self::new(table, Arc::clone(&self.meter))
    }

    /// Appends samples of any time in any order. The only way in, for live writes and for replay.
    pub(crate) fn append_samples(&self, runs: &SampleRuns<'_>) {
        self.append_samples_of(runs, |_| true);
    }

    /// As [`Generation::append_samples`], for the series in the shards that `is_wanted` says. For replay by many
    /// threads, of which each has shards of its own.
    pub(crate) fn append_samples_of(&self, runs: &SampleRuns<'_>, is_wanted: impl Fn(usize) -> bool) {
        let (grown, sample_count) = Codec::with(|codec| self.append_runs(runs, is_wanted, codec));
        self.account(grown, sample_count);
    }

    fn append_runs(
        &self,
        runs: &SampleRuns<'_>,
        is_wanted: impl Fn(usize) -> bool,
        codec: &mut Codec,
    ) -> (isize, usize) {
        let order = order_by_shard(runs.series_refs);
        // PERF: each run would search for its own among those of all.
        let has_starts = !runs.starts.is_empty();
        let starts_ms: Vec<i64> =
            if has_starts { runs.starts.each(runs.values.len()).collect() } else { Vec::new() };
        let mut grown = 0;
        let mut sample_count = 0;
        for same_shard in order.chunk_by(|left, right| left.0 == right.0) {
            if !is_wanted(same_shard[0].0 as usize) {
                continue;
            }
            let mut shard = self.shards[same_shard[0].0 as usize].lock();
            for window in same_shard.chunks(TOUCH_COUNT) {
                shard.touch(
                    window.iter().map(|(_, run_index)| place(runs.series_refs[*run_index as usize]).1),
                );
                for (_, run_index) in window {
                    let run_index = *run_index as usize;
                    let (_, local_index) = place(runs.series_refs[run_index]);
                    let series = shard.series_mut(local_index, &mut grown);
                    let (timestamps_ms, values) = runs.run(run_index);
                    sample_count += values.len();
                    if has_starts {
                        let starts_ms = &starts_ms[runs.range(run_index)];
                        for ((time_ms, value), start_ms) in timestamps_ms.iter().zip(values).zip(starts_ms) {
                            grown += series.append(*time_ms, *value, *start_ms, codec);
                        }
                        continue;
                    }
                    for (time_ms, value) in timestamps_ms.iter().zip(values) {
                        grown += series.append(*time_ms, *value, UNKNOWN_START_MS, codec);
                    }
                }
            }
        }
        (grown, sample_count)
    }

    /// Appends encoded chunks, in order. The only way in for chunks, for live writes and for replay.
    pub(crate) fn append_chunks(&self, chunks: Vec<(u32, Arc<SealedChunk>)>) {
        let (grown, sample_count) = Codec::with(|codec| self.append_chunks_with(chunks, codec));
        self.account(grown, sample_count);
    }

    fn append_chunks_with(&self, chunks: Vec<(u32, Arc<SealedChunk>)>, codec: &mut Codec) -> (isize, usize) {
        let mut grown = 0;
        let mut sample_count = 0;
        for (series_ref, chunk) in chunks {
            let (shard_index, local_index) = place(series_ref);
            let mut shard = self.shards[shard_index].lock();
            sample_count += chunk.sample_count as usize;
            if is_histogram_chunk(&chunk.values) {
                grown += shard.histograms.append(local_index as u32, chunk, codec);
                continue;
            }
            let series = shard.series_mut(local_index, &mut grown);
            grown += series.append_chunk(chunk, codec);
        }
        (grown, sample_count)
    }

    /// Appends exemplars by series. The only way in for exemplars, for live writes and for replay.
    pub(crate) fn append_exemplars(&self, exemplars: &[(u32, Exemplar)]) {
        if !exemplars.is_empty() {
            let grown = self.exemplars.append(exemplars);
            self.account(grown, 0);
        }
    }

    /// Appends the exemplars of one series inside `range` to `out`, ascending.
    pub(crate) fn exemplars(&self, series_ref: u32, range: TimeRange, out: &mut Vec<Exemplar>) {
        self.exemplars.collect(series_ref, range, out);
    }

    /// How many exemplars there are.
    pub(crate) fn exemplar_count(&self) -> usize {
        self.exemplars.count()
    }

    fn account(&self, grown: isize, sample_count: usize) {
        self.sample_count.fetch_add(sample_count, Ordering::Relaxed);
        if grown >= 0 {
            self.memory_bytes.fetch_add(grown.cast_unsigned(), Ordering::Relaxed);
            self.meter.fetch_add(grown.cast_unsigned(), Ordering::Relaxed);
        } else {
            self.memory_bytes.fetch_sub(grown.unsigned_abs(), Ordering::Relaxed);
            self.meter.fetch_sub(grown.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Copies what series `series_ref` has inside `range` into `pieces` (cleared first).
    pub(crate) fn collect(&self, series_ref: u32, range: TimeRange, pieces: &mut HeadPieces) {
        pieces.clear();
        let (shard_index, local_index) = place(series_ref);
        let shard = self.shards[shard_index].lock();
        if let Some(series) = shard.series.get(local_index) {
            series.collect(range, pieces);
        }
        shard.histograms.collect(local_index as u32, range, pieces);
    }

    /// Keeps of ascending `series_refs` those that may have samples inside `range`.
    pub(crate) fn retain_touching(&self, series_refs: &mut Vec<u32>, range: TimeRange) {
        let mut is_touching = vec![false; series_refs.len()];
        let order = order_by_shard(series_refs);
        for same_shard in order.chunk_by(|left, right| left.0 == right.0) {
            let shard = self.shards[same_shard[0].0 as usize].lock();
            for (_, position) in same_shard {
                let (_, local_index) = place(series_refs[*position as usize]);
                let series = shard.series.get(local_index);
                is_touching[*position as usize] = series.is_some_and(|series| series.touches(range))
                    || shard.histograms.touches(local_index as u32, range);
            }
        }
        let mut touching = is_touching.iter();
        series_refs.retain(|_| touching.next().is_some_and(|is_touching| *is_touching));
    }

    /// An upper estimate of the samples of one series.
    pub(crate) fn estimated_sample_count(&self, series_ref: u32) -> usize {
        let (shard_index, local_index) = place(series_ref);
        let shard = self.shards[shard_index].lock();
        shard.series.get(local_index).map_or(0, SeriesBuffer::sample_count)
            + shard.histograms.sample_count(local_index as u32)
    }

    /// Samples of the series that has most.
    pub(crate) fn series_sample_count_max(&self) -> usize {
        let per_shard = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            let floats = shard.series.iter().map(SeriesBuffer::sample_count).max().unwrap_or(0);
            floats + shard.histograms.sample_count_max()
        });
        per_shard.max().unwrap_or(0)
    }

    /// References of all series that have samples, ascending.
    pub(crate) fn series_refs(&self) -> Vec<u32> {
        let mut refs = Vec::new();
        for (shard_index, shard) in self.shards.iter().enumerate() {
            let shard = shard.lock();
            for (local_index, series) in shard.series.iter().enumerate() {
                if series.sample_count() > 0 {
                    refs.push((local_index * SHARD_COUNT + shard_index) as u32);
                }
            }
            refs.extend(
                shard
                    .histograms
                    .facts()
                    .map(|(local_index, ..)| (local_index as usize * SHARD_COUNT + shard_index) as u32),
            );
        }
        refs.sort_unstable();
        refs.dedup();
        refs
    }

    /// Bytes of memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Samples appended.
    pub(crate) fn sample_count(&self) -> usize {
        self.sample_count.load(Ordering::Relaxed)
    }

    /// Returns whether nothing was ever appended.
    pub(crate) fn is_empty(&self) -> bool {
        self.sample_count() == 0 && self.exemplars.is_empty()
    }

    /// Walks all series for the status page.
    pub(crate) fn stats(&self) -> GenerationStats {
        let mut stats = GenerationStats::default();
        for shard in &self.shards {
            let shard = shard.lock();
            let floats = shard.series.iter().filter_map(|series| {
                series.span_ms().map(|(min_ms, max_ms)| (1, series.chunk_count(), min_ms, max_ms))
            });
            let histograms = shard.histograms.facts().map(|(local_index, chunk_count, min_ms, max_ms)| {
                let has_floats =
                    shard.series.get(local_index as usize).is_some_and(|series| series.sample_count() > 0);
                (usize::from(!has_floats), chunk_count, min_ms, max_ms)
            });
            for (series_count, chunk_count, min_ms, max_ms) in floats.chain(histograms) {
                stats.series_count += series_count;
                stats.chunk_count += chunk_count;
                let (oldest_ms, newest_ms) = stats.span_ms.unwrap_or((min_ms, max_ms));
                stats.span_ms = Some((oldest_ms.min(min_ms), newest_ms.max(max_ms)));
            }
        }
        stats
    }
}

/// Pairs of shard and run index, grouped by shard, runs in their order: a counting sort.
fn order_by_shard(series_refs: &[u32]) -> Vec<(u32, u32)> {
    let mut starts = [0_usize; SHARD_COUNT + 1];
    for series_ref in series_refs {
        starts[place(*series_ref).0 + 1] += 1;
    }
    for shard_index in 0..SHARD_COUNT {
        starts[shard_index + 1] += starts[shard_index];
    }
    let mut order = vec![(0, 0); series_refs.len()];
    for (run_index, series_ref) in series_refs.iter().enumerate() {
        let (shard_index, _) = place(*series_ref);
        order[starts[shard_index]] = (shard_index as u32, run_index as u32);
        starts[shard_index] += 1;
    }
    order
}
