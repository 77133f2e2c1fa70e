//! A column of integers in any order: divided by what their differences share, differenced, cut into miniblocks.
//!
//! The first integer is stored as it is. The rest follow as distances from the first, as deltas, or as deltas of
//! deltas (whose first delta is stored too), each divided by the greatest common divisor of the distances.
//! All arithmetic is modulo 2^64, so every `i64` comes back, whatever the differences.
//!
//! Not here: which transform and divisor were chosen is a nibble kept in the chunk's id byte (see `format`).
//! Format: `docs/format/chunk.md`.

use super::bitpack::BLOCK;
use super::error::ChunkError;
use super::format::{HAS_DIVISOR, TRANSFORM_MASK};
use super::miniblock::{self, BlockPlan};
use crate::coding::{Cursor, put_ivarint, put_uvarint};

/// How integers follow each other; the discriminant is the one on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transform {
    Offset = 0,
    Delta = 1,
    DeltaOfDelta = 2,
}

const TRANSFORMS: [Transform; 3] = [Transform::Delta, Transform::Offset, Transform::DeltaOfDelta];

/// Plans and writes columns; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct IntegerEncoder {
    candidates: [Candidate; 3],
    offsets: Vec<i64>,
}

#[derive(Debug, Default)]
struct Candidate {
    values: Vec<i64>,
    plans: Vec<BlockPlan>,
}

/// A column's winning shape; valid until the encoder plans the next column.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntegerPlan {
    candidate: usize,
    transform: Transform,
    divisor: u64,
    first: i64,
    first_delta: i64,
    /// Size of the column, nearly exact.
    pub(super) bytes: usize,
}

impl IntegerPlan {
    /// The bits for the id byte: transform and whether a divisor follows.
    pub(super) fn id_bits(&self) -> u8 {
        self.transform as u8 | if self.divisor > 1 { HAS_DIVISOR } else { 0 }
    }
}

impl IntegerEncoder {
    /// Estimates each transform of `integers` (at least one) and takes the smallest.
    pub(super) fn plan(&mut self, integers: &[i64]) -> IntegerPlan {
        let first = integers.first().copied().unwrap_or(0);
        self.offsets.clear();
        self.offsets.extend(integers.iter().skip(1).map(|integer| integer.wrapping_sub(first)));
        let divisor = self.divide();
        let mut best: Option<IntegerPlan> = None;
        for (index, (candidate, transform)) in self.candidates.iter_mut().zip(TRANSFORMS).enumerate() {
            let first_delta = candidate.transform(transform, &self.offsets);
            let bytes = candidate.plan_blocks() + usize::from(transform == Transform::DeltaOfDelta) * 2;
            if best.is_none_or(|other| bytes < other.bytes) {
                best = Some(IntegerPlan { candidate: index, transform, divisor, first, first_delta, bytes });
            }
        }
        best.unwrap_or(IntegerPlan {
            candidate: 0,
            transform: Transform::Delta,
            divisor,
            first,
            first_delta: 0,
            bytes: 0,
        })
    }

    /// Divides the offsets by their greatest common divisor if that pays, and returns it, else 1.
    fn divide(&mut self) -> u64 {
        let divisor = common_divisor(&self.offsets);
        if divisor <= 1 {
            return 1;
        }
        let change_count =
            self.offsets.iter().zip(std::iter::once(&0).chain(&self.offsets)).filter(|(a, b)| a != b).count();
        if change_count * (divisor.ilog2() as usize) < 16 {
            return 1;
        }
        divide_exactly(&mut self.offsets, divisor);
        divisor
    }

    /// Appends the column that `plan` was made for.
    pub(super) fn write(&self, plan: &IntegerPlan, out: &mut Vec<u8>) {
        if plan.divisor > 1 {
            put_uvarint(out, plan.divisor);
        }
        put_ivarint(out, plan.first);
        if plan.transform == Transform::DeltaOfDelta {
            put_ivarint(out, plan.first_delta);
        }
        let candidate = &self.candidates[plan.candidate];
        let mut blocks = candidate.values.chunks(BLOCK).zip(&candidate.plans).peekable();
        while let Some((values, block_plan)) = blocks.next() {
            if !block_plan.is_zero() {
                miniblock::write(block_plan, values, out);
                continue;
            }
            let mut run = 1_u64;
            while blocks.next_if(|(_, next_plan)| next_plan.is_zero()).is_some() {
                run += 1;
            }
            if run == 1 {
                out.push(miniblock::HEADER_ZEROS);
            } else {
                out.push(miniblock::HEADER_ZERO_RUN);
                put_uvarint(out, run);
            }
        }
    }
}

impl Candidate {
    /// Fills `values` from the divided offsets; returns the first delta where that is stored apart.
    fn transform(&mut self, transform: Transform, offsets: &[i64]) -> i64 {
        self.values.clear();
        let previous = std::iter::once(&0).chain(offsets);
        match transform {
            Transform::Offset => self.values.extend_from_slice(offsets),
            Transform::Delta => {
                self.values.extend(offsets.iter().zip(previous).map(|(a, b)| a.wrapping_sub(*b)))
            }
            Transform::DeltaOfDelta => {
                let before_previous = std::iter::once(&0).chain(previous.clone());
                let deltas = offsets.iter().zip(previous).zip(before_previous).skip(1);
                self.values
                    .extend(deltas.map(|((a, b), c)| a.wrapping_sub(*b).wrapping_sub(b.wrapping_sub(*c))));
                return offsets.first().copied().unwrap_or(0);
            }
        }
        0
    }

    fn plan_blocks(&mut self) -> usize {
        self.plans.clear();
        self.plans.extend(self.values.chunks(BLOCK).map(miniblock::plan));
        self.plans.iter().map(|plan| plan.bytes).sum()
    }
}

/// The greatest number that divides every offset, 0 if all are zero.
fn common_divisor(offsets: &[i64]) -> u64 {
    let combined = offsets.iter().fold(0, |bits, &offset| bits | offset);
    if combined == 0 {
        return 0;
    }
    // Twos apart: a shift is cheaper than a division, and most common divisors are 1 or a power of two.
    let shift = combined.trailing_zeros();
    let mut odd = 0_u64;
    for &offset in offsets {
        let magnitude = offset.unsigned_abs() >> shift;
        if odd == 0 || magnitude % odd != 0 {
            odd = greatest_common_divisor(magnitude, odd);
        }
        if odd == 1 {
            break;
        }
    }
    odd << shift
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Divides offsets that are all multiples of `divisor`.
fn divide_exactly(offsets: &mut [i64], divisor: u64) {
    let shift = divisor.trailing_zeros();
    let odd = divisor >> shift;
    // Newton: each step doubles the correct low bits of the inverse modulo 2^64 of an odd number.
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    for offset in offsets {
        *offset = (*offset >> shift).wrapping_mul(inverse.cast_signed());
    }
}

/// Reads a column block by block.
#[derive(Debug)]
pub(super) struct IntegerReader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    transform: Transform,
    divisor: u64,
    first: u64,
    value: u64,
    delta: u64,
    left_count: usize,
    zero_block_count: u64,
}

impl<'c, 'a> IntegerReader<'c, 'a> {
    /// Starts a column of `count` integers (at least one) and appends the integers stored apart to `out`.
    ///
    /// # Errors
    /// [`ChunkError`] if `id_bits` name no transform or the bytes are malformed.
    pub(super) fn new(
        cursor: &'c mut Cursor<'a>,
        id_bits: u8,
        count: usize,
        out: &mut Vec<i64>,
    ) -> Result<Self, ChunkError> {
        let transform = match id_bits & TRANSFORM_MASK {
            0 => Transform::Offset,
            1 => Transform::Delta,
            2 => Transform::DeltaOfDelta,
            _ => return Err(ChunkError::UnknownEncoding { id: id_bits }),
        };
        let divisor = if id_bits & HAS_DIVISOR != 0 { cursor.uvarint()? } else { 1 };
        let first = cursor.ivarint()?.cast_unsigned();
        out.push(first.cast_signed());
        let mut reader = Self {
            cursor,
            transform,
            divisor,
            first,
            value: first,
            delta: 0,
            left_count: count.saturating_sub(1),
            zero_block_count: 0,
        };
        if transform == Transform::DeltaOfDelta {
            reader.delta = reader.cursor.ivarint()?.cast_unsigned().wrapping_mul(divisor);
            if reader.left_count > 0 {
                reader.left_count -= 1;
                reader.value = reader.value.wrapping_add(reader.delta);
                out.push(reader.value.cast_signed());
            }
        }
        Ok(reader)
    }

    /// Appends the next block's integers to `out`; returns whether there were any.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are malformed.
    pub(super) fn next(&mut self, out: &mut Vec<i64>) -> Result<bool, ChunkError> {
        let count = self.left_count.min(BLOCK);
        if count == 0 {
            if self.zero_block_count > 0 {
                return Err(self.cursor.error("run of zero blocks is too long").into());
            }
            return Ok(false);
        }
        self.left_count -= count;
        let mut slots = [0; BLOCK];
        let base = self.read_block(count, &mut slots)?;
        self.restore(&mut slots, base.cast_unsigned(), count);
        out.extend(slots.iter().take(count).map(|slot| slot.cast_signed()));
        Ok(true)
    }

    fn read_block(&mut self, count: usize, slots: &mut [u64; BLOCK]) -> Result<i64, ChunkError> {
        if self.zero_block_count > 0 {
            self.zero_block_count -= 1;
            return Ok(0);
        }
        match self.cursor.u8()? {
            miniblock::HEADER_ZEROS => Ok(0),
            miniblock::HEADER_ZERO_RUN => {
                let run = self.cursor.uvarint()?;
                self.zero_block_count =
                    run.checked_sub(1).ok_or_else(|| self.cursor.error("run of zero blocks is empty"))?;
                Ok(0)
            }
            header => Ok(miniblock::read(header, self.cursor, count, slots)?),
        }
    }

    /// Undoes the transform of the first `count` slots.
    fn restore(&mut self, slots: &mut [u64; BLOCK], base: u64, count: usize) {
        let slots = &mut slots[..count];
        if self.divisor != 1 {
            slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(base).wrapping_mul(self.divisor));
        } else if base != 0 {
            slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(base));
        }
        match self.transform {
            Transform::Offset => slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(self.first)),
            Transform::Delta => self.value = sum_deltas(slots, self.value),
            Transform::DeltaOfDelta => {
                (self.value, self.delta) = sum_deltas_of_deltas(slots, self.value, self.delta)
            }
        }
    }
}

fn sum_deltas(slots: &mut [u64], start: u64) -> u64 {
    let mut value = start;
    for slot in slots {
        value = value.wrapping_add(*slot);
        *slot = value;
    }
    value
}

fn sum_deltas_of_deltas(slots: &mut [u64], start: u64, start_delta: u64) -> (u64, u64) {
    let (mut value, mut delta) = (start, start_delta);
    for slot in slots {
        delta = delta.wrapping_add(*slot);
        value = value.wrapping_add(delta);
        *slot = value;
    }
    (value, delta)
}
