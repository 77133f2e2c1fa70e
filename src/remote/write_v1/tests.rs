//! The hand-written reader against `prost` on the same bytes, whole and damaged.

use mytsdb_storage::model::{MetricKind, TenantId};
use mytsdb_storage::{Storage, StorageOptions};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::remote::oracle::compare_v1;
use crate::remote::oracle::v1::{Label, Metadata, Sample, TimeSeries, WriteRequest};

pub(in crate::remote) fn label(name: &str, value: &str) -> Vec<u8> {
    Label { name: name.into(), value: value.into() }.encode_to_vec()
}

fn series(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
        samples: samples
            .iter()
            .map(|(value, timestamp)| Sample { value: *value, timestamp: *timestamp })
            .collect(),
        ..TimeSeries::default()
    }
}

fn key_of(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

fn decode(body: &[u8]) -> Result<Request, DecodeError> {
    let mut request = Request::default();
    request.decode(body, key_of).map(|()| request)
}

#[test]
fn a_request_becomes_columns() {
    let request = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("job", "a")], &[(1.0, 1_700_000_000_000), (f64::NAN, 5)]),
            series(&[("job", "b"), ("__name__", "up"), ("empty", "")], &[(2.0, -1)]),
            series(&[("__name__", "nothing")], &[]),
        ],
        metadata: vec![Metadata {
            kind: 1,
            metric_family_name: b"up".to_vec(),
            help: b"Is it up?".to_vec(),
            unit: Vec::new(),
        }],
    };
    let body = request.encode_to_vec();
    let found = decode(&body).unwrap();
    let columns = &found.columns;
    assert_eq!(columns.sample_ends, [2, 3, 3]);
    assert_eq!(columns.timestamps_ms, [1_700_000_000_000, 5, -1]);
    let labels = found.labels(&body);
    assert_eq!(labels.labels(1).unwrap().to_string(), r#"{__name__="up", job="b"}"#);
    assert_eq!(columns.metadata[0].kind, MetricKind::Counter);
    assert_eq!(columns.metadata[0].help, "Is it up?");
}

#[test]
fn labels_in_pieces_and_unknown_fields_make_the_same_series() {
    let whole = series(&[("__name__", "up"), ("job", "a")], &[(1.0, 5)]);
    let pieces = [
        TimeSeries { labels: whole.labels[..1].to_vec(), ..TimeSeries::default() }.encode_to_vec(),
        TimeSeries { samples: whole.samples.clone(), ..TimeSeries::default() }.encode_to_vec(),
        // Field 15: a group that holds a varint field 1.
        vec![15 << 3 | 3, 1 << 3, 7, 15 << 3 | 4],
        TimeSeries { labels: whole.labels[1..].to_vec(), ..TimeSeries::default() }.encode_to_vec(),
    ]
    .concat();
    let mut body = Vec::new();
    for message in [pieces, whole.encode_to_vec()] {
        body.extend_from_slice(&[0x0a, message.len() as u8]);
        body.extend_from_slice(&message);
    }
    let found = decode(&body).unwrap();
    let labels = found.labels(&body);
    assert_eq!(labels.labels(0), labels.labels(1));
    assert_eq!(found.columns.keys[0], found.columns.keys[1]);
    assert_eq!(found.columns.sample_ends, [1, 2]);
    compare_v1(&body).unwrap();
}

#[test]
fn label_sets_that_make_no_series_are_refused_with_a_reason() {
    for (labels, part) in [
        (&[("job", "a")][..], "no __name__"),
        (&[], "no __name__"),
        (&[("__name__", "a"), ("x", "1"), ("x", "2")], "\"x\" occurs twice"),
        (&[("__name__", "a"), ("", "1")], "empty name"),
    ] {
        let request =
            WriteRequest { timeseries: vec![series(labels, &[(1.0, 1)])], ..WriteRequest::default() };
        let body = request.encode_to_vec();
        let reason = decode(&body).unwrap().labels(&body).labels(0).unwrap_err();
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
    }
}

#[test]
fn the_storage_keeps_what_was_decoded_and_refuses_only_the_bad_series() {
    let directory = tempfile::tempdir().unwrap();
    let now_ms = 1_700_000_000_000;
    let storage = Storage::open(StorageOptions::new(directory.path()), now_ms).unwrap();
    let request = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up")], &[(1.0, now_ms)]),
            series(&[("job", "nameless")], &[(1.0, now_ms), (2.0, now_ms + 1)]),
            series(&[("__name__", "down")], &[(3.0, now_ms)]),
        ],
        ..WriteRequest::default()
    };
    let body = request.encode_to_vec();
    let mut found = Request::default();
    found.decode(&body, |bytes| storage.series_key(bytes)).unwrap();
    let labels = found.labels(&body);
    let report = storage.write(&TenantId::anonymous(), &found.columns.batch(&labels), now_ms).unwrap();
    assert_eq!((report.accepted_sample_count, report.rejected_sample_count()), (2, 2));
    assert_eq!(report.rejections[0].series_index, 1);
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"__name__".to_vec()),
        "[a-c]{0,2}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let label = prop_oneof![
        9 => (any_text(), any_text()).prop_map(|(name, value)| Label { name, value }.encode_to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let time = prop_oneof![1_600_000_000_000..1_900_000_000_000_i64, any::<i64>()];
    let sample = (any::<f64>(), time).prop_map(|(value, timestamp)| Sample { value, timestamp });
    (
        proptest::collection::vec(label, 0..5),
        proptest::collection::vec(sample, 0..5),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 0..2),
    )
        .prop_map(|(labels, samples, others)| TimeSeries {
            labels,
            samples,
            exemplars: others.clone(),
            histograms: others,
        })
}

fn any_request() -> impl Strategy<Value = WriteRequest> {
    let metadata = (any::<i32>(), any_text(), any_text()).prop_map(|(kind, name, help)| Metadata {
        kind,
        metric_family_name: name,
        help: help.clone(),
        unit: help,
    });
    (proptest::collection::vec(any_series(), 0..6), proptest::collection::vec(metadata, 0..3))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

fn compare(body: &[u8]) -> Result<(), TestCaseError> {
    compare_v1(body).map_err(TestCaseError::fail)
}

proptest! {
    #[test]
    fn reader_and_prost_agree_on_whole_requests(request in any_request()) {
        let body = request.encode_to_vec();
        prop_assert!(decode(&body).is_ok());
        compare(&body)?;
    }

    #[test]
    fn reader_and_prost_agree_on_damaged_requests(
        request in any_request(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = request.encode_to_vec();
        prop_assume!(!body.is_empty());
        compare(&body[..cut.index(body.len())])?;
        for (place, byte) in damage {
            let index = place.index(body.len());
            body[index] = byte;
        }
        compare(&body)?;
    }

    #[test]
    fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
        compare(&body)?;
    }
}
