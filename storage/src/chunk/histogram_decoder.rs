//! The reading side of histogram chunks: bytes of unknown provenance to histograms.
//!
//! Layout, runs and counts are all checked; a chunk of few bytes cannot ask for much memory, as rows times columns are
//! limited. Format: `docs/format/chunk.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use super::decoder::{ChunkDecoder, check_end, check_sample_count};
use super::error::ChunkError;
use super::format::{HISTOGRAM, HISTOGRAM_CELL_COUNT_MAX, HISTOGRAM_IS_INTEGER};
use super::histogram::FIXED_COLUMN_COUNT;
use crate::coding::Cursor;
use crate::model::histogram::is_possible_count;
use crate::model::{BUCKET_COUNT_MAX, BucketSpan, Histogram, HistogramLayout, ResetHint};

/// Memory that decoding reuses.
#[derive(Debug, Default)]
pub(super) struct HistogramScratch {
    /// All columns of a chunk, one after the other.
    cells: Vec<f64>,
    reset_hints: Vec<ResetHint>,
    starts_ms: Vec<Option<i64>>,
    /// The layout decoded last: chunks of one series share it.
    layout: Option<Arc<HistogramLayout>>,
}

fn impossible(reason: &'static str) -> ChunkError {
    ChunkError::ImpossibleHistogram { reason }
}

impl ChunkDecoder {
    /// Appends exactly the `count` histograms of the chunk `bytes` to `out`.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such chunk; `out` is then as before.
    pub fn decode_histograms(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<Arc<Histogram>>,
    ) -> Result<(), ChunkError> {
        let mut scratch = std::mem::take(&mut self.histogram);
        let result = self.decode_rows(bytes, count, &mut scratch, out);
        self.histogram = scratch;
        result
    }

    /// Appends the columns `count` and `sum` of the chunk `bytes` without looking at its buckets: for functions that
    /// need no more, at the price of two float columns.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes up to these columns are no such chunk; both outputs are then as before.
    pub fn decode_histogram_totals(
        &mut self,
        bytes: &[u8],
        count: usize,
        counts: &mut Vec<f64>,
        sums: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        let start = counts.len();
        let mut cursor = Cursor::new(bytes);
        let mut scratch = std::mem::take(&mut self.histogram);
        let header = self.read_header(&mut cursor, count, &mut scratch);
        self.histogram = scratch;
        let layout = header?;
        self.read_column(&mut cursor, count, counts)?;
        let read = check_counts(counts.get(start..).unwrap_or_default(), layout.is_integer)
            .and_then(|()| self.read_column(&mut cursor, count, sums));
        if read.is_err() {
            counts.truncate(start);
        }
        read
    }

    fn decode_rows(
        &mut self,
        bytes: &[u8],
        count: usize,
        scratch: &mut HistogramScratch,
        out: &mut Vec<Arc<Histogram>>,
    ) -> Result<(), ChunkError> {
        let mut cursor = Cursor::new(bytes);
        let layout = self.read_header(&mut cursor, count, scratch)?;
        let (positive, negative) = layout.bucket_counts();
        let (positive, negative) = (positive as usize, negative as usize);
        let column_count = FIXED_COLUMN_COUNT.saturating_add(positive).saturating_add(negative);
        scratch.cells.clear();
        for column in 0..column_count {
            let start = scratch.cells.len();
            self.read_column(&mut cursor, count, &mut scratch.cells)?;
            if column != SUM_COLUMN {
                check_counts(scratch.cells.get(start..).unwrap_or_default(), layout.is_integer)?;
            }
        }
        check_end(&cursor)?;
        out.reserve(count);
        for (row, (reset_hint, start_ms)) in scratch.reset_hints.iter().zip(&scratch.starts_ms).enumerate() {
            let mut cells = scratch.cells.iter().skip(row).step_by(count).copied();
            let mut next = || cells.next().unwrap_or_default();
            let (count, sum, zero_count) = (next(), next(), next());
            out.push(Arc::new(Histogram {
                layout: Arc::clone(&layout),
                reset_hint: *reset_hint,
                start_ms: *start_ms,
                count,
                sum,
                zero_count,
                positive_counts: (0..positive).map(|_| next()).collect(),
                negative_counts: (0..negative).map(|_| next()).collect(),
            }));
        }
        Ok(())
    }

    /// Reads everything before the columns: layout, reset hints and start times.
    fn read_header(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        scratch: &mut HistogramScratch,
    ) -> Result<Arc<HistogramLayout>, ChunkError> {
        check_sample_count(count)?;
        let layout = self.read_layout(cursor)?;
        let (positive, negative) = layout.bucket_counts();
        let column_count = positive.saturating_add(negative).saturating_add(FIXED_COLUMN_COUNT as u64);
        if column_count.saturating_mul(count as u64) > HISTOGRAM_CELL_COUNT_MAX as u64 {
            return Err(impossible("more samples and buckets than one chunk may hold"));
        }
        if column_count > cursor.remaining() as u64 {
            return Err(cursor.error("more columns than bytes").into());
        }
        read_reset_hints(cursor, count, &mut scratch.reset_hints)?;
        read_starts(cursor, count, &mut scratch.starts_ms)?;
        match &scratch.layout {
            Some(known) if **known == layout => Ok(Arc::clone(known)),
            _ => Ok(Arc::clone(scratch.layout.insert(Arc::new(layout)))),
        }
    }

    fn read_layout(&mut self, cursor: &mut Cursor<'_>) -> Result<HistogramLayout, ChunkError> {
        let id = cursor.u8()?;
        if id != HISTOGRAM {
            return Err(ChunkError::UnknownEncoding { id });
        }
        let flags = cursor.u8()?;
        if flags & !HISTOGRAM_IS_INTEGER != 0 {
            return Err(cursor.error("unknown flags of a histogram chunk").into());
        }
        let mut layout = HistogramLayout {
            schema: cursor.u8()?.cast_signed(),
            is_integer: flags & HISTOGRAM_IS_INTEGER != 0,
            zero_threshold: f64::from_bits(cursor.u64()?),
            positive_spans: read_spans(cursor)?,
            negative_spans: read_spans(cursor)?,
            custom_bounds: Vec::new(),
        };
        let bound_count = cursor.count(0)?;
        if bound_count > BUCKET_COUNT_MAX {
            return Err(impossible("too many custom bounds"));
        }
        if bound_count > 0 {
            self.decode_values(cursor.bytes()?, bound_count, &mut layout.custom_bounds)?;
        }
        layout.validate().map_err(|_| impossible("layout is not valid"))?;
        Ok(layout)
    }

    fn read_column(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        let bytes = cursor.bytes()?;
        if bytes.is_empty() {
            out.extend(std::iter::repeat_n(0.0, count));
            return Ok(());
        }
        self.decode_values(bytes, count, out)
    }
}

/// Position of the column that may hold any float.
const SUM_COLUMN: usize = 1;

fn check_counts(counts: &[f64], is_integer: bool) -> Result<(), ChunkError> {
    if counts.iter().all(|count| is_possible_count(*count, is_integer)) {
        return Ok(());
    }
    Err(impossible("a count is negative, not finite or no integer"))
}

fn read_spans(cursor: &mut Cursor<'_>) -> Result<Vec<BucketSpan>, ChunkError> {
    let count = cursor.count(2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = i32::try_from(cursor.ivarint()?).map_err(|_| cursor.error("offset is above 32 bits"))?;
        let length = u32::try_from(cursor.uvarint()?).map_err(|_| cursor.error("length is above 32 bits"))?;
        spans.push(BucketSpan { offset, length });
    }
    Ok(spans)
}

/// The length of a run in the upper bits of `number`, if it has room in what is left of `count`.
fn run_length(cursor: &Cursor<'_>, length: u64, filled: usize, count: usize) -> Result<usize, ChunkError> {
    let left = count.saturating_sub(filled);
    match usize::try_from(length) {
        Ok(length) if (1..=left).contains(&length) => Ok(length),
        _ => Err(cursor.error("runs do not add up to the samples").into()),
    }
}

fn read_reset_hints(
    cursor: &mut Cursor<'_>,
    count: usize,
    out: &mut Vec<ResetHint>,
) -> Result<(), ChunkError> {
    out.clear();
    while out.len() < count {
        let number = cursor.uvarint()?;
        let length = run_length(cursor, number >> 2, out.len(), count)?;
        let hint = ResetHint::from_number(number & 3).ok_or_else(|| cursor.error("unknown reset hint"))?;
        out.extend(std::iter::repeat_n(hint, length));
    }
    Ok(())
}

fn read_starts(cursor: &mut Cursor<'_>, count: usize, out: &mut Vec<Option<i64>>) -> Result<(), ChunkError> {
    out.clear();
    let mut previous_ms = 0_i64;
    while out.len() < count {
        let number = cursor.uvarint()?;
        let length = run_length(cursor, number >> 1, out.len(), count)?;
        let mut start_ms = None;
        if number & 1 != 0 {
            previous_ms = previous_ms.wrapping_add(cursor.ivarint()?);
            start_ms = Some(previous_ms);
        }
        out.extend(std::iter::repeat_n(start_ms, length));
    }
    Ok(())
}
