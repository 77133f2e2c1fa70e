//! Exponential histograms, histograms with custom bounds, smallest and largest observation.

use exponential_histogram_data_point::Buckets;
use mytsdb_storage::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, ResetHint};

use super::*;

fn buckets(offset: i32, counts: &[u64]) -> Option<Buckets> {
    Some(Buckets { offset, bucket_counts: counts.to_vec() })
}

fn point(scale: i32, positive: Option<Buckets>, negative: Option<Buckets>) -> ExponentialHistogramDataPoint {
    let sum_of =
        |buckets: &Option<Buckets>| -> u64 { buckets.iter().flat_map(|one| &one.bucket_counts).sum() };
    ExponentialHistogramDataPoint {
        time_unix_nano: NOW_NS,
        start_time_unix_nano: NOW_NS - 60_000_000_000,
        count: sum_of(&positive) + sum_of(&negative) + 2,
        zero_count: 2,
        sum: Some(12.5),
        scale,
        positive,
        negative,
        ..ExponentialHistogramDataPoint::default()
    }
}

fn exported(point: ExponentialHistogramDataPoint) -> Native {
    let data = exponential(vec![point], CUMULATIVE);
    let (stored, reply) = export(&request(vec![], vec![metric("latency", "s", data)]));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let [(0, histogram)] = &stored.histograms[r#"{__name__="latency_seconds"}"#][..] else {
        panic!("not one histogram: {:?}", stored.histograms);
    };
    histogram.clone()
}

#[test]
fn exponential_histograms_keep_buckets_counts_sum_zero_bucket_and_start() {
    let found = exported(point(3, buckets(-2, &[4, 0, 5]), buckets(7, &[1])));
    assert_eq!(found.layout.schema, 3);
    // OTLP's bucket -2 lies above base^-2, so it ends at base^-1.
    assert_eq!(found.layout.positive_spans, [BucketSpan { offset: -1, length: 3 }]);
    assert_eq!(found.positive_counts, [4.0, 0.0, 5.0]);
    assert_eq!(found.layout.negative_spans, [BucketSpan { offset: 8, length: 1 }]);
    assert_eq!(found.negative_counts, [1.0]);
    assert_eq!((found.count, found.sum, found.zero_count), (12.0, 12.5, 2.0));
    assert_eq!(found.layout.zero_threshold, 1e-128);
    assert_eq!(found.reset_hint, ResetHint::Unknown);
    assert_eq!(found.start_ms, Some(NOW_MS - 60_000));
}

#[test]
fn the_zero_threshold_of_the_sender_is_kept() {
    let point = ExponentialHistogramDataPoint { zero_threshold: 0.25, ..point(0, buckets(0, &[1]), None) };
    assert_eq!(exported(point).layout.zero_threshold, 0.25);
}

#[test]
fn more_than_two_empty_buckets_begin_a_new_span() {
    let found = exported(point(0, buckets(0, &[0, 1, 0, 0, 2, 0, 0, 0, 3, 0]), None));
    let expected = [BucketSpan { offset: 2, length: 4 }, BucketSpan { offset: 3, length: 1 }];
    assert_eq!(found.layout.positive_spans, expected);
    assert_eq!(found.positive_counts, [1.0, 0.0, 0.0, 2.0, 3.0]);
}

#[test]
fn scales_above_8_are_brought_down_by_merging_neighbours() {
    // Scale 10: four buckets become one. Indices -5..3 lie in the buckets -2, -1, -1, -1, -1, 0, 0, 0 of scale 8.
    let found = exported(point(10, buckets(-5, &[1, 2, 3, 4, 5, 6, 7, 8]), None));
    assert_eq!(found.layout.schema, 8);
    assert_eq!(found.layout.positive_spans, [BucketSpan { offset: -1, length: 3 }]);
    assert_eq!(found.positive_counts, [1.0, 14.0, 21.0]);
    let whole = exported(point(20, buckets(i32::MAX - 1, &[1, 2]), None));
    assert_eq!(whole.positive_counts, [3.0]);
    let deepest = exported(point(i32::MAX, buckets(-1, &[1, 2]), None));
    assert_eq!(deepest.layout.positive_spans, [BucketSpan { offset: 0, length: 2 }]);
}

#[test]
fn the_bounds_of_an_exponential_histogram_hold_what_was_observed() {
    // 3.0 lies in (2, 4]: at scale 0 that is OTLP's bucket 1 and the native bucket that ends at 2^2.
    let found = exported(point(0, buckets(1, &[1]), None));
    assert_eq!(found.layout.positive_spans, [BucketSpan { offset: 2, length: 1 }]);
}

#[test]
fn smallest_and_largest_observation_are_series_of_their_own() {
    let explicit = HistogramDataPoint { min: Some(0.5), max: Some(7.0), ..histogram_point(&[1, 1], &[1.0]) };
    let native = ExponentialHistogramDataPoint { min: Some(-3.0), max: Some(4.0), ..point(0, None, None) };
    let (stored, reply) = export(&request(
        vec![],
        vec![
            metric("a", "s", histogram(vec![explicit], CUMULATIVE)),
            metric("b", "s", exponential(vec![native], CUMULATIVE)),
            metric("c", "s", histogram(vec![histogram_point(&[1, 1], &[1.0])], CUMULATIVE)),
        ],
    ));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let mut values = stored.values();
    values.retain(|labels, _| labels.contains("_min") || labels.contains("_max"));
    let expected = BTreeMap::from([
        (r#"{__name__="a_seconds_max"}"#, 7.0),
        (r#"{__name__="a_seconds_min"}"#, 0.5),
        (r#"{__name__="b_seconds_max"}"#, 4.0),
        (r#"{__name__="b_seconds_min"}"#, -3.0),
    ]);
    assert_eq!(values, expected);
}

#[test]
fn explicit_histograms_become_native_ones_with_custom_bounds_if_asked_for() {
    let options = || OtlpOptions { convert_histograms_to_nhcb: true, ..OtlpOptions::default() };
    let export = |point: HistogramDataPoint| {
        let data = histogram(vec![point], CUMULATIVE);
        let (stored, reply) = export_with(options(), &request(vec![], vec![metric("h", "", data)]));
        assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
        assert!(stored.samples.is_empty(), "{stored:?}");
        stored.histograms[r#"{__name__="h"}"#][0].1.clone()
    };
    let found = export(histogram_point(&[1, 0, 3], &[0.5, 2.0]));
    assert_eq!(found.layout.schema, CUSTOM_BOUNDS_SCHEMA);
    assert_eq!(found.layout.custom_bounds, [0.5, 2.0]);
    assert_eq!(found.positive_counts, [1.0, 0.0, 3.0]);
    assert_eq!((found.count, found.sum), (4.0, 7.5));
    let infinite = export(histogram_point(&[1, 2, 3], &[0.5, f64::INFINITY]));
    assert_eq!(infinite.layout.custom_bounds, [0.5]);
    assert_eq!(infinite.positive_counts, [1.0, 5.0]);
    let without_buckets = HistogramDataPoint {
        time_unix_nano: NOW_NS,
        count: 4,
        sum: Some(1.0),
        ..HistogramDataPoint::default()
    };
    let found = export(without_buckets);
    assert!(found.layout.custom_bounds.is_empty());
    assert_eq!(found.positive_counts, [4.0]);
}

#[test]
fn a_native_histogram_without_recorded_value_is_a_stale_marker() {
    let flags = DataPointFlags::NoRecordedValueMask as u32;
    let gone = ExponentialHistogramDataPoint { flags, sum: None, scale: -9, ..point(0, None, None) };
    assert!(exported(gone).is_stale());
    let options = OtlpOptions { convert_histograms_to_nhcb: true, ..OtlpOptions::default() };
    let gone = HistogramDataPoint { flags, ..histogram_point(&[0, 0], &[1.0]) };
    let data = histogram(vec![gone], CUMULATIVE);
    let (stored, _) = export_with(options, &request(vec![], vec![metric("h", "", data)]));
    assert!(stored.histograms[r#"{__name__="h"}"#][0].1.is_stale());
}

#[test]
fn a_resource_with_nothing_but_native_histograms_has_its_target_info() {
    let resource = vec![text("service.name", "api"), text("host.name", "h")];
    let data = exponential(vec![point(0, buckets(0, &[1]), None)], CUMULATIVE);
    let (stored, _) = export(&request(resource, vec![metric("h", "", data)]));
    let expected = r#"{__name__="target_info", host_name="h", job="api"}"#;
    assert_eq!(stored.samples[expected], [(0, 1_f64.to_bits())]);
}
