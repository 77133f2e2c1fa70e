//! Numbers, classic histograms, summaries; what is refused; `target_info` and metadata.

use mytsdb_storage::model::{MetricKind, STALE_NAN_BITS};
use opentelemetry_proto::tonic::common::v1::ArrayValue;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;

use super::*;

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
    let (stored, reply) = export(&request(
        vec![text("service.name", "api"), text("host.name", "a")],
        vec![
            metric("a", "", gauge(vec![started.clone()])),
            metric("b", "", sum(vec![number(5.0)], CUMULATIVE, true)),
            metric("c", "", sum(vec![started.clone()], CUMULATIVE, true)),
            metric("d", "", sum(vec![started], CUMULATIVE, false)),
            metric("e", "", histogram(vec![buckets], CUMULATIVE)),
            metric("f", "", Data::Summary(Summary { data_points: vec![quantiles] })),
        ],
    ));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let found = |name: &str| -> Vec<i64> {
        let named = format!("{{__name__=\"{name}\"");
        let of_name = stored.starts.iter().filter(|(labels, _)| labels.starts_with(&named));
        of_name.map(|(_, start_ms)| *start_ms).collect()
    };
    let start_ms = NOW_MS - 3_600_000;
    for name in ["a", "b_total", "f", "target_info"] {
        assert_eq!(found(name), [0], "{name}");
    }
    for name in ["c_total", "d", "e_sum", "e_count", "f_sum", "f_count"] {
        assert_eq!(found(name), [start_ms], "{name} of {:?}", stored.starts);
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
    assert_eq!(stored.values(), expected);
    assert!(stored.samples.values().all(|samples| samples.len() == 1 && samples[0].0 == 0), "{stored:?}");
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
    let (stored, reply) =
        export(&request(vec![], vec![metric("latency", "s", histogram(points, CUMULATIVE))]));
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
    assert_eq!(stored.values(), expected);
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
    assert_eq!(stored.values(), expected);
}

#[test]
fn a_point_without_recorded_value_ends_its_series_with_the_stale_marker() {
    let flags = DataPointFlags::NoRecordedValueMask as u32;
    let gone = NumberDataPoint { value: None, flags, ..number(0.0) };
    let gone_buckets = HistogramDataPoint { flags, ..histogram_point(&[0, 0], &[1.0]) };
    let metrics =
        vec![metric("g", "", gauge(vec![gone])), metric("h", "", histogram(vec![gone_buckets], CUMULATIVE))];
    let (stored, reply) = export(&request(vec![], metrics));
    assert!(reply.is_ok());
    assert_eq!(stored.samples.len(), 5);
    assert!(stored.samples.values().all(|samples| samples[0].1 == STALE_NAN_BITS), "{stored:?}");
}

#[test]
fn what_cannot_be_stored_is_refused_point_by_point_with_its_reason() {
    let empty = NumberDataPoint { value: None, ..number(0.0) };
    let coarse = ExponentialHistogramDataPoint {
        time_unix_nano: NOW_NS,
        scale: -5,
        sum: Some(1.0),
        ..ExponentialHistogramDataPoint::default()
    };
    let without_sum = ExponentialHistogramDataPoint { scale: 0, sum: None, ..coarse.clone() };
    let beyond = ExponentialHistogramDataPoint {
        scale: 0,
        count: 1,
        positive: Some(exponential_histogram_data_point::Buckets {
            offset: i32::MAX,
            bucket_counts: vec![1],
        }),
        ..coarse.clone()
    };
    let cases = [
        (sum(vec![number(1.0)], 0, true), 1, "no_temporality", "allowed are delta (1) and cumulative (2)"),
        (exponential(vec![coarse.clone(), coarse], CUMULATIVE), 2, "scale_too_small", "scale -5 is below"),
        (exponential(vec![without_sum], CUMULATIVE), 1, "no_sum", "needs a sum"),
        (exponential(vec![beyond], CUMULATIVE), 1, "bucket_index", "beyond the largest index"),
        (gauge(vec![empty]), 1, "no_value", "the point has no value"),
        (
            histogram(vec![histogram_point(&[1], &[1.0, 2.0])], CUMULATIVE),
            1,
            "bucket_shape",
            "1 bucket counts with 2 bounds",
        ),
        (
            histogram(vec![histogram_point(&[1, 1, 1], &[2.0, 1.0])], CUMULATIVE),
            1,
            "bucket_order",
            "do not ascend",
        ),
    ];
    for (data, refused, reason, message) in cases {
        let good = metric("good", "", gauge(vec![number(1.0)]));
        let bad = metric("bad.one", "", data);
        let (stored, reply) = export(&request(vec![], vec![bad.clone(), good]));
        assert_eq!(stored.samples.into_keys().collect::<Vec<_>>(), [r#"{__name__="good"}"#], "{reason}");
        let partial = reply.unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_data_points, refused, "{reason}");
        let expected = format!(
            "{refused} of {} data points rejected: {refused} {reason} in metric \"bad.one\" (",
            refused + 1
        );
        assert!(partial.error_message.starts_with(&expected), "{partial:?}");
        assert!(partial.error_message.contains(message), "{partial:?}");
        let status = export(&request(vec![], vec![bad])).1.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{reason}");
    }
}

#[test]
fn integers_beyond_two_to_the_53_are_rounded_and_the_sender_is_told() {
    let integer =
        |value: i64| NumberDataPoint { value: Some(number_data_point::Value::AsInt(value)), ..number(0.0) };
    let exact = [(1_i64 << 53), (1_i64 << 53) + 2, i64::MIN, -(1_i64 << 60)];
    for value in exact {
        let (stored, reply) = export(&request(vec![], vec![metric("m", "", gauge(vec![integer(value)]))]));
        assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default(), "{value}");
        assert_eq!(stored.values()[r#"{__name__="m"}"#] as i128, i128::from(value));
    }
    let (stored, reply) =
        export(&request(vec![], vec![metric("m", "", gauge(vec![integer((1 << 53) + 1)]))]));
    assert_eq!(stored.values()[r#"{__name__="m"}"#], 9_007_199_254_740_992.0);
    let warning = reply.unwrap().partial_success.unwrap();
    assert_eq!(warning.rejected_data_points, 0);
    let expected = "accepted with loss: 1 integer_rounded in metric \"m\" (9007199254740993 is above 2^53";
    assert!(warning.error_message.starts_with(expected), "{warning:?}");
}

#[test]
fn kind_and_unit_are_labels_where_that_is_switched_on() {
    let options = OtlpOptions { type_and_unit_labels: true, ..OtlpOptions::default() };
    let buckets = HistogramDataPoint { min: Some(0.5), ..histogram_point(&[1], &[]) };
    let metrics = vec![
        metric("c", "By/s", sum(vec![number(1.0)], CUMULATIVE, true)),
        metric("g", "", gauge(vec![number(2.0)])),
        metric("h", "s", histogram(vec![buckets], CUMULATIVE)),
    ];
    let (stored, _) = export_with(options, &request(vec![], metrics));
    let found: Vec<String> = stored.samples.into_keys().collect();
    let expected = [
        r#"{__name__="c_bytes_per_second_total", __type__="counter", __unit__="bytes_per_second"}"#,
        r#"{__name__="g", __type__="gauge"}"#,
        r#"{__name__="h_seconds_bucket", __type__="histogram", __unit__="seconds", le="+Inf"}"#,
        r#"{__name__="h_seconds_count", __type__="histogram", __unit__="seconds"}"#,
        r#"{__name__="h_seconds_min", __type__="gauge", __unit__="seconds"}"#,
        r#"{__name__="h_seconds_sum", __type__="histogram", __unit__="seconds"}"#,
    ];
    assert_eq!(found, expected);
}

#[test]
fn one_bad_point_among_ten_thousand_costs_nothing_but_itself() {
    let mut points: Vec<NumberDataPoint> =
        (0..10_000).map(|index| labelled(index, f64::from(index))).collect();
    points[5_000].value = None;
    let fixture = Fixture::new(OtlpOptions::default());
    let reply = fixture.write(&request(vec![], vec![metric("m", "", gauge(points))])).unwrap();
    let partial = reply.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    let expected = "1 of 10000 data points rejected: 1 no_value in metric \"m\" (the point has no value)";
    assert_eq!(partial.error_message, expected);
    let stored = fixture.stored().samples;
    assert_eq!(stored.len(), 9_999);
    assert!(!stored.contains_key(r#"{__name__="m", index="5000"}"#));
    assert_eq!(stored[r#"{__name__="m", index="5001"}"#], [(0, 5_001_f64.to_bits())]);
}

#[test]
fn attributes_that_are_not_utf8_cost_only_their_point() {
    let good = request(vec![], vec![metric("m", "", gauge(vec![labelled(1, 1.0), labelled(2, 2.0)]))]);
    let mut body = good.encode_to_vec();
    let at = body.windows(6).position(|bytes| bytes == b"index\x12").unwrap();
    body[at] = 0xff;
    let fixture = Fixture::new(OtlpOptions::default());
    let reply = fixture.write_bytes(&body).unwrap();
    let partial = reply.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("invalid_labels in metric \"m\""), "{partial:?}");
    assert_eq!(fixture.stored().samples.into_keys().collect::<Vec<_>>(), [r#"{__name__="m", index="2"}"#]);
}

#[test]
fn attributes_nested_too_deeply_cost_only_their_point() {
    let nested = |depth: usize| {
        let innermost = AnyValue { value: Some(Value::IntValue(1)) };
        let value = (0..depth).fold(innermost, |inner, _| AnyValue {
            value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
        });
        let attribute = KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() };
        NumberDataPoint { attributes: vec![attribute], ..number(1.0) }
    };
    let points = vec![nested(10), nested(1_000)];
    let (stored, reply) = export(&request(vec![], vec![metric("m", "", gauge(points))]));
    let expected = r#"{__name__="m", deep="[[[[[[[[[[1]]]]]]]]]]"}"#;
    assert_eq!(stored.samples.into_keys().collect::<Vec<_>>(), [expected]);
    let partial = reply.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("invalid_labels in metric \"m\""), "{partial:?}");
}

#[test]
fn other_options_make_other_series_of_the_same_bytes() {
    let request = request(vec![text("zone", "z1")], vec![metric("m", "", gauge(vec![number(1.0)]))]);
    let mut fixture = Fixture::new(OtlpOptions::default());
    fixture.write(&request).unwrap();
    fixture.options.promote_resource_attributes = vec!["zone".to_owned()];
    fixture.write(&request).unwrap();
    let found: Vec<String> = fixture.stored().samples.into_keys().collect();
    assert_eq!(found, [r#"{__name__="m", zone="z1"}"#, r#"{__name__="m"}"#]);
}

#[test]
fn a_name_or_key_without_letters_costs_only_its_own_points() {
    let mut odd_key = number(2.0);
    odd_key.attributes = vec![text("……", "x")];
    let metrics = vec![
        metric("___", "", gauge(vec![number(1.0)])),
        metric("good", "", gauge(vec![odd_key, number(3.0)])),
    ];
    let (stored, reply) = export(&request(vec![], metrics));
    assert_eq!(stored.values(), BTreeMap::from([(r#"{__name__="good"}"#, 3.0)]));
    let partial = reply.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert!(partial.error_message.contains("invalid_labels"), "{partial:?}");
}

#[test]
fn target_info_covers_the_span_of_the_samples() {
    let earlier = NumberDataPoint { time_unix_nano: NOW_NS - 400_000 * 1_000_000, ..number(1.0) };
    let resource = vec![text("service.name", "api"), text("host.name", "h1")];
    let (stored, _) = export(&request(resource, vec![metric("up", "", gauge(vec![earlier, number(1.0)]))]));
    let samples = &stored.samples[r#"{__name__="target_info", host_name="h1", job="api"}"#];
    let times: Vec<i64> = samples.iter().map(|sample| sample.0).collect();
    assert_eq!(times, [-400_000, -250_000, -100_000, 0]);
}

#[test]
fn a_point_far_in_the_past_makes_no_flood_of_target_info() {
    let ancient = NumberDataPoint { time_unix_nano: 1, ..number(1.0) };
    let resource = vec![text("service.name", "api"), text("host.name", "h1")];
    let request = request(resource, vec![metric("up", "", gauge(vec![ancient, number(1.0)]))]);
    let body = request.encode_to_vec();
    let decoded = Fixture::new(OtlpOptions::default()).decode(&body).values.len();
    assert!(decoded < 1_010, "{decoded}");
}

#[test]
fn metadata_has_kind_unit_and_help_and_is_sent_once() {
    let mut described = metric("http.requests", "s", sum(vec![number(1.0)], CUMULATIVE, true));
    described.description = "Requests.".to_owned();
    let mut scraped = metric("build.info", "", gauge(vec![number(1.0)]));
    scraped.metadata = vec![text("prometheus.type", "info")];
    let body = request(vec![], vec![described, scraped]).encode_to_vec();
    let fixture = Fixture::new(OtlpOptions::default());
    let first = fixture.decode(&body);
    let found: Vec<_> = first
        .metadata
        .iter()
        .map(|one| (one.metric.as_str(), one.kind, one.unit.as_str(), one.help.as_str()))
        .collect();
    let expected = [
        ("http_requests_seconds_total", MetricKind::Counter, "seconds", "Requests."),
        ("build_info", MetricKind::Info, "", ""),
    ];
    assert_eq!(found, expected);
    fixture.write_bytes(&body).unwrap();
    assert!(fixture.decode(&body).metadata.is_empty());
}

#[test]
fn an_empty_request_is_a_success() {
    let (stored, reply) = export(&ExportMetricsServiceRequest::default());
    assert!(stored.samples.is_empty());
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
}
