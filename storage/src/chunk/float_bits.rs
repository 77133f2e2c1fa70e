//! Floats as integers that keep their order: the encoding for values that are no decimals.
//!
//! Neighbouring floats become neighbouring integers, so the integer column's deltas work on them.

use super::format::FLOAT_BITS;
use crate::model::is_stale;

/// Id nibble of this encoding.
pub(super) const EXPONENT_ID: u8 = FLOAT_BITS;

/// Maps the bits of a float to an integer in the order of the floats; its own inverse on integers.
#[inline]
pub(super) fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Replaces `integers` by the ordered bits of `values`; stale markers are listed in `misfits` and repeat their
/// predecessor.
pub(super) fn convert(values: &[f64], integers: &mut Vec<i64>, misfits: &mut Vec<u32>) {
    integers.clear();
    misfits.clear();
    let mut last = values.iter().find(|value| !is_stale(**value)).map_or(0, |value| ordered(*value));
    for (index, &value) in values.iter().enumerate() {
        if is_stale(value) {
            misfits.push(index as u32);
        } else {
            last = ordered(value);
        }
        integers.push(last);
    }
}

#[inline]
fn ordered(value: f64) -> i64 {
    flip(value.to_bits().cast_signed())
}

/// Appends the floats whose ordered bits are `integers`.
#[inline]
pub(super) fn restore(integers: &[i64], out: &mut Vec<f64>) {
    out.extend(integers.iter().map(|&integer| f64::from_bits(flip(integer).cast_unsigned())));
}
