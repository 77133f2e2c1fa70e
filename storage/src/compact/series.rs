//! One series from several blocks: its chunks in, its chunks out, ascending and without overlap.
//!
//! A chunk that nothing overlaps, of which nothing was deleted and which is long enough already is copied byte for
//! byte; the others are decoded, merged and cut anew. Samples leave as soon as no later chunk can change them, so
//! memory does not grow with the length of the series.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::FINAL_LEVEL;
use super::pending::Pending;
use crate::block::reader::ChunkView;
use crate::block::view::BlockView;
use crate::block::writer::ChunkInput;
use crate::chunk::{
    ChunkDecoder, ChunkEncoder, ChunkError, PAGED_SAMPLE_COUNT_MIN, SAMPLE_COUNT_MAX, histogram_run_length,
    is_histogram_chunk,
};
use crate::head::CHUNK_SAMPLE_COUNT;
use crate::model::{Histogram, StartTimes, TimeRange};
use crate::read::ReadError;

/// Timestamps that are kept decoded, and as many that are kept with their encoding: series of one target share them.
const CACHED_TIMESTAMP_COUNT_MAX: usize = 1 << 19;
/// Histograms that wait before those which nothing can change any more are encoded: they are large.
const PENDING_HISTOGRAM_COUNT_MAX: usize = 1024;
/// A chunk of at most so many bytes may be as long as chunks get.
const LONG_CHUNK_BYTES_MAX: usize = 1024;
/// Chunks of the final form with at least so many samples are copied.
const FINAL_COPIED_COUNT_MIN: u32 = 1024;
/// Other chunks with at least so many samples are copied.
const COPIED_COUNT_MIN: u32 = CHUNK_SAMPLE_COUNT as u32 / 2;
/// A chunk of histograms with so many is copied: it is long for its few samples.
const HISTOGRAM_COPIED_COUNT_MIN: u32 = 60;

/// An encoded chunk of the output.
#[derive(Debug)]
pub(super) struct OutputChunk {
    min_ms: i64,
    max_ms: i64,
    sample_count: u32,
    timestamps: Arc<[u8]>,
    values: Vec<u8>,
}

impl OutputChunk {
    /// The chunk as a block's writer takes it.
    pub(super) fn as_input(&self) -> ChunkInput<'_> {
        ChunkInput {
            min_ms: self.min_ms,
            max_ms: self.max_ms,
            sample_count: self.sample_count,
            timestamps: &self.timestamps,
            values: &self.values,
        }
    }
}

/// Timestamps and their encoding.
type EncodedColumn = (Vec<i64>, Arc<[u8]>);

/// A chunk of an input.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chunk: ChunkView,
    /// Position of the input; inputs ascend by precedence.
    rank: u32,
    series_id: u32,
}

/// Merges series after series; keeps its scratch memory between them.
#[derive(Debug)]
pub(super) struct SeriesMerger<'a> {
    inputs: &'a [BlockView],
    level: u8,
    encoder: ChunkEncoder,
    decoder: ChunkDecoder,
    /// Decoded columns by input and number.
    decoded: HashMap<(u32, u32), Vec<i64>>,
    decoded_count: usize,
    /// Encoded columns by first and last time and length.
    encoded: HashMap<(i64, i64, usize), EncodedColumn>,
    encoded_count: usize,
    views: Vec<ChunkView>,
    pieces: Vec<Piece>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
    histograms: Vec<Arc<Histogram>>,
    pending: Pending,
    /// The chunks of the series at hand.
    pub(super) chunks: Vec<OutputChunk>,
    /// Encoded bytes of the series at hand that were read.
    pub(super) read_bytes: u64,
}

impl<'a> SeriesMerger<'a> {
    /// Merges from `inputs`, by ascending precedence, to a block of `level`.
    pub(super) fn new(inputs: &'a [BlockView], level: u8) -> Self {
        Self {
            inputs,
            level,
            encoder: ChunkEncoder::new(),
            decoder: ChunkDecoder::new(),
            decoded: HashMap::new(),
            decoded_count: 0,
            encoded: HashMap::new(),
            encoded_count: 0,
            views: Vec::new(),
            pieces: Vec::new(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            starts: StartTimes::new(),
            histograms: Vec::new(),
            pending: Pending::default(),
            chunks: Vec::new(),
            read_bytes: 0,
        }
    }

    /// Merges one series, given as inputs and the series' ids there, into `chunks`.
    ///
    /// # Errors
    /// [`ReadError`] if an input is damaged.
    pub(super) fn merge(&mut self, parts: &[(u32, u32)]) -> Result<(), ReadError> {
        self.chunks.clear();
        self.pending.clear();
        self.pieces.clear();
        self.read_bytes = 0;
        for (rank, series_id) in parts.iter().copied() {
            self.views.clear();
            self.inputs[rank as usize].chunks(series_id, TimeRange::ALL, &mut self.views)?;
            self.pieces.extend(self.views.iter().map(|chunk| Piece { chunk: *chunk, rank, series_id }));
        }
        self.pieces.sort_by_key(|piece| (piece.chunk.min_ms, piece.rank));
        for at in 0..self.pieces.len() {
            let piece = self.pieces[at];
            // No later chunk has samples before this.
            let next_ms = self.pieces.get(at + 1).map(|next| next.chunk.min_ms);
            self.take(piece, next_ms)?;
        }
        self.emit(None);
        Ok(())
    }

    fn take(&mut self, piece: Piece, next_ms: Option<i64>) -> Result<(), ReadError> {
        let inputs = self.inputs;
        let input = &inputs[piece.rank as usize];
        let chunk = piece.chunk;
        let values = input.reader.values(&chunk)?;
        self.read_bytes += values.len() as u64;
        let is_alone = self.pending.last_ms().is_none_or(|last_ms| last_ms < chunk.min_ms)
            && next_ms.is_none_or(|next_ms| chunk.max_ms < next_ms);
        let deleted = input.deleted(piece.series_id);
        let is_whole = !deleted.iter().any(|range| range.overlaps_span(chunk.min_ms, chunk.max_ms));
        if is_alone && is_whole && self.is_long_enough(input, &chunk, values) {
            self.emit(None);
            self.chunks.push(OutputChunk {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                sample_count: chunk.sample_count,
                timestamps: input.reader.timestamps(&chunk)?.into(),
                values: values.to_vec(),
            });
            return Ok(());
        }
        self.decode(input, piece, values, deleted)?;
        let limit = match self.pending.histograms.is_empty() {
            // What is left then is at least one full chunk, so the cut does not show in the sizes.
            true => 2 * SAMPLE_COUNT_MAX,
            false => PENDING_HISTOGRAM_COUNT_MAX,
        };
        if let Some(next_ms) = next_ms
            && self.pending.count_before(next_ms) >= limit
        {
            self.emit(Some(next_ms));
        }
        Ok(())
    }

    fn is_long_enough(&self, input: &BlockView, chunk: &ChunkView, values: &[u8]) -> bool {
        if is_histogram_chunk(values) {
            return chunk.sample_count >= HISTOGRAM_COPIED_COUNT_MIN;
        }
        if self.level >= FINAL_LEVEL {
            // The only chunk of a short series has nothing to be merged with, and is too short for pages.
            let is_only = self.pieces.len() == 1 && chunk.sample_count < PAGED_SAMPLE_COUNT_MIN as u32;
            let is_final = input.meta().level >= FINAL_LEVEL && chunk.sample_count >= FINAL_COPIED_COUNT_MIN;
            return is_only || is_final;
        }
        chunk.sample_count >= COPIED_COUNT_MIN
    }

    /// Decodes a chunk into the pending samples, without what was deleted.
    fn decode(
        &mut self,
        input: &BlockView,
        piece: Piece,
        bytes: &[u8],
        deleted: &[TimeRange],
    ) -> Result<(), ReadError> {
        let chunk = piece.chunk;
        let sample_count = chunk.sample_count as usize;
        let damaged = |error: ChunkError| ReadError::Corrupt {
            path: input.reader.path().display().to_string(),
            reason: error.to_string(),
        };
        if self.decoded_count > CACHED_TIMESTAMP_COUNT_MAX {
            self.decoded.clear();
            self.decoded_count = 0;
        }
        let timestamps_ms = self.decoded.entry((piece.rank, chunk.timestamps_id)).or_default();
        if timestamps_ms.len() != sample_count {
            timestamps_ms.clear();
            let column = input.reader.timestamps(&chunk)?;
            self.decoder.decode_timestamps(column, sample_count, timestamps_ms).map_err(damaged)?;
            self.decoded_count += sample_count;
        }
        let is_kept = |time_ms: i64| !deleted.iter().any(|range| range.contains(time_ms));
        if is_histogram_chunk(bytes) {
            self.histograms.clear();
            self.decoder.decode_histograms(bytes, sample_count, &mut self.histograms).map_err(damaged)?;
            if deleted.is_empty() {
                self.pending.add_histograms(timestamps_ms, &self.histograms, piece.rank);
            } else {
                let rows =
                    timestamps_ms.iter().zip(&self.histograms).filter(|(time_ms, _)| is_kept(**time_ms));
                let (kept_ms, kept): (Vec<i64>, Vec<Arc<Histogram>>) =
                    rows.map(|(time_ms, histogram)| (*time_ms, Arc::clone(histogram))).unzip();
                self.pending.add_histograms(&kept_ms, &kept, piece.rank);
            }
            return Ok(());
        }
        self.values.clear();
        self.decoder.decode_values(bytes, sample_count, &mut self.values).map_err(damaged)?;
        self.starts.clear();
        self.decoder
            .decode_starts(bytes, sample_count, 0..sample_count, 0, &mut self.starts)
            .map_err(damaged)?;
        if deleted.is_empty() {
            let starts = self.starts.up_to(sample_count);
            self.pending.add_floats(timestamps_ms, &self.values, starts, piece.rank);
            return Ok(());
        }
        let mut kept_starts = StartTimes::new();
        self.timestamps_ms.clear();
        let mut kept_count = 0;
        for (at, time_ms) in timestamps_ms.iter().enumerate() {
            if is_kept(*time_ms) {
                self.timestamps_ms.push(*time_ms);
                self.values[kept_count] = self.values[at];
                kept_starts.push(kept_count, self.starts.at(at));
                kept_count += 1;
            }
        }
        let kept = &self.values[..kept_count];
        self.pending.add_floats(&self.timestamps_ms, kept, kept_starts.up_to(kept_count), piece.rank);
        Ok(())
    }

    /// Encodes pending samples: all, or those before `end_ms`, which nothing can change any more.
    fn emit(&mut self, end_ms: Option<i64>) {
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        if pending.histograms.is_empty() {
            let length = pending.timestamps_ms.len();
            // Of a part, one full chunk less than there is; the rest goes with what follows.
            let emitted = end_ms.map_or(length, |end_ms| {
                let count = pending.count_before(end_ms).saturating_sub(SAMPLE_COUNT_MAX);
                count - count % SAMPLE_COUNT_MAX
            });
            self.emit_floats(&pending, 0..emitted);
            pending.drop_floats(emitted);
        } else {
            let rest = end_ms.map(|end_ms| pending.split_off(end_ms));
            pending.resolve();
            self.emit_mixed(&pending);
            pending = rest.unwrap_or_default();
        }
        self.pending = pending;
    }

    /// Encodes floats and histograms in runs of one kind.
    fn emit_mixed(&mut self, pending: &Pending) {
        let mut float_at = 0;
        let mut rows = pending.histograms.as_slice();
        while let Some(first) = rows.first() {
            let floats_end = pending.timestamps_ms.partition_point(|time_ms| *time_ms < first.time_ms);
            self.emit_floats(pending, float_at..floats_end);
            float_at = floats_end;
            let next_float_ms = pending.timestamps_ms.get(float_at).copied();
            let run = rows.partition_point(|row| next_float_ms.is_none_or(|next_ms| row.time_ms < next_ms));
            let (now, later) = rows.split_at(run);
            let mut times_ms: Vec<i64> = now.iter().map(|row| row.time_ms).collect();
            let mut histograms: Vec<Arc<Histogram>> =
                now.iter().map(|row| Arc::clone(&row.histogram)).collect();
            while !histograms.is_empty() {
                let length = histogram_run_length(&histograms).max(1);
                let mut values = Vec::new();
                self.encoder.encode_histograms(&histograms[..length], &mut values);
                self.push_chunk(&times_ms[..length], values);
                histograms.drain(..length);
                times_ms.drain(..length);
            }
            rows = later;
        }
        self.emit_floats(pending, float_at..pending.values.len());
    }

    /// Encodes the floats at `range`.
    fn emit_floats(&mut self, pending: &Pending, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if self.level < FINAL_LEVEL {
            return self.cut(pending, range);
        }
        for part in parts_of(range, SAMPLE_COUNT_MAX) {
            let (timestamps_ms, values) =
                (&pending.timestamps_ms[part.clone()], &pending.values[part.clone()]);
            let mut bytes = Vec::new();
            self.encoder.encode_starts(pending.starts.slice(part.clone()), values.len(), &mut bytes);
            if self.encoder.encode_values_paged(values, &mut bytes) {
                self.push_chunk(timestamps_ms, bytes);
                continue;
            }
            self.encoder.encode_values(values, &mut bytes);
            if bytes.len() <= LONG_CHUNK_BYTES_MAX || values.len() <= CHUNK_SAMPLE_COUNT {
                self.push_chunk(timestamps_ms, bytes);
            } else {
                self.cut(pending, part);
            }
        }
    }

    /// Encodes floats in chunks of about equal length that short ranges can do without reading more than one.
    fn cut(&mut self, pending: &Pending, range: Range<usize>) {
        for part in parts_of(range, CHUNK_SAMPLE_COUNT) {
            let values = &pending.values[part.clone()];
            let mut bytes = Vec::new();
            self.encoder.encode_starts(pending.starts.slice(part.clone()), values.len(), &mut bytes);
            self.encoder.encode_values(values, &mut bytes);
            self.push_chunk(&pending.timestamps_ms[part], bytes);
        }
    }

    fn push_chunk(&mut self, timestamps_ms: &[i64], values: Vec<u8>) {
        let (Some(&min_ms), Some(&max_ms)) = (timestamps_ms.first(), timestamps_ms.last()) else { return };
        if self.encoded_count > CACHED_TIMESTAMP_COUNT_MAX {
            self.encoded.clear();
            self.encoded_count = 0;
        }
        let cached = self.encoded.entry((min_ms, max_ms, timestamps_ms.len())).or_default();
        if cached.0 != timestamps_ms {
            let mut bytes = Vec::new();
            self.encoder.encode_timestamps(timestamps_ms, &mut bytes);
            *cached = (timestamps_ms.to_vec(), bytes.into());
            self.encoded_count += timestamps_ms.len();
        }
        self.chunks.push(OutputChunk {
            min_ms,
            max_ms,
            sample_count: timestamps_ms.len() as u32,
            timestamps: Arc::clone(&cached.1),
            values,
        });
    }
}

/// Cuts a range that is not empty into as few parts as possible, of at most `length_max` and about equal length.
fn parts_of(range: Range<usize>, length_max: usize) -> impl Iterator<Item = Range<usize>> {
    let length = range.len().div_ceil(range.len().div_ceil(length_max));
    let end = range.end;
    range.step_by(length).map(move |start| start..end.min(start + length))
}
