//! Bits in a row, the highest of each byte first, and Prometheus' integers of variable width.
//!
//! Source: Prometheus `tsdb/chunkenc/{bstream,varbit}.go`.

/// Widths of the classes of a variable-width integer, each with a longer prefix of ones.
const VARBIT_WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Collects bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free_count: u32,
}

impl BitWriter {
    /// Starts after bytes that are there already.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free_count: 0 }
    }

    /// Appends the lowest `count` bits of `value`, at most 64.
    pub(super) fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free_count == 0 {
                self.bytes.push(0);
                self.free_count = 8;
            }
            let taken = left.min(self.free_count);
            let part = (value >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free_count - taken)) as u8;
            }
            self.free_count -= taken;
            left -= taken;
        }
    }

    /// Appends an integer in as few bits as its class needs.
    pub(super) fn push_varbit_int(&mut self, value: i64) {
        self.push_varbit(value as u64, value == 0, |width| is_in_bit_range(value, width));
    }

    /// The same for integers without sign.
    pub(super) fn push_varbit_uint(&mut self, value: u64) {
        self.push_varbit(value, value == 0, |width| value.leading_zeros() >= 64 - width);
    }

    fn push_varbit(&mut self, value: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.push(0, 1);
        }
        match VARBIT_WIDTHS.iter().position(|width| fits(*width)) {
            // `10` for the first class, one more 1 for each after it.
            Some(class) => {
                self.push((1 << (class as u32 + 2)) - 2, class as u32 + 2);
                self.push(value, VARBIT_WIDTHS[class]);
            }
            None => {
                self.push(0xff, 8);
                self.push(value, 64);
            }
        }
    }

    /// What was written, the last byte filled with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether Prometheus writes `value` in `width` bits: the range is shifted by one against two's complement.
pub(super) fn is_in_bit_range(value: i64, width: u32) -> bool {
    let half = 1_i64 << (width - 1);
    (-(half - 1)..=half).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(write: impl FnOnce(&mut BitWriter)) -> String {
        let mut out = BitWriter::default();
        write(&mut out);
        let free_count = out.free_count as usize;
        let text: String = out.into_bytes().iter().map(|byte| format!("{byte:08b}")).collect();
        text[..text.len() - free_count].to_owned()
    }

    #[test]
    fn bits_stand_in_order_across_bytes() {
        assert_eq!(bits(|out| out.push(0b101, 3)), "101");
        assert_eq!(
            bits(|out| {
                out.push(1, 1);
                out.push(0x0ff0, 16);
                out.push(u64::MAX, 3);
            }),
            "10000111111110000111"
        );
        assert_eq!(bits(|out| out.push(u64::MAX, 64)), "1".repeat(64));
    }

    #[test]
    fn integers_have_the_widths_of_prometheus() {
        for (value, expected) in [
            (0, "0"),
            (1, "10001"),
            (4, "10100"),
            (-3, "10101"),
            (-4, "110111100"),
            (32, "110100000"),
            (-31, "110100001"),
            (33, "1110000100001"),
            (256, "1110100000000"),
            (257, "11110000100000001"),
        ] {
            assert_eq!(bits(|out| out.push_varbit_int(value)), expected, "{value}");
        }
        assert_eq!(bits(|out| out.push_varbit_int(i64::MIN)).len(), 72);
        for (value, length) in [(0, 1), (7, 5), (8, 9), (63, 9), (64, 13), (1 << 25, 64), (1 << 56, 72)] {
            assert_eq!(bits(|out| out.push_varbit_uint(value)).len(), length, "{value}");
        }
    }
}
