//! A column of integers for data at rest: in pages that can be read alone, under one prefix code.
//!
//! Input: what [`super::integers`] made of the integers: divided and differenced. Those numbers, as distances from
//! their median, are written by [`super::huffman`]; the code is that of the whole column. Each page also has the integer it
//! starts from, so a reader of a short range decodes only the pages it touches.
//! Format: `docs/format/chunk.md`.

use std::ops::Range;

use super::error::ChunkError;
use super::format::{HAS_DIVISOR, INTEGER_ID_BITS, SAMPLE_COUNT_MAX, TRANSFORM_MASK};
use super::huffman::{CodeReader, CodeWriter};
use super::integers::{IntegerColumn, Transform};
use crate::coding::{Cursor, put_ivarint, put_uvarint, unzigzag, zigzag};

/// Columns with fewer samples do not pay for the code.
pub(crate) const PAGED_SAMPLE_COUNT_MIN: usize = 400;
/// Most samples of a page, as written.
const PAGE_SAMPLE_COUNT: usize = 2048;

/// Writes paged columns; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct PagedEncoder {
    bytes: Vec<u8>,
    page_bytes: Vec<u8>,
    sorted: Vec<i64>,
}

impl PagedEncoder {
    /// Returns everything behind the exceptions for a column of `sample_count` integers, or nothing if this encoding
    /// does not apply.
    pub(super) fn encode(&mut self, column: &IntegerColumn<'_>, sample_count: usize) -> Option<&[u8]> {
        if !(PAGED_SAMPLE_COUNT_MIN..=SAMPLE_COUNT_MAX).contains(&sample_count) {
            return None;
        }
        let center = self.median(column.numbers)?;
        let number_of = |number: &i64| zigzag(number.wrapping_sub(center));
        let code = CodeWriter::new(column.numbers.iter().map(number_of))?;
        self.bytes.clear();
        self.page_bytes.clear();
        let divisor_bit = if column.divisor > 1 { HAS_DIVISOR } else { 0 };
        self.bytes.push(column.transform as u8 | divisor_bit);
        if column.divisor > 1 {
            put_uvarint(&mut self.bytes, column.divisor);
        }
        put_ivarint(&mut self.bytes, column.first);
        put_ivarint(&mut self.bytes, center);
        let page_count = sample_count.div_ceil(PAGE_SAMPLE_COUNT);
        let page_samples = sample_count.div_ceil(page_count);
        put_uvarint(&mut self.bytes, page_samples as u64);
        code.write_table(&mut self.bytes);
        let offset_at = |position: usize| position.checked_sub(1).map_or(0, |before| column.offsets[before]);
        let apart = column.transform.apart_count();
        let mut previous = 0;
        for start in (0..sample_count).step_by(page_samples) {
            let end = sample_count.min(start + page_samples);
            let page_start = self.page_bytes.len();
            code.write_run(
                column.numbers.get(start..end - apart)?.iter().map(number_of),
                &mut self.page_bytes,
            );
            put_uvarint(&mut self.bytes, (self.page_bytes.len() - page_start) as u64);
            put_ivarint(&mut self.bytes, offset_at(start).wrapping_sub(previous));
            previous = offset_at(start);
            if column.transform == Transform::DeltaOfDelta {
                put_ivarint(&mut self.bytes, offset_at(start + 1).wrapping_sub(previous));
            }
        }
        self.bytes.extend_from_slice(&self.page_bytes);
        Some(&self.bytes)
    }

    fn median(&mut self, numbers: &[i64]) -> Option<i64> {
        self.sorted.clear();
        self.sorted.extend_from_slice(numbers);
        let middle = numbers.len().checked_sub(1)? / 2;
        Some(*self.sorted.select_nth_unstable(middle).1)
    }
}

/// Reads paged columns; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct PagedDecoder {
    code: CodeReader,
    integers: Vec<u64>,
}

/// What stands before the code.
#[derive(Clone, Copy)]
struct Frame {
    transform: Transform,
    divisor: u64,
    first: u64,
    center: u64,
    page_samples: usize,
}

/// What the list of pages says about one.
struct Page {
    /// Position of its first sample.
    position: usize,
    sample_count: usize,
    length: usize,
    start: u64,
    start_delta: u64,
}

impl PagedDecoder {
    /// Calls `put` with the integers of the samples `range` of a column of `count`, in order, in one or more pieces.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are malformed.
    pub(super) fn decode(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        range: Range<usize>,
        mut put: impl FnMut(&[u64]),
    ) -> Result<(), ChunkError> {
        let shape = cursor.u8()?;
        let transform = Transform::from_bits(shape & TRANSFORM_MASK)
            .filter(|_| shape & !INTEGER_ID_BITS == 0)
            .ok_or(ChunkError::UnknownEncoding { id: shape })?;
        let divisor = if shape & HAS_DIVISOR != 0 { cursor.uvarint()? } else { 1 };
        let first = cursor.ivarint()?.cast_unsigned();
        let center = cursor.ivarint()?.cast_unsigned();
        let page_samples = usize::try_from(cursor.uvarint()?)
            .ok()
            .filter(|samples| (transform.apart_count() + 1..=SAMPLE_COUNT_MAX).contains(samples))
            .ok_or_else(|| cursor.error("page has an impossible number of samples"))?;
        let frame = Frame { transform, divisor, first, center, page_samples };
        self.code.read_table(cursor)?;
        for page in list_pages(cursor, frame, count)? {
            let offset = cursor.offset();
            let bytes = cursor.take(page.length)?;
            let page_end = page.position + page.sample_count;
            if page_end <= range.start || page.position >= range.end {
                continue;
            }
            self.read_page(frame, &page, bytes, offset)?;
            let from = range.start.saturating_sub(page.position);
            let to = range.end.min(page_end) - page.position;
            put(&self.integers[from..to]);
        }
        Ok(())
    }

    /// Undoes code, differences and division of a page.
    fn read_page(
        &mut self,
        frame: Frame,
        page: &Page,
        bytes: &[u8],
        offset: usize,
    ) -> Result<(), ChunkError> {
        let Frame { transform, divisor, first, center, .. } = frame;
        let apart_count = transform.apart_count();
        let numbers = self.code.read_run(bytes, offset, page.sample_count - apart_count)?;
        self.integers.resize(page.sample_count, 0);
        let (apart, others) = self.integers.split_at_mut(apart_count);
        // Multiplied before it is summed: the sum alone is what each integer waits for.
        let step = |number: u64| divisor.wrapping_mul(center.wrapping_add(unzigzag(number).cast_unsigned()));
        let mut value = first.wrapping_add(divisor.wrapping_mul(page.start));
        apart[0] = value;
        let pairs = others.iter_mut().zip(numbers);
        match transform {
            Transform::Offset => pairs.for_each(|(slot, number)| *slot = first.wrapping_add(step(*number))),
            Transform::Delta => {
                for (slot, number) in pairs {
                    value = value.wrapping_add(step(*number));
                    *slot = value;
                }
            }
            Transform::DeltaOfDelta => {
                let mut delta = divisor.wrapping_mul(page.start_delta);
                value = value.wrapping_add(delta);
                apart[1] = value;
                for (slot, number) in pairs {
                    delta = delta.wrapping_add(step(*number));
                    value = value.wrapping_add(delta);
                    *slot = value;
                }
            }
        }
        Ok(())
    }
}

/// Reads the list of pages.
fn list_pages(cursor: &mut Cursor<'_>, frame: Frame, count: usize) -> Result<Vec<Page>, ChunkError> {
    let mut pages = Vec::new();
    let mut start = 0_u64;
    for position in (0..count).step_by(frame.page_samples) {
        let sample_count = frame.page_samples.min(count - position);
        if sample_count <= frame.transform.apart_count() {
            return Err(cursor.error("last page is too short").into());
        }
        let length = cursor.count(1)?;
        start = start.wrapping_add(cursor.ivarint()?.cast_unsigned());
        let start_delta = match frame.transform {
            Transform::DeltaOfDelta => cursor.ivarint()?.cast_unsigned(),
            _ => 0,
        };
        pages.push(Page { position, sample_count, length, start, start_delta });
    }
    Ok(pages)
}
