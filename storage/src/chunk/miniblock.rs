//! Up to 128 integers as one small block: zeros, sparse, or packed to one width with patched exceptions.
//!
//! A block is a header byte, which names the shape, the width and how the base is found, and what the shape needs:
//! base, packed low bits, then the exceptions (values that do not fit the width: position and high bits).
//! Input: integers made small by `integers`. Not here: runs of zero blocks (see `integers`).
//!
//! Invariant: `value = base + low + (high << width)`, modulo 2^64; `high = 0` where there is no exception.
//! Format: `docs/format/chunk.md`.

use super::bitpack::{self, BLOCK, WIDTH_MAX};
use crate::coding::{CodingError, Cursor, put_ivarint, put_uvarint, unzigzag, zigzag};

/// Header of a block of zeros.
pub(super) const HEADER_ZEROS: u8 = 0;
/// Header of a run of at least two zero blocks; the column reads the run's length.
pub(super) const HEADER_ZERO_RUN: u8 = 254;
const HEADER_SPARSE: u8 = 253;
const HEADER_RAW: u8 = 255;

/// First header of each family; the width is the distance from it.
const CENTERED: u8 = 0;
const NON_NEGATIVE: u8 = 56;
const NON_NEGATIVE_FIRST: u8 = 57;
const BASED: u8 = 98;
const CENTERED_PATCHED: u8 = 155;
const BASED_PATCHED: u8 = 204;

const NON_NEGATIVE_WIDTH_MAX: u32 = 41;
const PATCHED_WIDTH_MAX: u32 = 48;

/// How a block will be written, and its exact or nearly exact size.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPlan {
    /// The shape of all values, or of the nonzero ones if `is_sparse`.
    dense: DensePlan,
    is_sparse: bool,
    /// Estimate; the exceptions' high bits may take a byte more or less.
    pub(super) bytes: usize,
}

impl BlockPlan {
    pub(super) fn is_zero(&self) -> bool {
        !self.is_sparse && self.dense.header == HEADER_ZEROS
    }
}

#[derive(Debug, Clone, Copy)]
struct DensePlan {
    header: u8,
    width: u32,
    base: i64,
    bytes: usize,
}

/// Estimates every shape for `values` (1 to 128) and takes the smallest.
pub(super) fn plan(values: &[i64]) -> BlockPlan {
    let lengths = LengthHistogram::of(values);
    let zero_count = lengths.zero_count();
    if zero_count == values.len() {
        let dense = DensePlan { header: HEADER_ZEROS, width: 0, base: 0, bytes: 1 };
        return BlockPlan { dense, is_sparse: false, bytes: 1 };
    }
    let dense = plan_dense(values, &lengths);
    let bitmap_bytes = values.len().div_ceil(8);
    if zero_count * 4 >= values.len() && dense.bytes > bitmap_bytes + 2 {
        let mut slots = [0; BLOCK];
        let nonzero = gather_nonzero(values, &mut slots);
        let nonzero_dense = plan_dense(nonzero, &lengths.without_zeros());
        let bytes = 1 + bitmap_bytes + nonzero_dense.bytes;
        if bytes < dense.bytes {
            return BlockPlan { dense: nonzero_dense, is_sparse: true, bytes };
        }
    }
    BlockPlan { dense, is_sparse: false, bytes: dense.bytes }
}

/// Appends `values` as `plan` says, which was made for the same values.
pub(super) fn write(plan: &BlockPlan, values: &[i64], out: &mut Vec<u8>) {
    if !plan.is_sparse {
        return write_dense(&plan.dense, values, out);
    }
    out.push(HEADER_SPARSE);
    for eight in values.chunks(8) {
        out.push(eight.iter().rev().fold(0, |bits, &value| bits << 1 | u8::from(value != 0)));
    }
    let mut slots = [0; BLOCK];
    write_dense(&plan.dense, gather_nonzero(values, &mut slots), out);
}

fn gather_nonzero<'a>(values: &[i64], slots: &'a mut [i64; BLOCK]) -> &'a [i64] {
    let mut end = 0;
    for &value in values {
        slots[end % BLOCK] = value;
        end += usize::from(value != 0);
    }
    &slots[..end]
}

/// How many values need how many bits.
struct LengthHistogram {
    counts: [u16; 65],
}

impl LengthHistogram {
    /// Counts the bit lengths of the zigzag forms: length `w` means the value fits `w` bits around zero.
    fn of(values: &[i64]) -> Self {
        let mut counts = [0; 65];
        for &value in values {
            counts[bit_length(zigzag(value)) as usize] += 1;
        }
        Self { counts }
    }

    fn zero_count(&self) -> usize {
        usize::from(self.counts[0])
    }

    fn without_zeros(&self) -> Self {
        let mut counts = self.counts;
        counts[0] = 0;
        Self { counts }
    }

    /// The smallest length that at least half of the `total` values fit.
    fn median(&self, total: usize) -> u32 {
        let mut seen = 0;
        for (length, &count) in self.counts.iter().enumerate() {
            seen += usize::from(count);
            if seen * 2 >= total {
                return length as u32;
            }
        }
        64
    }

    /// The width of the smallest packing of `total` values, of which `forced` are exceptions at any width.
    fn best_width(&self, total: usize, forced: Forced) -> WidthChoice {
        let longest = self.counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        let packed_bytes = if longest > WIDTH_MAX as usize {
            total * 8
        } else {
            bitpack::packed_bytes(total, longest as u32)
        };
        let mut best = WidthChoice {
            width: longest as u32,
            is_patched: forced.count > 0,
            bytes: packed_bytes + forced.bytes,
        };
        if best.is_patched && best.width > PATCHED_WIDTH_MAX {
            best.bytes = usize::MAX;
        }
        // `longer[w]`: values longer than `w`; padded so that the sums below need no end.
        let mut longer = [0_u16; 65 + 64];
        for width in (0..longest).rev() {
            longer[width] = longer[width + 1] + self.counts[width + 1];
            let exception_count = usize::from(longer[width]);
            if 2 * exception_count >= best.bytes {
                break;
            }
            if width > PATCHED_WIDTH_MAX as usize {
                continue;
            }
            // One byte of position and one of high bits, and one more for each seven bits above six.
            let mut exception_bytes = 1 + 2 * exception_count;
            let mut high = width + 6;
            while high < longest {
                exception_bytes += usize::from(longer[high]);
                high += 7;
            }
            let bytes = bitpack::packed_bytes(total, width as u32)
                + exception_bytes
                + forced.bytes.saturating_sub(usize::from(forced.count > 0));
            if bytes < best.bytes {
                best = WidthChoice { width: width as u32, is_patched: true, bytes };
            }
        }
        best
    }
}

/// Exceptions on the wrong side of the base.
#[derive(Clone, Copy, Default)]
struct Forced {
    count: usize,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct WidthChoice {
    width: u32,
    is_patched: bool,
    bytes: usize,
}

#[inline]
fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

#[inline]
fn ivarint_bytes(value: i64) -> usize {
    bit_length(zigzag(value)).max(1).div_ceil(7) as usize
}

fn plan_dense(values: &[i64], lengths: &LengthHistogram) -> DensePlan {
    let centered = lengths.best_width(values.len(), Forced::default());
    let mut best = DensePlan {
        header: centered_header(centered),
        width: centered.width,
        base: centered_base(centered.width),
        bytes: 1 + centered.bytes,
    };
    // The values in the middle: all, or those which are no exceptions.
    let (low, high) = bounds(values, centered.width);
    let span_length = bit_length(high.wrapping_sub(low).cast_unsigned());
    if low >= 0 && !centered.is_patched && bit_length(high.cast_unsigned()) <= NON_NEGATIVE_WIDTH_MAX {
        let width = bit_length(high.cast_unsigned());
        let bytes = 1 + bitpack::packed_bytes(values.len(), width);
        if bytes < best.bytes {
            best = DensePlan { header: NON_NEGATIVE + width as u8, width, base: 0, bytes };
        }
    }
    let is_far_from_zero = low > 0 && bit_length(zigzag(low)) + 1 >= lengths.median(values.len());
    if span_length < best.width || is_far_from_zero {
        let (offsets, forced) = offset_lengths(values, low, centered.width);
        let based = offsets.best_width(values.len(), forced);
        let bytes = based.bytes.saturating_add(1 + ivarint_bytes(low));
        if based.width <= WIDTH_MAX && bytes < best.bytes {
            let family = if based.is_patched { BASED_PATCHED } else { BASED };
            best = DensePlan { header: family + based.width as u8, width: based.width, base: low, bytes };
        }
    }
    best
}

fn centered_header(choice: WidthChoice) -> u8 {
    match choice {
        WidthChoice { width, is_patched: true, .. } => CENTERED_PATCHED + width as u8,
        WidthChoice { width, .. } if width > WIDTH_MAX => HEADER_RAW,
        WidthChoice { width, .. } => CENTERED + width as u8,
    }
}

/// The base that makes `0..2^width` the zigzag numbers of at most `width` bits.
#[inline]
fn centered_base(width: u32) -> i64 {
    if width == 0 || width > WIDTH_MAX { 0 } else { -(1_i64 << (width - 1)) }
}

/// Least and greatest of the values whose zigzag form fits `width`, zero if there are none.
fn bounds(values: &[i64], width: u32) -> (i64, i64) {
    let limit = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for &value in values {
        let is_inside = zigzag(value) <= limit;
        low = low.min(if is_inside { value } else { i64::MAX });
        high = high.max(if is_inside { value } else { i64::MIN });
    }
    if low > high { (0, 0) } else { (low, high) }
}

/// Bit lengths of the distances above `base`; what lies below it is an exception at any width.
fn offset_lengths(values: &[i64], base: i64, width: u32) -> (LengthHistogram, Forced) {
    let mut counts = [0; 65];
    let mut forced = Forced::default();
    for &value in values {
        if value >= base {
            counts[bit_length(value.wrapping_sub(base).cast_unsigned()) as usize] += 1;
        } else {
            let length = bit_length(zigzag(value.wrapping_sub(base)));
            forced.count += 1;
            forced.bytes += 1 + length.saturating_sub(width).max(1).div_ceil(7) as usize;
        }
    }
    forced.bytes += usize::from(forced.count > 0);
    (LengthHistogram { counts }, forced)
}

fn write_dense(plan: &DensePlan, values: &[i64], out: &mut Vec<u8>) {
    out.push(plan.header);
    if plan.header == HEADER_RAW {
        for value in values {
            out.extend_from_slice(&value.to_le_bytes());
        }
        return;
    }
    if matches!(Family::of(plan.header).base, Base::Explicit) {
        put_ivarint(out, plan.base);
    }
    let mut offsets = [0; BLOCK];
    for (slot, &value) in offsets.iter_mut().zip(values) {
        *slot = value.wrapping_sub(plan.base).cast_unsigned();
    }
    let offsets = &offsets[..values.len()];
    bitpack::pack(offsets, plan.width, out);
    if plan.header >= CENTERED_PATCHED {
        write_exceptions(offsets, plan.width, out);
    }
}

fn write_exceptions(offsets: &[u64], width: u32, out: &mut Vec<u8>) {
    let mut positions = [0; BLOCK];
    let mut count = 0;
    for (index, &offset) in offsets.iter().enumerate() {
        positions[count % BLOCK] = index as u8;
        count += usize::from(offset >> width != 0);
    }
    out.push(count as u8);
    out.extend_from_slice(&positions[..count]);
    for &position in &positions[..count] {
        put_uvarint(out, zigzag(offsets[usize::from(position)].cast_signed() >> width));
    }
}

enum Base {
    Centered,
    Zero,
    Explicit,
}

struct Family {
    base: Base,
    width: u32,
    is_patched: bool,
}

impl Family {
    fn of(header: u8) -> Self {
        let (base, first, is_patched) = match header {
            ..NON_NEGATIVE_FIRST => (Base::Centered, CENTERED, false),
            NON_NEGATIVE_FIRST..BASED => (Base::Zero, NON_NEGATIVE, false),
            BASED..CENTERED_PATCHED => (Base::Explicit, BASED, false),
            CENTERED_PATCHED..BASED_PATCHED => (Base::Centered, CENTERED_PATCHED, true),
            BASED_PATCHED.. => (Base::Explicit, BASED_PATCHED, true),
        };
        Self { base, width: u32::from(header - first), is_patched }
    }
}

/// Reads a block of `count` values, whose header byte was read already, into the front of `out`.
///
/// Returns the base: each value is its slot plus the base. Slots behind `count` hold arbitrary values.
///
/// # Errors
/// [`CodingError`] if the bytes end early or contradict themselves.
pub(super) fn read(
    header: u8,
    cursor: &mut Cursor<'_>,
    count: usize,
    out: &mut [u64; BLOCK],
) -> Result<i64, CodingError> {
    if header != HEADER_SPARSE {
        return read_dense(header, cursor, count, out);
    }
    let mut bitmap = [0; BLOCK / 8];
    for (byte, &stored) in bitmap.iter_mut().zip(cursor.take(count.div_ceil(8))?) {
        *byte = stored;
    }
    let bits = u128::from_le_bytes(bitmap);
    let nonzero_count = bits.count_ones() as usize;
    if nonzero_count == 0 || bits.checked_shr(count as u32).unwrap_or(0) != 0 {
        return Err(cursor.error("bitmap does not fit the block"));
    }
    let nonzero_header = cursor.u8()?;
    let mut nonzero = [0; BLOCK];
    let base = read_dense(nonzero_header, cursor, nonzero_count, &mut nonzero)?.cast_unsigned();
    spread(&bitmap, &nonzero, base, out);
    Ok(0)
}

/// Puts the next of `nonzero`, plus `base`, into each slot whose bit is set, and zero into the others.
fn spread(bitmap: &[u8; BLOCK / 8], nonzero: &[u64; BLOCK], base: u64, out: &mut [u64; BLOCK]) {
    let mut next = 0;
    for (slots, &byte) in out.chunks_exact_mut(8).zip(bitmap) {
        for (bit_index, slot) in slots.iter_mut().enumerate() {
            let bit = u64::from(byte >> bit_index & 1);
            *slot = nonzero[next % BLOCK].wrapping_add(base) & bit.wrapping_neg();
            next += bit as usize;
        }
    }
}

fn read_dense(
    header: u8,
    cursor: &mut Cursor<'_>,
    count: usize,
    out: &mut [u64; BLOCK],
) -> Result<i64, CodingError> {
    match header {
        HEADER_RAW => return read_raw(cursor, count, out),
        HEADER_SPARSE | HEADER_ZERO_RUN => return Err(cursor.error("block header is not allowed here")),
        _ => {}
    }
    let Family { base, width, is_patched } = Family::of(header);
    let base = match base {
        Base::Centered => centered_base(width),
        Base::Zero => 0,
        Base::Explicit => cursor.ivarint()?,
    };
    let source = cursor.clone().take(cursor.remaining())?;
    cursor.take(bitpack::packed_bytes(count, width))?;
    bitpack::unpack(source, width, count, out);
    if is_patched {
        patch(cursor, width, count, out)?;
    }
    Ok(base)
}

fn read_raw(cursor: &mut Cursor<'_>, count: usize, out: &mut [u64; BLOCK]) -> Result<i64, CodingError> {
    for slot in out.iter_mut().take(count) {
        *slot = cursor.u64()?;
    }
    Ok(0)
}

fn patch(
    cursor: &mut Cursor<'_>,
    width: u32,
    count: usize,
    out: &mut [u64; BLOCK],
) -> Result<(), CodingError> {
    let exception_count = usize::from(cursor.u8()?);
    let positions = cursor.take(exception_count)?;
    for &position in positions {
        let high = unzigzag(cursor.uvarint()?).cast_unsigned();
        match out.get_mut(usize::from(position)) {
            Some(slot) if usize::from(position) < count => *slot = slot.wrapping_add(high << width),
            _ => return Err(cursor.error("exception lies outside its block")),
        }
    }
    Ok(())
}
