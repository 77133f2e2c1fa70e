//! Histograms and exemplars against `prost`, and through the storage.

use mytsdb_storage::model::{CUSTOM_BOUNDS_SCHEMA, ResetHint, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{Storage, StorageOptions};
use proptest::prelude::*;
use prost::Message;

use super::sparse::{decode_exemplar, decode_histogram};
use super::*;

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    count: Option<Count>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, packed = "false", tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let spans = || {
        let span = (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length });
        proptest::collection::vec(span, 0..4)
    };
    let floats = || proptest::collection::vec(any::<f64>(), 0..5);
    let deltas = || proptest::collection::vec(any::<i64>(), 0..5);
    let count = prop_oneof![
        any::<u64>().prop_map(|count| (Count::Integer(count), ZeroCount::Integer(count / 3))),
        any::<f64>().prop_map(|count| (Count::Float(count), ZeroCount::Float(count / 3.0))),
    ];
    let plain = (any::<f64>(), -60..20_i32, any::<f64>(), 0..4_i32, any::<i64>());
    (count, plain, (spans(), spans()), (deltas(), deltas()), (floats(), floats(), floats())).prop_map(
        |(count, plain, spans, deltas, floats)| Histogram {
            count: Some(count.0),
            sum: plain.0,
            schema: plain.1,
            zero_threshold: plain.2,
            zero_count: Some(count.1),
            negative_spans: spans.0,
            negative_deltas: deltas.0,
            negative_counts: floats.0,
            positive_spans: spans.1,
            positive_deltas: deltas.1,
            positive_counts: floats.1,
            reset_hint: plain.3,
            timestamp: plain.4,
            custom_values: floats.2,
        },
    )
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What the storage should be given, from what `prost` read.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (found, message) = match (decode_histogram(bytes), Histogram::decode(bytes)) {
        (Ok(found), Ok(message)) => (found, message),
        (Err(_), Err(_)) => return Ok(()),
        (found, message) => {
            return Err(TestCaseError::fail(format!("{found:?}, prost says {message:?}")));
        }
    };
    let (time_ms, found) = found;
    prop_assert_eq!(time_ms, message.timestamp);
    prop_assert_eq!(found.sum.to_bits(), message.sum.to_bits());
    prop_assert_eq!(found.layout.zero_threshold.to_bits(), message.zero_threshold.to_bits());
    prop_assert_eq!(bits(&found.layout.custom_bounds), bits(&message.custom_values));
    let schema = i8::try_from(message.schema).unwrap_or(i8::MAX);
    prop_assert_eq!(found.layout.schema, schema);
    let count = match message.count {
        Some(Count::Integer(count)) => count as f64,
        Some(Count::Float(count)) => count,
        None => 0.0,
    };
    prop_assert_eq!(found.count.to_bits(), count.to_bits());
    let zero_count = match message.zero_count {
        Some(ZeroCount::Integer(count)) => count as f64,
        Some(ZeroCount::Float(count)) => count,
        None => 0.0,
    };
    prop_assert_eq!(found.zero_count.to_bits(), zero_count.to_bits());
    let is_integer = !matches!(message.count, Some(Count::Float(_)));
    prop_assert_eq!(found.layout.is_integer, is_integer);
    let hint = u64::try_from(message.reset_hint).ok().and_then(ResetHint::from_number);
    prop_assert_eq!(found.reset_hint, hint.unwrap_or_default());
    for (spans, expected) in [
        (&found.layout.positive_spans, &message.positive_spans),
        (&found.layout.negative_spans, &message.negative_spans),
    ] {
        let spans: Vec<Span> =
            spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect();
        prop_assert_eq!(&spans, expected);
    }
    for (counts, floats, deltas) in [
        (&found.positive_counts, &message.positive_counts, &message.positive_deltas),
        (&found.negative_counts, &message.negative_counts, &message.negative_deltas),
    ] {
        let mut sum = 0_i64;
        let absolute: Vec<f64> = deltas
            .iter()
            .map(|delta| {
                sum = sum.wrapping_add(*delta);
                sum as f64
            })
            .collect();
        prop_assert_eq!(bits(counts), bits(if is_integer { &absolute } else { floats }));
    }
    Ok(())
}

proptest! {
    #[test]
    fn reader_and_prost_agree_on_whole_histograms(message in any_histogram()) {
        let bytes = message.encode_to_vec();
        prop_assert!(decode_histogram(&bytes).is_ok());
        check(&bytes)?;
    }

    #[test]
    fn reader_and_prost_agree_on_damaged_histograms(
        message in any_histogram(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode_to_vec();
        check(&bytes[..cut.index(bytes.len())])?;
        for (place, byte) in damage {
            let index = place.index(bytes.len());
            bytes[index] = byte;
        }
        check(&bytes)?;
    }

    #[test]
    fn reader_and_prost_agree_on_exemplars(
        pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z]{1,3}", 0..4),
        value: f64,
        timestamp: i64,
    ) {
        let labels = pairs.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() });
        let message = ExemplarMessage { labels: labels.collect(), value, timestamp };
        let bytes = message.encode_to_vec();
        // `prost` leaves -0.0 out, as if it were the default.
        let value = ExemplarMessage::decode(&bytes[..]).unwrap().value;
        let found = decode_exemplar(&bytes).unwrap().unwrap();
        prop_assert_eq!((found.value.to_bits(), found.time_ms), (value.to_bits(), timestamp));
        let expected: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assert_eq!(found.labels.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn exemplars_with_impossible_labels_are_left_out() {
    let twice = Label { name: "a".to_owned(), value: "b".to_owned() };
    let message = ExemplarMessage { labels: vec![twice.clone(), twice], value: 1.0, timestamp: 2 };
    assert_eq!(decode_exemplar(&message.encode_to_vec()), Ok(None));
    assert!(decode_exemplar(&[0x11, 0]).is_err());
}

#[test]
fn the_storage_keeps_the_histograms_of_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let now_ms = 1_700_000_000_000;
    let storage = Storage::open(StorageOptions::new(directory.path()), now_ms).unwrap();
    let whole = Histogram {
        count: Some(Count::Integer(6)),
        sum: 4.5,
        schema: i32::from(CUSTOM_BOUNDS_SCHEMA),
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_deltas: vec![1, 1, 1],
        timestamp: now_ms,
        custom_values: vec![0.5, 1.0],
        ..Histogram::default()
    };
    let impossible = Histogram { positive_deltas: vec![1, -2, 1], timestamp: now_ms + 1, ..whole.clone() };
    let label = super::tests::label("__name__", "latency");
    let request = super::tests::WriteRequest {
        timeseries: vec![super::tests::TimeSeries {
            labels: vec![label],
            histograms: vec![whole.encode_to_vec(), impossible.encode_to_vec(), vec![0xff]],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = request.encode_to_vec();
    let mut columns = Columns::default();
    columns.decode(&body, |bytes| storage.series_key(bytes)).unwrap();
    assert_eq!(columns.malformed_histograms, [(0, WireError::Truncated)]);
    let labels = columns.labels(&body);
    let report = storage.write(&TenantId::anonymous(), &columns.batch(&labels), now_ms).unwrap();
    assert_eq!((report.accepted_histogram_count, report.rejections[0].sample_count), (1, 1));
    assert!(report.rejections[0].reason.to_string().contains("count of a bucket is -1"));
    let set = storage.reader(&TenantId::anonymous()).select(&[], TimeRange::ALL).unwrap();
    let mut found = SampleColumns::default();
    set.read(0, TimeRange::ALL, &mut found).unwrap();
    assert_eq!(found.timestamps_ms, [now_ms]);
    assert_eq!(found.histograms[0].1.positive_counts, [1.0, 2.0, 3.0]);
    assert_eq!(found.histograms[0].1.layout.custom_bounds, [0.5, 1.0]);
}
