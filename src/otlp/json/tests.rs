//! Every rule of the encoding, with `prost` as the reader of what comes out.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::*;

fn decoded(json: &Json) -> ExportMetricsServiceRequest {
    let bytes = to_protobuf(json.to_string().as_bytes(), &schema::METRICS, usize::MAX).unwrap();
    ExportMetricsServiceRequest::decode(&*bytes).unwrap()
}

fn wrapped(metric: &Json) -> Json {
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
}

/// The only metric of a request.
fn metric(json: &Json) -> Metric {
    let mut request = decoded(&wrapped(json));
    request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0)
}

fn gauge_point(point: &Json) -> NumberDataPoint {
    match metric(&json!({"name": "m", "gauge": {"dataPoints": [point]}})).data {
        Some(Data::Gauge(mut gauge)) => gauge.data_points.remove(0),
        other => panic!("{other:?}"),
    }
}

fn error(json: &str) -> String {
    to_protobuf(json.as_bytes(), &schema::METRICS, usize::MAX).unwrap_err().to_string()
}

fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(value), ..KeyValue::default() }
}

#[test]
fn every_field_of_metrics_arrives() {
    let attributes = json!([
        {"key": "s", "value": {"stringValue": "x"}},
        {"key": "b", "value": {"boolValue": true}},
        {"key": "i", "value": {"intValue": "-5"}},
        {"key": "d", "value": {"doubleValue": 1.5}},
        {"key": "a", "value": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "y"}]}}},
        {"key": "k", "value": {"kvlistValue": {"values": [{"key": "q", "value": {"boolValue": false}}]}}},
        {"key": "y", "value": {"bytesValue": "aGVsbG8="}},
        {"key": "e", "value": {}},
    ]);
    let list = KeyValueList { values: vec![pair("q", Value::BoolValue(false))] };
    let array = ArrayValue {
        values: vec![
            AnyValue { value: Some(Value::IntValue(1)) },
            AnyValue { value: Some(Value::StringValue("y".to_owned())) },
        ],
    };
    let expected_attributes = vec![
        pair("s", Value::StringValue("x".to_owned())),
        pair("b", Value::BoolValue(true)),
        pair("i", Value::IntValue(-5)),
        pair("d", Value::DoubleValue(1.5)),
        pair("a", Value::ArrayValue(array)),
        pair("k", Value::KvlistValue(list)),
        pair("y", Value::BytesValue(b"hello".to_vec())),
        KeyValue { key: "e".to_owned(), value: Some(AnyValue { value: None }), ..KeyValue::default() },
    ];
    let request = decoded(&json!({"resourceMetrics": [{
        "resource": {"attributes": attributes, "droppedAttributesCount": 3},
        "scopeMetrics": [{
            "scope": {"name": "lib", "version": "1.2", "attributes": attributes, "droppedAttributesCount": "4"},
            "metrics": [{"name": "n", "description": "d", "unit": "s", "metadata": attributes, "gauge": {}}],
            "schemaUrl": "https://scope",
        }],
        "schemaUrl": "https://resource",
    }]}));
    let resource = Resource {
        attributes: expected_attributes.clone(),
        dropped_attributes_count: 3,
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        attributes: expected_attributes.clone(),
        dropped_attributes_count: 4,
    };
    let metric = Metric {
        name: "n".to_owned(),
        description: "d".to_owned(),
        unit: "s".to_owned(),
        metadata: expected_attributes,
        data: Some(Data::Gauge(Gauge::default())),
    };
    let scope_metrics =
        ScopeMetrics { scope: Some(scope), metrics: vec![metric], schema_url: "https://scope".to_owned() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope_metrics],
        schema_url: "https://resource".to_owned(),
    };
    assert_eq!(request.resource_metrics, [resource_metrics]);
}

#[test]
fn every_field_of_every_kind_of_point_arrives() {
    let exemplar = json!({
        "filteredAttributes": [{"key": "s", "value": {"stringValue": "x"}}], "timeUnixNano": "7", "asInt": "-3",
        "spanId": "00f067aa0ba902b7", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    let expected_exemplar = Exemplar {
        filtered_attributes: vec![pair("s", Value::StringValue("x".to_owned()))],
        time_unix_nano: 7,
        span_id: vec![0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7],
        trace_id: vec![
            0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
        ],
        value: Some(exemplar::Value::AsInt(-3)),
    };
    let attributes = json!([{"key": "i", "value": {"intValue": 1}}]);
    let expected_attributes = vec![pair("i", Value::IntValue(1))];
    let sum = metric(&json!({"sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
        "attributes": attributes, "startTimeUnixNano": "1", "timeUnixNano": 1544712660300000000_u64, "asInt": "-9",
        "exemplars": [exemplar], "flags": 1,
    }]}}));
    let expected = NumberDataPoint {
        attributes: expected_attributes.clone(),
        start_time_unix_nano: 1,
        time_unix_nano: 1_544_712_660_300_000_000,
        value: Some(number_data_point::Value::AsInt(-9)),
        exemplars: vec![expected_exemplar.clone()],
        flags: 1,
    };
    let expected = Sum { data_points: vec![expected], aggregation_temporality: 2, is_monotonic: true };
    assert_eq!(sum.data, Some(Data::Sum(expected)));

    let histogram = metric(&json!({"histogram": {"aggregationTemporality": 1, "dataPoints": [{
        "attributes": attributes, "startTimeUnixNano": 1, "timeUnixNano": 2, "count": "3", "sum": 4.25,
        "bucketCounts": ["1", 2, "0"], "explicitBounds": [0.1, 1e300], "exemplars": [exemplar], "flags": 0,
        "min": -1, "max": 0,
    }]}}));
    let expected = HistogramDataPoint {
        attributes: expected_attributes.clone(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(4.25),
        bucket_counts: vec![1, 2, 0],
        explicit_bounds: vec![0.1, 1e300],
        exemplars: vec![expected_exemplar.clone()],
        flags: 0,
        min: Some(-1.0),
        max: Some(0.0),
    };
    let expected = Histogram { data_points: vec![expected], aggregation_temporality: 1 };
    assert_eq!(histogram.data, Some(Data::Histogram(expected)));

    let exponential = metric(&json!({"exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
        "attributes": attributes, "startTimeUnixNano": 1, "timeUnixNano": 2, "count": 7, "sum": 4, "scale": -2,
        "zeroCount": "1", "positive": {"offset": -3, "bucketCounts": ["1", "300"]},
        "negative": {"offset": 4, "bucketCounts": []}, "flags": 0, "exemplars": [exemplar],
        "min": 1, "max": 2, "zeroThreshold": 1e-9,
    }]}}));
    let expected = ExponentialHistogramDataPoint {
        attributes: expected_attributes.clone(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 7,
        sum: Some(4.0),
        scale: -2,
        zero_count: 1,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 300] }),
        negative: Some(Buckets { offset: 4, bucket_counts: vec![] }),
        flags: 0,
        exemplars: vec![expected_exemplar],
        min: Some(1.0),
        max: Some(2.0),
        zero_threshold: 1e-9,
    };
    let expected = ExponentialHistogram { data_points: vec![expected], aggregation_temporality: 2 };
    assert_eq!(exponential.data, Some(Data::ExponentialHistogram(expected)));

    let summary = metric(&json!({"summary": {"dataPoints": [{
        "attributes": attributes, "startTimeUnixNano": 1, "timeUnixNano": 2, "count": 7, "sum": 4,
        "quantileValues": [{"quantile": 0.5, "value": "NaN"}, {"quantile": 1, "value": 3}], "flags": 1,
    }]}}));
    let Some(Data::Summary(Summary { data_points })) = summary.data else { panic!() };
    let [SummaryDataPoint { count: 7, sum: 4.0, flags: 1, quantile_values, attributes, .. }] =
        &data_points[..]
    else {
        panic!("{data_points:?}");
    };
    assert_eq!(attributes, &expected_attributes);
    assert!(quantile_values[0].value.is_nan());
    assert_eq!(quantile_values[1], ValueAtQuantile { quantile: 1.0, value: 3.0 });
}

#[test]
fn numbers_may_be_texts_and_doubles_have_names_for_what_json_lacks() {
    use number_data_point::Value::{AsDouble, AsInt};
    for (point, expected) in [
        (json!({"asDouble": "Infinity"}), AsDouble(f64::INFINITY)),
        (json!({"asDouble": "-Infinity"}), AsDouble(f64::NEG_INFINITY)),
        (json!({"asDouble": "1.5"}), AsDouble(1.5)),
        (json!({"asDouble": 3}), AsDouble(3.0)),
        (json!({"asDouble": -0.0}), AsDouble(-0.0)),
        // Not all parsers read these to the last bit.
        (json!({"asDouble": 0.1}), AsDouble(0.1)),
        (json!({"asDouble": 1.234_567_890_123_456_7e-300}), AsDouble(1.234_567_890_123_456_7e-300)),
        (json!({"asInt": 9_007_199_254_740_993_i64}), AsInt(9_007_199_254_740_993)),
        (json!({"asInt": "-9223372036854775808"}), AsInt(i64::MIN)),
        (json!({"asInt": 1e3}), AsInt(1000)),
    ] {
        assert_eq!(gauge_point(&point).value, Some(expected), "{point}");
    }
    let nan = gauge_point(&json!({"asDouble": "NaN"})).value;
    assert!(matches!(nan, Some(AsDouble(value)) if value.is_nan()));
    assert_eq!(gauge_point(&json!({"timeUnixNano": "18446744073709551615"})).time_unix_nano, u64::MAX);
}

#[test]
fn doubles_are_read_to_the_last_bit() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let mut state = seed | 1;
    for _ in 0..10_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let value = f64::from_bits(state);
        if value.is_finite() {
            let point = gauge_point(&json!({"asDouble": value}));
            assert_eq!(point.value, Some(number_data_point::Value::AsDouble(value)));
        }
    }
}

#[test]
fn enums_are_numbers_and_their_names_are_understood() {
    for (given, expected) in [(json!(1), 1), (json!("AGGREGATION_TEMPORALITY_DELTA"), 1), (json!(99), 99)] {
        let sum = metric(&json!({"sum": {"aggregationTemporality": given}}));
        let Some(Data::Sum(sum)) = sum.data else { panic!() };
        assert_eq!(sum.aggregation_temporality, expected);
    }
}

#[test]
fn unknown_fields_and_null_are_as_if_they_were_not_there() {
    let with = json!({"resourceMetrics": [{
        "resource": null, "later": {"a": [1, {"b": null}]}, "scope_metrics": [{"metrics": 3}],
        "scopeMetrics": [{"metrics": [
            {"name": "m", "unit": null, "Name": 3, "sum": null, "gauge": {"dataPoints": [{"asInt": 1, "x": 1e99}]}}
        ]}],
    }]});
    let without = wrapped(&json!({"name": "m", "gauge": {"dataPoints": [{"asInt": 1}]}}));
    assert_eq!(decoded(&with), decoded(&without));
    assert_eq!(decoded(&json!({})), ExportMetricsServiceRequest::default());
}

#[test]
fn texts_with_escapes_and_escaped_keys_are_read() {
    let json =
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"\u006eame":"a\"\u00fc\ud83d\ude00\n"}]}]}]}"#;
    let bytes = to_protobuf(json.as_bytes(), &schema::METRICS, usize::MAX).unwrap();
    let request = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].name, "a\"ü😀\n");
}

#[test]
fn bytes_are_read_in_every_form_of_base64() {
    let value = |text: &str| {
        let json = json!({"name": "m", "metadata": [{"key": "k", "value": {"bytesValue": text}}]});
        metric(&json).metadata[0].value.clone()
    };
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        assert_eq!(value(text), any(Value::BytesValue(vec![0xfb, 0xff])), "{text}");
    }
    assert_eq!(value(""), any(Value::BytesValue(vec![])));
}

#[test]
fn what_is_wrong_is_named_with_what_was_expected() {
    let point = |point: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        )
    };
    let nested = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"value":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(10_000)
    );
    for (json, parts) in [
        ("", &["EOF"][..]),
        ("{", &["EOF"]),
        ("[]", &["an object (ExportMetricsServiceRequest)", "line 1"]),
        ("{} {}", &["trailing"]),
        (r#"{"resourceMetrics":{}}"#, &["array for \"resourceMetrics\""]),
        (r#"{"resourceMetrics":[null]}"#, &["an object (ResourceMetrics)"]),
        (&point(r#"{"timeUnixNano":-1}"#), &["\"timeUnixNano\" is -1", "unsigned 64-bit"]),
        (&point(r#"{"timeUnixNano":"x"}"#), &["\"timeUnixNano\" is \"x\"", "unsigned 64-bit"]),
        (&point(r#"{"timeUnixNano":1.5}"#), &["\"timeUnixNano\" is 1.5"]),
        (&point(r#"{"timeUnixNano":18446744073709551616}"#), &["timeUnixNano"]),
        (&point(r#"{"asInt":"9223372036854775808"}"#), &["asInt", "signed 64-bit"]),
        (&point(r#"{"asDouble":"nan"}"#), &["asDouble", "\"NaN\""]),
        (&point(r#"{"asDouble":"inf"}"#), &["asDouble"]),
        (&point(r#"{"asDouble":true}"#), &["asDouble"]),
        (&point(r#"{"flags":4294967296}"#), &["flags", "32-bit"]),
        (&point(r#"{"exemplars":[{"traceId":"abc"}]}"#), &["traceId", "hex"]),
        (&point(r#"{"exemplars":[{"traceId":"zz"}]}"#), &["traceId", "hex"]),
        (&point(r#"{"attributes":[{"key":1}]}"#), &["key", "a text"]),
        (
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"aggregationTemporality":"SOMETIMES"}}]}]}]}"#,
            &["aggregationTemporality", "SOMETIMES"],
        ),
        (&format!("{}{}", r#"{"x":"#, "[".repeat(100_000)), &["EOF"]),
        (&nested, &["recursion limit"]),
    ] {
        let message = error(json);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?} of {json:.200}");
        }
    }
    assert!(
        to_protobuf(b"{\"resourceMetrics\":[{\"schemaUrl\":\"\xff\"}]}", &schema::METRICS, usize::MAX)
            .is_err()
    );
}

#[test]
fn a_message_that_grows_beyond_the_limit_is_refused() {
    let counts = "0,".repeat(10_000);
    let point = format!(r#"{{"histogram":{{"dataPoints":[{{"bucketCounts":[{counts}0]}}]}}}}"#);
    let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{point}]}}]}}]}}"#);
    let whole = to_protobuf(json.as_bytes(), &schema::METRICS, usize::MAX).unwrap();
    assert!(whole.len() > 80_000 && whole.len() <= GROWTH_MAX * json.len());
    assert_eq!(to_protobuf(json.as_bytes(), &schema::METRICS, whole.len()).unwrap(), whole);
    for limit in [0, 1000, whole.len() - 1] {
        let refused = to_protobuf(json.as_bytes(), &schema::METRICS, limit).unwrap_err();
        assert!(matches!(refused, JsonError::TooLarge { limit: named } if named == limit), "{refused}");
    }
}
