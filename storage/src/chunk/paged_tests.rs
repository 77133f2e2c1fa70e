//! Round trips, ranges, damage and sizes of paged chunks, through the room's public door.

use super::mix;
use super::sprinkled;
use crate::chunk::{ChunkDecoder, ChunkEncoder, ChunkError, SAMPLE_COUNT_MAX};
use crate::model::{is_stale, stale_nan};
use proptest::prelude::*;

/// A column that paging suits: steps of few distinct sizes.
fn suitable() -> impl Strategy<Value = Vec<f64>> {
    let length = prop_oneof![400..3000_usize, Just(1024), Just(1025), Just(2049), Just(SAMPLE_COUNT_MAX)];
    (length, any::<u64>(), 0..5_u8, 0..3_i32).prop_map(|(length, seed, shape, exponent)| {
        let mut random = mix::Random(seed);
        let mut total = (random.unit() * 1e6).floor();
        let mut slope = 0.0;
        (0..length)
            .map(|_| {
                let few = (random.normal() * 3.0).round();
                total += match shape {
                    0 => few.abs(),
                    1 => few * 4096.0,
                    2 => (few * 1e6).round(),
                    3 => {
                        slope += few;
                        slope
                    }
                    _ => (few * 1e13).round(),
                };
                if shape % 2 == 1 && few > 7.0 {
                    stale_nan()
                } else if shape == 4 && few > 8.0 {
                    f64::NAN
                } else {
                    total / 10_f64.powi(exponent)
                }
            })
            .collect()
    })
}

fn encode(values: &[f64]) -> Option<Vec<u8>> {
    let mut bytes = vec![0xaa];
    let is_paged = ChunkEncoder::new().encode_values_paged(values, &mut bytes);
    assert_eq!(bytes[0], 0xaa, "encoding appends");
    bytes.remove(0);
    assert_eq!(is_paged, !bytes.is_empty());
    is_paged.then_some(bytes)
}

fn assert_same(found: &[f64], expected: &[f64]) {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_bit_and_every_range_comes_back(
        column in prop_oneof![suitable(), sprinkled()],
        ends in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 4),
    ) {
        let mut plain = Vec::new();
        ChunkEncoder::new().encode_values(&column, &mut plain);
        let paged = encode(&column);
        if let Some(paged) = &paged {
            // By the plain form's estimated size, which is a little too large for runs of equal values.
            let (found, plain) = (paged.len(), plain.len());
            prop_assert!(found < plain + plain / 8 + 32, "{} bytes paged, {} plain", found, plain);
        }
        let mut decoder = ChunkDecoder::new();
        for bytes in [Some(plain), paged].into_iter().flatten() {
            let mut values = vec![0.5];
            decoder.decode_values(&bytes, column.len(), &mut values).unwrap();
            assert_same(&values[1..], &column);
            for (one, other) in &ends {
                let position = |fraction: f64| (fraction * (column.len() + 1) as f64) as usize;
                let range = position(one.min(*other))..position(one.max(*other));
                values.truncate(1);
                decoder.decode_value_range(&bytes, column.len(), range.clone(), &mut values).unwrap();
                assert_same(&values[1..], &column[range.clone()]);
                values.truncate(1);
                decoder.decode_presence_range(&bytes, column.len(), range.clone(), &mut values).unwrap();
                let stale = |values: &[f64]| values.iter().map(|value| is_stale(*value)).collect::<Vec<_>>();
                assert_eq!(stale(&values[1..]), stale(&column[range]));
            }
        }
    }

    #[test]
    fn damage_gives_an_error_or_the_right_number_of_samples(
        column in suitable(),
        cut in 0.0..1.0_f64,
        flips in prop::collection::vec(any::<(usize, u8)>(), 8),
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        count_change in -3..3_isize,
    ) {
        let Some(bytes) = encode(&column) else { return Ok(()) };
        check_damaged(&bytes[..(bytes.len() as f64 * cut) as usize], column.len());
        check_damaged(&bytes, column.len().saturating_add_signed(count_change));
        let mut flipped = bytes.clone();
        for (position, bits) in flips {
            // Near the front, where the numbers stand that say how much there is.
            for position in [position % bytes.len(), position % bytes.len().min(64)] {
                flipped.clone_from(&bytes);
                flipped[position] ^= bits;
                check_damaged(&flipped, column.len());
            }
        }
        let kept = bytes.len().min(24);
        let spliced: Vec<u8> = bytes[..kept].iter().chain(&garbage).copied().collect();
        check_damaged(&spliced, column.len());
        // An id and shape of each width before arbitrary bytes.
        for shape in [0x00, 0x01, 0x02, 0x05, 0x1f] {
            let made: Vec<u8> = [0x07, shape, 0, 0, 0x80, 0x08].iter().chain(&garbage).copied().collect();
            check_damaged(&made, column.len());
        }
    }
}

fn check_damaged(bytes: &[u8], count: usize) {
    let mut values = vec![1.0];
    let result = ChunkDecoder::new().decode_values(bytes, count, &mut values);
    assert_eq!(values.len(), if result.is_ok() { count + 1 } else { 1 });
}

#[test]
fn a_truncated_paged_chunk_is_an_error_at_every_length() {
    let mut random = mix::Random(5);
    let mut total = 0.0;
    let column: Vec<f64> = (0..2000)
        .map(|_| {
            total += (random.unit() * 5.0).floor();
            total
        })
        .collect();
    let bytes = encode(&column).unwrap();
    for end in 0..bytes.len() {
        let result = ChunkDecoder::new().decode_values(&bytes[..end], column.len(), &mut Vec::new());
        assert!(result.is_err(), "{end} of {} bytes", bytes.len());
    }
}

#[test]
fn codes_that_are_not_complete_are_refused() {
    // Each number is half as frequent as the one before.
    let column: Vec<f64> = (0..400_u32)
        .map(|index| f64::from((index * 7919 + 4096).wrapping_mul(2_654_435_761).leading_zeros()))
        .collect();
    let bytes = encode(&column).unwrap();
    assert_eq!(ChunkDecoder::new().decode_values(&bytes, column.len(), &mut Vec::new()), Ok(()));
    // Id, shape, first, center, samples of a page (two bytes), count of lengths: then the lengths, two a byte.
    for change in 1..=15_u8 {
        let mut changed = bytes.clone();
        changed[7] ^= change;
        let result = ChunkDecoder::new().decode_values(&changed, column.len(), &mut Vec::new());
        assert!(matches!(result, Err(ChunkError::Malformed(_))), "{change:#x}: {result:?}");
    }
}

#[test]
fn numbers_of_every_size_come_back() {
    // A walk of small steps with a jump of each size in between.
    let mut total = 0_i64;
    let column: Vec<f64> = (0..3000_i64)
        .map(|index| {
            total += if index % 60 == 0 { (1_i64 << (index / 60)) + index } else { index * 7919 % 5 };
            total as f64
        })
        .collect();
    let bytes = encode(&column).unwrap();
    let mut values = Vec::new();
    ChunkDecoder::new().decode_values(&bytes, column.len(), &mut values).unwrap();
    assert_same(&values, &column);
}

/// The limit is the share reached and one percent: lower it with the share.
#[test]
fn the_kubernetes_mix_at_rest_is_smaller() {
    let mut encoder = ChunkEncoder::new();
    let (mut paged_byte_count, mut plain_byte_count) = (0, 0);
    for kind in mix::generate(100, 2880) {
        for column in &kind.series {
            let (mut paged, mut plain) = (Vec::new(), Vec::new());
            encoder.encode_values(column, &mut plain);
            plain_byte_count += plain.len();
            let is_paged = encoder.encode_values_paged(column, &mut paged);
            paged_byte_count += if is_paged { paged.len() } else { plain.len() };
        }
    }
    let share = f64::from(paged_byte_count as u32) / f64::from(plain_byte_count as u32);
    assert!(share < 0.985, "{share:.4} of the plain size");
}
