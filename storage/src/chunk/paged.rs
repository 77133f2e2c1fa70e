//! A column of integers for data at rest: in pages that can be read alone, entropy coded under one shared table.
//!
//! Input: what [`super::integers`] made of the integers: divided and differenced. Those numbers, shifted to be
//! non-negative and held in the narrowest unsigned type, go to the crate `pco` as one chunk without its own modes and
//! differences; what is left of it is a table of bins and, per page, the bins' numbers (tANS) and offsets inside them.
//! Each page also has the integer it starts from, so a reader of a short range decodes only the pages it touches.
//!
//! Safety: `pco` checks its input, and reads through a buffer as long as one batch can ever need. Before it sees the
//! bytes, the mode byte must be that of the plain mode: only other modes allocate by a number from the bytes.
//! Format: `docs/format/chunk.md`.

use std::ops::Range;

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec, PagingSpec};

use super::error::ChunkError;
use super::format::{
    HAS_DIVISOR, PAGED_LATENT_MASK, PAGED_LATENT_SHIFT, PAGED_SHAPE_BITS, SAMPLE_COUNT_MAX, TRANSFORM_MASK,
};
use super::integers::{IntegerColumn, Transform};
use crate::coding::{Cursor, put_bytes, put_ivarint, put_uvarint};

/// Columns with fewer samples do not pay for the table.
pub(super) const PAGED_SAMPLE_COUNT_MIN: usize = 192;
/// Most samples of a page, as written.
const PAGE_SAMPLE_COUNT: usize = 1024;
/// Above this level tables grow, and with them the time to open a chunk, for half a percent of size.
const LEVEL: usize = 7;
/// What a `pco` stream of this version would begin with; not stored.
const PCO_HEADER: [u8; 2] = [4, 1];
/// First byte of `pco`'s chunk metadata in the plain mode without differences.
const PLAIN_MODE: u8 = 0;

/// Writes paged columns; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct PagedEncoder {
    bytes: Vec<u8>,
    page_bytes: Vec<u8>,
}

/// An unsigned type that `pco` packs.
trait LatentNumber: Number + Into<u64> + Default {
    fn truncate(wide: u64) -> Self;
    fn buffer(latents: &mut Latents) -> &mut Vec<Self>;
}

macro_rules! latent_number {
    ($($number:ident)*) => {$(
        impl LatentNumber for $number {
            fn truncate(wide: u64) -> Self {
                wide as $number
            }
            fn buffer(latents: &mut Latents) -> &mut Vec<Self> {
                &mut latents.$number
            }
        }
    )*};
}

latent_number!(u8 u16 u32 u64);

/// One buffer for each type; at most [`SAMPLE_COUNT_MAX`] numbers each.
#[derive(Debug, Default)]
struct Latents {
    u8: Vec<u8>,
    u16: Vec<u16>,
    u32: Vec<u32>,
    u64: Vec<u64>,
}

/// How many samples each page but the last has, and how many pages there are.
fn page_shape(sample_count: usize) -> (usize, usize) {
    let page_count = sample_count.div_ceil(PAGE_SAMPLE_COUNT).max(1);
    (sample_count.div_ceil(page_count), page_count)
}

impl PagedEncoder {
    /// Returns everything behind the exceptions for a column of `sample_count` integers, or nothing if this encoding
    /// does not apply.
    pub(super) fn encode(&mut self, column: &IntegerColumn<'_>, sample_count: usize) -> Option<&[u8]> {
        if !(PAGED_SAMPLE_COUNT_MIN..=SAMPLE_COUNT_MAX).contains(&sample_count) {
            return None;
        }
        let minimum = column.numbers.iter().min().copied()?;
        let range = column.numbers.iter().max().copied()?.wrapping_sub(minimum).cast_unsigned();
        let size_log = match range {
            0..=0xff => 0_u8,
            0x100..=0xffff => 1,
            0x1_0000..=0xffff_ffff => 2,
            _ => 3,
        };
        self.bytes.clear();
        self.page_bytes.clear();
        let divisor_bit = if column.divisor > 1 { HAS_DIVISOR } else { 0 };
        self.bytes.push(column.transform as u8 | divisor_bit | size_log << PAGED_LATENT_SHIFT);
        if column.divisor > 1 {
            put_uvarint(&mut self.bytes, column.divisor);
        }
        put_ivarint(&mut self.bytes, column.first);
        put_ivarint(&mut self.bytes, minimum);
        match size_log {
            0 => self.put_pages::<u8>(column, sample_count, minimum),
            1 => self.put_pages::<u16>(column, sample_count, minimum),
            2 => self.put_pages::<u32>(column, sample_count, minimum),
            _ => self.put_pages::<u64>(column, sample_count, minimum),
        }?;
        Some(&self.bytes)
    }

    fn put_pages<T: LatentNumber>(
        &mut self,
        column: &IntegerColumn<'_>,
        sample_count: usize,
        minimum: i64,
    ) -> Option<()> {
        let (page_samples, page_count) = page_shape(sample_count);
        let apart = column.transform.apart_count();
        let mut latents: Vec<T> = Vec::with_capacity(sample_count);
        let mut latent_counts = Vec::with_capacity(page_count);
        let pages =
            (0..page_count).map(|page| page * page_samples..sample_count.min((page + 1) * page_samples));
        for page in pages.clone() {
            let numbers = column.numbers.get(page.start..page.end - apart)?;
            latents.extend(
                numbers.iter().map(|number| T::truncate(number.wrapping_sub(minimum).cast_unsigned())),
            );
            latent_counts.push(numbers.len());
        }
        let config = ChunkConfig::default()
            .with_compression_level(LEVEL)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::NoOp)
            .with_enable_8_bit(true)
            .with_paging_spec(PagingSpec::Exact(latent_counts));
        let mut compressor = FileCompressor::default().chunk_compressor(&latents, &config).ok()?;
        let table = compressor.write_meta(Vec::new()).ok()?;
        if table.first() != Some(&PLAIN_MODE) {
            return None;
        }
        put_uvarint(&mut self.bytes, page_samples as u64);
        put_bytes(&mut self.bytes, &table);
        let mut previous = 0;
        for (index, page) in pages.enumerate() {
            let start = self.page_bytes.len();
            compressor.write_page(index, &mut self.page_bytes).ok()?;
            put_uvarint(&mut self.bytes, (self.page_bytes.len() - start) as u64);
            let offset = |position: usize| match position {
                0 => 0,
                _ => column.offsets[position - 1],
            };
            put_ivarint(&mut self.bytes, offset(page.start).wrapping_sub(previous));
            previous = offset(page.start);
            if column.transform == Transform::DeltaOfDelta {
                put_ivarint(&mut self.bytes, offset(page.start + 1).wrapping_sub(previous));
            }
        }
        self.bytes.extend_from_slice(&self.page_bytes);
        Some(())
    }
}

/// Reads paged columns; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct PagedDecoder {
    scratch: DecompressorScratch,
    latents: Latents,
    integers: Vec<u64>,
}

/// What stands before the table of bins.
#[derive(Clone, Copy)]
struct Frame {
    transform: Transform,
    divisor: u64,
    first: u64,
    minimum: u64,
    page_samples: usize,
}

/// What the list of pages says about one.
struct Page<'a> {
    bytes: &'a [u8],
    offset: usize,
    sample_count: usize,
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
        put: impl FnMut(&[u64]),
    ) -> Result<(), ChunkError> {
        let shape = cursor.u8()?;
        if shape & !PAGED_SHAPE_BITS != 0 {
            return Err(ChunkError::UnknownEncoding { id: shape });
        }
        let transform =
            Transform::from_bits(shape & TRANSFORM_MASK).ok_or(ChunkError::UnknownEncoding { id: shape })?;
        let divisor = if shape & HAS_DIVISOR != 0 { cursor.uvarint()? } else { 1 };
        let first = cursor.ivarint()?.cast_unsigned();
        let minimum = cursor.ivarint()?.cast_unsigned();
        let page_samples = cursor.uvarint()?;
        let page_samples = usize::try_from(page_samples)
            .ok()
            .filter(|samples| (transform.apart_count() + 1..=SAMPLE_COUNT_MAX).contains(samples))
            .ok_or_else(|| cursor.error("page has an impossible number of samples"))?;
        let frame = Frame { transform, divisor, first, minimum, page_samples };
        match (shape & PAGED_LATENT_MASK) >> PAGED_LATENT_SHIFT {
            0 => self.pages::<u8>(cursor, frame, count, range, put),
            1 => self.pages::<u16>(cursor, frame, count, range, put),
            2 => self.pages::<u32>(cursor, frame, count, range, put),
            _ => self.pages::<u64>(cursor, frame, count, range, put),
        }
    }

    fn pages<T: LatentNumber>(
        &mut self,
        cursor: &mut Cursor<'_>,
        frame: Frame,
        count: usize,
        range: Range<usize>,
        mut put: impl FnMut(&[u64]),
    ) -> Result<(), ChunkError> {
        let table_offset = cursor.offset();
        let table = cursor.bytes()?;
        let damaged = |offset: usize| ChunkError::EntropyCode { offset };
        if table.first() != Some(&PLAIN_MODE) {
            return Err(damaged(table_offset));
        }
        let (file, _) = FileDecompressor::new(PCO_HEADER.as_slice()).map_err(|_| damaged(table_offset))?;
        let (chunk, rest) = file.chunk_decompressor::<T, _>(table).map_err(|_| damaged(table_offset))?;
        if !rest.is_empty() {
            return Err(damaged(table_offset));
        }
        for (position, page) in list_pages(cursor, frame, count)? {
            let page_end = position + page.sample_count;
            if page_end <= range.start || position >= range.end {
                continue;
            }
            let latents = T::buffer(&mut self.latents);
            latents.resize(page.sample_count - frame.transform.apart_count(), T::default());
            let progress = chunk
                .page_decompressor_with_scratch(page.bytes, latents.len(), &mut self.scratch)
                .and_then(|mut pages| {
                    let progress = pages.read(latents)?;
                    Ok((progress, pages.into_src()))
                });
            match progress {
                Ok((progress, [])) if progress.finished => {}
                _ => return Err(damaged(page.offset)),
            }
            self.integers.clear();
            restore(frame, &page, latents, &mut self.integers);
            let from = range.start.saturating_sub(position);
            let to = range.end.min(page_end) - position;
            put(&self.integers[from..to]);
        }
        Ok(())
    }
}

/// Reads the list of pages and leaves the cursor behind them; gives the position of each page's first sample with it.
fn list_pages<'a>(
    cursor: &mut Cursor<'a>,
    frame: Frame,
    count: usize,
) -> Result<Vec<(usize, Page<'a>)>, ChunkError> {
    let apart = frame.transform.apart_count();
    let mut pages = Vec::new();
    let mut start = 0_u64;
    for position in (0..count).step_by(frame.page_samples) {
        let sample_count = frame.page_samples.min(count - position);
        if sample_count <= apart {
            return Err(cursor.error("last page is too short").into());
        }
        let length = cursor.count(1)?;
        start = start.wrapping_add(cursor.ivarint()?.cast_unsigned());
        let start_delta = match frame.transform {
            Transform::DeltaOfDelta => cursor.ivarint()?.cast_unsigned(),
            _ => 0,
        };
        pages.push((position, (length, sample_count, start, start_delta)));
    }
    pages
        .into_iter()
        .map(|(position, (length, sample_count, start, start_delta))| {
            let offset = cursor.offset();
            let bytes = cursor.take(length)?;
            Ok((position, Page { bytes, offset, sample_count, start, start_delta }))
        })
        .collect()
}

/// Undoes shift, differences and division of a page.
fn restore<T: LatentNumber>(frame: Frame, page: &Page<'_>, latents: &[T], out: &mut Vec<u64>) {
    let Frame { divisor, first, minimum, .. } = frame;
    let mut value = first.wrapping_add(divisor.wrapping_mul(page.start));
    out.push(value);
    // Multiplied before it is summed: the sum alone is what each integer waits for.
    let number = |latent: &T| divisor.wrapping_mul(minimum.wrapping_add((*latent).into()));
    match frame.transform {
        Transform::Offset => out.extend(latents.iter().map(|latent| first.wrapping_add(number(latent)))),
        Transform::Delta => out.extend(latents.iter().map(|latent| {
            value = value.wrapping_add(number(latent));
            value
        })),
        Transform::DeltaOfDelta => {
            let mut delta = divisor.wrapping_mul(page.start_delta);
            value = value.wrapping_add(delta);
            out.push(value);
            out.extend(latents.iter().map(|latent| {
                delta = delta.wrapping_add(number(latent));
                value = value.wrapping_add(delta);
                value
            }));
        }
    }
}
