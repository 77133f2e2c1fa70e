//! The samples of one series in one generation: raw tail → micro-chunks → sealed chunks.
//!
//! In-order samples go to the tail (at most 32). A full tail is encoded and appended to `micro`; when `micro`
//! holds a chunk's worth, it is re-encoded into one [`SealedChunk`]. Samples that are not newer than all before
//! go to [`super::late::LateSamples`].
//! Invariants: `sealed`, then `micro`, then `tail` ascend strictly in time.

use std::borrow::Borrow;
use std::sync::Arc;

use super::late::LateSamples;
use super::{CHUNK_SAMPLE_COUNT, TAIL_SAMPLE_COUNT};
use crate::chunk::{ChunkDecoder, ChunkEncoder, ChunkError};
use crate::coding::{Cursor, put_uvarint};
use crate::model::{Histogram, TimeRange};

/// An encoded run of ascending samples of one series. Shared with readers, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedChunk {
    /// First sample's time.
    pub(crate) min_ms: i64,
    /// Last sample's time.
    pub(crate) max_ms: i64,
    /// Samples inside.
    pub(crate) sample_count: u32,
    /// Encoded timestamps; often the same bytes as in the chunks of neighbouring series.
    pub(crate) timestamps: Arc<[u8]>,
    /// Encoded values.
    pub(crate) values: Box<[u8]>,
}

/// Bytes that an allocation costs beside its content.
const ALLOCATION_BYTES: usize = 16;

impl SealedChunk {
    /// Memory it takes, shared timestamps counted in full.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.timestamps.len() + self.values.len() + 3 * ALLOCATION_BYTES
    }

    /// Returns whether it may have samples inside `range`.
    pub(crate) fn touches(&self, range: TimeRange) -> bool {
        range.overlaps_span(self.min_ms, self.max_ms)
    }
}

/// Encoders, decoders and columns that the series of a shard share.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    pub(crate) encoder: ChunkEncoder,
    pub(crate) decoder: ChunkDecoder,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    timestamp_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
    /// The timestamps encoded last, with their bytes: series of one target share them.
    last_timestamps: Option<(Vec<i64>, Arc<[u8]>)>,
}

impl Codec {
    /// Encodes ascending samples into a chunk.
    pub(crate) fn seal(&mut self, timestamps_ms: &[i64], values: &[f64]) -> SealedChunk {
        self.value_bytes.clear();
        self.encoder.encode_values(values, &mut self.value_bytes);
        self.seal_encoded(timestamps_ms)
    }

    /// Encodes ascending histograms of one layout into a chunk.
    pub(crate) fn seal_histograms<R: Borrow<Histogram>>(
        &mut self,
        timestamps_ms: &[i64],
        rows: &[R],
    ) -> SealedChunk {
        self.value_bytes.clear();
        self.encoder.encode_histograms(rows, &mut self.value_bytes);
        self.seal_encoded(timestamps_ms)
    }

    /// Makes a chunk of the encoded values and these timestamps.
    fn seal_encoded(&mut self, timestamps_ms: &[i64]) -> SealedChunk {
        debug_assert!(timestamps_ms.is_sorted_by(|left, right| left < right));
        let timestamps = match &self.last_timestamps {
            Some((last, bytes)) if last == timestamps_ms => Arc::clone(bytes),
            _ => {
                self.timestamp_bytes.clear();
                self.encoder.encode_timestamps(timestamps_ms, &mut self.timestamp_bytes);
                let bytes: Arc<[u8]> = self.timestamp_bytes.as_slice().into();
                self.last_timestamps = Some((timestamps_ms.to_vec(), Arc::clone(&bytes)));
                bytes
            }
        };
        SealedChunk {
            min_ms: timestamps_ms.first().copied().unwrap_or_default(),
            max_ms: timestamps_ms.last().copied().unwrap_or_default(),
            sample_count: timestamps_ms.len() as u32,
            timestamps,
            values: self.value_bytes.as_slice().into(),
        }
    }
}

#[derive(Debug)]
struct Tail {
    base_ms: i64,
    sample_count: usize,
    offsets_ms: [u32; TAIL_SAMPLE_COUNT],
    values: [f64; TAIL_SAMPLE_COUNT],
}

/// What a reader copies out of a series while its shard is locked; decoded after.
#[derive(Debug, Default)]
pub(crate) struct HeadPieces {
    /// Sealed chunks that touch the range, ascending.
    pub(crate) sealed: Vec<Arc<SealedChunk>>,
    /// Micro-chunks as stored, all newer than `sealed`.
    pub(crate) micro: Vec<u8>,
    /// Times of the raw tail, newer than `micro`.
    pub(crate) tail_timestamps_ms: Vec<i64>,
    /// Values of the raw tail.
    pub(crate) tail_values: Vec<f64>,
    /// Chunks of late samples, later arrivals last; each wins over all before it.
    pub(crate) late_chunks: Vec<Arc<SealedChunk>>,
    /// Late samples not in a chunk yet, in order of arrival; these win over everything.
    pub(crate) late: Vec<(i64, f64)>,
    /// Chunks of histograms; each wins over all before it.
    pub(crate) histograms: Vec<Arc<SealedChunk>>,
}

impl HeadPieces {
    pub(crate) fn clear(&mut self) {
        self.sealed.clear();
        self.micro.clear();
        self.tail_timestamps_ms.clear();
        self.tail_values.clear();
        self.late_chunks.clear();
        self.late.clear();
        self.histograms.clear();
    }
}

/// All samples of one series in one generation.
#[derive(Debug)]
pub(crate) struct SeriesBuffer {
    min_ms: i64,
    /// Newest in-order sample; `i64::MIN` while empty.
    newest_ms: i64,
    sample_count: u32,
    micro_sample_count: u32,
    tail: Option<Box<Tail>>,
    micro: Vec<u8>,
    sealed: Vec<Arc<SealedChunk>>,
    late: Option<Box<LateSamples>>,
}

impl Default for SeriesBuffer {
    fn default() -> Self {
        Self {
            min_ms: i64::MAX,
            newest_ms: i64::MIN,
            sample_count: 0,
            micro_sample_count: 0,
            tail: None,
            micro: Vec::new(),
            sealed: Vec::new(),
            late: None,
        }
    }
}

impl SeriesBuffer {
    /// Samples stored, repeats of late samples included.
    pub(crate) fn sample_count(&self) -> usize {
        self.sample_count as usize
    }

    /// How many chunks, the open one included.
    pub(crate) fn chunk_count(&self) -> usize {
        self.sealed.len() + usize::from(self.micro_sample_count > 0 || self.tail.is_some())
    }

    /// Times of the oldest and the newest sample.
    pub(crate) fn span_ms(&self) -> Option<(i64, i64)> {
        (self.sample_count > 0).then_some((self.min_ms, self.newest_ms))
    }

    /// Returns whether there may be samples inside `range`.
    pub(crate) fn touches(&self, range: TimeRange) -> bool {
        self.span_ms().is_some_and(|(min_ms, max_ms)| range.overlaps_span(min_ms, max_ms))
    }

    /// Appends one sample; returns by how many bytes the memory grew.
    #[inline]
    pub(crate) fn append(&mut self, time_ms: i64, value: f64, codec: &mut Codec) -> isize {
        if time_ms <= self.newest_ms {
            return self.append_late(time_ms, value, codec);
        }
        let mut grown = 0;
        let offset_ms = match &self.tail {
            Some(tail) if tail.sample_count > 0 => time_ms.wrapping_sub(tail.base_ms),
            _ => 0,
        };
        // A tail that cannot express the distance is sealed early.
        if !(0..=i64::from(u32::MAX)).contains(&offset_ms) {
            grown += self.seal_tail(codec);
        }
        let tail = self.tail.get_or_insert_with(|| {
            grown += (size_of::<Tail>() + ALLOCATION_BYTES).cast_signed();
            Box::new(Tail {
                base_ms: time_ms,
                sample_count: 0,
                offsets_ms: [0; TAIL_SAMPLE_COUNT],
                values: [0.0; TAIL_SAMPLE_COUNT],
            })
        });
        if tail.sample_count == 0 {
            tail.base_ms = time_ms;
        }
        tail.offsets_ms[tail.sample_count] = time_ms.wrapping_sub(tail.base_ms) as u32;
        tail.values[tail.sample_count] = value;
        tail.sample_count += 1;
        let is_full = tail.sample_count == TAIL_SAMPLE_COUNT;
        self.min_ms = self.min_ms.min(time_ms);
        self.newest_ms = time_ms;
        self.sample_count += 1;
        if is_full {
            grown += self.seal_tail(codec);
        }
        grown
    }

    /// Takes a chunk that was encoded outside; returns by how many bytes the memory grew.
    pub(crate) fn append_chunk(&mut self, chunk: Arc<SealedChunk>, codec: &mut Codec) -> isize {
        let mut grown = chunk.memory_bytes().cast_signed();
        self.sample_count += chunk.sample_count;
        self.min_ms = self.min_ms.min(chunk.min_ms);
        if chunk.min_ms > self.newest_ms {
            grown += self.seal_tail(codec) + self.seal_micro(codec);
            self.newest_ms = chunk.max_ms;
            self.sealed.push(chunk);
        } else {
            let late = self.late.get_or_insert_default();
            grown += late.seal(codec);
            self.newest_ms = self.newest_ms.max(chunk.max_ms);
            late.push_chunk(chunk);
        }
        grown
    }

    fn append_late(&mut self, time_ms: i64, value: f64, codec: &mut Codec) -> isize {
        if time_ms == self.newest_ms
            && let Some(tail) = self.tail.as_ref().filter(|tail| tail.sample_count > 0)
            && tail.base_ms.wrapping_add(i64::from(tail.offsets_ms[tail.sample_count - 1])) == time_ms
            && tail.values[tail.sample_count - 1].to_bits() == value.to_bits()
            && self.late.as_ref().is_none_or(|late| late.newest_ms() < time_ms)
        {
            // An identical repeat changes nothing, unless another value came between.
            return 0;
        }
        self.min_ms = self.min_ms.min(time_ms);
        self.sample_count += 1;
        self.late.get_or_insert_default().append(time_ms, value, codec)
    }

    /// Encodes the tail and appends it to the micro-chunks.
    fn seal_tail(&mut self, codec: &mut Codec) -> isize {
        let Some(tail) = self.tail.as_mut().filter(|tail| tail.sample_count > 0) else { return 0 };
        let before = self.micro.capacity();
        codec.timestamps_ms.clear();
        let offsets_ms = &tail.offsets_ms[..tail.sample_count];
        codec
            .timestamps_ms
            .extend(offsets_ms.iter().map(|offset| tail.base_ms.wrapping_add(i64::from(*offset))));
        codec.timestamp_bytes.clear();
        codec.value_bytes.clear();
        codec.encoder.encode_timestamps(&codec.timestamps_ms, &mut codec.timestamp_bytes);
        codec.encoder.encode_values(&tail.values[..tail.sample_count], &mut codec.value_bytes);
        let needed = codec.timestamp_bytes.len() + codec.value_bytes.len() + 6;
        if self.micro.capacity() - self.micro.len() < needed {
            // PERF: grows by a third instead of doubling; at 100 000 series the slack is what counts.
            self.micro.reserve_exact(needed.max(self.micro.capacity() / 3));
        }
        self.micro.push(tail.sample_count as u8);
        put_uvarint(&mut self.micro, codec.timestamp_bytes.len() as u64);
        self.micro.extend_from_slice(&codec.timestamp_bytes);
        put_uvarint(&mut self.micro, codec.value_bytes.len() as u64);
        self.micro.extend_from_slice(&codec.value_bytes);
        self.micro_sample_count += tail.sample_count as u32;
        tail.sample_count = 0;
        let mut grown = self.micro.capacity().cast_signed() - before.cast_signed();
        if self.micro_sample_count as usize > CHUNK_SAMPLE_COUNT - TAIL_SAMPLE_COUNT {
            grown += self.seal_micro(codec);
        }
        grown
    }

    /// Re-encodes the micro-chunks into one sealed chunk.
    fn seal_micro(&mut self, codec: &mut Codec) -> isize {
        if self.micro_sample_count == 0 {
            return 0;
        }
        let mut timestamps_ms = std::mem::take(&mut codec.timestamps_ms);
        let mut values = std::mem::take(&mut codec.values);
        timestamps_ms.clear();
        values.clear();
        let decoded = decode_micro(&self.micro, &mut codec.decoder, &mut timestamps_ms, &mut values);
        assert!(decoded.is_ok(), "a micro-chunk of the head does not decode: {decoded:?}");
        let chunk = codec.seal(&timestamps_ms, &values);
        codec.timestamps_ms = timestamps_ms;
        codec.values = values;
        let grown = chunk.memory_bytes().cast_signed();
        self.sealed.push(Arc::new(chunk));
        // The capacity is kept: the next micro-chunks of the series need as much.
        self.micro.clear();
        self.micro_sample_count = 0;
        grown
    }

    /// Copies what touches `range` into `pieces` (not cleared here).
    pub(crate) fn collect(&self, range: TimeRange, pieces: &mut HeadPieces) {
        if !self.touches(range) {
            return;
        }
        pieces.sealed.extend(self.sealed.iter().filter(|chunk| chunk.touches(range)).cloned());
        if self.micro_sample_count > 0 {
            pieces.micro.extend_from_slice(&self.micro);
        }
        if let Some(tail) = &self.tail {
            let offsets_ms = &tail.offsets_ms[..tail.sample_count];
            let times_ms = offsets_ms.iter().map(|offset| tail.base_ms.wrapping_add(i64::from(*offset)));
            pieces.tail_timestamps_ms.extend(times_ms);
            pieces.tail_values.extend_from_slice(&tail.values[..tail.sample_count]);
        }
        if let Some(late) = &self.late {
            late.collect(range, pieces);
        }
    }

    /// Memory of a series without samples.
    pub(crate) const EMPTY_BYTES: usize = size_of::<Self>();
}

/// Decodes micro-chunks, appending to both columns.
///
/// # Errors
/// [`ChunkError`] if the bytes are not what `seal_tail` wrote.
pub(crate) fn decode_micro(
    micro: &[u8],
    decoder: &mut ChunkDecoder,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(micro);
    while !cursor.is_at_end() {
        let sample_count = usize::from(cursor.u8()?);
        decoder.decode_timestamps(cursor.bytes()?, sample_count, timestamps_ms)?;
        decoder.decode_values(cursor.bytes()?, sample_count, values)?;
    }
    Ok(())
}
