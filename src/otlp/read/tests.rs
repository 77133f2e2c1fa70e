//! The reader against prost, on whole requests and on what becomes of them under random damage.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::*;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::rebuild::compare;
use super::{ReadError, payloads, read};
use crate::wire::WireError;

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attributes() -> Vec<KeyValue> {
    let pair =
        |key: &str, value| KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() };
    let array = ArrayValue { values: vec![any(Value::BoolValue(true)), any(Value::IntValue(-1))] };
    vec![
        pair("a", Value::StringValue("text".to_owned())),
        pair("b", Value::ArrayValue(array)),
        KeyValue { key: "c".to_owned(), value: None, ..KeyValue::default() },
    ]
}

fn exemplars() -> Vec<Exemplar> {
    let one = Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: 3,
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        value: Some(exemplar::Value::AsInt(-7)),
    };
    vec![one.clone(), one]
}

/// A request with every field of every message.
pub(super) fn everything() -> ExportMetricsServiceRequest {
    let numbers = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: exemplars(),
        flags: 1,
        value,
    };
    // Of a time and a value alone, as most are.
    let plain = |point: &NumberDataPoint, attributes| NumberDataPoint {
        attributes,
        exemplars: Vec::new(),
        flags: 0,
        ..point.clone()
    };
    let integer = numbers(Some(number_data_point::Value::AsInt(i64::MIN)));
    let double = numbers(Some(number_data_point::Value::AsDouble(f64::NAN)));
    let explicit = HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 6,
        sum: Some(0.0),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![-1.5, f64::INFINITY],
        exemplars: exemplars(),
        flags: 2,
        min: Some(-3.0),
        max: Some(4.0),
    };
    let buckets = |offset| Some(Buckets { offset, bucket_counts: vec![0, 300, u64::MAX] });
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 9,
        sum: None,
        scale: -4,
        zero_count: 8,
        positive: buckets(-100),
        negative: buckets(7),
        flags: 3,
        exemplars: exemplars(),
        min: Some(0.0),
        max: Some(1.0),
        zero_threshold: 1e-9,
    };
    let summary = SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 5,
        sum: 2.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }, ValueAtQuantile::default()],
        flags: 4,
    };
    let unstarted = NumberDataPoint { start_time_unix_nano: 0, ..plain(&double, Vec::new()) };
    let plain = vec![plain(&integer, attributes()), plain(&double, attributes()), unstarted];
    let datas = vec![
        Data::Gauge(Gauge { data_points: plain.clone() }),
        Data::Sum(Sum { data_points: plain, aggregation_temporality: 2, is_monotonic: true }),
        Data::Gauge(Gauge { data_points: vec![integer.clone(), double.clone(), numbers(None)] }),
        Data::Sum(Sum { data_points: vec![double, integer], aggregation_temporality: 1, is_monotonic: true }),
        Data::Histogram(Histogram { data_points: vec![explicit; 2], aggregation_temporality: 2 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: -1,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metric = |data| Metric {
        name: "name".to_owned(),
        description: "description".to_owned(),
        unit: "unit".to_owned(),
        metadata: attributes(),
        data,
    };
    let mut metrics: Vec<Metric> = datas.into_iter().map(|data| metric(Some(data))).collect();
    metrics.push(metric(None));
    let scope = InstrumentationScope {
        name: "scope".to_owned(),
        version: "1".to_owned(),
        attributes: attributes(),
        dropped_attributes_count: 3,
    };
    let scope_metrics = vec![
        ScopeMetrics { scope: Some(scope), metrics, schema_url: "schema".to_owned() },
        ScopeMetrics::default(),
    ];
    let resource = Resource { attributes: attributes(), dropped_attributes_count: 1, ..Resource::default() };
    let owner = ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: "url".to_owned() };
    ExportMetricsServiceRequest { resource_metrics: vec![owner.clone(), ResourceMetrics::default(), owner] }
}

#[test]
fn every_field_of_every_message_is_read_as_prost_reads_it() {
    compare(&everything().encode_to_vec());
    compare(&[]);
}

/// SplitMix64: equal seeds give equal damage.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize
}

#[test]
fn damaged_requests_are_read_as_prost_reads_them_or_refused_by_both() {
    let whole = everything().encode_to_vec();
    for end in 0..whole.len() {
        compare(&whole[..end]);
    }
    let seed = std::env::var("MYTSDB_SEED").map_or(Ok(7), |seed| seed.parse()).unwrap();
    println!("MYTSDB_SEED={seed}");
    let mut state = seed;
    for _ in 0..3_000 {
        let mut body = whole.clone();
        for _ in 0..=random(&mut state) % 4 {
            let at = random(&mut state) % body.len();
            match random(&mut state) % 4 {
                0 => body[at] = random(&mut state) as u8,
                1 => body[at] ^= 1 << (random(&mut state) % 8),
                2 => drop(body.remove(at)),
                _ => body.insert(at, random(&mut state) as u8),
            }
        }
        compare(&body);
        crate::otlp::columns::check_shape(&body);
    }
}

fn message(field: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2, payload.len() as u8];
    out.extend_from_slice(payload);
    out
}

#[test]
fn fields_in_another_order_repeated_or_unpacked_are_read_as_prost_reads_them() {
    let attribute = message(9, &message(1, b"k"));
    let packed = message(6, &[[1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]].concat());
    let unpacked = [0x31, 3, 0, 0, 0, 0, 0, 0, 0];
    let count = [0x21, 6, 0, 0, 0, 0, 0, 0, 0];
    let unknown = [0xf8, 0x07, 0x01];
    let points: [&[&[u8]]; 5] = [
        &[&count, &attribute, &attribute, &packed, &unpacked],
        &[&attribute, &unpacked, &unpacked, &attribute],
        &[&unknown, &count, &count, &packed, &unpacked, &packed],
        &[&attribute, &unknown, &attribute, &count],
        &[],
    ];
    for parts in points {
        let point = message(1, &parts.concat());
        let data = message(9, &[&point[..], &[0x10, 2], &point].concat());
        let name = message(1, b"n");
        for metric in [[&data[..], &name].concat(), [&name[..], &data].concat(), [&data[..], &data].concat()]
        {
            let metrics = message(2, &metric);
            let schema = message(3, b"s");
            for scope in [
                [&metrics[..], &message(1, &name), &schema].concat(),
                [&message(1, &name)[..], &metrics, &message(1, &message(2, b"v"))].concat(),
                [&schema[..], &schema, &metrics].concat(),
            ] {
                let scope = message(2, &scope);
                let resource = message(1, &message(1, &message(1, b"key")));
                for owner in [[&scope[..], &resource].concat(), [&resource[..], &scope, &resource].concat()] {
                    compare(&message(1, &owner));
                }
            }
        }
    }
}

#[test]
fn a_malformed_request_is_an_error_that_says_where() {
    struct Nobody;
    impl<'a> super::Visitor<'a> for Nobody {
        fn resource(&mut self, _: Option<&'a [u8]>, _: &'a [u8]) {}
        fn scope(&mut self, _: Option<&'a [u8]>, _: &'a [u8]) {}
        fn metric(&mut self, _: &super::MetricHeader<'a>) -> bool {
            false
        }
        fn number(&mut self, _: &super::NumberPoint<'a>) {}
        fn histogram(&mut self, _: &super::HistogramPoint<'a, '_>) {}
        fn exponential(&mut self, _: &super::ExponentialPoint<'a, '_>) {}
        fn summary(&mut self, _: &super::SummaryPoint<'a, '_>) {}
        fn resource_end(&mut self) {}
    }
    // Resource metrics, scope metrics, metric, gauge, and a point that ends inside its time.
    let point = message(1, &[0x19, 1, 2, 3]);
    let body = message(1, &message(2, &message(2, &message(5, &point))));
    let error = read(&body, &mut Nobody).unwrap_err();
    assert_eq!(error, ReadError::Malformed { offset: 10, source: WireError::Truncated });
    assert_eq!(
        error.to_string(),
        "the message at byte 10 is malformed: protobuf message ends inside a field"
    );
}

#[test]
fn payloads_of_a_run_end_at_the_first_that_is_not_whole() {
    let run = [message(7, b"one"), message(7, b"two")].concat();
    let found: Vec<_> = payloads(&run).collect();
    assert_eq!(found, [Ok(&b"one"[..]), Ok(&b"two"[..])]);
    let found: Vec<_> = payloads(&run[..run.len() - 1]).collect();
    assert_eq!(found, [Ok(&b"one"[..]), Err(WireError::Truncated)]);
}
