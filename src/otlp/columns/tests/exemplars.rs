//! Exemplars go to the series that counted them.

use mytsdb_storage::model::EXEMPLAR_LABEL_CHARS_MAX;

use super::*;

fn exemplar(value: f64, attributes: Vec<KeyValue>) -> opentelemetry_proto::tonic::metrics::v1::Exemplar {
    opentelemetry_proto::tonic::metrics::v1::Exemplar {
        filtered_attributes: attributes,
        time_unix_nano: NOW_NS - 5_000_000,
        span_id: vec![0xab, 0, 0, 0, 0, 0, 0, 1],
        trace_id: vec![0x0f; 16],
        value: Some(exemplar::Value::AsDouble(value)),
    }
}

const TRACE: &str = r#"span_id="ab00000000000001", trace_id="0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f""#;

fn found(stored: &Stored) -> Vec<(&str, String, f64, i64)> {
    let each = stored.exemplars.iter().flat_map(|(labels, exemplars)| {
        exemplars.iter().map(|one| (labels.as_str(), one.labels.to_string(), one.value, one.time_ms - NOW_MS))
    });
    each.collect()
}

#[test]
fn exemplars_of_numbers_go_to_their_series_with_trace_span_and_attributes() {
    let point = |value| NumberDataPoint {
        exemplars: vec![exemplar(value, vec![text("user.id", "u1"), text("trace_id", "not this one")])],
        ..number(value)
    };
    let (stored, reply) = export(&request(
        vec![],
        vec![
            metric("c", "", sum(vec![point(1.0)], CUMULATIVE, true)),
            metric("g", "", gauge(vec![point(2.0)])),
            metric("d", "", sum(vec![point(3.0)], DELTA, true)),
        ],
    ));
    assert_eq!(reply.unwrap(), ExportMetricsServiceResponse::default());
    let labels = format!("{{{TRACE}, user_id=\"u1\"}}");
    let expected = [
        (r#"{__name__="c_total"}"#, labels.clone(), 1.0, -5),
        (r#"{__name__="d_total", __temporality__="delta"}"#, labels.clone(), 3.0, -5),
        (r#"{__name__="g"}"#, labels, 2.0, -5),
    ];
    assert_eq!(found(&stored), expected);
}

#[test]
fn exemplars_of_a_histogram_go_to_the_bucket_that_holds_their_value() {
    let observed = [5.0, 0.5, 1.0, 1.5, f64::INFINITY];
    let exemplars: Vec<_> = observed.iter().map(|value| exemplar(*value, vec![])).collect();
    let explicit =
        HistogramDataPoint { exemplars: exemplars.clone(), ..histogram_point(&[2, 1, 2], &[1.0, 2.0]) };
    let native = ExponentialHistogramDataPoint {
        time_unix_nano: NOW_NS,
        sum: Some(0.0),
        exemplars: exemplars[..1].to_vec(),
        ..ExponentialHistogramDataPoint::default()
    };
    let (stored, _) = export(&request(
        vec![],
        vec![
            metric("h", "", histogram(vec![explicit], CUMULATIVE)),
            metric("n", "", exponential(vec![native], CUMULATIVE)),
        ],
    ));
    let mut values: Vec<_> =
        found(&stored).into_iter().map(|(series, _, value, _)| (series, value)).collect();
    values.sort_by(|left, right| left.partial_cmp(right).unwrap());
    let expected = [
        (r#"{__name__="h_bucket", le="+Inf"}"#, 5.0),
        (r#"{__name__="h_bucket", le="+Inf"}"#, f64::INFINITY),
        (r#"{__name__="h_bucket", le="1"}"#, 0.5),
        (r#"{__name__="h_bucket", le="1"}"#, 1.0),
        (r#"{__name__="h_bucket", le="2"}"#, 1.5),
        (r#"{__name__="n"}"#, 5.0),
    ];
    assert_eq!(values, expected);
}

#[test]
fn attributes_that_are_too_long_are_left_out_and_the_sender_is_told() {
    let long = exemplar(1.0, vec![text("path", &"x".repeat(EXEMPLAR_LABEL_CHARS_MAX))]);
    let mut without_value = exemplar(1.0, vec![]);
    without_value.value = None;
    let point = NumberDataPoint { exemplars: vec![long, without_value], ..number(1.0) };
    let (stored, reply) = export(&request(vec![], vec![metric("g", "", gauge(vec![point]))]));
    assert_eq!(found(&stored), [(r#"{__name__="g"}"#, format!("{{{TRACE}}}"), 1.0, -5)]);
    let warning = reply.unwrap().partial_success.unwrap();
    assert_eq!(warning.rejected_data_points, 0);
    for expected in [
        "1 exemplar_attributes in metric \"g\"",
        "1 invalid_exemplar in metric \"g\" (the exemplar has no value)",
    ] {
        assert!(warning.error_message.contains(expected), "{warning:?}");
    }
}
