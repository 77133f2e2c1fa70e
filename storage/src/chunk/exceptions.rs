//! Samples the integers cannot express: stale markers in one or two bytes, anything else in nine or so.
//!
//! Written as a count and, for each exception, the distance from the one before with two bits that say what it is.
//! Format: `docs/format/chunk.md`.

use crate::coding::{CodingError, Cursor, put_uvarint};
use crate::model::{STALE_NAN_BITS, stale_nan};

const STALE: u64 = 0;
/// The same bits as the last exception that was no stale marker, at first the quiet NaN.
const SAME: u64 = 1;
const RAW: u64 = 2;
const KIND_BITS: u32 = 2;
const QUIET_NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// Bytes that `positions` of `values` take, nearly exact.
pub(super) fn estimate(values: &[f64], positions: &[u32]) -> usize {
    let raw = |&&position: &&u32| values[position as usize].to_bits() != STALE_NAN_BITS;
    1 + positions.len() + 8 * positions.iter().filter(raw).count()
}

/// Appends the `values` at the ascending `positions`.
pub(super) fn write(values: &[f64], positions: &[u32], out: &mut Vec<u8>) {
    put_uvarint(out, positions.len() as u64);
    let mut next = 0;
    let mut last_bits = QUIET_NAN_BITS;
    for &position in positions {
        let gap = u64::from(position - next) << KIND_BITS;
        next = position + 1;
        let bits = values[position as usize].to_bits();
        if bits == STALE_NAN_BITS {
            put_uvarint(out, gap | STALE);
        } else if bits == last_bits {
            put_uvarint(out, gap | SAME);
        } else {
            put_uvarint(out, gap | RAW);
            out.extend_from_slice(&bits.to_le_bytes());
            last_bits = bits;
        }
    }
}

/// Reads the exceptions of a chunk of `count` samples into `out`: position and value, ascending.
///
/// # Errors
/// [`CodingError`] if the bytes are malformed or a position lies outside the chunk.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    count: usize,
    out: &mut Vec<(usize, f64)>,
) -> Result<(), CodingError> {
    out.clear();
    let exception_count = cursor.count(1)?;
    let mut next = 0_u64;
    let mut last = f64::from_bits(QUIET_NAN_BITS);
    for _ in 0..exception_count {
        let entry = cursor.uvarint()?;
        let position = next.saturating_add(entry >> KIND_BITS);
        if position >= count as u64 {
            return Err(cursor.error("exception lies outside the chunk"));
        }
        next = position.saturating_add(1);
        let value = match entry & ((1 << KIND_BITS) - 1) {
            STALE => stale_nan(),
            SAME => last,
            RAW => {
                last = f64::from_bits(cursor.u64()?);
                last
            }
            _ => return Err(cursor.error("unknown kind of exception")),
        };
        out.push((position as usize, value));
    }
    Ok(())
}
