//! Deltas are kept as deltas, under a label of their own, with their start times.

use exponential_histogram_data_point::Buckets;
use mytsdb_storage::model::{BucketSpan, ResetHint};

use super::*;
use crate::otlp::DeltaTemporality;

const SECOND_NS: u64 = 1_000_000_000;

/// A delta over the seconds `from..to`, counted from now.
fn delta(value: f64, (from_s, to_s): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: NOW_NS + from_s * SECOND_NS,
        time_unix_nano: NOW_NS + to_s * SECOND_NS,
        ..number(value)
    }
}

fn of_sum(points: Vec<NumberDataPoint>) -> ExportMetricsServiceRequest {
    request(vec![], vec![metric("requests", "", sum(points, DELTA, true))])
}

const REQUESTS: &str = r#"{__name__="requests_total", __temporality__="delta"}"#;

#[test]
fn deltas_are_stored_as_sent_with_their_label_and_start_times() {
    let up_down = metric("queue", "", sum(vec![delta(-2.0, (0, 10))], DELTA, false));
    let mut request = of_sum(vec![delta(5.0, (0, 10)), delta(7.0, (10, 20))]);
    request.resource_metrics[0].scope_metrics[0].metrics.push(up_down);
    let (stored, reply) = export(&request);
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    assert_eq!(stored.samples[REQUESTS], [(10_000, 5_f64.to_bits()), (20_000, 7_f64.to_bits())]);
    assert_eq!(stored.starts[REQUESTS], NOW_MS);
    assert_eq!(stored.values()[r#"{__name__="queue", __temporality__="delta"}"#], -2.0);
}

#[test]
fn deltas_that_come_late_or_twice_are_there_once_each() {
    let stored = export_all(&[
        of_sum(vec![delta(5.0, (10, 20))]),
        of_sum(vec![delta(3.0, (0, 10))]),
        of_sum(vec![delta(5.0, (10, 20))]),
    ]);
    assert_eq!(stored.samples[REQUESTS], [(10_000, 3_f64.to_bits()), (20_000, 5_f64.to_bits())]);
}

#[test]
fn deltas_of_the_same_millisecond_are_added_unless_they_are_repeats() {
    let stored = export_all(&[of_sum(vec![
        delta(5.0, (0, 10)),
        delta(7.0, (3, 10)),
        delta(7.0, (3, 10)),
        delta(9.0, (5, 10)),
    ])]);
    assert_eq!(stored.samples[REQUESTS], [(10_000, 21_f64.to_bits())]);
    assert_eq!(stored.starts[REQUESTS], NOW_MS, "the span begins with the first");
}

#[test]
fn delta_histograms_of_the_same_millisecond_are_added_part_by_part() {
    let point = |start_s: u64, counts: &[u64], min: f64, max: f64| HistogramDataPoint {
        start_time_unix_nano: NOW_NS + start_s * SECOND_NS,
        time_unix_nano: NOW_NS + 10 * SECOND_NS,
        min: Some(min),
        max: Some(max),
        ..histogram_point(counts, &[1.0])
    };
    let points = vec![point(0, &[1, 2], 0.5, 3.0), point(5, &[10, 20], 0.25, 2.0)];
    let stored = export_all(&[request(vec![], vec![metric("h", "", histogram(points, DELTA))])]);
    let expected = BTreeMap::from([
        (r#"{__name__="h_bucket", __temporality__="delta", le="+Inf"}"#, 33.0),
        (r#"{__name__="h_bucket", __temporality__="delta", le="1"}"#, 11.0),
        (r#"{__name__="h_count", __temporality__="delta"}"#, 33.0),
        (r#"{__name__="h_max", __temporality__="delta"}"#, 3.0),
        (r#"{__name__="h_min", __temporality__="delta"}"#, 0.25),
        (r#"{__name__="h_sum", __temporality__="delta"}"#, 15.0),
    ]);
    assert_eq!(stored.values(), expected);
}

#[test]
fn native_delta_histograms_say_that_resets_mean_nothing_and_are_added_in_the_coarser_scale() {
    let point = |start_s: u64, scale: i32, offset: i32, counts: &[u64]| ExponentialHistogramDataPoint {
        start_time_unix_nano: NOW_NS + start_s * SECOND_NS,
        time_unix_nano: NOW_NS + 10 * SECOND_NS,
        count: counts.iter().sum(),
        sum: Some(1.5),
        scale,
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        ..ExponentialHistogramDataPoint::default()
    };
    // Scale 1 has two buckets for each of scale 0: -2, -1 | 0, 1 | 2, 3.
    let points = vec![point(0, 1, -2, &[1, 2, 4, 8, 16, 32]), point(5, 0, 1, &[100])];
    let stored = export_all(&[request(vec![], vec![metric("h", "", exponential(points, DELTA))])]);
    let [(10_000, found)] = &stored.histograms[r#"{__name__="h", __temporality__="delta"}"#][..] else {
        panic!("{:?}", stored.histograms);
    };
    assert_eq!(found.reset_hint, ResetHint::Gauge);
    assert_eq!(found.layout.schema, 0);
    assert_eq!(found.layout.positive_spans, [BucketSpan { offset: 0, length: 3 }]);
    assert_eq!(found.positive_counts, [3.0, 12.0, 148.0]);
    assert_eq!((found.count, found.sum, found.start_ms), (163.0, 3.0, Some(NOW_MS)));
}

#[test]
fn native_deltas_that_cannot_be_added_are_refused() {
    let point = |start_s: u64, zero_threshold: f64| ExponentialHistogramDataPoint {
        start_time_unix_nano: NOW_NS + start_s * SECOND_NS,
        time_unix_nano: NOW_NS + 10 * SECOND_NS,
        sum: Some(0.0),
        zero_threshold,
        ..ExponentialHistogramDataPoint::default()
    };
    let data = exponential(vec![point(0, 0.5), point(5, 0.25)], DELTA);
    let (_, reply) = export(&request(vec![], vec![metric("h", "", data)]));
    let partial = reply.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("delta_conflict"), "{partial:?}");
}

#[test]
fn a_tenant_may_refuse_deltas_point_by_point() {
    let options = OtlpOptions { delta_temporality: DeltaTemporality::Reject, ..OtlpOptions::default() };
    let mut request = of_sum(vec![delta(5.0, (0, 10)), delta(7.0, (10, 20))]);
    let good = metric("good", "", gauge(vec![number(1.0)]));
    request.resource_metrics[0].scope_metrics[0].metrics.push(good);
    let (stored, reply) = export_with(options, &request);
    assert_eq!(stored.samples.into_keys().collect::<Vec<_>>(), [r#"{__name__="good"}"#]);
    let partial = reply.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    let expected = "2 of 3 data points rejected: 2 delta_temporality in metric \"requests\" (";
    assert!(partial.error_message.starts_with(expected), "{partial:?}");
}
