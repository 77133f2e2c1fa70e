//! Kernels that pack integers of equal width into bytes and unpack them.
//!
//! Layout: value `i` of width `w` occupies bits `i * w .. (i + 1) * w` of a little-endian bit string, so eight values
//! fill exactly `w` bytes. Not here: choosing the width (see `miniblock`).

/// Integers in a full miniblock.
pub(super) const BLOCK: usize = 128;
/// Widest packing: a value plus seven bits of misalignment fits one 64-bit load.
pub(super) const WIDTH_MAX: u32 = 56;

const GROUP: usize = 8;
/// A load reads up to this many bytes behind the group it belongs to.
const LOAD_BYTES: usize = 8;
const PADDED_BYTES: usize = BLOCK / GROUP * WIDTH_MAX as usize + LOAD_BYTES;

/// Bytes that `count` values of `width` bits take.
#[inline]
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends the low `width` (at most [`WIDTH_MAX`]) bits of each value; higher bits are dropped.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    debug_assert!(width <= WIDTH_MAX && values.len() <= BLOCK);
    let mask = (1_u64 << width) - 1;
    let mut buffer = [0_u8; PADDED_BYTES];
    let mut accumulator = 0_u64;
    let mut accumulated_bits = 0_u32;
    let mut end = 0;
    for &value in values {
        let bits = value & mask;
        accumulator |= bits << accumulated_bits;
        accumulated_bits += width;
        if accumulated_bits >= 64 {
            buffer[end..end + 8].copy_from_slice(&accumulator.to_le_bytes());
            end += 8;
            accumulated_bits -= 64;
            // At most 63 bits of `bits` went out, as width < 64.
            accumulator = bits >> (width - accumulated_bits);
        }
    }
    buffer[end..end + 8].copy_from_slice(&accumulator.to_le_bytes());
    out.extend_from_slice(&buffer[..packed_bytes(values.len(), width)]);
}

/// Unpacks `count` values from the front of `source` into `out`; slots behind `count` hold arbitrary values.
///
/// `source` reaches from the packed bytes to the end of the chunk; the caller has checked that it holds at least
/// [`packed_bytes`]`(count, width)` bytes.
#[inline]
pub(super) fn unpack(source: &[u8], width: u32, count: usize, out: &mut [u64; BLOCK]) {
    let group_count = count.div_ceil(GROUP);
    let needed_bytes = group_count * width as usize + LOAD_BYTES;
    if source.len() >= needed_bytes {
        unpack_groups(source, width, group_count, out);
    } else {
        // The last block of a chunk: give the loads something to read behind it.
        let mut padded = [0_u8; PADDED_BYTES];
        padded[..source.len()].copy_from_slice(source);
        unpack_groups(&padded, width, group_count, out);
    }
}

#[inline(always)]
fn load(source: &[u8], offset: usize) -> u64 {
    match source[offset..].first_chunk::<LOAD_BYTES>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// PERF (bench `codec`): with `W` known, every load, shift and mask of a group is a constant.
fn unpack_width<const W: usize>(source: &[u8], group_count: usize, out: &mut [u64; BLOCK]) {
    let mask = (1_u64 << W) - 1;
    for (group, slots) in out.chunks_exact_mut(GROUP).take(group_count).enumerate() {
        let bytes = &source[group * W..group * W + W + LOAD_BYTES];
        for (slot_index, slot) in slots.iter_mut().enumerate() {
            let bit = slot_index * W;
            *slot = if W <= 8 { load(bytes, 0) >> bit } else { load(bytes, bit / 8) >> (bit % 8) } & mask;
        }
    }
}

macro_rules! dispatch_width {
    ($width:expr, $source:expr, $groups:expr, $out:expr; $($w:literal)*) => {
        match $width {
            0 => $out.fill(0),
            $($w => unpack_width::<$w>($source, $groups, $out),)*
            _ => debug_assert!(false, "width {} is above WIDTH_MAX", $width),
        }
    };
}

fn unpack_groups(source: &[u8], width: u32, group_count: usize, out: &mut [u64; BLOCK]) {
    dispatch_width!(width, source, group_count, out;
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
        29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_and_count_round_trips() {
        let mut state = 1_u64;
        for width in 0..=WIDTH_MAX {
            for count in 1..=BLOCK {
                let values: Vec<u64> = (0..count)
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        (state >> 8) & ((1 << width) - 1)
                    })
                    .collect();
                let mut bytes = Vec::new();
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), packed_bytes(count, width));
                let mut unpacked = [0; BLOCK];
                unpack(&bytes, width, count, &mut unpacked);
                assert_eq!(unpacked[..count], values, "width {width}, count {count}, at the end");
                bytes.extend_from_slice(&[0xff; 1024]);
                unpack(&bytes, width, count, &mut unpacked);
                assert_eq!(unpacked[..count], values, "width {width}, count {count}, in the middle");
            }
        }
    }
}
