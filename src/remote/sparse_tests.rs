//! Histograms and exemplars against `prost`, and through the storage.

use mytsdb_storage::model::{CUSTOM_BOUNDS_SCHEMA, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{Storage, StorageOptions};
use proptest::prelude::*;
use prost::Message;

use super::oracle::v1::{ExemplarMessage, Label, TimeSeries, WriteRequest};
use super::oracle::{
    Count, HistogramMessage as Histogram, HistogramStart, SpanMessage as Span, ZeroCount, histogram,
};
use super::sparse::{HistogramError, decode_histogram};
use super::wire::WireError;
use super::write_v1::Request;

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

/// Compares the two readers, with and without start times.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    for has_start in [false, true] {
        prop_assert_eq!(decode_histogram(bytes, has_start).ok(), histogram(bytes, has_start));
    }
    Ok(())
}

fn decode_exemplar(bytes: &[u8]) -> Request {
    let series = TimeSeries { exemplars: vec![bytes.to_vec()], ..TimeSeries::default() };
    let body = WriteRequest { timeseries: vec![series], ..WriteRequest::default() }.encode_to_vec();
    let mut request = Request::default();
    request.decode(&body, |bytes| bytes.len() as u128).unwrap();
    request
}

proptest! {
    #[test]
    fn reader_and_prost_agree_on_whole_histograms(message in any_histogram()) {
        let mut bytes = message.encode_to_vec();
        let found = decode_histogram(&bytes, true);
        let is_mismatch = matches!(found, Err(HistogramError::CountMismatch { .. }));
        prop_assert!(found.is_ok() || is_mismatch, "{:?}", found);
        check(&bytes)?;
        bytes.extend(HistogramStart { start_timestamp: message.timestamp }.encode_to_vec());
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
        let labels = pairs.iter().map(|(name, value)| Label { name: name.clone().into(), value: value.clone().into() });
        let message = ExemplarMessage { labels: labels.collect(), value, timestamp };
        let bytes = message.encode_to_vec();
        // `prost` leaves -0.0 out, as if it were the default.
        let value = ExemplarMessage::decode(&bytes[..]).unwrap().value;
        let found = decode_exemplar(&bytes).columns.exemplars[0].exemplar.clone();
        prop_assert_eq!((found.value.to_bits(), found.time_ms), (value.to_bits(), timestamp));
        let expected: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assert_eq!(found.labels.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn exemplars_with_impossible_labels_are_left_out_and_the_first_says_why() {
    let twice = Label { name: b"a".to_vec(), value: b"b".to_vec() };
    let message = ExemplarMessage { labels: vec![twice.clone(), twice], value: 1.0, timestamp: 2 };
    for (bytes, reason) in [
        (message.encode_to_vec(), "label name \"a\" occurs twice"),
        (vec![0x11, 0], "protobuf message ends inside a field"),
        (vec![0x0a, 3, 0x0a, 1, 0xff], "label text \"\u{fffd}\" is not UTF-8"),
    ] {
        let columns = decode_exemplar(&bytes).columns;
        assert_eq!((columns.exemplars.len(), columns.refusals.exemplars.count), (0, 1));
        assert_eq!(columns.refusals.exemplars.first, Some((0, reason.to_owned())));
    }
}

#[test]
fn observations_in_no_bucket_must_have_been_nan() {
    let whole = Histogram {
        count: Some(Count::Integer(4)),
        sum: 4.5,
        zero_count: Some(ZeroCount::Integer(1)),
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_deltas: vec![1, 1],
        ..Histogram::default()
    };
    let count = |count: Count, sum: f64| {
        let bytes = Histogram { count: Some(count), sum, ..whole.clone() }.encode_to_vec();
        decode_histogram(&bytes, false).map(|(_, histogram)| histogram.count)
    };
    assert_eq!(count(Count::Integer(4), 4.5), Ok(4.0));
    let mismatch = HistogramError::CountMismatch { in_buckets: 4.0, count: 99.0 };
    assert_eq!(count(Count::Integer(99), 4.5), Err(mismatch));
    assert_eq!(count(Count::Integer(99), f64::NAN), Ok(99.0));
    assert_eq!(count(Count::Float(99.0), 4.5), Ok(99.0));
    assert_eq!(count(Count::Integer(3), 4.5), Ok(3.0), "the storage refuses it");
}

#[test]
fn more_buckets_than_a_histogram_may_have_are_not_read() {
    let many = Histogram { positive_counts: vec![1.0; 8_193], ..Histogram::default() };
    let error = decode_histogram(&many.encode_to_vec(), false).unwrap_err();
    assert_eq!(error.to_string(), "more than 8192 buckets or bounds, the limit of a histogram");
    let many = Histogram { negative_spans: vec![Span::default(); 1_001], ..Histogram::default() };
    let error = decode_histogram(&many.encode_to_vec(), false).unwrap_err();
    assert_eq!(error, HistogramError::TooMany { what: "spans", limit: 1_000 });
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
    let label = Label { name: b"__name__".to_vec(), value: b"latency".to_vec() };
    let request = WriteRequest {
        timeseries: vec![TimeSeries {
            labels: vec![label.encode_to_vec()],
            histograms: vec![whole.encode_to_vec(), impossible.encode_to_vec(), vec![0xff]],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = request.encode_to_vec();
    let mut found = Request::default();
    found.decode(&body, |bytes| storage.series_key(bytes)).unwrap();
    let refused = (0, HistogramError::Wire(WireError::Truncated));
    assert_eq!(found.columns.refusals.histograms, [refused]);
    let labels = found.labels(&body);
    let report = storage.write(&TenantId::anonymous(), &found.columns.batch(&labels), now_ms).unwrap();
    assert_eq!((report.accepted_histogram_count, report.rejections[0].sample_count), (1, 1));
    assert!(report.rejections[0].reason.to_string().contains("count of a bucket is -1"));
    let set = storage.reader(&TenantId::anonymous()).select(&[], TimeRange::ALL).unwrap();
    let mut found = SampleColumns::default();
    set.read(0, TimeRange::ALL, &mut found).unwrap();
    assert_eq!(found.timestamps_ms, [now_ms]);
    assert_eq!(found.histograms[0].1.positive_counts, [1.0, 2.0, 3.0]);
    assert_eq!(found.histograms[0].1.layout.custom_bounds, [0.5, 1.0]);
}
