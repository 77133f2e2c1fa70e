//! The staleness marker: the NaN bit pattern with which Prometheus says "this series has ended".
//!
//! Source: Prometheus `model/value/value.go`.

/// The bits of the stale marker. Every other NaN is an ordinary value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Returns whether `value` is the stale marker (compared by bits).
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Returns the stale marker as a float.
#[inline]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}
