//! Turns a frozen generation into immutable blocks, one per UTC day that it has samples in.
//!
//! Input: a generation nobody writes to. Output: complete block files under their final names.
//! Not here: choosing when, the commit in the MANIFEST, dropping the WAL (see `engine`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::series::{Codec, HeadPieces, SealedChunk};
use super::{CHUNK_SAMPLE_COUNT, Generation, HISTOGRAM_CHUNK_SAMPLE_COUNT, HistogramRows, MixedSamples};
use crate::block::layout::{BlockRef, Day};
use crate::block::writer::{BlockIdentity, BlockWriteError, BlockWriter, ChunkInput};
use crate::chunk::{ChunkDecoder, ChunkError};
use crate::fs::FileSystem;
use crate::model::{Exemplar, LabelSet, StartTimes, TenantId, TimeRange};
use crate::read::decode_pieces;

/// Series encoded in parallel before they are written in order: bounds the memory of a flush.
const BATCH_SERIES_COUNT: usize = 4096;
/// Chunks at least this long are copied as they are.
const COPIED_SAMPLE_COUNT_MIN: u32 = CHUNK_SAMPLE_COUNT as u32 / 2;

/// Why a flush failed; the generation is untouched and can be flushed again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FlushError {
    /// A block could not be written.
    #[error(transparent)]
    Block(#[from] BlockWriteError),
    /// A chunk of the head does not decode.
    #[error("chunk of series {labels} in the head is damaged: {source}")]
    Chunk {
        /// The series.
        labels: LabelSet,
        /// What the decoder found.
        source: ChunkError,
    },
}

/// Writes all samples of `generation` to blocks and adds to `written` which. `next_id` gives block numbers.
///
/// # Errors
/// [`FlushError`]; `written` then names the complete files, which the caller has no use for.
pub(crate) fn write_blocks(
    generation: &Generation,
    fs: &Arc<dyn FileSystem>,
    data_dir: &Path,
    tenant: &TenantId,
    mut next_id: impl FnMut() -> u64,
    written: &mut Vec<BlockRef>,
) -> Result<(), FlushError> {
    let refs = generation.series_refs();
    let refs = generation.table().sort_by_labels(&refs);
    let mut exemplars = Vec::new();
    let mut writers: BTreeMap<Day, (BlockRef, BlockWriter)> = BTreeMap::new();
    for batch in refs.chunks(BATCH_SERIES_COUNT) {
        // A batch of labels at a time, as all of them are many times what the table takes.
        let labels = generation.table().labels(batch);
        let encoded: Vec<Vec<SealedPart>> = batch
            .par_iter()
            .zip(&labels)
            .map_init(Encoder::default, |encoder, (series_ref, labels)| {
                encoder
                    .encode(generation, *series_ref)
                    .map_err(|source| FlushError::Chunk { labels: labels.clone(), source })
            })
            .collect::<Result<_, _>>()?;
        for ((labels, series_ref), parts) in labels.iter().zip(batch).zip(&encoded) {
            exemplars.clear();
            generation.exemplars(*series_ref, TimeRange::ALL, &mut exemplars);
            let mut rest = exemplars.as_slice();
            let last_day = parts.last().map(|part| part.day);
            for same_day in parts.chunk_by(|left, right| left.day == right.day) {
                let day = same_day[0].day;
                let (_, writer) = match writers.entry(day) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(vacant) => {
                        let block = BlockRef { tenant: tenant.clone(), day, id: next_id() };
                        let identity = BlockIdentity { id: block.id, tenant: tenant.clone() };
                        let writer = BlockWriter::streaming(fs, identity, &block.directory(data_dir))?;
                        vacant.insert((block, writer))
                    }
                };
                let inputs: Vec<ChunkInput<'_>> =
                    same_day.iter().map(|part| chunk_input(&part.chunk)).collect();
                writer.add_series(labels, &inputs);
                // One of a day on which the series has no samples goes where samples are.
                let is_now =
                    |exemplar: &Exemplar| Some(day) == last_day || Day::of_ms(exemplar.time_ms) <= day;
                let (now, later) = rest.split_at(rest.partition_point(is_now));
                writer.add_exemplars(now);
                rest = later;
            }
        }
    }
    for (block, writer) in writers.into_values() {
        writer.finish(&block.directory(data_dir))?;
        written.push(block);
    }
    Ok(())
}

fn chunk_input(chunk: &SealedChunk) -> ChunkInput<'_> {
    ChunkInput {
        min_ms: chunk.min_ms,
        max_ms: chunk.max_ms,
        sample_count: chunk.sample_count,
        timestamps: &chunk.timestamps,
        values: &chunk.values,
    }
}

/// A chunk and the UTC day it lies in.
#[derive(Debug)]
struct SealedPart {
    day: Day,
    chunk: Arc<SealedChunk>,
}

#[derive(Debug, Default)]
struct Encoder {
    codec: Codec,
    decoder: ChunkDecoder,
    pieces: HeadPieces,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
}

impl Encoder {
    /// Returns the chunks of one series, ascending, none across midnight UTC.
    fn encode(&mut self, generation: &Generation, series_ref: u32) -> Result<Vec<SealedPart>, ChunkError> {
        generation.collect(series_ref, TimeRange::ALL, &mut self.pieces);
        if !self.pieces.histograms.is_empty() {
            return self.encode_histograms();
        }
        let has_late = !self.pieces.late.is_empty() || !self.pieces.late_chunks.is_empty();
        let has_short = self.pieces.sealed.iter().any(|chunk| chunk.sample_count < COPIED_SAMPLE_COUNT_MIN);
        let mut parts = Vec::new();
        if !has_late && !has_short {
            for chunk in std::mem::take(&mut self.pieces.sealed) {
                self.copy(chunk, &mut parts)?;
            }
        }
        self.clear_columns();
        self.decode_pieces()?;
        self.cut(&mut parts);
        Ok(parts)
    }

    fn clear_columns(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts.clear();
    }

    fn decode_pieces(&mut self) -> Result<(), ChunkError> {
        let Self { decoder, pieces, timestamps_ms, values, starts, .. } = self;
        decode_pieces(pieces, decoder, timestamps_ms, values, starts)
    }

    /// As `encode`, for a series that has histograms.
    fn encode_histograms(&mut self) -> Result<Vec<SealedPart>, ChunkError> {
        let mut parts = Vec::new();
        self.clear_columns();
        let mut chunks = std::mem::take(&mut self.pieces.histograms);
        self.decode_pieces()?;
        let is_ascending = chunks.is_sorted_by(|left, right| left.max_ms < right.min_ms);
        if self.timestamps_ms.is_empty() && is_ascending {
            // Full chunks are copied; what lies between them is encoded anew.
            let is_full =
                |chunk: &SealedChunk| chunk.sample_count as usize > HISTOGRAM_CHUNK_SAMPLE_COUNT / 2;
            let is_copied =
                |chunk: &SealedChunk| is_full(chunk) && Day::of_ms(chunk.min_ms) == Day::of_ms(chunk.max_ms);
            for same in chunks.chunk_by_mut(|left, right| !is_copied(left) && !is_copied(right)) {
                match same {
                    [chunk] if is_copied(chunk) => {
                        parts.push(SealedPart { day: Day::of_ms(chunk.min_ms), chunk: Arc::clone(chunk) });
                    }
                    _ => self.cut_histograms(same, &mut parts)?,
                }
            }
            return Ok(parts);
        }
        self.cut_histograms(&chunks, &mut parts)?;
        Ok(parts)
    }

    /// Merges the decoded floats with `chunks` of histograms and cuts at midnight.
    fn cut_histograms(
        &mut self,
        chunks: &[Arc<SealedChunk>],
        parts: &mut Vec<SealedPart>,
    ) -> Result<(), ChunkError> {
        let mut rows = HistogramRows::default();
        rows.merge(chunks, &mut self.decoder)?;
        let mut samples = MixedSamples::new(rows);
        samples.merge_floats(&self.timestamps_ms, &self.values, self.starts.up_to(self.values.len()));
        for in_day in samples.split_by(|left_ms, right_ms| Day::of_ms(left_ms) == Day::of_ms(right_ms)) {
            in_day.seal(&mut self.codec, |chunk| {
                parts.push(SealedPart { day: Day::of_ms(chunk.min_ms), chunk: Arc::new(chunk) });
            });
        }
        Ok(())
    }

    /// Takes a chunk over as it is, unless midnight UTC lies inside.
    fn copy(&mut self, chunk: Arc<SealedChunk>, parts: &mut Vec<SealedPart>) -> Result<(), ChunkError> {
        let day = Day::of_ms(chunk.min_ms);
        if day == Day::of_ms(chunk.max_ms) {
            parts.push(SealedPart { day, chunk });
            return Ok(());
        }
        self.clear_columns();
        let sample_count = chunk.sample_count as usize;
        self.decoder.decode_timestamps(&chunk.timestamps, sample_count, &mut self.timestamps_ms)?;
        self.decoder.decode_values(&chunk.values, sample_count, &mut self.values)?;
        self.decoder.decode_starts(&chunk.values, sample_count, 0..sample_count, 0, &mut self.starts)?;
        self.cut(parts);
        Ok(())
    }

    /// Encodes the decoded columns into chunks of about equal length inside each day.
    fn cut(&mut self, parts: &mut Vec<SealedPart>) {
        let mut start = 0;
        while start < self.timestamps_ms.len() {
            let day = Day::of_ms(self.timestamps_ms[start]);
            let in_day = self.timestamps_ms[start..].partition_point(|time_ms| Day::of_ms(*time_ms) == day);
            let chunk_count = in_day.div_ceil(CHUNK_SAMPLE_COUNT);
            let chunk_samples = in_day.div_ceil(chunk_count);
            let columns = self.timestamps_ms[start..start + in_day].chunks(chunk_samples);
            for (timestamps_ms, values) in
                columns.zip(self.values[start..start + in_day].chunks(chunk_samples))
            {
                let starts = self.starts.slice(start..start + values.len());
                let chunk = Arc::new(self.codec.seal(timestamps_ms, values, starts));
                parts.push(SealedPart { day, chunk });
                start += values.len();
            }
        }
    }
}
