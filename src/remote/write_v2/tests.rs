//! The hand-written reader against `prost` on the same bytes, whole and damaged; keys, type and unit, limits.

use mytsdb_storage::LabelSource as _;
use mytsdb_storage::model::{StartRun, TenantId};
use mytsdb_storage::{Storage, StorageOptions};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::remote::oracle::compare_v2;
use crate::remote::oracle::v2::{
    ExemplarMessage, Metadata as MetadataMessage, RequestMessage, Sample, TimeSeries,
};
use crate::remote::refusals::RefusedSeries;

fn key_of(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

fn request(symbols: &[&str], timeseries: Vec<TimeSeries>) -> RequestMessage {
    RequestMessage { symbols: symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect(), timeseries }
}

fn series(labels_refs: &[u32], samples: &[(f64, i64)]) -> TimeSeries {
    let samples = samples.iter().map(|(value, timestamp)| Sample {
        value: *value,
        timestamp: *timestamp,
        start_timestamp: 0,
    });
    TimeSeries { labels_refs: labels_refs.to_vec(), samples: samples.collect(), ..TimeSeries::default() }
}

fn read(message: &RequestMessage, has_type_and_unit: bool) -> (Request, Vec<u8>) {
    let body = message.encode_to_vec();
    let mut found = Request::default();
    found.decode(&body, has_type_and_unit, key_of).unwrap();
    (found, body)
}

const SYMBOLS: [&str; 9] = ["", "__name__", "up", "job", "a", "seconds", "Is it up?", "__type__", "x_bucket"];

#[test]
fn a_request_becomes_columns() {
    let mut first = series(&[1, 2, 3, 4], &[(1.0, 1_700_000_000_000), (f64::NAN, 1_700_000_001_000)]);
    first.samples[1].start_timestamp = 1_600_000_000_000;
    first.metadata = Some(MetadataMessage { kind: 2, help_ref: 6, unit_ref: 5 });
    let exemplar = ExemplarMessage { labels_refs: vec![3, 4], value: 0.5, timestamp: 7 };
    first.exemplars = vec![exemplar.encode_to_vec()];
    let second = TimeSeries { samples: vec![], histograms: vec![vec![0x78, 9]], ..first.clone() };
    let classic = TimeSeries {
        metadata: Some(MetadataMessage { kind: 3, ..MetadataMessage::default() }),
        ..series(&[1, 8], &[(0.0, 0)])
    };
    let (found, body) = read(&request(&SYMBOLS, vec![first, second, classic]), false);
    let columns = &found.columns;
    assert_eq!(columns.sample_ends, [2, 2, 3]);
    assert_eq!(columns.keys[0], columns.keys[1], "the labels are the same");
    assert_eq!(columns.timestamps_ms, [1_700_000_000_000, 1_700_000_001_000, 0]);
    let runs = [StartRun { position: 1, start_ms: 1_600_000_000_000 }, StartRun { position: 2, start_ms: 0 }];
    assert_eq!(columns.starts.runs(), runs);
    assert_eq!((columns.histograms[0].series_index, columns.histograms[0].time_ms), (1, 9));
    assert_eq!(columns.exemplars.iter().map(|one| one.series_index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(columns.exemplars[0].exemplar.labels.to_string(), r#"{job="a"}"#);
    let facts: Vec<_> = columns
        .metadata
        .iter()
        .map(|fact| (fact.metric.as_str(), fact.kind, fact.unit.as_str(), fact.help.as_str()))
        .collect();
    let expected = [("up", MetricKind::Gauge, "seconds", "Is it up?"), ("x", MetricKind::Histogram, "", "")];
    assert_eq!(facts, expected);
    assert!(columns.refusals.is_empty());
    assert_eq!(found.labels(&body).labels(1).unwrap().to_string(), r#"{__name__="up", job="a"}"#);
    compare_v2(&body).unwrap();
}

#[test]
fn symbols_may_come_last_and_references_unpacked() {
    let whole = request(&SYMBOLS, vec![series(&[1, 2, 3, 4], &[(1.0, 5)])]);
    let series = [0x08, 1, 0x08, 2, 0x12, 2, 0x10, 5, 0x08, 3, 0x0a, 1, 4];
    let mut body = vec![0x2a, series.len() as u8];
    body.extend_from_slice(&series);
    body.extend(request(&SYMBOLS, vec![]).encode_to_vec());
    let mut found = Request::default();
    found.decode(&body, false, key_of).unwrap();
    assert_eq!(found.columns.keys, read(&whole, false).0.columns.keys);
    assert_eq!(found.labels(&body).labels(0).unwrap().to_string(), r#"{__name__="up", job="a"}"#);
    compare_v2(&body).unwrap();
}

#[test]
fn series_are_refused_one_by_one_and_their_neighbours_keep_their_places() {
    let mut both = series(&[1, 2], &[(1.0, 1), (2.0, 2)]);
    both.samples[0].start_timestamp = 77;
    both.histograms = vec![vec![0x78, 9], vec![0xff]];
    both.exemplars = vec![ExemplarMessage::default().encode_to_vec(), vec![0xff]];
    let good = |value: f64| series(&[1, 2, 3, 4], &[(value, 1)]);
    let message = request(
        &SYMBOLS,
        vec![
            good(1.0),
            both,
            series(&[1, 2, 3], &[(1.0, 1)]),
            good(2.0),
            series(&[1, 99], &[(1.0, 1)]),
            series(&[1, 2], &[]),
            good(3.0),
        ],
    );
    let (found, body) = read(&message, false);
    let columns = &found.columns;
    assert_eq!(columns.values, [1.0, 2.0, 3.0]);
    assert!(columns.starts.is_empty() && columns.histograms.is_empty() && columns.exemplars.is_empty());
    let refused = |column_index, sample_count, error| RefusedSeries { column_index, sample_count, error };
    let expected = [
        refused(1, 4, SeriesError::SamplesAndHistograms { sample_count: 2, histogram_count: 2 }),
        refused(1, 1, SeriesError::OddLabelReferences { given: 3 }),
        refused(2, 1, SeriesError::LabelReference { reference: 99, symbol_count: 9 }),
        refused(2, 0, SeriesError::Empty),
    ];
    assert_eq!(columns.refusals.series, expected);
    assert_eq!((columns.refusals.exemplars.count, columns.refusals.histograms.len()), (2, 0));
    let places: Vec<usize> = (0..3).map(|index| columns.refusals.request_index(index)).collect();
    assert_eq!(places, [0, 3, 6]);
    compare_v2(&body).unwrap();
}

#[test]
fn a_created_timestamp_stands_for_start_times_that_are_missing() {
    let mut one = series(&[1, 2], &[(1.0, 10), (2.0, 20), (3.0, 30)]);
    one.samples[1].start_timestamp = 15;
    one.created_timestamp = 5;
    let two = TimeSeries { samples: vec![], histograms: vec![vec![0x78, 9]], ..one.clone() };
    let (found, body) = read(&request(&SYMBOLS, vec![one, two, series(&[1, 2], &[(4.0, 40)])]), false);
    let columns = &found.columns;
    let starts: Vec<i64> = (0..4).map(|position| columns.starts.at(position)).collect();
    assert_eq!(starts, [5, 15, 5, 0]);
    assert_eq!(columns.histograms[0].histogram.start_ms, Some(5));
    compare_v2(&body).unwrap();
}

#[test]
fn type_and_unit_become_labels_where_that_is_switched_on() {
    let with = |kind: i32, unit_ref: u32| TimeSeries {
        metadata: Some(MetadataMessage { kind, help_ref: 6, unit_ref }),
        ..series(&[1, 2, 7, 4], &[(1.0, 1)])
    };
    let message =
        request(&SYMBOLS, vec![with(1, 5), with(1, 0), with(0, 5), with(0, 0), with(1, 5), with(1, 99)]);
    let (found, body) = read(&message, true);
    let labels = found.labels(&body);
    let texts: Vec<String> = (0..4).map(|index| labels.labels(index).unwrap().to_string()).collect();
    let expected = [
        r#"{__name__="up", __type__="counter", __unit__="seconds"}"#,
        r#"{__name__="up", __type__="counter"}"#,
        r#"{__name__="up", __unit__="seconds"}"#,
        // Nobody said: what the sender calls so stays.
        r#"{__name__="up", __type__="a"}"#,
    ];
    assert_eq!(texts, expected);
    let keys = &found.columns.keys;
    assert_eq!(keys[0], keys[4]);
    assert!((1..4).all(|index| !keys[..index].contains(&keys[index])), "{keys:?}");
    assert_eq!(labels.labels(5).unwrap_err(), "unit reference 99 is outside of the 9 symbols");
    let (found, body) = read(&message, false);
    assert_eq!(found.labels(&body).labels(0).unwrap().to_string(), r#"{__name__="up", __type__="a"}"#);
    assert!(found.columns.keys.iter().all(|key| *key == found.columns.keys[0]));
    assert_eq!(found.columns.refusals.metadata.count, 1);
    let (_, reason) = found.columns.refusals.metadata.first.clone().unwrap();
    assert_eq!(reason, "help or unit reference 99 is outside of the 9 symbols");
}

#[test]
fn label_sets_that_make_no_series_are_refused_with_a_reason() {
    let mut message = request(&SYMBOLS, vec![]);
    message.symbols.push(vec![0xff]);
    for (labels_refs, part) in [
        (&[3, 4][..], "no __name__"),
        (&[], "no __name__"),
        (&[1, 0], "no __name__"),
        (&[1, 2, 3, 4, 3, 2], "\"job\" occurs twice"),
        (&[1, 2, 0, 4], "empty name"),
        (&[1, 2, 3, 9], "label value \"\u{fffd}\" is not UTF-8"),
        (&[1, 2, 9, 4], "label name \"\u{fffd}\" is not UTF-8"),
    ] {
        message.timeseries = vec![series(labels_refs, &[(1.0, 1)])];
        let (found, body) = read(&message, false);
        let reason = found.labels(&body).labels(0).unwrap_err();
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
        compare_v2(&body).unwrap();
    }
    message.timeseries = vec![series(&[3, 4, 1, 2], &[(1.0, 1)])];
    let (found, body) = read(&message, false);
    let labels = found.labels(&body).labels(0).unwrap();
    assert_eq!(labels.to_string(), r#"{__name__="up", job="a"}"#, "any order will do");
    let many = series(&[1; 2 * 1024 + 2], &[(1.0, 1)]);
    let (found, _) = read(&request(&SYMBOLS, vec![many]), false);
    assert_eq!(found.columns.refusals.series[0].error, SeriesError::TooManyLabels { given: 1025 });
}

#[test]
fn the_first_symbol_is_empty_and_things_are_counted() {
    let decode = |body: &[u8]| Request::default().decode(body, false, key_of).unwrap_err();
    let error = decode(&request(&["up"], vec![]).encode_to_vec());
    assert_eq!(error, DecodeError::FirstSymbol { length_bytes: 2 });
    let many = |field: u8, count: usize| [field << 3 | 2, 0].repeat(count);
    for (what, limit, body) in [
        ("symbols", 1 << 20, many(4, (1 << 20) + 1)),
        ("series", 1 << 20, many(5, (1 << 20) + 1)),
        ("samples", 1 << 21, within_series(&many(2, (1 << 21) + 1))),
        ("histograms", 1 << 17, within_series(&many(3, (1 << 17) + 1))),
        ("exemplars", 1 << 18, within_series(&many(4, (1 << 18) + 1))),
    ] {
        assert_eq!(decode(&body), DecodeError::TooMany { what, limit });
    }
}

fn within_series(series: &[u8]) -> Vec<u8> {
    let mut body = vec![0x2a];
    prost::encoding::encode_varint(series.len() as u64, &mut body);
    body.extend_from_slice(series);
    body
}

#[test]
fn the_storage_finds_a_series_by_its_symbols_whatever_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let now_ms = 1_700_000_000_000;
    let storage = Storage::open(StorageOptions::new(directory.path()), now_ms).unwrap();
    let mut found = Request::default();
    let mut write = |message: &RequestMessage| {
        let body = message.encode_to_vec();
        found.decode(&body, false, |bytes| storage.series_key(bytes)).unwrap();
        let labels = found.labels(&body);
        let batch = found.columns.batch(&labels);
        let report = storage.write(&TenantId::anonymous(), &batch, now_ms).unwrap();
        (report.accepted_sample_count, report.rejected_sample_count())
    };
    let first = request(&["", "__name__", "up", "job"], vec![series(&[1, 2, 3, 2], &[(1.0, now_ms - 1)])]);
    let other = request(
        &["", "up", "job", "__name__"],
        vec![series(&[3, 1, 2, 1], &[(2.0, now_ms)]), series(&[2, 1], &[(2.0, now_ms)])],
    );
    assert_eq!((write(&first), write(&other)), ((1, 0), (1, 1)));
    assert_eq!(storage.stats().head_series_count, 1);
}

fn any_refs() -> impl Strategy<Value = Vec<u32>> {
    let reference = prop_oneof![9 => 0..6_u32, 1 => any::<u32>()];
    let pairs = proptest::collection::vec(0..6_u32, 0..3).prop_map(|values| {
        values.into_iter().enumerate().flat_map(|(index, value)| [index as u32 + 1, value]).collect()
    });
    prop_oneof![pairs, proptest::collection::vec(reference, 0..6)]
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let time = || prop_oneof![1_600_000_000_000..1_900_000_000_000_i64, Just(0), any::<i64>()];
    let sample = (any::<f64>(), time(), time()).prop_map(|(value, timestamp, start_timestamp)| Sample {
        value,
        timestamp,
        start_timestamp,
    });
    let exemplar = (any_refs(), any::<f64>(), time()).prop_map(|(labels_refs, value, timestamp)| {
        ExemplarMessage { labels_refs, value, timestamp }.encode_to_vec()
    });
    let bytes = || proptest::collection::vec(any::<u8>(), 0..5);
    let metadata = (0..9_i32, 0..7_u32, 0..7_u32).prop_map(|(kind, help_ref, unit_ref)| MetadataMessage {
        kind,
        help_ref,
        unit_ref,
    });
    (
        any_refs(),
        proptest::collection::vec(sample, 0..4),
        prop_oneof![3 => Just(vec![]), 1 => proptest::collection::vec(bytes(), 0..3)],
        proptest::collection::vec(prop_oneof![exemplar, bytes()], 0..2),
        proptest::option::of(metadata),
        prop_oneof![Just(0), time()],
    )
        .prop_map(|(labels_refs, samples, histograms, exemplars, metadata, created_timestamp)| {
            TimeSeries { labels_refs, samples, histograms, exemplars, metadata, created_timestamp }
        })
}

fn any_request() -> impl Strategy<Value = RequestMessage> {
    let text = prop_oneof![
        Just(b"__name__".to_vec()),
        "[a-c]{0,2}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    (proptest::collection::vec(text, 0..6), proptest::collection::vec(any_series(), 0..6)).prop_map(
        |(texts, timeseries)| {
            let symbols = [Vec::new(), b"__name__".to_vec()].into_iter().chain(texts).collect();
            RequestMessage { symbols, timeseries }
        },
    )
}

fn compare(body: &[u8]) -> Result<(), TestCaseError> {
    compare_v2(body).map_err(TestCaseError::fail)
}

proptest! {
    #[test]
    fn reader_and_prost_agree_on_whole_requests(request in any_request()) {
        let body = request.encode_to_vec();
        prop_assert!(Request::default().decode(&body, false, key_of).is_ok());
        compare(&body)?;
    }

    #[test]
    fn reader_and_prost_agree_on_damaged_requests(
        request in any_request(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = request.encode_to_vec();
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
