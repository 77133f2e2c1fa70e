//! Round trips, damage and sizes of all encodings, through the room's public door.

use super::{ChunkDecoder, ChunkEncoder, SAMPLE_COUNT_MAX};
use crate::model::stale_nan;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../../benches/mix/mod.rs"]
mod mix;

fn check_values(values: &[f64]) -> usize {
    let (mut encoder, mut decoder) = (ChunkEncoder::new(), ChunkDecoder::new());
    check_values_with(&mut encoder, &mut decoder, values)
}

/// Encodes, decodes and compares every bit; returns the size.
fn check_values_with(encoder: &mut ChunkEncoder, decoder: &mut ChunkDecoder, values: &[f64]) -> usize {
    let mut bytes = vec![0xaa];
    encoder.encode_values(values, &mut bytes);
    assert_eq!(bytes[0], 0xaa, "encoding appends");
    let mut decoded = vec![0.5];
    decoder.decode_values(&bytes[1..], values.len(), &mut decoded).unwrap();
    assert_eq!(decoded[0].to_bits(), 0.5_f64.to_bits(), "decoding appends");
    assert_eq!(decoded.len() - 1, values.len());
    for (index, (found, expected)) in decoded[1..].iter().zip(values).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "sample {index} of {}", values.len());
    }
    bytes.len() - 1
}

fn check_timestamps(timestamps_ms: &[i64]) -> usize {
    let mut bytes = vec![0xaa];
    ChunkEncoder::new().encode_timestamps(timestamps_ms, &mut bytes);
    assert_eq!(bytes[0], 0xaa, "encoding appends");
    let mut decoded = vec![7];
    ChunkDecoder::new().decode_timestamps(&bytes[1..], timestamps_ms.len(), &mut decoded).unwrap();
    assert_eq!(decoded[0], 7, "decoding appends");
    assert_eq!(&decoded[1..], timestamps_ms);
    bytes.len() - 1
}

/// Lengths around the edges of blocks, groups and micro-chunks, and any other.
fn any_length() -> impl Strategy<Value = usize> {
    prop_oneof![
        select(vec![1, 2, 3, 8, 9, 31, 32, 33, 127, 128, 129, 130, 256, 257, 480, SAMPLE_COUNT_MAX]),
        1..700_usize,
        1..=SAMPLE_COUNT_MAX,
    ]
}

fn any_special() -> impl Strategy<Value = f64> {
    select(vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        stale_nan(),
        f64::from_bits(0x7ff8_0000_0000_0001),
        f64::from_bits(0xfff0_dead_beef_0001),
        f64::from_bits(u64::MAX),
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        9e15,
        8.999_999_999_999_999e15,
        -9_007_199_254_740_993.0,
        4_503_599_627_370_495.5,
        4_503_599_627_370_496.0,
        0.1,
        -0.3,
        1e-14,
        123.456,
        1e22,
    ])
}

/// Columns as one kind of series each, all of the same random seed and length.
fn any_column() -> impl Strategy<Value = Vec<f64>> {
    let shape = 0..12_u8;
    (any_length(), shape, any::<u64>(), 0..=14_i32, any::<i32>()).prop_map(
        |(length, shape, seed, exponent, start)| {
            let mut random = mix::Random(seed);
            let scale = 10_f64.powi(exponent);
            let mut total = f64::from(start);
            let mut next = |index: usize| -> f64 {
                let bits = random.bits();
                match shape {
                    0 => f64::from_bits(bits),
                    1 => (bits % 1000) as f64 / scale,
                    2 | 3 => {
                        total = if bits.is_multiple_of(500) { 0.0 } else { total + (bits % 64) as f64 };
                        if shape == 2 { total } else { total / scale }
                    }
                    4 => ((bits % 5000) * 4096) as f64,
                    5 => {
                        total += if bits.is_multiple_of(20) { (bits % 977) as f64 } else { 0.0 };
                        total
                    }
                    6 => random.unit() * scale,
                    7 => index as f64 * f64::from(start),
                    8 => f64::from(u8::from(bits.is_multiple_of(300))),
                    9 => {
                        total += random.unit();
                        total
                    }
                    10 => -((bits >> 11) as f64),
                    _ => f64::from_bits(1 << (bits % 64)),
                }
            };
            (0..length).map(&mut next).collect()
        },
    )
}

/// Replaces some samples, chosen by fractions of the length.
fn sprinkled() -> impl Strategy<Value = Vec<f64>> {
    let sprinkles = prop::collection::vec((0.0..1.0_f64, any_special()), 0..40);
    (any_column(), sprinkles, any::<bool>()).prop_map(|(mut column, sprinkles, only_stale)| {
        for (fraction, special) in sprinkles {
            let index = (fraction * column.len() as f64) as usize;
            column[index] = if only_stale { stale_nan() } else { special };
        }
        column
    })
}

fn any_timestamps() -> impl Strategy<Value = Vec<i64>> {
    let start = prop_oneof![any::<i64>(), Just(i64::MIN), Just(0), 1_600_000_000_000..1_800_000_000_000_i64];
    let step = prop_oneof![select(vec![1_i64, 10, 1000, 15_000, 60_000]), 1..1_000_000_i64, Just(1 << 50)];
    (any_length(), start, step, 0..6_u8, any::<u64>()).prop_map(|(length, start, step, shape, seed)| {
        let mut random = mix::Random(seed);
        let mut timestamps = vec![start];
        let mut point = start;
        while timestamps.len() < length {
            let bits = random.bits();
            point = match shape {
                4 if bits.is_multiple_of(50) => {
                    point.saturating_add(step.saturating_mul((bits >> 8) as i64 % 100 + 2))
                }
                5 => point.saturating_add((bits % 1_000_000) as i64 + 1),
                _ => point.saturating_add(step),
            };
            let deviation = match shape {
                1 => (bits >> 32) as i64 % 7 - 3,
                2 => (bits >> 32) as i64 % step,
                3 => timestamps.len() as i64 / 3,
                _ => 0,
            };
            let timestamp = point.saturating_add(deviation);
            if timestamp <= timestamps[timestamps.len() - 1] {
                if point == i64::MAX {
                    break;
                }
                continue;
            }
            timestamps.push(timestamp);
        }
        timestamps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_bit_of_every_column_comes_back(column in sprinkled()) {
        check_values(&column);
    }

    #[test]
    fn special_values_come_back(column in prop::collection::vec(any_special(), 1..300)) {
        check_values(&column);
    }

    #[test]
    fn a_reused_encoder_writes_the_same_bytes(columns in prop::collection::vec(sprinkled(), 2..5)) {
        let (mut encoder, mut decoder) = (ChunkEncoder::new(), ChunkDecoder::new());
        for column in columns {
            let (mut reused_bytes, mut fresh_bytes) = (Vec::new(), Vec::new());
            encoder.encode_values(&column, &mut reused_bytes);
            check_values_with(&mut encoder, &mut decoder, &column);
            ChunkEncoder::new().encode_values(&column, &mut fresh_bytes);
            prop_assert_eq!(reused_bytes, fresh_bytes);
        }
    }

    #[test]
    fn timestamps_come_back(timestamps in any_timestamps()) {
        check_timestamps(&timestamps);
    }

    #[test]
    fn any_ascending_timestamps_come_back(timestamps in prop::collection::btree_set(any::<i64>(), 1..300)) {
        check_timestamps(&timestamps.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0..10_000_usize) {
        check_damaged(&bytes, count);
    }

    #[test]
    fn damaged_chunks_give_an_error_or_the_right_number_of_samples(
        column in sprinkled(),
        timestamps in any_timestamps(),
        cut in 0.0..1.0_f64,
        flip in any::<(usize, u8)>(),
        count_change in -3..3_isize,
    ) {
        let mut encoder = ChunkEncoder::new();
        let (mut value_bytes, mut timestamp_bytes) = (Vec::new(), Vec::new());
        encoder.encode_values(&column, &mut value_bytes);
        encoder.encode_timestamps(&timestamps, &mut timestamp_bytes);
        for (bytes, count) in [(value_bytes, column.len()), (timestamp_bytes, timestamps.len())] {
            check_damaged(&bytes[..(bytes.len() as f64 * cut) as usize], count);
            check_damaged(&bytes, count.saturating_add_signed(count_change));
            let mut flipped = bytes.clone();
            flipped[flip.0 % bytes.len()] ^= flip.1;
            check_damaged(&flipped, count);
        }
    }
}

/// Decodes as both kinds of chunk: an error leaves the output alone, success gives `count` samples.
fn check_damaged(bytes: &[u8], count: usize) {
    let mut decoder = ChunkDecoder::new();
    let mut values = vec![1.0];
    let result = decoder.decode_values(bytes, count, &mut values);
    assert_eq!(values.len(), if result.is_ok() { count + 1 } else { 1 });
    let mut timestamps = vec![1];
    let result = decoder.decode_timestamps(bytes, count, &mut timestamps);
    assert_eq!(timestamps.len(), if result.is_ok() { count + 1 } else { 1 });
    if result.is_ok() {
        assert!(timestamps[1..].is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn a_truncated_chunk_is_an_error_at_every_length() {
    let mut encoder = ChunkEncoder::new();
    let mut decoder = ChunkDecoder::new();
    for kind in mix::generate(100, 300) {
        for column in kind.series {
            let mut bytes = Vec::new();
            encoder.encode_values(&column, &mut bytes);
            for end in 0..bytes.len() {
                let result = decoder.decode_values(&bytes[..end], column.len(), &mut Vec::new());
                assert!(result.is_err(), "{}: {end} of {} bytes", kind.name, bytes.len());
            }
        }
    }
}

#[test]
fn counts_outside_the_limits_are_errors() {
    let mut bytes = Vec::new();
    ChunkEncoder::new().encode_values(&[1.0], &mut bytes);
    for count in [0, SAMPLE_COUNT_MAX + 1, usize::MAX] {
        let result = ChunkDecoder::new().decode_values(&bytes, count, &mut Vec::new());
        assert_eq!(result, Err(super::ChunkError::SampleCount { given: count }));
    }
}

/// Bytes a sample of the whole mix in chunks of `chunk_length`, checking the round trip of each.
fn mix_bytes_a_sample(chunk_length: usize) -> f64 {
    let (mut encoder, mut decoder) = (ChunkEncoder::new(), ChunkDecoder::new());
    let (mut byte_count, mut sample_count) = (0, 0);
    for kind in mix::generate(400, 1920) {
        for column in &kind.series {
            for values in column.chunks(chunk_length) {
                byte_count += check_values_with(&mut encoder, &mut decoder, values);
                sample_count += values.len();
            }
        }
    }
    byte_count as f64 / sample_count as f64
}

/// The limits are the sizes reached and one percent: lower them with the sizes.
#[test]
fn the_kubernetes_mix_stays_small() {
    for (chunk_length, limit) in [(32, 0.98), (120, 0.865), (480, 0.84), (1920, 0.834)] {
        let size = mix_bytes_a_sample(chunk_length);
        assert!(size < limit, "{size:.4} B/sample in chunks of {chunk_length}, limit {limit}");
    }
}

#[test]
fn timestamps_of_a_grid_take_eleven_bytes_at_most() {
    for step in [1, 15_000, 60_000, 3_600_000] {
        for length in [1, 2, 480, SAMPLE_COUNT_MAX] {
            let timestamps: Vec<i64> =
                (0..length as i64).map(|point| 1_760_000_000_123 + point * step).collect();
            let size = check_timestamps(&timestamps);
            assert!(size <= 11, "{size} bytes for {length} timestamps every {step} ms");
        }
    }
}

#[test]
fn jitter_and_missing_scrapes_stay_small() {
    let mut random = mix::Random(3);
    let mut jittering = Vec::new();
    let mut missing = Vec::new();
    for point in 0..480_i64 {
        jittering.push(1_760_000_000_000 + point * 15_000 + (random.bits() % 7) as i64 - 3);
        if !random.bits().is_multiple_of(50) {
            missing.push(1_760_000_000_000 + point * 15_000);
        }
    }
    let jittering_bits = check_timestamps(&jittering) as f64 * 8.0 / jittering.len() as f64;
    let missing_bits = check_timestamps(&missing) as f64 * 8.0 / missing.len() as f64;
    assert!(jittering_bits < 3.4, "{jittering_bits} bits a timestamp with jitter");
    assert!(missing_bits < 0.8, "{missing_bits} bits a timestamp with missing scrapes");
}

#[test]
fn a_stale_marker_costs_three_bytes_at_most() {
    let counter: Vec<f64> = (0..480).map(|index| f64::from(index * index)).collect();
    let mut ended = counter.clone();
    ended.push(stale_nan());
    let mut followed = counter.clone();
    followed.push(479.0 * 479.0);
    // The count of exceptions is a byte of its own.
    assert!(check_values(&ended) <= check_values(&followed) + 3);
}

#[path = "paged_tests.rs"]
mod paged;
