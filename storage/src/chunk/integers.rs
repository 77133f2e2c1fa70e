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
use super::miniblock::{self, BlockPlan, BlockScratch};
use crate::coding::{Cursor, put_ivarint, put_uvarint};

/// How integers follow each other; the discriminant is the one on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Distances from the first integer.
    Offset = 0,
    /// Distances from the integer before.
    Delta = 1,
    /// How much those change.
    DeltaOfDelta = 2,
}

impl Transform {
    /// The transform with these bits of an id, if there is one.
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Offset),
            1 => Some(Self::Delta),
            2 => Some(Self::DeltaOfDelta),
            _ => None,
        }
    }

    /// How many integers are stored apart at the start of a full column.
    pub(super) fn apart_count(self) -> usize {
        if self == Self::DeltaOfDelta { 2 } else { 1 }
    }
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

/// A column divided and differenced, not yet written.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntegerColumn<'a> {
    pub(super) transform: Transform,
    pub(super) divisor: u64,
    pub(super) first: i64,
    /// Distances of the integers after the first from it, divided.
    pub(super) offsets: &'a [i64],
    /// What the transform made of the offsets; the first delta of deltas of deltas is not among them.
    pub(super) numbers: &'a [i64],
}

impl IntegerPlan {
    /// The bits for the id byte: transform and whether a divisor follows.
    pub(super) fn id_bits(&self) -> u8 {
        self.transform as u8 | if self.divisor > 1 { HAS_DIVISOR } else { 0 }
    }
}

impl IntegerEncoder {
    /// Estimates each transform of `integers` (at least one) that may be the smallest, and takes the one that is.
    pub(super) fn plan(&mut self, integers: &[i64]) -> IntegerPlan {
        self.plan_among(integers, |distances, transform| distances.is_worth_a_look(transform))
    }

    /// As [`IntegerEncoder::plan`], but looks at one transform only: quicker, and seldom larger.
    pub(super) fn plan_quickly(&mut self, integers: &[i64]) -> IntegerPlan {
        self.plan_among(integers, |distances, transform| distances.likely() == transform)
    }

    fn plan_among(
        &mut self,
        integers: &[i64],
        is_chosen: impl Fn(&Distances, Transform) -> bool,
    ) -> IntegerPlan {
        let first = integers.first().copied().unwrap_or(0);
        self.offsets.clear();
        self.offsets.extend(integers.iter().skip(1).map(|integer| integer.wrapping_sub(first)));
        let divisor = self.divide();
        let distances = Distances::of(&self.offsets);
        let mut best: Option<IntegerPlan> = None;
        for (index, (candidate, transform)) in self.candidates.iter_mut().zip(TRANSFORMS).enumerate() {
            if !is_chosen(&distances, transform) {
                continue;
            }
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

    /// The numbers behind `plan`, for another way to write them.
    pub(super) fn column(&self, plan: &IntegerPlan) -> IntegerColumn<'_> {
        IntegerColumn {
            transform: plan.transform,
            divisor: plan.divisor,
            first: plan.first,
            offsets: &self.offsets,
            numbers: &self.candidates[plan.candidate].values,
        }
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

/// How far from zero the numbers are that each transform makes, all together.
///
/// PERF: one pass without a branch, where planning a transform takes a pass for each shape of a block.
#[derive(Debug, Clone, Copy)]
struct Distances {
    offset: u64,
    delta: u64,
    delta_of_delta: u64,
}

/// Offsets that are so many times farther from zero than deltas are not looked at: no base makes up for that.
const HOPELESS_FACTOR: u64 = 16;

impl Distances {
    fn of(offsets: &[i64]) -> Self {
        let mut sums = Self { offset: 0, delta: 0, delta_of_delta: 0 };
        let (mut last_offset, mut last_delta) = (0, offsets.first().copied().unwrap_or(0));
        for &offset in offsets {
            let delta = offset.wrapping_sub(last_offset);
            let change = delta.wrapping_sub(last_delta);
            sums.offset = sums.offset.saturating_add(offset.unsigned_abs());
            sums.delta = sums.delta.saturating_add(delta.unsigned_abs());
            sums.delta_of_delta = sums.delta_of_delta.saturating_add(change.unsigned_abs());
            (last_offset, last_delta) = (offset, delta);
        }
        sums
    }

    /// Whether the transform may be the smallest.
    fn is_worth_a_look(&self, transform: Transform) -> bool {
        match transform {
            // Deltas are never far larger than offsets, and take outliers and what seldom changes best.
            Transform::Delta => true,
            Transform::Offset => self.offset < self.delta.saturating_mul(HOPELESS_FACTOR),
            Transform::DeltaOfDelta => self.delta_of_delta < self.delta,
        }
    }

    /// The transform that is the smallest, most of the time.
    fn likely(&self) -> Transform {
        if self.delta_of_delta < self.delta.min(self.offset) {
            Transform::DeltaOfDelta
        } else if self.offset < self.delta {
            Transform::Offset
        } else {
            Transform::Delta
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
    scratch: &'c mut BlockScratch,
    transform: Transform,
    divisor: u64,
    first: u64,
    value: u64,
    delta: u64,
    /// Integers stored apart and not given out yet; they are in the scratch memory.
    apart_count: usize,
    left_count: usize,
    zero_block_count: u64,
}

impl<'c, 'a> IntegerReader<'c, 'a> {
    /// Starts a column of `count` integers (at least one).
    ///
    /// # Errors
    /// [`ChunkError`] if `id_bits` name no transform or the bytes are malformed.
    pub(super) fn new(
        cursor: &'c mut Cursor<'a>,
        scratch: &'c mut BlockScratch,
        id_bits: u8,
        count: usize,
    ) -> Result<Self, ChunkError> {
        let transform = Transform::from_bits(id_bits & TRANSFORM_MASK)
            .ok_or(ChunkError::UnknownEncoding { id: id_bits })?;
        let divisor = if id_bits & HAS_DIVISOR != 0 { cursor.uvarint()? } else { 1 };
        let first = cursor.ivarint()?.cast_unsigned();
        scratch.slots[0] = first;
        let (mut value, mut delta, mut apart_count) = (first, 0, 1);
        if transform == Transform::DeltaOfDelta {
            delta = cursor.ivarint()?.cast_unsigned().wrapping_mul(divisor);
            value = first.wrapping_add(delta);
            scratch.slots[1] = value;
            apart_count = count.min(2);
        }
        let left_count = count.saturating_sub(apart_count);
        Ok(Self {
            cursor,
            scratch,
            transform,
            divisor,
            first,
            value,
            delta,
            apart_count,
            left_count,
            zero_block_count: 0,
        })
    }

    /// Returns the next integers, at most [`BLOCK`]; none at the end.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are malformed.
    #[inline]
    pub(super) fn next(&mut self) -> Result<&[u64], ChunkError> {
        if self.apart_count > 0 {
            let apart = &self.scratch.slots[..self.apart_count];
            self.apart_count = 0;
            return Ok(apart);
        }
        let count = self.left_count.min(BLOCK);
        if count == 0 && self.zero_block_count > 0 {
            return Err(self.cursor.error("run of zero blocks is too long").into());
        }
        if count > 0 {
            self.left_count -= count;
            let base = self.read_block(count)?;
            self.restore(base.cast_unsigned(), count);
        }
        Ok(&self.scratch.slots[..count])
    }

    /// Appends all that is left of the column.
    ///
    /// # Errors
    /// As [`IntegerReader::next`].
    pub(super) fn read_to_end(&mut self, out: &mut Vec<i64>) -> Result<(), ChunkError> {
        loop {
            let integers = self.next()?;
            if integers.is_empty() {
                return Ok(());
            }
            out.extend(integers.iter().map(|integer| integer.cast_signed()));
        }
    }

    /// Reads `count` numbers into the scratch memory; returns the base to add to them.
    fn read_block(&mut self, count: usize) -> Result<i64, ChunkError> {
        if self.zero_block_count > 0 {
            self.zero_block_count -= 1;
            self.scratch.slots[..count].fill(0);
            return Ok(0);
        }
        match self.cursor.u8()? {
            miniblock::HEADER_ZEROS => {
                self.scratch.slots[..count].fill(0);
                Ok(0)
            }
            miniblock::HEADER_ZERO_RUN => {
                let run = self.cursor.uvarint()?;
                self.zero_block_count =
                    run.checked_sub(1).ok_or_else(|| self.cursor.error("run of zero blocks is empty"))?;
                self.scratch.slots[..count].fill(0);
                Ok(0)
            }
            header => Ok(miniblock::read(header, self.cursor, count, self.scratch)?),
        }
    }

    /// Undoes the transform of the first `count` slots.
    fn restore(&mut self, base: u64, count: usize) {
        let slots = &mut self.scratch.slots[..count];
        if self.divisor != 1 {
            slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(base).wrapping_mul(self.divisor));
        } else if base != 0 && self.transform != Transform::Offset {
            slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(base));
        }
        match self.transform {
            Transform::Offset => {
                let start = if self.divisor == 1 { self.first.wrapping_add(base) } else { self.first };
                slots.iter_mut().for_each(|slot| *slot = slot.wrapping_add(start));
            }
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
