//! The reading side of the room: bytes of unknown provenance to columns.
//!
//! Damage gives [`ChunkError`] and leaves the output as it was; memory is bounded by [`SAMPLE_COUNT_MAX`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::constant;
use super::decimal;
use super::error::ChunkError;
use super::exceptions;
use super::float_bits;
use super::format::{
    CONSTANT, EXPONENT_SHIFT, FLOAT_BITS, HAS_EXCEPTIONS, PAGED, SAMPLE_COUNT_MAX, TRANSFORM_MASK,
};
use super::histogram_decoder::HistogramScratch;
use super::integers::IntegerReader;
use super::miniblock::BlockScratch;
use super::paged::PagedDecoder;
use super::starts::{self, StartsScratch};
use super::timestamps::TimestampDecoder;
use crate::coding::Cursor;

/// Decodes chunks; keeps its scratch memory between them.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    pub(super) scratch: BlockScratch,
    exceptions: Vec<(usize, f64)>,
    timestamps: TimestampDecoder,
    paged: PagedDecoder,
    pub(super) histogram: HistogramScratch,
    pub(super) starts: StartsScratch,
}

impl ChunkDecoder {
    /// A decoder without scratch memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends exactly the `count` values of the value chunk `bytes` to `out`.
    ///
    /// A wrong `count` is noticed wherever the bytes can tell: not in constant chunks, nor always among zeros.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such chunk; `out` is then as before.
    pub fn decode_values(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        self.decode_value_range(bytes, count, 0..count, out)
    }

    /// Appends the values of the samples `range` of the chunk of `count` to `out`; what lies outside `count` is
    /// ignored.
    ///
    /// # Errors
    /// As [`ChunkDecoder::decode_values`]; damage outside the range may go unnoticed.
    ///
    /// # Cost
    /// A paged chunk: of the pages that the range touches; others: of the whole chunk.
    pub fn decode_value_range(
        &mut self,
        bytes: &[u8],
        count: usize,
        range: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        check_sample_count(count)?;
        let range = range.start.min(count)..range.end.min(count);
        let start = out.len();
        let result = self.append_values(bytes, count, &range, out);
        if result.is_err() {
            out.truncate(start);
        }
        debug_assert!(result.is_err() || out.len().saturating_sub(start) == range.len());
        result
    }

    /// As [`ChunkDecoder::decode_value_range`], for a reader who only wants to know which samples are stale markers:
    /// other values may be zero instead.
    ///
    /// # Errors
    /// [`ChunkError`] if what is read is malformed; damage of values that are not decoded goes unnoticed.
    ///
    /// # Cost
    /// Of a chunk of numbers: the exceptions, among which stale markers are.
    pub fn decode_presence_range(
        &mut self,
        bytes: &[u8],
        count: usize,
        range: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        check_sample_count(count)?;
        let mut cursor = Cursor::new(starts::split(bytes)?.1);
        let id = cursor.u8()?;
        let is_constant = id & PAGED != PAGED && id & TRANSFORM_MASK == CONSTANT;
        if is_constant || id >> EXPONENT_SHIFT == FLOAT_BITS {
            return self.decode_value_range(bytes, count, range, out);
        }
        self.exceptions.clear();
        if id & HAS_EXCEPTIONS != 0 {
            exceptions::read(&mut cursor, count, &mut self.exceptions)?;
        }
        let start = out.len();
        let range = range.start.min(count)..range.end.min(count);
        out.resize(start.saturating_add(range.len()), 0.0);
        put_exceptions(&self.exceptions, &range, start, out);
        Ok(())
    }

    /// Appends exactly the `count` timestamps (milliseconds, strictly ascending) of the chunk `bytes` to `out`.
    ///
    /// A wrong `count` is noticed wherever the bytes can tell: not in chunks of an exact grid.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such chunk or do not ascend; `out` is then as before.
    pub fn decode_timestamps(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), ChunkError> {
        check_sample_count(count)?;
        let start = out.len();
        out.reserve(count);
        let result = self.timestamps.decode(bytes, count, &mut self.scratch, out);
        if result.is_err() {
            out.truncate(start);
        }
        debug_assert!(result.is_err() || out.len().saturating_sub(start) == count);
        result
    }

    fn append_values(
        &mut self,
        bytes: &[u8],
        count: usize,
        range: &Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        let mut cursor = Cursor::new(starts::split(bytes)?.1);
        let id = cursor.u8()?;
        let exponent = id >> EXPONENT_SHIFT;
        if id & PAGED == PAGED {
            return self.append_paged(&mut cursor, id, count, range, out);
        }
        if id & TRANSFORM_MASK == CONSTANT {
            if id & HAS_EXCEPTIONS != 0 {
                return Err(ChunkError::UnknownEncoding { id });
            }
            let value = constant::read(exponent, &mut cursor)?;
            out.extend(std::iter::repeat_n(value, range.len()));
            return check_end(&cursor);
        }
        out.reserve(count);
        self.exceptions.clear();
        if id & HAS_EXCEPTIONS != 0 {
            exceptions::read(&mut cursor, count, &mut self.exceptions)?;
        }
        let start = out.len();
        let mut reader = IntegerReader::new(&mut cursor, &mut self.scratch, id, count)?;
        loop {
            let integers = reader.next()?;
            if integers.is_empty() {
                break;
            }
            if exponent == FLOAT_BITS {
                float_bits::restore(integers, out);
            } else {
                decimal::restore(integers, exponent, out);
            }
        }
        for &(position, value) in &self.exceptions {
            if let Some(slot) = out.get_mut(start.saturating_add(position)) {
                *slot = value;
            }
        }
        out.truncate(start.saturating_add(range.end));
        if range.start > 0 {
            out.drain(start..start.saturating_add(range.start));
        }
        check_end(&cursor)
    }

    fn append_paged(
        &mut self,
        cursor: &mut Cursor<'_>,
        id: u8,
        count: usize,
        range: &Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        let exponent = id >> EXPONENT_SHIFT;
        self.exceptions.clear();
        if id & HAS_EXCEPTIONS != 0 {
            exceptions::read(cursor, count, &mut self.exceptions)?;
        }
        let start = out.len();
        out.reserve(range.len());
        self.paged.decode(cursor, count, range.clone(), |integers| {
            if exponent == FLOAT_BITS {
                float_bits::restore(integers, out);
            } else {
                decimal::restore(integers, exponent, out);
            }
        })?;
        put_exceptions(&self.exceptions, range, start, out);
        check_end(cursor)
    }
}

/// Puts the exceptions of the samples `range` into their places; the first of the range is `out[start]`.
fn put_exceptions(exceptions: &[(usize, f64)], range: &Range<usize>, start: usize, out: &mut [f64]) {
    for &(position, value) in exceptions.iter().filter(|(position, _)| range.contains(position)) {
        let position = start.saturating_add(position.saturating_sub(range.start));
        if let Some(slot) = out.get_mut(position) {
            *slot = value;
        }
    }
}

pub(super) fn check_sample_count(count: usize) -> Result<(), ChunkError> {
    if (1..=SAMPLE_COUNT_MAX).contains(&count) {
        Ok(())
    } else {
        Err(ChunkError::SampleCount { given: count })
    }
}

/// Refuses bytes behind the last sample.
pub(super) fn check_end(cursor: &Cursor<'_>) -> Result<(), ChunkError> {
    if cursor.is_at_end() {
        return Ok(());
    }
    Err(ChunkError::TrailingBytes { offset: cursor.offset(), length: cursor.remaining() })
}
