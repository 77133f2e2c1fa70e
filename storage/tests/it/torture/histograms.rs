//! Samples that are native histograms.

use std::sync::Arc;

use mytsdb_storage::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout, ResetHint};

use super::random::Random;

/// A histogram with a layout of the series, which changes now and then.
pub(super) fn histogram(id: u32, counter: u64, random: &mut Random) -> Histogram {
    let is_custom = id.is_multiple_of(2);
    let is_integer = !id.is_multiple_of(5);
    let first_length = 1 + id % 7 + u32::from(random.one_in(20));
    let bounds: Vec<f64> = (1..=12).map(|bound| f64::from(bound) * 0.5).collect();
    let spans = |offset: i32, gap: i32| {
        vec![BucketSpan { offset, length: first_length }, BucketSpan { offset: gap, length: 2 }]
    };
    let layout = HistogramLayout {
        schema: if is_custom { CUSTOM_BOUNDS_SCHEMA } else { (id % 13) as i8 - 4 },
        is_integer,
        zero_threshold: if is_custom { 0.0 } else { 1e-9 },
        positive_spans: spans(if is_custom { 0 } else { -3 }, 1),
        negative_spans: if is_custom { Vec::new() } else { spans(2, 3) },
        custom_bounds: if is_custom { bounds } else { Vec::new() },
    };
    let mut counts = |bucket_count: u32| -> Vec<f64> {
        (0..bucket_count)
            .map(|bucket| {
                let count = (counter % 1_000) + u64::from(bucket) + random.below(5);
                if is_integer { count as f64 } else { count as f64 / 3.0 }
            })
            .collect()
    };
    let positive_counts = counts(first_length + 2);
    let negative_counts = if is_custom { Vec::new() } else { counts(first_length + 2) };
    let zero_count = if is_custom { 0.0 } else { (counter % 10) as f64 };
    let in_buckets: f64 = positive_counts.iter().chain(&negative_counts).sum::<f64>() + zero_count;
    Histogram {
        layout: Arc::new(layout),
        reset_hint: *random.pick(&[ResetHint::Unknown, ResetHint::NotReset, ResetHint::Gauge]),
        start_ms: random.one_in(3).then_some(1_600_000_000_000 + counter as i64),
        count: in_buckets + random.below(3) as f64,
        sum: if random.one_in(30) { f64::from_bits(0x7ff8_0000_dead_beef) } else { counter as f64 * 0.75 },
        zero_count,
        positive_counts,
        negative_counts,
    }
}
