//! Round trips, damage and sizes of histogram chunks.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::{ChunkDecoder, ChunkEncoder, ChunkError, histogram_run_length, is_histogram_chunk};
use crate::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout, ResetHint, stale_nan};

fn any_spans(custom: bool) -> impl Strategy<Value = Vec<BucketSpan>> {
    let first = if custom { 0..3_i32 } else { -40..40_i32 };
    (first, proptest::collection::vec((0..4_i32, 0..5_u32), 0..5)).prop_map(|(first, spans)| {
        let offset = |index| if index == 0 { first } else { 1 };
        let spans = spans.into_iter().enumerate();
        spans
            .map(|(index, (gap, length))| BucketSpan {
                offset: offset(index) + if index > 0 { gap } else { 0 },
                length,
            })
            .collect()
    })
}

fn any_layout() -> impl Strategy<Value = HistogramLayout> {
    let exponential =
        (-4..=8_i8, any::<bool>(), select(vec![0.0, 1e-128, 0.001, 5.0]), any_spans(false), any_spans(false))
            .prop_map(|(schema, is_integer, zero_threshold, positive_spans, negative_spans)| {
                HistogramLayout {
                    schema,
                    is_integer,
                    zero_threshold,
                    positive_spans,
                    negative_spans,
                    custom_bounds: Vec::new(),
                }
            });
    let custom = (any::<bool>(), any_spans(true)).prop_map(|(is_integer, positive_spans)| HistogramLayout {
        schema: CUSTOM_BOUNDS_SCHEMA,
        is_integer,
        positive_spans,
        custom_bounds: (0..60).map(|bound| f64::from(bound) / 10.0 - 1.0).collect(),
        ..HistogramLayout::default()
    });
    prop_oneof![exponential, custom]
}

fn any_sum() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        select(vec![0.0, -0.0, 17.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, stale_nan()]),
    ]
}

/// Rows of one layout whose counts grow, as those of a counter do.
fn any_rows() -> impl Strategy<Value = Vec<Histogram>> {
    let row = (any_sum(), 0..4_u64, proptest::option::of(-5..5_i64), 0..3_u64, any::<u64>());
    (any_layout(), proptest::collection::vec(row, 1..150)).prop_map(|(layout, rows)| {
        let (positive, negative) = layout.bucket_counts();
        let layout = Arc::new(layout);
        let unit = if layout.is_integer { 1.0 } else { 0.3 };
        let is_custom = layout.schema == CUSTOM_BOUNDS_SCHEMA;
        let mut counts = vec![0.0; (positive + negative) as usize];
        let mut zero_count = 0.0;
        let mut out = Vec::new();
        for (sum, hint, start_ms, growth, bits) in rows {
            for (bucket, count) in counts.iter_mut().enumerate() {
                *count += ((bits >> (bucket % 60)) & growth) as f64 * unit;
            }
            zero_count += if is_custom { 0.0 } else { growth as f64 * unit };
            let (positive_counts, negative_counts) = counts.split_at(positive as usize);
            let row = Histogram {
                layout: Arc::new((*layout).clone()),
                reset_hint: ResetHint::from_number(hint).unwrap(),
                start_ms,
                count: (counts.iter().sum::<f64>() + zero_count).ceil(),
                sum,
                zero_count,
                positive_counts: positive_counts.to_vec(),
                negative_counts: negative_counts.to_vec(),
            };
            row.validate().unwrap();
            out.push(row);
        }
        out
    })
}

fn encode(rows: &[Histogram]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ChunkEncoder::new().encode_histograms(rows, &mut bytes);
    bytes
}

fn decode(bytes: &[u8], count: usize) -> Result<Vec<Arc<Histogram>>, ChunkError> {
    let mut rows = vec![Arc::new(Histogram::stale())];
    let result = ChunkDecoder::new().decode_histograms(bytes, count, &mut rows);
    assert_eq!(*rows.remove(0), Histogram::stale(), "decoding appends");
    assert!(result.is_ok() || rows.is_empty(), "an error leaves the output as it was");
    result.map(|()| rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_bit_comes_back(rows in any_rows()) {
        let bytes = encode(&rows);
        prop_assert!(is_histogram_chunk(&bytes));
        let decoded = decode(&bytes, rows.len()).unwrap();
        prop_assert_eq!(decoded.len(), rows.len());
        for (found, expected) in decoded.iter().zip(&rows) {
            prop_assert_eq!(&**found, expected);
            prop_assert!(Arc::ptr_eq(&found.layout, &decoded[0].layout));
        }
        let (mut counts, mut sums) = (vec![1.0], vec![2.0]);
        ChunkDecoder::new().decode_histogram_totals(&bytes, rows.len(), &mut counts, &mut sums).unwrap();
        let expected: Vec<u64> = [1.0].into_iter().chain(rows.iter().map(|row| row.count)).map(f64::to_bits).collect();
        prop_assert_eq!(counts.iter().map(|count| count.to_bits()).collect::<Vec<_>>(), expected);
        let expected: Vec<u64> = [2.0].into_iter().chain(rows.iter().map(|row| row.sum)).map(f64::to_bits).collect();
        prop_assert_eq!(sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn damage_is_an_error_or_a_valid_histogram(
        rows in any_rows(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        count in 1..200_usize,
    ) {
        let whole = encode(&rows);
        let mut bytes = whole.clone();
        for (position, byte) in &damage {
            let position = position.index(bytes.len());
            bytes[position] = *byte;
        }
        for (bytes, count) in [(&bytes[..], rows.len()), (&bytes[..], count), (&whole[..cut.index(whole.len())], rows.len())] {
            if let Ok(decoded) = decode(bytes, count) {
                prop_assert_eq!(decoded.len(), count);
                for row in decoded {
                    prop_assert!(row.layout.validate().is_ok());
                }
            }
        }
        prop_assert!(decode(&whole[..cut.index(whole.len())], rows.len()).is_err());
    }

    #[test]
    fn foreign_bytes_never_panic(tail: Vec<u8>, count in 1..9000_usize) {
        let mut bytes = vec![super::format::HISTOGRAM];
        bytes.extend(tail);
        let _any = decode(&bytes, count);
    }
}

fn growing(bucket_count: u32, row_count: usize) -> Vec<Histogram> {
    let layout = Arc::new(HistogramLayout {
        schema: 3,
        is_integer: true,
        zero_threshold: 1e-128,
        positive_spans: vec![BucketSpan { offset: -5, length: bucket_count }],
        ..HistogramLayout::default()
    });
    (0..row_count)
        .map(|row| {
            // Every fourth bucket is met, at its own steady rate.
            let rate = |bucket: u32| if bucket.is_multiple_of(4) { bucket as usize } else { 0 };
            let positive_counts: Vec<f64> =
                (0..bucket_count).map(|bucket| (row * rate(bucket)) as f64).collect();
            let count = positive_counts.iter().sum();
            Histogram {
                layout: Arc::clone(&layout),
                count,
                sum: row as f64 * 0.5,
                positive_counts,
                ..Histogram::default()
            }
        })
        .collect()
}

#[test]
fn empty_and_steady_columns_cost_next_to_nothing() {
    let bytes = encode(&growing(160, 120));
    assert!(bytes.len() < 160 * 3, "{} bytes for 120 rows of 160 buckets", bytes.len());
    let single = encode(&growing(160, 2)[1..]);
    assert!(single.len() < 160 + 40 * 4 + 40, "{} bytes for one row", single.len());
}

#[test]
fn a_run_ends_where_the_layout_changes() {
    let mut rows = growing(8, 10);
    assert_eq!(histogram_run_length(&rows), 10);
    assert_eq!(histogram_run_length::<Histogram>(&[]), 0);
    Arc::make_mut(&mut rows[7].layout).zero_threshold = 0.5;
    assert_eq!(histogram_run_length(&rows), 7);
    assert_eq!(histogram_run_length(&rows[7..]), 1);
}

#[test]
fn a_few_bytes_cannot_ask_for_much_memory() {
    let wide = growing(8_000, 131);
    assert_eq!(histogram_run_length(&wide), 131);
    let bytes = encode(&wide);
    let expected =
        ChunkError::ImpossibleHistogram { reason: "more samples and buckets than one chunk may hold" };
    assert_eq!(decode(&bytes, 8_000).unwrap_err(), expected);
    assert!(histogram_run_length(&growing(8_000, 140)) < 140);
}

#[test]
fn a_float_decoder_refuses_histograms_and_the_other_way_round() {
    let bytes = encode(&growing(4, 3));
    let refused = ChunkDecoder::new().decode_values(&bytes, 3, &mut Vec::new());
    assert_eq!(refused, Err(ChunkError::UnknownEncoding { id: super::format::HISTOGRAM }));
    let mut floats = Vec::new();
    ChunkEncoder::new().encode_values(&[1.0, 2.0, 4.0], &mut floats);
    assert!(!is_histogram_chunk(&floats));
    assert!(matches!(decode(&floats, 3), Err(ChunkError::UnknownEncoding { .. })));
}
