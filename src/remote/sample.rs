//! A float sample, the same message in both versions but for its start time.
//!
//! Message: `Sample { value = 1, timestamp = 2, start_timestamp = 3 }`; 1.0 has no third field.
//! Source: Prometheus `prompb/types.proto`, `prompb/io/prometheus/write/v2/types.proto`.

use super::wire::{FIXED64, Reader, VARINT, WireError};

/// What a sample says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// The value, bit-exact.
    pub(super) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(super) time_ms: i64,
    /// When counting began; 0 if nobody said.
    pub(super) start_ms: i64,
}

/// Reads a sample. `HAS_START`: whether field 3 is its start time.
#[inline]
pub(super) fn decode_sample<const HAS_START: bool>(bytes: &[u8]) -> Result<Sample, WireError> {
    // PERF: everybody writes the value, then the time, and current times take 6 bytes; see bench `rim`, `decode/v1`.
    if let Some((head, rest)) = bytes.split_first_chunk::<16>()
        && let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, t0, t1, t2, t3, t4, t5] = *head
        && let Some(time_ms) = varint_of_6([t0, t1, t2, t3, t4, t5])
    {
        let value = f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
        match *rest {
            [] => return Ok(Sample { value, time_ms, start_ms: 0 }),
            [0x18, s0, s1, s2, s3, s4, s5] if HAS_START => {
                if let Some(start_ms) = varint_of_6([s0, s1, s2, s3, s4, s5]) {
                    return Ok(Sample { value, time_ms, start_ms });
                }
            }
            _ => {}
        }
    }
    decode_fields::<HAS_START>(bytes)
}

/// A varint, if it has 6 bytes.
#[inline]
fn varint_of_6([b0, b1, b2, b3, b4, b5]: [u8; 6]) -> Option<i64> {
    if b0 & b1 & b2 & b3 & b4 & 0x80 == 0 || b5 >= 0x80 {
        return None;
    }
    let low = [b0, b1, b2, b3, b4]
        .into_iter()
        .rev()
        .fold(u64::from(b5), |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    Some(low as i64)
}

fn decode_fields<const HAS_START: bool>(bytes: &[u8]) -> Result<Sample, WireError> {
    let mut reader = Reader::new(bytes);
    let mut sample = Sample { value: 0.0, time_ms: 0, start_ms: 0 };
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(FIXED64)?;
                sample.value = reader.double()?;
            }
            2 => {
                key.expect(VARINT)?;
                sample.time_ms = reader.varint()? as i64;
            }
            3 if HAS_START => {
                key.expect(VARINT)?;
                sample.start_ms = reader.varint()? as i64;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok(sample)
}
