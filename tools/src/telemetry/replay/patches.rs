//! Writing values over the places of a body.
//!
//! Offsets come from templates that were checked; a place that would end beyond the body is left as it is.

/// Writes eight bytes.
#[inline]
pub(super) fn put(body: &mut [u8], offset: u32, bits: u64) {
    put_array(body, offset, bits.to_le_bytes());
}

/// Writes some bytes.
#[inline]
pub(super) fn put_array<const N: usize>(body: &mut [u8], offset: u32, bytes: [u8; N]) {
    let begin = offset as usize;
    if let Some(place) = body.get_mut(begin..begin + N) {
        place.copy_from_slice(&bytes);
    }
}

/// Writes `number` as decimal digits, leading zeros included; what does not fit is cut off at the front.
pub(super) fn put_digits<const N: usize>(body: &mut [u8], offset: u32, mut number: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    put_array(body, offset, digits);
}
