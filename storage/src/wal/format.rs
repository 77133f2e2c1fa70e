//! The bytes of the WAL: segment header, record frame, payloads.
//!
//! Pure: no files here. Every payload is built by [`RecordBuilder`] and read back by [`Record::decode`].
//!
//! Format: docs/format/wal.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::coding::{CodingError, Cursor, crc32c, put_bytes, put_ivarint, put_uvarint};
use crate::model::{
    Exemplar, LabelSet, MetricKind, MetricMetadata, StartSlice, StartTimes, UNKNOWN_START_MS,
};

/// First bytes of a segment.
pub(super) const SEGMENT_MAGIC: [u8; 4] = *b"MTWL";
/// Version of segments and records.
pub(super) const SEGMENT_VERSION: u16 = 1;
/// magic 4, version 2, reserved 2, sequence number 8, CRC-32C 4.
pub(super) const SEGMENT_HEADER_BYTES: usize = 20;
/// length 4, CRC-32C 4.
pub(super) const FRAME_HEADER_BYTES: usize = 8;
/// type 1, tenant 4.
const RECORD_HEADER_BYTES: usize = 5;
/// Longest record: bounds what a reader allocates.
pub(super) const RECORD_BYTES_MAX: usize = 512 << 20;

const TYPE_TENANT: u8 = 1;
const TYPE_SERIES: u8 = 2;
const TYPE_SAMPLES: u8 = 3;
const TYPE_CHUNKS: u8 = 4;
const TYPE_METADATA: u8 = 5;
const TYPE_EXEMPLARS: u8 = 6;
const TYPE_STARTED_SAMPLES: u8 = 7;

/// Builds the header of segment `sequence`.
pub(super) fn segment_header(sequence: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    header.extend_from_slice(&SEGMENT_MAGIC);
    header.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    header.extend_from_slice(&[0, 0]);
    header.extend_from_slice(&sequence.to_le_bytes());
    let crc = crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// Checks a segment's header and returns its sequence number.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<u64, CodingError> {
    let mut cursor = Cursor::new(bytes);
    let checked =
        bytes.get(..SEGMENT_HEADER_BYTES.saturating_sub(4)).ok_or_else(|| cursor.error("no header"))?;
    if cursor.take(4)? != SEGMENT_MAGIC {
        return Err(cursor.error("no WAL segment"));
    }
    if cursor.u16()? != SEGMENT_VERSION {
        return Err(cursor.error("unknown WAL version"));
    }
    cursor.u16()?;
    let sequence = cursor.u64()?;
    if cursor.u32()? != crc32c(checked) {
        return Err(cursor.error("header checksum differs"));
    }
    Ok(sequence)
}

/// A series and the number under which later records of the epoch name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeriesRecord {
    /// The number.
    pub(crate) series_ref: u32,
    /// The labels.
    pub(crate) labels: LabelSet,
}

/// An encoded chunk of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRecord<'a> {
    /// The series.
    pub(crate) series_ref: u32,
    /// First sample's time.
    pub(crate) min_ms: i64,
    /// Last sample's time.
    pub(crate) max_ms: i64,
    /// Samples inside.
    pub(crate) sample_count: u32,
    /// Encoded timestamps.
    pub(crate) timestamps: &'a [u8],
    /// Encoded values.
    pub(crate) values: &'a [u8],
}

/// Samples of many series as decoded columns; owned so that replay reuses the memory.
///
/// # Shape
/// As `WriteBatch`: series `i` owns `sample_ends[i-1]..sample_ends[i]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SamplesView {
    /// Series of each run.
    pub(crate) series_refs: Vec<u32>,
    /// End of each run.
    pub(crate) sample_ends: Vec<usize>,
    /// Times.
    pub(crate) timestamps_ms: Vec<i64>,
    /// Values.
    pub(crate) values: Vec<f64>,
    /// Start times.
    pub(crate) starts: StartTimes,
}

/// One decoded record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record<'a> {
    /// The name of the tenant number in the record's header.
    Tenant(&'a str),
    /// Series of the tenant.
    Series(Vec<SeriesRecord>),
    /// Samples one by one.
    Samples(SamplesView),
    /// Samples as encoded chunks.
    Chunks(Vec<ChunkRecord<'a>>),
    /// Facts about metrics.
    Metadata(Vec<MetricMetadata>),
    /// Exemplars by series.
    Exemplars(Vec<(u32, Exemplar)>),
}

/// About as many bytes of a record are a run of one sample without its value.
const RUN_BYTES_USUAL: usize = 4;

/// Appends framed records to one buffer that goes to the WAL as a whole.
#[derive(Debug, Default)]
pub(crate) struct RecordBuilder {
    buffer: Vec<u8>,
}

impl RecordBuilder {
    /// Takes the framed records out.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Adds the name of a tenant number.
    pub(crate) fn tenant(&mut self, tenant: u32, name: &str) {
        self.framed(TYPE_TENANT, tenant, |out| put_bytes(out, name.as_bytes()));
    }

    /// Adds series.
    pub(crate) fn series<'l>(
        &mut self,
        tenant: u32,
        series: impl ExactSizeIterator<Item = (u32, &'l LabelSet)>,
    ) {
        self.framed(TYPE_SERIES, tenant, |out| {
            put_uvarint(out, series.len() as u64);
            for (series_ref, labels) in series {
                put_uvarint(out, u64::from(series_ref));
                put_bytes(out, labels.encoded().as_bytes());
            }
        });
    }

    /// Adds samples: `runs` gives each series and its timestamps, `values` and `starts` the values and start times of all
    /// of them.
    pub(crate) fn samples<'c>(
        &mut self,
        tenant: u32,
        run_count: usize,
        runs: impl Iterator<Item = (u32, &'c [i64])>,
        values: &[f64],
        starts: StartSlice<'_>,
    ) {
        let record_type = if starts.is_empty() { TYPE_SAMPLES } else { TYPE_STARTED_SAMPLES };
        self.framed(record_type, tenant, |out| {
            if record_type == TYPE_STARTED_SAMPLES {
                put_starts(starts, out);
            }
            // PERF: a buffer that grows is copied again and again.
            out.reserve(run_count.saturating_mul(RUN_BYTES_USUAL).saturating_add(size_of_val(values)));
            put_uvarint(out, run_count as u64);
            let mut previous_ref = 0_i64;
            let mut previous_ms = 0_i64;
            for (series_ref, timestamps_ms) in runs {
                put_ivarint(out, i64::from(series_ref).wrapping_sub(previous_ref));
                previous_ref = i64::from(series_ref);
                put_uvarint(out, timestamps_ms.len() as u64);
                for time_ms in timestamps_ms {
                    put_ivarint(out, time_ms.wrapping_sub(previous_ms));
                    previous_ms = *time_ms;
                }
            }
            for value in values {
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
        });
    }

    /// Adds encoded chunks. A chunk whose timestamp bytes equal its predecessor's stores them once.
    pub(crate) fn chunks<'c>(&mut self, tenant: u32, chunks: impl ExactSizeIterator<Item = ChunkRecord<'c>>) {
        self.framed(TYPE_CHUNKS, tenant, |out| {
            put_uvarint(out, chunks.len() as u64);
            let mut previous: &[u8] = &[];
            for chunk in chunks {
                put_uvarint(out, u64::from(chunk.series_ref));
                put_uvarint(out, u64::from(chunk.sample_count));
                put_ivarint(out, chunk.min_ms);
                put_uvarint(out, chunk.max_ms.wrapping_sub(chunk.min_ms).cast_unsigned());
                let is_repeated = !previous.is_empty() && previous == chunk.timestamps;
                put_bytes(out, if is_repeated { &[] } else { chunk.timestamps });
                put_bytes(out, chunk.values);
                previous = chunk.timestamps;
            }
        });
    }

    /// Adds facts about metrics.
    pub(crate) fn metadata(&mut self, tenant: u32, metadata: &[MetricMetadata]) {
        self.framed(TYPE_METADATA, tenant, |out| {
            put_uvarint(out, metadata.len() as u64);
            for fact in metadata {
                for text in [fact.metric.as_str(), fact.kind.as_str(), &fact.unit, &fact.help] {
                    put_bytes(out, text.as_bytes());
                }
            }
        });
    }

    /// Adds exemplars by series.
    pub(crate) fn exemplars(&mut self, tenant: u32, exemplars: &[(u32, Exemplar)]) {
        self.framed(TYPE_EXEMPLARS, tenant, |out| {
            put_uvarint(out, exemplars.len() as u64);
            for (series_ref, exemplar) in exemplars {
                put_uvarint(out, u64::from(*series_ref));
                put_ivarint(out, exemplar.time_ms);
                out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
                put_bytes(out, exemplar.labels.encoded().as_bytes());
            }
        });
    }

    fn framed(&mut self, record_type: u8, tenant: u32, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.buffer.push(record_type);
        self.buffer.extend_from_slice(&tenant.to_le_bytes());
        payload(&mut self.buffer);
        let Some((header, body)) =
            self.buffer.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(FRAME_HEADER_BYTES))
        else {
            return;
        };
        assert!(
            body.len() <= RECORD_BYTES_MAX,
            "a record of {} bytes is longer than a reader takes",
            body.len()
        );
        let (length, crc) = header.split_at_mut(4);
        length.copy_from_slice(&(body.len() as u32).to_le_bytes());
        crc.copy_from_slice(&crc32c(body).to_le_bytes());
    }
}

/// Takes the next frame off `cursor`: `None` at a clean end (no bytes, or a zero length).
///
/// # Errors
/// [`CodingError`] if the frame is torn or its checksum differs.
pub(super) fn next_frame<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, CodingError> {
    if cursor.is_at_end() {
        return Ok(None);
    }
    let length = cursor.u32()? as usize;
    if length == 0 {
        return Ok(None);
    }
    if !(RECORD_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) {
        return Err(cursor.error("impossible record length"));
    }
    let expected = cursor.u32()?;
    let body = cursor.take(length)?;
    if crc32c(body) != expected {
        return Err(cursor.error("record checksum differs"));
    }
    Ok(Some(body))
}

impl<'a> Record<'a> {
    /// Whether a record's first byte may be `kind`, now or in a later version.
    pub(super) fn is_type(kind: u8) -> bool {
        (1..32).contains(&kind)
    }

    /// Decodes the body of a frame into the tenant's number and the record.
    ///
    /// # Errors
    /// [`CodingError`] if the body is not what [`RecordBuilder`] writes.
    pub(crate) fn decode(body: &'a [u8]) -> Result<(u32, Record<'a>), CodingError> {
        let mut cursor = Cursor::new(body);
        let record_type = cursor.u8()?;
        let tenant = cursor.u32()?;
        let record = match record_type {
            TYPE_TENANT => Record::Tenant(cursor.text()?),
            TYPE_SERIES => Record::Series(decode_series(&mut cursor)?),
            TYPE_SAMPLES => Record::Samples(decode_samples(&mut cursor)?),
            TYPE_STARTED_SAMPLES => Record::Samples(decode_started_samples(&mut cursor)?),
            TYPE_CHUNKS => Record::Chunks(decode_chunks(&mut cursor)?),
            TYPE_EXEMPLARS => Record::Exemplars(decode_exemplars(&mut cursor)?),
            TYPE_METADATA => Record::Metadata(decode_metadata(&mut cursor)?),
            _ => return Err(cursor.error("unknown record type")),
        };
        if !cursor.is_at_end() {
            return Err(cursor.error("bytes after the record"));
        }
        Ok((tenant, record))
    }
}

fn take_u32(cursor: &mut Cursor<'_>, problem: &'static str) -> Result<u32, CodingError> {
    u32::try_from(cursor.uvarint()?).map_err(|_| cursor.error(problem))
}

fn decode_series(cursor: &mut Cursor<'_>) -> Result<Vec<SeriesRecord>, CodingError> {
    let count = cursor.count(2)?;
    let mut series = Vec::with_capacity(count);
    for _ in 0..count {
        let series_ref = take_u32(cursor, "series number is above 32 bits")?;
        let encoded = cursor.text()?;
        let labels = LabelSet::from_encoded(encoded).map_err(|_| cursor.error("label set is damaged"))?;
        series.push(SeriesRecord { series_ref, labels });
    }
    Ok(series)
}

fn decode_samples(cursor: &mut Cursor<'_>) -> Result<SamplesView, CodingError> {
    let run_count = cursor.count(2)?;
    let mut view = SamplesView::default();
    view.series_refs.reserve(run_count);
    view.sample_ends.reserve(run_count);
    let mut previous_ref = 0_i64;
    let mut previous_ms = 0_i64;
    for _ in 0..run_count {
        previous_ref = previous_ref.wrapping_add(cursor.ivarint()?);
        let series_ref = u32::try_from(previous_ref).map_err(|_| cursor.error("impossible series number"))?;
        let sample_count = cursor.count(9)?;
        for _ in 0..sample_count {
            previous_ms = previous_ms.wrapping_add(cursor.ivarint()?);
            view.timestamps_ms.push(previous_ms);
        }
        view.series_refs.push(series_ref);
        view.sample_ends.push(view.timestamps_ms.len());
    }
    let value_bytes =
        view.timestamps_ms.len().checked_mul(8).ok_or_else(|| cursor.error("too many samples"))?;
    let values = cursor.take(value_bytes)?;
    let (words, _) = values.as_chunks::<8>();
    view.values.extend(words.iter().map(|word| f64::from_bits(u64::from_le_bytes(*word))));
    Ok(view)
}

fn put_starts(starts: StartSlice<'_>, out: &mut Vec<u8>) {
    put_uvarint(out, starts.runs().count() as u64);
    let (mut previous_position, mut previous_ms) = (0, 0_i64);
    for run in starts.runs() {
        let is_known = run.start_ms != UNKNOWN_START_MS;
        let step = run.position.saturating_sub(previous_position) as u64;
        put_uvarint(out, step.wrapping_shl(1) | u64::from(is_known));
        if is_known {
            put_ivarint(out, run.start_ms.wrapping_sub(previous_ms));
            previous_ms = run.start_ms;
        }
        previous_position = run.position;
    }
}

fn decode_started_samples(cursor: &mut Cursor<'_>) -> Result<SamplesView, CodingError> {
    let run_count = cursor.count(1)?;
    let mut starts = StartTimes::new();
    let (mut position, mut start_ms) = (0_usize, 0_i64);
    for _ in 0..run_count {
        let step = cursor.uvarint()?;
        position = usize::try_from(step.wrapping_shr(1))
            .ok()
            .and_then(|step| position.checked_add(step))
            .ok_or_else(|| cursor.error("position of a start time is out of range"))?;
        if step & 1 == 0 {
            starts.push(position, UNKNOWN_START_MS);
        } else {
            start_ms = start_ms.wrapping_add(cursor.ivarint()?);
            starts.push(position, start_ms);
        }
    }
    let mut view = decode_samples(cursor)?;
    if starts.runs().last().is_some_and(|run| run.position >= view.values.len()) {
        return Err(cursor.error("start time of a sample that is not there"));
    }
    view.starts = starts;
    Ok(view)
}

fn decode_chunks<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<ChunkRecord<'a>>, CodingError> {
    let count = cursor.count(6)?;
    let mut chunks = Vec::with_capacity(count);
    let mut previous: &[u8] = &[];
    for _ in 0..count {
        let series_ref = take_u32(cursor, "series number is above 32 bits")?;
        let sample_count = take_u32(cursor, "sample count is above 32 bits")?;
        let min_ms = cursor.ivarint()?;
        let max_ms = min_ms.wrapping_add(cursor.uvarint()?.cast_signed());
        let own = cursor.bytes()?;
        let timestamps = if own.is_empty() { previous } else { own };
        let values = cursor.bytes()?;
        chunks.push(ChunkRecord { series_ref, min_ms, max_ms, sample_count, timestamps, values });
        previous = timestamps;
    }
    Ok(chunks)
}

fn decode_exemplars(cursor: &mut Cursor<'_>) -> Result<Vec<(u32, Exemplar)>, CodingError> {
    let count = cursor.count(11)?;
    let mut exemplars = Vec::with_capacity(count);
    for _ in 0..count {
        let series_ref = take_u32(cursor, "series number is above 32 bits")?;
        let time_ms = cursor.ivarint()?;
        let value = f64::from_bits(cursor.u64()?);
        let labels = LabelSet::from_encoded(cursor.text()?)
            .map_err(|_| cursor.error("label set of an exemplar is damaged"))?;
        exemplars.push((series_ref, Exemplar { labels, value, time_ms }));
    }
    Ok(exemplars)
}

fn decode_metadata(cursor: &mut Cursor<'_>) -> Result<Vec<MetricMetadata>, CodingError> {
    let count = cursor.count(4)?;
    let mut metadata = Vec::with_capacity(count);
    for _ in 0..count {
        let metric = cursor.text()?.to_owned();
        let kind =
            MetricKind::from_word(cursor.text()?).ok_or_else(|| cursor.error("unknown metric kind"))?;
        let unit = cursor.text()?.to_owned();
        let help = cursor.text()?.to_owned();
        metadata.push(MetricMetadata { metric, kind, unit, help });
    }
    Ok(metadata)
}
