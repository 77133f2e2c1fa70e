//! Tests of the translation against a real storage: which series a request becomes, and what is refused.

use std::collections::BTreeMap;

use mytsdb_storage::model::{MetricKind, STALE_NAN_BITS, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{Storage, StorageOptions, WriteBatch};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::*;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::Status;

use super::OtlpOptions;
use super::decode::decode;
use super::outcome::Outcome;
use super::reply::reply;

const NOW_MS: i64 = 1_800_000_000_000;
const NOW_NS: u64 = NOW_MS as u64 * 1_000_000;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

type Stored = BTreeMap<String, Vec<(i64, u64)>>;
/// When counting began, of the first sample of each series; 0 = nobody said.
type Starts = BTreeMap<String, i64>;
type Reply = Result<ExportMetricsServiceResponse, Status>;

/// Writes the request twice (new series, then known ones); returns what is stored and the second reply.
fn export(request: &ExportMetricsServiceRequest) -> (Stored, Reply) {
    let (stored, _, reply) = export_with_starts(request);
    (stored, reply)
}

fn export_with_starts(request: &ExportMetricsServiceRequest) -> (Stored, Starts, Reply) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(StorageOptions::new(dir.path()), NOW_MS).unwrap();
    let tenant = TenantId::anonymous();
    let options = OtlpOptions::default();
    let write = || {
        let decoded = decode(&storage, &tenant, &options, request, |_| true);
        let batch = WriteBatch {
            keys: &decoded.keys,
            sample_ends: &decoded.sample_ends,
            timestamps_ms: &decoded.timestamps_ms,
            values: &decoded.values,
            starts: decoded.starts.runs(),
            labels: &decoded,
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        let report = storage.write(&tenant, &batch, NOW_MS).unwrap();
        reply(&Outcome::new(&decoded, &report))
    };
    let _first = write();
    let reply = write();
    let set = storage.reader(&tenant).select(&[], TimeRange::ALL).unwrap();
    let mut samples = SampleColumns::default();
    let mut starts = Starts::new();
    let read = |index| {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        starts.insert(set.labels(index).to_string(), samples.starts.at(0));
        let pairs = samples.timestamps_ms.iter().zip(&samples.values);
        let samples = pairs.map(|(time, value)| (time - NOW_MS, value.to_bits())).collect();
        (set.labels(index).to_string(), samples)
    };
    let stored = (0..set.len()).map(read).collect();
    (stored, starts, reply)
}

fn text(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn request(resource: Vec<KeyValue>, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn number(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: NOW_NS + 999_999,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn gauge(points: Vec<NumberDataPoint>) -> Data {
    Data::Gauge(Gauge { data_points: points })
}

fn sum(points: Vec<NumberDataPoint>, temporality: i32, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points: points, aggregation_temporality: temporality, is_monotonic })
}

fn histogram_point(counts: &[u64], bounds: &[f64]) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano: NOW_NS,
        count: counts.iter().sum(),
        sum: Some(7.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn histogram(points: Vec<HistogramDataPoint>) -> Data {
    Data::Histogram(Histogram { data_points: points, aggregation_temporality: CUMULATIVE })
}

fn values(stored: &Stored) -> BTreeMap<&str, f64> {
    stored.iter().map(|(labels, samples)| (labels.as_str(), f64::from_bits(samples[0].1))).collect()
}

#[test]
fn start_times_of_what_counts_are_kept_and_those_of_gauges_are_not() {
    let start_ns = NOW_NS - 3_600_000_000_000 + 1;
    let started = NumberDataPoint { start_time_unix_nano: start_ns, ..number(5.0) };
    let buckets = HistogramDataPoint { start_time_unix_nano: start_ns, ..histogram_point(&[1, 2], &[0.5]) };
    let quantiles = SummaryDataPoint {
        start_time_unix_nano: start_ns,
        time_unix_nano: NOW_NS,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }],
        ..SummaryDataPoint::default()
    };
    let (_, starts, reply) = export_with_starts(&request(
        vec![text("service.name", "api"), text("host.name", "a")],
        vec![
            metric("a", "", gauge(vec![started.clone()])),
            metric("b", "", sum(vec![number(5.0)], CUMULATIVE, true)),
            metric("c", "", sum(vec![started.clone()], CUMULATIVE, true)),
            metric("d", "", sum(vec![started], CUMULATIVE, false)),
            metric("e", "", histogram(vec![buckets])),
            metric("f", "", Data::Summary(Summary { data_points: vec![quantiles] })),
        ],
    ));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let found = |name: &str| -> Vec<i64> {
        let named = format!("{{__name__=\"{name}\"");
        let of_name = starts.iter().filter(|(labels, _)| labels.starts_with(&named));
        of_name.map(|(_, start_ms)| *start_ms).collect()
    };
    let start_ms = NOW_MS - 3_600_000;
    for name in ["a", "b_total", "f", "target_info"] {
        assert_eq!(found(name), [0], "{name}");
    }
    for name in ["c_total", "d", "e_sum", "e_count", "f_sum", "f_count"] {
        assert_eq!(found(name), [start_ms], "{name} of {starts:?}");
    }
    assert_eq!(found("e_bucket"), [start_ms; 2]);
}

#[test]
fn gauges_and_sums_become_one_series_per_point() {
    let mut integer = number(0.0);
    integer.value = Some(number_data_point::Value::AsInt(-3));
    integer.attributes = vec![text("disk.name", "sda")];
    let (stored, reply) = export(&request(
        vec![text("service.name", "api")],
        vec![
            metric("cpu.utilization", "1", gauge(vec![number(0.5)])),
            metric("http.requests", "{request}", sum(vec![number(5.0)], CUMULATIVE, true)),
            metric("queue.length", "", sum(vec![integer], CUMULATIVE, false)),
        ],
    ));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let expected = BTreeMap::from([
        (r#"{__name__="cpu_utilization_ratio", job="api"}"#, 0.5),
        (r#"{__name__="http_requests_total", job="api"}"#, 5.0),
        (r#"{__name__="queue_length", disk_name="sda", job="api"}"#, -3.0),
    ]);
    assert_eq!(values(&stored), expected);
    assert!(stored.values().all(|samples| samples.len() == 1 && samples[0].0 == 0), "{stored:?}");
}

#[test]
fn histograms_become_cumulative_buckets_sum_and_count() {
    let without_buckets = HistogramDataPoint {
        time_unix_nano: NOW_NS,
        count: 4,
        attributes: vec![text("a", "b")],
        ..HistogramDataPoint::default()
    };
    let points = vec![histogram_point(&[1, 2, 3], &[0.005, 10.0]), without_buckets];
    let (stored, reply) = export(&request(vec![], vec![metric("latency", "s", histogram(points))]));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let expected = BTreeMap::from([
        (r#"{__name__="latency_seconds_bucket", le="0.005"}"#, 1.0),
        (r#"{__name__="latency_seconds_bucket", le="10"}"#, 3.0),
        (r#"{__name__="latency_seconds_bucket", le="+Inf"}"#, 6.0),
        (r#"{__name__="latency_seconds_count"}"#, 6.0),
        (r#"{__name__="latency_seconds_sum"}"#, 7.5),
        (r#"{__name__="latency_seconds_bucket", a="b", le="+Inf"}"#, 4.0),
        (r#"{__name__="latency_seconds_count", a="b"}"#, 4.0),
    ]);
    assert_eq!(values(&stored), expected);
}

#[test]
fn summaries_become_quantiles_sum_and_count() {
    let point = SummaryDataPoint {
        time_unix_nano: NOW_NS,
        count: 9,
        sum: 3.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 2.0 }],
        ..SummaryDataPoint::default()
    };
    let data = Data::Summary(Summary { data_points: vec![point] });
    let (stored, _) = export(&request(vec![], vec![metric("rpc", "ms", data)]));
    let expected = BTreeMap::from([
        (r#"{__name__="rpc_milliseconds", quantile="0.99"}"#, 2.0),
        (r#"{__name__="rpc_milliseconds_count"}"#, 9.0),
        (r#"{__name__="rpc_milliseconds_sum"}"#, 3.0),
    ]);
    assert_eq!(values(&stored), expected);
}

#[test]
fn a_point_without_recorded_value_ends_its_series_with_the_stale_marker() {
    let flags = DataPointFlags::NoRecordedValueMask as u32;
    let gone = NumberDataPoint { value: None, flags, ..number(0.0) };
    let gone_buckets = HistogramDataPoint { flags, ..histogram_point(&[0, 0], &[1.0]) };
    let metrics = vec![metric("g", "", gauge(vec![gone])), metric("h", "", histogram(vec![gone_buckets]))];
    let (stored, reply) = export(&request(vec![], metrics));
    assert!(reply.is_ok());
    assert_eq!(stored.len(), 5);
    assert!(stored.values().all(|samples| samples[0].1 == STALE_NAN_BITS), "{stored:?}");
}

#[test]
fn what_cannot_be_stored_is_refused_point_by_point_with_its_reason() {
    let exponential = Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint::default(); 2],
        aggregation_temporality: CUMULATIVE,
    });
    let empty = NumberDataPoint { value: None, ..number(0.0) };
    let cases = [
        (sum(vec![number(1.0)], DELTA, true), 1, "delta temporality"),
        (sum(vec![number(1.0)], 0, true), 1, "temporality is missing"),
        (exponential, 2, "exponential histograms are not supported yet"),
        (gauge(vec![empty]), 1, "a point has no value"),
        (histogram(vec![histogram_point(&[1], &[1.0, 2.0])]), 1, "1 bucket counts with 2 bounds"),
        (histogram(vec![histogram_point(&[1, 1, 1], &[2.0, 1.0])]), 1, "do not ascend"),
    ];
    for (data, refused, reason) in cases {
        let good = metric("good", "", gauge(vec![number(1.0)]));
        let bad = metric("bad.one", "", data);
        let (stored, reply) = export(&request(vec![], vec![bad.clone(), good]));
        assert_eq!(stored.into_keys().collect::<Vec<_>>(), [r#"{__name__="good"}"#], "{reason}");
        let partial = reply.unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_data_points, refused, "{reason}");
        assert!(partial.error_message.contains(reason), "{partial:?}");
        assert!(partial.error_message.contains("bad.one"), "{partial:?}");
        let status = export(&request(vec![], vec![bad])).1.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{reason}");
    }
}

#[test]
fn a_name_or_key_without_letters_costs_only_its_own_points() {
    let mut odd_key = number(2.0);
    odd_key.attributes = vec![text("…", "x")];
    let metrics = vec![
        metric("___", "", gauge(vec![number(1.0)])),
        metric("good", "", gauge(vec![odd_key, number(3.0)])),
    ];
    let (stored, reply) = export(&request(vec![], metrics));
    assert_eq!(values(&stored), BTreeMap::from([(r#"{__name__="good"}"#, 3.0)]));
    let partial = reply.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert!(partial.error_message.contains("invalid_labels"), "{partial:?}");
}

#[test]
fn target_info_covers_the_span_of_the_samples() {
    let earlier = NumberDataPoint { time_unix_nano: NOW_NS - 400_000 * 1_000_000, ..number(1.0) };
    let resource = vec![text("service.name", "api"), text("host.name", "h1")];
    let (stored, _) = export(&request(resource, vec![metric("up", "", gauge(vec![earlier, number(1.0)]))]));
    let samples = &stored[r#"{__name__="target_info", host_name="h1", job="api"}"#];
    let times: Vec<i64> = samples.iter().map(|sample| sample.0).collect();
    assert_eq!(times, [-400_000, -250_000, -100_000, 0]);
}

#[test]
fn a_point_far_in_the_past_makes_no_flood_of_target_info() {
    let ancient = NumberDataPoint { time_unix_nano: 1, ..number(1.0) };
    let resource = vec![text("service.name", "api"), text("host.name", "h1")];
    let request = request(resource, vec![metric("up", "", gauge(vec![ancient, number(1.0)]))]);
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(StorageOptions::new(dir.path()), NOW_MS).unwrap();
    let options = OtlpOptions::default();
    let decoded = decode(&storage, &TenantId::anonymous(), &options, &request, |_| true);
    assert!(decoded.values.len() < 1_010, "{}", decoded.values.len());
}

#[test]
fn metadata_has_kind_unit_and_help_and_is_sent_once() {
    let mut described = metric("http.requests", "s", sum(vec![number(1.0)], CUMULATIVE, true));
    described.description = "Requests.".to_owned();
    let mut scraped = metric("build.info", "", gauge(vec![number(1.0)]));
    scraped.metadata = vec![text("prometheus.type", "info")];
    let request = request(vec![], vec![described, scraped]);
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(StorageOptions::new(dir.path()), NOW_MS).unwrap();
    let (tenant, options) = (TenantId::anonymous(), OtlpOptions::default());
    let first = decode(&storage, &tenant, &options, &request, |_| false).metadata;
    let found: Vec<_> = first
        .iter()
        .map(|(_, one)| (one.metric.as_str(), one.kind, one.unit.as_str(), one.help.as_str()))
        .collect();
    let expected = [
        ("http_requests_seconds_total", MetricKind::Counter, "seconds", "Requests."),
        ("build_info", MetricKind::Info, "", ""),
    ];
    assert_eq!(found, expected);
    let known = |digest| first.iter().any(|(one, _)| *one == digest);
    assert!(decode(&storage, &tenant, &options, &request, known).metadata.is_empty());
}

#[test]
fn an_empty_request_is_a_success() {
    let (stored, reply) = export(&ExportMetricsServiceRequest::default());
    assert!(stored.is_empty());
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
}
