//! The encoding for chunks whose samples all have the same bits: one decimal or one float.
//!
//! Format: `docs/format/chunk.md`.

use super::decimal;
use super::error::ChunkError;
use super::format::{CONSTANT, EXPONENT_SHIFT, FLOAT_BITS};
use crate::coding::{Cursor, put_ivarint};

/// A decimal longer than this as a varint is no shorter than the float.
const INTEGER_LIMIT: i64 = 1 << 48;

/// Returns whether one value can stand for all of `values` (at least one).
pub(super) fn is_applicable(values: &[f64]) -> bool {
    let first = values[0].to_bits();
    // In pieces: each is a branch-free comparison, and most columns fail in the first.
    values
        .chunks(32)
        .all(|piece| piece.iter().fold(0, |difference, value| difference | (value.to_bits() ^ first)) == 0)
}

/// Appends the chunk of `value`, however often it is repeated.
pub(super) fn write(value: f64, out: &mut Vec<u8>) {
    match decimal::shortest(value) {
        Some((exponent, integer)) if integer.abs() < INTEGER_LIMIT => {
            out.push(exponent << EXPONENT_SHIFT | CONSTANT);
            put_ivarint(out, integer);
        }
        _ => {
            out.push(FLOAT_BITS << EXPONENT_SHIFT | CONSTANT);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

/// Reads the value behind the id byte whose upper nibble is `exponent`.
///
/// # Errors
/// [`ChunkError`] if the bytes end early.
pub(super) fn read(exponent: u8, cursor: &mut Cursor<'_>) -> Result<f64, ChunkError> {
    if exponent == FLOAT_BITS {
        return Ok(f64::from_bits(cursor.u64()?));
    }
    let integer = cursor.ivarint()?;
    Ok(decimal::value_of(integer, exponent))
}
