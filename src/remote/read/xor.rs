//! Floats as Prometheus' XOR chunks, bit for bit.
//!
//! Layout: number of samples (2 bytes, big-endian); first time as varint and first value as 64 bits; then the
//! difference of the second time as uvarint, from the third on its change; values as XOR with the one before.
//!
//! Source: Prometheus `tsdb/chunkenc/xor.go`.

use super::bits::{BitWriter, is_in_bit_range};

/// Encodes at least one and at most 65,535 samples.
pub(super) fn encode(timestamps_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let count = timestamps_ms.len().min(values.len()).min(usize::from(u16::MAX));
    let mut out = BitWriter::default();
    out.push(count as u64, 16);
    let mut window = Window::default();
    let (mut time_ms, mut value_bits, mut delta) = (0, 0, 0);
    for (index, (next_ms, value)) in timestamps_ms.iter().zip(values).take(count).enumerate() {
        let bits = value.to_bits();
        if index == 0 {
            push_varint(&mut out, *next_ms);
            out.push(bits, 64);
        } else {
            let next_delta = next_ms.wrapping_sub(time_ms);
            if index == 1 {
                push_uvarint(&mut out, next_delta as u64);
            } else {
                push_change(&mut out, next_delta.wrapping_sub(delta));
            }
            delta = next_delta;
            window.push(&mut out, bits ^ value_bits);
        }
        (time_ms, value_bits) = (*next_ms, bits);
    }
    out.into_bytes()
}

fn push_uvarint(out: &mut BitWriter, mut value: u64) {
    while value >= 0x80 {
        out.push(value & 0x7f | 0x80, 8);
        value >>= 7;
    }
    out.push(value, 8);
}

fn push_varint(out: &mut BitWriter, value: i64) {
    push_uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Writes by how much the distance of times changed.
fn push_change(out: &mut BitWriter, change: i64) {
    let (prefix, prefix_width, width) = match change {
        0 => (0, 1, 0),
        change if is_in_bit_range(change, 14) => (0b10, 2, 14),
        change if is_in_bit_range(change, 17) => (0b110, 3, 17),
        change if is_in_bit_range(change, 20) => (0b1110, 4, 20),
        _ => (0b1111, 4, 64),
    };
    out.push(prefix, prefix_width);
    out.push(change as u64, width);
}

/// Which bits of a XOR are written: those between so many zeros in front and behind.
#[derive(Debug, Default)]
struct Window {
    zeros: Option<(u32, u32)>,
}

impl Window {
    fn push(&mut self, out: &mut BitWriter, xor: u64) {
        if xor == 0 {
            return out.push(0, 1);
        }
        // Five bits hold the number of leading zeros.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if let Some((before, after)) = self.zeros
            && leading >= before
            && trailing >= after
        {
            out.push(0b10, 2);
            return out.push(xor >> after, 64 - before - after);
        }
        self.zeros = Some((leading, trailing));
        let width = 64 - leading - trailing;
        out.push(0b11, 2);
        out.push(u64::from(leading), 5);
        // 64 does not fit into six bits and is written as 0.
        out.push(u64::from(width & 63), 6);
        out.push(xor >> trailing, width);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Bits<'a> {
        bytes: &'a [u8],
        position: usize,
    }

    impl Bits<'_> {
        fn take(&mut self, count: u32) -> u64 {
            (0..count).fold(0, |value, _| {
                let bit = self.bytes[self.position / 8] >> (7 - self.position % 8) & 1;
                self.position += 1;
                value << 1 | u64::from(bit)
            })
        }

        fn uvarint(&mut self) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = self.take(8);
                value |= (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }

        /// Two's complement, but for one number more above and one less below.
        fn signed(&mut self, width: u32) -> i64 {
            let value = self.take(width);
            if value > 1 << (width - 1) { value as i64 - (1 << width) } else { value as i64 }
        }
    }

    /// A reader written from the description of the format, as in Prometheus' iterator.
    pub(crate) fn decode(chunk: &[u8]) -> Vec<(i64, u64)> {
        let count = usize::from(chunk[0]) << 8 | usize::from(chunk[1]);
        let mut bits = Bits { bytes: &chunk[2..], position: 0 };
        let mut samples = Vec::new();
        let (mut time, mut delta, mut value, mut leading, mut trailing) = (0_i64, 0_i64, 0_u64, 0, 0);
        for index in 0..count {
            match index {
                0 => {
                    let zigzag = bits.uvarint();
                    time = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                    value = bits.take(64);
                    samples.push((time, value));
                    continue;
                }
                1 => delta = bits.uvarint() as i64,
                _ => {
                    let mut prefix = 0;
                    while prefix < 4 && bits.take(1) == 1 {
                        prefix += 1;
                    }
                    delta += match prefix {
                        0 => 0,
                        1 => bits.signed(14),
                        2 => bits.signed(17),
                        3 => bits.signed(20),
                        _ => bits.take(64) as i64,
                    };
                }
            }
            time += delta;
            if bits.take(1) == 1 {
                if bits.take(1) == 1 {
                    leading = bits.take(5) as u32;
                    let width = match bits.take(6) as u32 {
                        0 => 64,
                        width => width,
                    };
                    trailing = 64 - leading - width;
                }
                value ^= bits.take(64 - leading - trailing) << trailing;
            }
            samples.push((time, value));
        }
        samples
    }

    proptest! {
        #[test]
        fn every_sample_comes_back(
            start in -1_000_000_000_000_i64..2_000_000_000_000,
            samples in proptest::collection::vec(
                (
                    prop_oneof![Just(15_000_i64), 1_i64..100_000, 1_i64..1_000_000_000_000],
                    prop_oneof![Just(1.5_f64.to_bits()), any::<u64>(), (0_u64..1000).prop_map(|n| (n as f64).to_bits())],
                ),
                1..120,
            ),
        ) {
            let mut time = start;
            let expected: Vec<(i64, u64)> = samples
                .iter()
                .map(|(step, bits)| {
                    time += step;
                    (time, *bits)
                })
                .collect();
            let times: Vec<i64> = expected.iter().map(|(time, _)| *time).collect();
            let values: Vec<f64> = expected.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
            prop_assert_eq!(decode(&encode(&times, &values)), expected);
        }
    }

    #[test]
    fn a_chunk_is_that_of_prometheus_bit_for_bit() {
        // 0: count 2, time 1 (zigzag 2), value 1.0; 1: delta 15000 (uvarint), same value.
        let chunk = encode(&[1, 15_001], &[1.0, 1.0]);
        assert_eq!(chunk, [0, 2, 2, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x98, 0x75, 0]);
    }
}
