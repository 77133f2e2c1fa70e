//! The native histograms of the series of one shard: encoded from the door on.
//!
//! Sparse: a series without histograms has no entry. Every histogram comes as a chunk, most often of one row. Small
//! chunks of ascending time gather, become middle ones, and those full ones, each encoded anew. What is not newer than
//! everything before goes to `late`, in order of arrival. A chunk holds one layout, so a change of layout cuts.

use std::sync::Arc;

use hashbrown::HashMap;

use super::series::{Codec, HeadPieces, SealedChunk};
use crate::chunk::{ChunkDecoder, ChunkError, histogram_run_length};
use crate::model::{Histogram, TimeRange};
use crate::read::merge_halves;

/// Rows of a full histogram chunk.
pub(crate) const HISTOGRAM_CHUNK_SAMPLE_COUNT: usize = 120;
/// Rows of a middle chunk.
const MIDDLE_SAMPLE_COUNT: usize = 16;
/// Late chunks at which they are merged for the first time.
const LATE_CHUNK_COUNT: usize = 64;

/// Ascending histograms with their times.
#[derive(Debug, Default)]
pub(crate) struct HistogramRows {
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) rows: Vec<Arc<Histogram>>,
}

impl HistogramRows {
    pub(crate) fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.rows.clear();
    }

    /// Appends the rows of a chunk.
    ///
    /// # Errors
    /// [`ChunkError`] if the chunk is damaged.
    pub(crate) fn decode(
        &mut self,
        chunk: &SealedChunk,
        decoder: &mut ChunkDecoder,
    ) -> Result<(), ChunkError> {
        let sample_count = chunk.sample_count as usize;
        decoder.decode_timestamps(&chunk.timestamps, sample_count, &mut self.timestamps_ms)?;
        decoder.decode_histograms(&chunk.values, sample_count, &mut self.rows).inspect_err(|_| {
            self.timestamps_ms.truncate(self.rows.len());
        })
    }

    /// Appends the rows of chunks of any times; where times are equal a later chunk wins.
    ///
    /// # Errors
    /// [`ChunkError`] if a chunk is damaged.
    pub(crate) fn merge<'c>(
        &mut self,
        chunks: impl IntoIterator<Item = &'c Arc<SealedChunk>>,
        decoder: &mut ChunkDecoder,
    ) -> Result<(), ChunkError> {
        let start = self.rows.len();
        for chunk in chunks {
            let middle = self.rows.len();
            self.decode(chunk, decoder)?;
            merge_halves(start, middle, &mut self.timestamps_ms, &mut self.rows);
        }
        Ok(())
    }
}

/// Encodes ascending histograms into chunks of one layout and at most `row_count_max` rows.
pub(crate) fn seal_histograms(
    timestamps_ms: &[i64],
    rows: &[Arc<Histogram>],
    row_count_max: usize,
    codec: &mut Codec,
    mut take: impl FnMut(SealedChunk),
) {
    let mut start = 0;
    while start < rows.len() {
        let end = rows.len().min(start + row_count_max);
        let end = start + histogram_run_length(&rows[start..end]);
        take(codec.seal_histograms(&timestamps_ms[start..end], &rows[start..end]));
        start = end;
    }
}

/// The histograms of one series.
#[derive(Debug)]
struct HistogramBuffer {
    min_ms: i64,
    /// Newest in-order histogram.
    newest_ms: i64,
    sample_count: u32,
    /// Full, then middle, then small ones ascend strictly in time.
    full: Vec<Arc<SealedChunk>>,
    middle: Vec<Arc<SealedChunk>>,
    middle_sample_count: u32,
    small: Vec<Arc<SealedChunk>>,
    small_sample_count: u32,
    /// In order of arrival.
    late: Vec<Arc<SealedChunk>>,
    /// Late chunks at which they are merged.
    late_limit: usize,
}

impl Default for HistogramBuffer {
    fn default() -> Self {
        Self {
            min_ms: i64::MAX,
            newest_ms: i64::MIN,
            sample_count: 0,
            full: Vec::new(),
            middle: Vec::new(),
            middle_sample_count: 0,
            small: Vec::new(),
            small_sample_count: 0,
            late: Vec::new(),
            late_limit: LATE_CHUNK_COUNT,
        }
    }
}

impl HistogramBuffer {
    /// Appends a chunk; returns by how many bytes the memory grew.
    fn append(&mut self, chunk: Arc<SealedChunk>, codec: &mut Codec) -> isize {
        if self.is_repeat(&chunk) {
            return 0;
        }
        let grown = chunk_bytes(&chunk);
        self.sample_count += chunk.sample_count;
        self.min_ms = self.min_ms.min(chunk.min_ms);
        if chunk.min_ms <= self.newest_ms {
            self.newest_ms = self.newest_ms.max(chunk.max_ms);
            self.late.push(chunk);
            return grown + self.merge_late(codec);
        }
        self.newest_ms = chunk.max_ms;
        let sample_count = chunk.sample_count;
        if sample_count as usize > HISTOGRAM_CHUNK_SAMPLE_COUNT / 2 {
            let gathered = self.seal_small(codec) + self.seal_middle(codec);
            self.full.push(chunk);
            return grown + gathered;
        }
        self.small.push(chunk);
        self.small_sample_count += sample_count;
        let is_gathered = self.small_sample_count as usize >= MIDDLE_SAMPLE_COUNT;
        grown + if is_gathered { self.seal_small(codec) } else { 0 }
    }

    /// Whether it is what came last, once more: senders repeat what was not acknowledged in time.
    fn is_repeat(&self, chunk: &Arc<SealedChunk>) -> bool {
        self.late.is_empty() && self.small.last() == Some(chunk)
    }

    fn seal_small(&mut self, codec: &mut Codec) -> isize {
        let small = std::mem::take(&mut self.small);
        let before = self.middle.len();
        let grown = gather(small, MIDDLE_SAMPLE_COUNT * 2, &mut self.middle, codec);
        self.middle_sample_count += self.middle[before..].iter().map(|chunk| chunk.sample_count).sum::<u32>();
        self.small_sample_count = 0;
        let is_full =
            self.middle_sample_count as usize >= HISTOGRAM_CHUNK_SAMPLE_COUNT - MIDDLE_SAMPLE_COUNT / 2;
        grown + if is_full { self.seal_middle(codec) } else { 0 }
    }

    fn seal_middle(&mut self, codec: &mut Codec) -> isize {
        let middle = std::mem::take(&mut self.middle);
        self.middle_sample_count = 0;
        gather(middle, HISTOGRAM_CHUNK_SAMPLE_COUNT, &mut self.full, codec)
    }

    fn merge_late(&mut self, codec: &mut Codec) -> isize {
        if self.late.len() < self.late_limit {
            return 0;
        }
        let late = std::mem::take(&mut self.late);
        let grown = gather(late, HISTOGRAM_CHUNK_SAMPLE_COUNT, &mut self.late, codec);
        // Where little can be merged, the next attempt waits until there is twice as much.
        self.late_limit = LATE_CHUNK_COUNT.max(self.late.len() * 2);
        grown
    }

    fn touches(&self, range: TimeRange) -> bool {
        self.sample_count > 0 && range.overlaps_span(self.min_ms, self.newest_ms)
    }

    fn chunks(&self) -> impl Iterator<Item = &Arc<SealedChunk>> {
        self.full.iter().chain(&self.middle).chain(&self.small).chain(&self.late)
    }
}

fn chunk_bytes(chunk: &SealedChunk) -> isize {
    (chunk.memory_bytes() + size_of::<Arc<SealedChunk>>()).cast_signed()
}

/// Encodes `chunks` anew into fewer; returns by how many bytes the memory grew.
fn gather(
    chunks: Vec<Arc<SealedChunk>>,
    row_count_max: usize,
    out: &mut Vec<Arc<SealedChunk>>,
    codec: &mut Codec,
) -> isize {
    if chunks.len() < 2 {
        out.extend(chunks);
        return 0;
    }
    let mut rows = HistogramRows::default();
    if rows.merge(&chunks, &mut codec.decoder).is_err() {
        // Only a damaged chunk from the WAL gets here: kept as it is, the reader reports it.
        out.extend(chunks);
        return 0;
    }
    let mut grown = -chunks.iter().map(|chunk| chunk_bytes(chunk)).sum::<isize>();
    seal_histograms(&rows.timestamps_ms, &rows.rows, row_count_max, codec, |chunk| {
        grown += chunk_bytes(&chunk);
        out.push(Arc::new(chunk));
    });
    grown
}

/// The histograms of the series of one shard, by local index.
#[derive(Debug, Default)]
pub(super) struct HistogramShard {
    series: HashMap<u32, HistogramBuffer>,
}

impl HistogramShard {
    /// Appends a chunk of histograms; returns by how many bytes the memory grew.
    pub(super) fn append(&mut self, local_index: u32, chunk: Arc<SealedChunk>, codec: &mut Codec) -> isize {
        let mut created = 0;
        let buffer = self.series.entry(local_index).or_insert_with(|| {
            created = size_of::<(u32, HistogramBuffer)>().cast_signed();
            HistogramBuffer::default()
        });
        created + buffer.append(chunk, codec)
    }

    /// Copies what touches `range` into `pieces` (not cleared here).
    pub(super) fn collect(&self, local_index: u32, range: TimeRange, pieces: &mut HeadPieces) {
        if let Some(buffer) = self.series.get(&local_index) {
            pieces.histograms.extend(buffer.chunks().filter(|chunk| chunk.touches(range)).cloned());
        }
    }

    /// Returns whether a series may have histograms inside `range`.
    pub(super) fn touches(&self, local_index: u32, range: TimeRange) -> bool {
        self.series.get(&local_index).is_some_and(|buffer| buffer.touches(range))
    }

    /// Histograms of one series, repeats included.
    pub(super) fn sample_count(&self, local_index: u32) -> usize {
        self.series.get(&local_index).map_or(0, |buffer| buffer.sample_count as usize)
    }

    /// Histograms of the series that has most.
    pub(super) fn sample_count_max(&self) -> usize {
        self.series.values().map(|buffer| buffer.sample_count as usize).max().unwrap_or(0)
    }

    /// Local index, chunks, first and last time of each series with histograms.
    pub(super) fn facts(&self) -> impl Iterator<Item = (u32, usize, i64, i64)> {
        self.series.iter().map(|(local_index, buffer)| {
            (*local_index, buffer.chunks().count(), buffer.min_ms, buffer.newest_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketSpan, HistogramLayout};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row(count: u32, bucket_count: u32) -> Arc<Histogram> {
        let layout = HistogramLayout {
            is_integer: true,
            positive_spans: vec![BucketSpan { offset: 0, length: bucket_count }],
            ..HistogramLayout::default()
        };
        Arc::new(Histogram {
            layout: Arc::new(layout),
            count: f64::from(count),
            positive_counts: vec![0.0; bucket_count as usize],
            ..Histogram::default()
        })
    }

    fn read(shard: &HistogramShard, range: TimeRange) -> Vec<(i64, f64, usize)> {
        let mut pieces = HeadPieces::default();
        shard.collect(3, range, &mut pieces);
        let mut rows = HistogramRows::default();
        rows.merge(&pieces.histograms, &mut ChunkDecoder::new()).unwrap();
        let columns = rows.timestamps_ms.iter().zip(&rows.rows);
        columns.map(|(time_ms, row)| (*time_ms, row.count, row.positive_counts.len())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_last_write_wins(
            writes in proptest::collection::vec((0..400_i64, 1..90_usize, 1..4_u32, any::<bool>()), 1..60),
        ) {
            let (mut shard, mut codec) = (HistogramShard::default(), Codec::default());
            let mut expected = BTreeMap::new();
            let (mut grown, mut next_ms) = (0, 0);
            for (number, (time_ms, length, buckets, is_late)) in writes.iter().enumerate() {
                let start_ms = if *is_late { *time_ms } else { next_ms };
                let length = if number % 5 == 0 { *length } else { 1 };
                let times: Vec<i64> = (start_ms..start_ms + length as i64).collect();
                let rows: Vec<_> = times.iter().map(|_| row(number as u32, *buckets)).collect();
                let chunk = codec.seal_histograms(&times, &rows);
                grown += shard.append(3, Arc::new(chunk), &mut codec);
                expected.extend(times.iter().map(|time_ms| (*time_ms, (number as f64, *buckets as usize))));
                next_ms = next_ms.max(start_ms + length as i64);
            }
            let expected: Vec<_> =
                expected.into_iter().map(|(time_ms, (count, buckets))| (time_ms, count, buckets)).collect();
            prop_assert_eq!(read(&shard, TimeRange::ALL), expected);
            let held: isize = shard.series[&3].chunks().map(|chunk| chunk_bytes(chunk)).sum();
            prop_assert_eq!(grown, held + size_of::<(u32, HistogramBuffer)>().cast_signed());
            prop_assert!(!shard.touches(2, TimeRange::ALL));
        }
    }

    #[test]
    fn rows_gather_into_full_chunks_and_repeats_cost_nothing() {
        let (mut shard, mut codec) = (HistogramShard::default(), Codec::default());
        let mut grown = 0;
        for time_ms in 0..1_000_i64 {
            let chunk = Arc::new(codec.seal_histograms(&[time_ms * 15_000], &[row(time_ms as u32, 160)]));
            grown += shard.append(3, Arc::clone(&chunk), &mut codec);
            if time_ms % 16 != 15 {
                assert_eq!(shard.append(3, chunk, &mut codec), 0);
            }
        }
        let buffer = &shard.series[&3];
        assert!(buffer.full.iter().all(|chunk| chunk.sample_count >= 100), "{:?}", buffer.full);
        assert!(buffer.chunks().count() < 30, "{} chunks", buffer.chunks().count());
        assert!(grown < 20_000, "{grown} bytes for 1000 rows of 160 empty buckets");
        assert_eq!(read(&shard, TimeRange::ALL).len(), 1_000);
    }

    #[test]
    fn many_late_chunks_are_merged() {
        let (mut shard, mut codec) = (HistogramShard::default(), Codec::default());
        for time_ms in (0..1_000_i64).rev() {
            let chunk = codec.seal_histograms(&[time_ms], &[row(7, 2)]);
            shard.append(3, Arc::new(chunk), &mut codec);
        }
        assert!(shard.series[&3].late.len() < 128);
        assert_eq!(read(&shard, TimeRange::ALL).len(), 1_000);
    }
}
