//! The samples of one series in one generation: stream → micro-chunks → sealed chunks.
//!
//! In-order samples go to a [`SampleStream`]. When it has too many bytes it is encoded and appended to `micro`; when
//! both hold a chunk's worth, they are encoded into one [`SealedChunk`]. Samples that are not newer than all before
//! go to [`super::late::LateSamples`].
//! Invariants: `sealed`, then `micro`, then `stream` ascend strictly in time.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::sync::Arc;

use super::CHUNK_SAMPLE_COUNT;
use super::late::LateSamples;
use super::stream::{STREAM_BYTES_MAX, STREAM_STEP_BYTES_MAX, SampleStream, decode_stream};
use crate::chunk::{ChunkDecoder, ChunkEncoder, ChunkError};
use crate::coding::{Cursor, put_bytes, put_uvarint};
use crate::model::{Histogram, StartSlice, StartTimes, TimeRange, UNKNOWN_START_MS};

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

/// Encoders, decoders and columns that all series of a thread share.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    pub(crate) encoder: ChunkEncoder,
    pub(crate) decoder: ChunkDecoder,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
    timestamp_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
    /// The timestamps encoded last, with their bytes: series of one target share them.
    last_timestamps: Option<(Vec<i64>, Arc<[u8]>)>,
}

thread_local! {
    /// PERF: encoders keep scratch memory and hints about the last series; a thread writes many series in turn.
    static CODEC: RefCell<Codec> = RefCell::default();
}

impl Codec {
    /// Lends the codec of this thread. Not to be nested.
    pub(crate) fn with<T>(run: impl FnOnce(&mut Self) -> T) -> T {
        CODEC.with_borrow_mut(run)
    }

    /// Encodes ascending samples with their start times into a chunk.
    pub(crate) fn seal(
        &mut self,
        timestamps_ms: &[i64],
        values: &[f64],
        starts: StartSlice<'_>,
    ) -> SealedChunk {
        self.value_bytes.clear();
        self.encoder.encode_starts(starts, values.len(), &mut self.value_bytes);
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

/// Memory of the first micro-chunks; doubled as they grow, see [`SampleStream`] for why not by less.
const MICRO_BYTES_MIN: usize = 128;

/// The samples of a series that are in no chunk yet.
#[derive(Debug, Default)]
struct Open {
    stream: SampleStream,
    micro: Vec<u8>,
    /// Newest sample in `micro`.
    micro_newest_ms: i64,
    /// Distance of the last two samples in `micro`; 0 = it has no two.
    micro_distance_ms: u32,
    micro_sample_count: u16,
}

impl Open {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + ALLOCATION_BYTES + self.stream.capacity() + self.micro.capacity()
    }

    fn sample_count(&self) -> usize {
        self.stream.sample_count() + usize::from(self.micro_sample_count)
    }

    /// Encodes the stream and appends it to the micro-chunks.
    fn seal_stream(&mut self, codec: &mut Codec) {
        if self.stream.sample_count() == 0 {
            return;
        }
        codec.timestamps_ms.clear();
        codec.values.clear();
        codec.starts.clear();
        let bytes = self.stream.bytes();
        let decoded = decode_stream(bytes, &mut codec.timestamps_ms, &mut codec.values, &mut codec.starts);
        assert!(decoded.is_ok(), "a stream of the head does not decode: {decoded:?}");
        self.stream.restart();
        codec.timestamp_bytes.clear();
        codec.value_bytes.clear();
        // What goes on as before needs no timestamps.
        let mut previous_ms = self.micro_newest_ms;
        let mut goes_on = self.micro_distance_ms != 0;
        for time_ms in &codec.timestamps_ms {
            goes_on = goes_on && time_ms.wrapping_sub(previous_ms) == i64::from(self.micro_distance_ms);
            previous_ms = *time_ms;
        }
        if !goes_on {
            codec.encoder.encode_timestamps(&codec.timestamps_ms, &mut codec.timestamp_bytes);
            self.micro_distance_ms = match codec.timestamps_ms[..] {
                [.., before_ms, newest_ms] => {
                    u32::try_from(newest_ms.wrapping_sub(before_ms)).unwrap_or_default()
                }
                _ => 0,
            };
        }
        self.micro_newest_ms = previous_ms;
        if let [only] = codec.starts.runs()
            && only.position == 0
            && only.start_ms == micro_start_ms(&self.micro, &mut codec.decoder)
        {
            codec.encoder.encode_same_starts(&mut codec.value_bytes);
        } else {
            let starts = codec.starts.up_to(codec.values.len());
            codec.encoder.encode_starts(starts, codec.values.len(), &mut codec.value_bytes);
        }
        codec.encoder.encode_micro_values(&codec.values, &mut codec.value_bytes);
        let needed = self.micro.len() + codec.timestamp_bytes.len() + codec.value_bytes.len() + 6;
        if self.micro.capacity() < needed {
            self.micro.reserve_exact(needed.next_power_of_two().max(MICRO_BYTES_MIN) - self.micro.len());
        }
        put_uvarint(&mut self.micro, codec.values.len() as u64);
        put_bytes(&mut self.micro, &codec.timestamp_bytes);
        put_bytes(&mut self.micro, &codec.value_bytes);
        self.micro_sample_count += codec.values.len() as u16;
    }
}

/// The start time of the newest sample in micro-chunks. Searched for, as only few series have one to be kept.
fn micro_start_ms(micro: &[u8], decoder: &mut ChunkDecoder) -> i64 {
    let mut starts = StartTimes::new();
    let mut cursor = Cursor::new(micro);
    let mut position = 0;
    let mut next = || -> Result<bool, ChunkError> {
        if cursor.is_at_end() {
            return Ok(false);
        }
        let sample_count = cursor.uvarint()? as usize;
        cursor.bytes()?;
        decoder.decode_micro_starts(cursor.bytes()?, sample_count, position, &mut starts)?;
        position += sample_count;
        Ok(true)
    };
    loop {
        match next() {
            Ok(true) => {}
            Ok(false) => return starts.last_start_ms(),
            // Nothing is left out then: the start time is written in full.
            Err(_) => return UNKNOWN_START_MS,
        }
    }
}

/// What a reader copies out of a series while its shard is locked; decoded after.
#[derive(Debug, Default)]
pub(crate) struct HeadPieces {
    /// Sealed chunks that touch the range, ascending.
    pub(crate) sealed: Vec<Arc<SealedChunk>>,
    /// Micro-chunks as stored, all newer than `sealed`.
    pub(crate) micro: Vec<u8>,
    /// The stream, newer than `micro`.
    pub(crate) stream: Vec<u8>,
    /// Chunks of late samples, later arrivals last; each wins over all before it.
    pub(crate) late_chunks: Vec<Arc<SealedChunk>>,
    /// Late samples not in a chunk yet, in order of arrival; these win over everything.
    pub(crate) late: Vec<(i64, f64)>,
    /// Their start times.
    pub(crate) late_starts: StartTimes,
    /// Chunks of histograms; each wins over all before it.
    pub(crate) histograms: Vec<Arc<SealedChunk>>,
}

impl HeadPieces {
    pub(crate) fn clear(&mut self) {
        self.sealed.clear();
        self.micro.clear();
        self.stream.clear();
        self.late_chunks.clear();
        self.late.clear();
        self.late_starts.clear();
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
    open: Option<Box<Open>>,
    sealed: Vec<Arc<SealedChunk>>,
    late: Option<Box<LateSamples>>,
}

impl Default for SeriesBuffer {
    fn default() -> Self {
        Self {
            min_ms: i64::MAX,
            newest_ms: i64::MIN,
            sample_count: 0,
            open: None,
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
        self.sealed.len() + usize::from(self.open.is_some())
    }

    /// Reads a bit of the series itself. This and the following return it, so that the reading is not left out.
    #[inline]
    pub(crate) fn touch_self(&self) -> u8 {
        self.newest_ms as u8 ^ u8::from(self.open.is_some())
    }

    /// Reads a bit of what its open samples begin with.
    #[inline]
    pub(crate) fn touch_open(&self) -> u8 {
        self.open.as_ref().map_or(0, |open| open.stream.sample_count() as u8 ^ open.micro_newest_ms as u8)
    }

    /// Reads the last byte of its stream.
    #[inline]
    pub(crate) fn touch_stream(&self) -> u8 {
        self.open.as_ref().and_then(|open| open.stream.bytes().last().copied()).unwrap_or_default()
    }

    /// Times of the oldest and the newest sample.
    pub(crate) fn span_ms(&self) -> Option<(i64, i64)> {
        (self.sample_count > 0).then_some((self.min_ms, self.newest_ms))
    }

    /// Returns whether there may be samples inside `range`.
    pub(crate) fn touches(&self, range: TimeRange) -> bool {
        self.span_ms().is_some_and(|(min_ms, max_ms)| range.overlaps_span(min_ms, max_ms))
    }

    /// Appends one sample with its start time; returns by how many bytes the memory grew.
    #[inline]
    pub(crate) fn append(&mut self, time_ms: i64, value: f64, start_ms: i64, codec: &mut Codec) -> isize {
        if time_ms <= self.newest_ms {
            return self.append_late(time_ms, value, start_ms, codec);
        }
        let mut grown = 0;
        let open = self.open.get_or_insert_with(|| {
            grown += (size_of::<Open>() + ALLOCATION_BYTES).cast_signed();
            Box::default()
        });
        let before = open.memory_bytes();
        let distance_ms = u32::try_from(time_ms.wrapping_sub(self.newest_ms));
        if distance_ms.is_err() {
            // A stream cannot express the distance.
            open.seal_stream(codec);
        }
        open.stream.push(time_ms, distance_ms.unwrap_or_default(), value, start_ms);
        self.min_ms = self.min_ms.min(time_ms);
        self.newest_ms = time_ms;
        self.sample_count += 1;
        if open.sample_count() >= CHUNK_SAMPLE_COUNT {
            return grown + open.memory_bytes().cast_signed() - before.cast_signed() + self.seal_open(codec);
        }
        if open.stream.bytes().len() > STREAM_BYTES_MAX - STREAM_STEP_BYTES_MAX {
            open.seal_stream(codec);
        }
        grown + open.memory_bytes().cast_signed() - before.cast_signed()
    }

    /// Takes a chunk that was encoded outside; returns by how many bytes the memory grew.
    pub(crate) fn append_chunk(&mut self, chunk: Arc<SealedChunk>, codec: &mut Codec) -> isize {
        let mut grown = chunk.memory_bytes().cast_signed();
        self.sample_count += chunk.sample_count;
        self.min_ms = self.min_ms.min(chunk.min_ms);
        if chunk.min_ms > self.newest_ms {
            grown += self.seal_open(codec);
            self.newest_ms = chunk.max_ms;
            self.push_sealed(chunk);
        } else {
            let late = self.late.get_or_insert_default();
            grown += late.seal(codec);
            if chunk.max_ms > self.newest_ms {
                // The stream counts from the newest sample.
                grown += self.seal_open(codec);
                self.newest_ms = chunk.max_ms;
            }
            self.late.get_or_insert_default().push_chunk(chunk);
        }
        grown
    }

    fn append_late(&mut self, time_ms: i64, value: f64, start_ms: i64, codec: &mut Codec) -> isize {
        if time_ms == self.newest_ms
            && let Some(open) = &self.open
            && open.stream.last_value().is_some_and(|newest| newest.to_bits() == value.to_bits())
            && open.stream.last_start_ms() == start_ms
            && self.late.as_ref().is_none_or(|late| late.newest_ms() < time_ms)
        {
            // An identical repeat changes nothing, unless another sample came between.
            return 0;
        }
        self.min_ms = self.min_ms.min(time_ms);
        self.sample_count += 1;
        self.late.get_or_insert_default().append(time_ms, value, start_ms, codec)
    }

    /// Encodes what is in no chunk yet into one; returns by how many bytes the memory grew.
    fn seal_open(&mut self, codec: &mut Codec) -> isize {
        let Some(open) = self.open.take() else { return 0 };
        let freed = open.memory_bytes();
        if open.sample_count() == 0 {
            return -freed.cast_signed();
        }
        let mut timestamps_ms = std::mem::take(&mut codec.timestamps_ms);
        let mut values = std::mem::take(&mut codec.values);
        let mut starts = std::mem::take(&mut codec.starts);
        timestamps_ms.clear();
        values.clear();
        starts.clear();
        let decoded =
            decode_micro(&open.micro, &mut codec.decoder, &mut timestamps_ms, &mut values, &mut starts)
                .and_then(|()| {
                    let bytes = open.stream.bytes();
                    Ok(decode_stream(bytes, &mut timestamps_ms, &mut values, &mut starts)?)
                });
        assert!(decoded.is_ok(), "a micro-chunk of the head does not decode: {decoded:?}");
        let chunk = codec.seal(&timestamps_ms, &values, starts.up_to(values.len()));
        codec.timestamps_ms = timestamps_ms;
        codec.values = values;
        codec.starts = starts;
        let grown = chunk.memory_bytes();
        self.push_sealed(Arc::new(chunk));
        grown.cast_signed() - freed.cast_signed()
    }

    fn push_sealed(&mut self, chunk: Arc<SealedChunk>) {
        if self.sealed.len() == self.sealed.capacity() {
            // PERF: most series have one or two between flushes; a vector would begin with room for four.
            self.sealed.reserve_exact(self.sealed.len() / 2 + 1);
        }
        self.sealed.push(chunk);
    }

    /// Copies what touches `range` into `pieces` (not cleared here).
    pub(crate) fn collect(&self, range: TimeRange, pieces: &mut HeadPieces) {
        if !self.touches(range) {
            return;
        }
        pieces.sealed.extend(self.sealed.iter().filter(|chunk| chunk.touches(range)).cloned());
        if let Some(open) = &self.open {
            pieces.micro.extend_from_slice(&open.micro);
            pieces.stream.extend_from_slice(open.stream.bytes());
        }
        if let Some(late) = &self.late {
            late.collect(range, pieces);
        }
    }

    /// Memory of a series without samples.
    pub(crate) const EMPTY_BYTES: usize = size_of::<Self>();
}

/// Decodes micro-chunks, appending to all columns.
///
/// # Errors
/// [`ChunkError`] if the bytes are not what `seal_stream` wrote.
pub(crate) fn decode_micro(
    micro: &[u8],
    decoder: &mut ChunkDecoder,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
) -> Result<(), ChunkError> {
    let start = timestamps_ms.len();
    let mut cursor = Cursor::new(micro);
    while !cursor.is_at_end() {
        let sample_count = cursor.uvarint()?;
        if sample_count > CHUNK_SAMPLE_COUNT as u64 {
            return Err(cursor.error("impossible sample count").into());
        }
        let sample_count = sample_count as usize;
        let timestamps = cursor.bytes()?;
        if timestamps.is_empty() {
            let [.., before_ms, newest_ms] = timestamps_ms[start..] else {
                return Err(cursor.error("no timestamps to go on from").into());
            };
            let distance_ms = newest_ms.wrapping_sub(before_ms);
            let times_ms = (1..=sample_count as i64)
                .map(|index| newest_ms.wrapping_add(distance_ms.wrapping_mul(index)));
            timestamps_ms.extend(times_ms);
        } else {
            decoder.decode_timestamps(timestamps, sample_count, timestamps_ms)?;
        }
        let bytes = cursor.bytes()?;
        decoder.decode_micro_starts(bytes, sample_count, values.len(), starts)?;
        decoder.decode_values(bytes, sample_count, values)?;
    }
    Ok(())
}
