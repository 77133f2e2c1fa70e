//! Timestamps as points of a grid: first timestamp and step, then skipped points and distances where there are any.
//!
//! Scrapes and exports follow a clock, so the distance from the grid is a single deviation, where a delta of deltas adds
//! up three. Timestamps that follow no clock go through the integer column as they are; the smaller of the two wins.
//!
//! Invariant of a grid: `timestamp[i] = first + step * (i + sum(skips[1..=i])) + residual[i]`.
//! Format: `docs/format/chunk.md`.

use super::decoder::check_end;
use super::error::ChunkError;
use super::format::{GRID_HAS_RESIDUALS, GRID_HAS_SKIPS, TIMESTAMPS_GRID, TIMESTAMPS_INTEGERS};
use super::integers::{IntegerEncoder, IntegerPlan, IntegerReader};
use crate::coding::{Cursor, put_ivarint, put_uvarint};

/// Encodes columns of timestamps; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct TimestampEncoder {
    deltas: Vec<i64>,
    skips: Vec<i64>,
    residuals: Vec<i64>,
    skip_column: IntegerEncoder,
    residual_column: IntegerEncoder,
    plain_column: IntegerEncoder,
}

/// A step and the columns it leaves.
#[derive(Debug, Clone, Copy)]
struct GridPlan {
    step: i64,
    skips: Option<IntegerPlan>,
    residuals: Option<IntegerPlan>,
    bytes: usize,
}

/// Bytes of id, first timestamp and step, about.
const GRID_BYTES: usize = 9;
/// Steps are sought among multiples of these, if one is within a percent of the median delta.
const ROUND_STEPS_MS: [i64; 5] = [60_000, 5_000, 1_000, 100, 10];

impl TimestampEncoder {
    /// Appends the chunk of `timestamps_ms`: at least one, strictly ascending.
    ///
    /// # Panics
    /// If they do not ascend.
    pub(super) fn encode(&mut self, timestamps_ms: &[i64], out: &mut Vec<u8>) {
        let first = timestamps_ms[0];
        self.deltas.clear();
        self.deltas.extend(timestamps_ms.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
        let disorder = timestamps_ms.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        assert!(disorder == 0, "timestamps of a chunk ascend, {disorder} of these do not");
        let span = timestamps_ms[timestamps_ms.len() - 1].checked_sub(first);
        let first_delta = self.deltas.first().copied().unwrap_or(1);
        if span.is_some() && self.deltas.iter().fold(0, |bits, &delta| bits | (delta ^ first_delta)) == 0 {
            out.push(TIMESTAMPS_GRID);
            put_ivarint(out, first);
            put_uvarint(out, first_delta.cast_unsigned());
            return;
        }
        let grid = span.and_then(|span_ms| self.best_grid(timestamps_ms, span_ms));
        let plain = self.plain_column.plan(timestamps_ms);
        match grid {
            Some(plan) if plan.bytes <= plain.bytes => self.write_grid(first, &plan, out),
            _ => {
                out.push(TIMESTAMPS_INTEGERS | plain.id_bits());
                self.plain_column.write(&plain, out);
            }
        }
    }

    /// Leaves the smallest grid's columns in the scratch memory.
    fn best_grid(&mut self, timestamps_ms: &[i64], span_ms: i64) -> Option<GridPlan> {
        let candidates = self.step_candidates(span_ms);
        let mut best: Option<GridPlan> = None;
        let mut last_step = 0;
        for step in candidates {
            if step == last_step {
                continue;
            }
            let plan = self.plan_grid(timestamps_ms, step);
            last_step = step;
            if best.is_none_or(|other| plan.bytes < other.bytes) {
                best = Some(plan);
            }
        }
        let best = best?;
        Some(if best.step == last_step { best } else { self.plan_grid(timestamps_ms, best.step) })
    }

    /// A round step near the median delta, and the mean step, which does not drift away from the samples.
    fn step_candidates(&mut self, span_ms: i64) -> [i64; 2] {
        let middle = self.deltas.len() / 2;
        let (_, &mut median, _) = self.deltas.select_nth_unstable(middle);
        let tolerance = (median / 100).max(1);
        let nearest = |unit: i64| median.saturating_add(unit / 2) / unit * unit;
        let round = ROUND_STEPS_MS
            .into_iter()
            .map(nearest)
            .find(|&step| step > 0 && step.abs_diff(median) <= tolerance.cast_unsigned())
            .unwrap_or(median);
        let interval_count = rounded_quotient(span_ms, median).max(1);
        [round, rounded_quotient(span_ms, interval_count).max(1)]
    }

    fn plan_grid(&mut self, timestamps_ms: &[i64], step: i64) -> GridPlan {
        self.skips.clear();
        self.residuals.clear();
        let first = timestamps_ms[0];
        let mut point = 0_i64;
        let (mut any_skip, mut any_residual) = (0, 0);
        for &timestamp in &timestamps_ms[1..] {
            // Within the span, which fits an i64.
            let distance = timestamp - first;
            let expected = (point + 1).wrapping_mul(step);
            let is_near = distance.abs_diff(expected) <= (step / 2).cast_unsigned();
            let next_point = if is_near { point + 1 } else { rounded_quotient(distance, step) };
            let skip = next_point - point - 1;
            let residual = distance.wrapping_sub(next_point.wrapping_mul(step));
            any_skip |= skip;
            any_residual |= residual;
            self.skips.push(skip);
            self.residuals.push(residual);
            point = next_point;
        }
        let skips = (any_skip != 0).then(|| self.skip_column.plan(&self.skips));
        let residuals = (any_residual != 0).then(|| self.residual_column.plan(&self.residuals));
        let bytes = GRID_BYTES + skips.map_or(0, |plan| plan.bytes) + residuals.map_or(0, |plan| plan.bytes);
        GridPlan { step, skips, residuals, bytes }
    }

    fn write_grid(&self, first: i64, plan: &GridPlan, out: &mut Vec<u8>) {
        let skips_bit = if plan.skips.is_some() { GRID_HAS_SKIPS } else { 0 };
        let residuals_bit = if plan.residuals.is_some() { GRID_HAS_RESIDUALS } else { 0 };
        out.push(TIMESTAMPS_GRID | skips_bit | residuals_bit);
        put_ivarint(out, first);
        put_uvarint(out, plan.step.cast_unsigned());
        let columns = [(&self.skip_column, &plan.skips), (&self.residual_column, &plan.residuals)];
        for (column, column_plan) in columns {
            if let Some(column_plan) = column_plan {
                out.push(column_plan.id_bits());
                column.write(column_plan, out);
            }
        }
    }
}

/// `dividend / divisor` to the nearest integer, for a dividend of at least 0 and a divisor of at least 1.
fn rounded_quotient(dividend: i64, divisor: i64) -> i64 {
    let quotient = dividend / divisor;
    quotient + i64::from(dividend % divisor > divisor / 2)
}

/// Decodes columns of timestamps; keeps its scratch memory between columns.
#[derive(Debug, Default)]
pub(super) struct TimestampDecoder {
    skips: Vec<i64>,
    residuals: Vec<i64>,
}

impl TimestampDecoder {
    /// Appends `count` timestamps (at least one) of the chunk `bytes` to `out`; on an error possibly some.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such chunk.
    pub(super) fn decode(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), ChunkError> {
        let mut cursor = Cursor::new(bytes);
        let id = cursor.u8()?;
        let start = out.len();
        match id & 0xf0 {
            TIMESTAMPS_GRID => {
                let (has_skips, has_residuals) = (id & GRID_HAS_SKIPS != 0, id & GRID_HAS_RESIDUALS != 0);
                if id & 0x0f > GRID_HAS_SKIPS | GRID_HAS_RESIDUALS {
                    return Err(ChunkError::UnknownEncoding { id });
                }
                let first = cursor.ivarint()?;
                let step = cursor.uvarint()?.cast_signed();
                if !has_skips && !has_residuals {
                    append_exact_grid(first, step, count, out)?;
                    return check_end(&cursor);
                }
                read_deviations(has_skips, &mut cursor, count, &mut self.skips)?;
                read_deviations(has_residuals, &mut cursor, count, &mut self.residuals)?;
                out.push(first);
                append_grid(first, step, &self.skips, &self.residuals, out);
            }
            TIMESTAMPS_INTEGERS if id & 0x08 == 0 => {
                let mut reader = IntegerReader::new(&mut cursor, id, count, out)?;
                while reader.next(out)? {}
            }
            _ => return Err(ChunkError::UnknownEncoding { id }),
        }
        check_end(&cursor)?;
        check_ascending(&out[start..])
    }
}

fn append_exact_grid(first: i64, step: i64, count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let last_point = count as i64 - 1;
    let is_in_range =
        step > 0 && step.checked_mul(last_point).and_then(|span| first.checked_add(span)).is_some();
    if !is_in_range {
        return Err(ChunkError::NotAscending { index: 1 });
    }
    out.extend((0..=last_point).map(|point| first + point * step));
    Ok(())
}

/// Reads the column of all timestamps but the first, or zeros if there is none.
fn read_deviations(
    is_present: bool,
    cursor: &mut Cursor<'_>,
    count: usize,
    out: &mut Vec<i64>,
) -> Result<(), ChunkError> {
    out.clear();
    let deviation_count = count - 1;
    if !is_present {
        out.resize(deviation_count, 0);
        return Ok(());
    }
    if deviation_count == 0 {
        return Err(cursor.error("a single timestamp has no deviations").into());
    }
    let id_bits = cursor.u8()?;
    if id_bits > 0x07 {
        return Err(ChunkError::UnknownEncoding { id: id_bits });
    }
    let mut reader = IntegerReader::new(cursor, id_bits, deviation_count, out)?;
    while reader.next(out)? {}
    Ok(())
}

/// Appends all but the first timestamp; damaged numbers wrap and are found by [`check_ascending`].
fn append_grid(first: i64, step: i64, skips: &[i64], residuals: &[i64], out: &mut Vec<i64>) {
    let mut point_ms = first;
    out.extend(skips.iter().zip(residuals).map(|(&skip, &residual)| {
        point_ms = point_ms.wrapping_add(step.wrapping_mul(skip.wrapping_add(1)));
        point_ms.wrapping_add(residual)
    }));
}

fn check_ascending(timestamps_ms: &[i64]) -> Result<(), ChunkError> {
    let later = timestamps_ms.iter().skip(1);
    let disorder = timestamps_ms.iter().zip(later.clone()).fold(false, |found, (a, b)| found | (a >= b));
    if !disorder {
        return Ok(());
    }
    let index = timestamps_ms.iter().zip(later).position(|(a, b)| a >= b).map_or(0, |position| position + 1);
    Err(ChunkError::NotAscending { index })
}
