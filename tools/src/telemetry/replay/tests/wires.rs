//! Remote write and Arrow Flight say the same as OTLP.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use prost::Message;

use super::*;
use crate::telemetry::replay::{Tally, Wire};

#[derive(Clone, PartialEq, Message)]
struct RequestV1 {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<SeriesV1>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<SeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    r#type: i32,
}

/// Labels as text → (time in milliseconds, value, start).
type Samples = BTreeMap<String, (i64, f64, i64)>;

fn text_of(labels: impl Iterator<Item = (String, String)>) -> String {
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
    assert!(labels.is_sorted(), "{labels:?}");
    labels.join(",")
}

fn samples_of(request: &Request, wire: Wire) -> Samples {
    let mut samples = Samples::new();
    match wire {
        Wire::RemoteWriteV1 => {
            let message: RequestV1 = decode(request);
            for series in message.timeseries {
                let labels = text_of(series.labels.into_iter().map(|label| (label.name, label.value)));
                let [sample] = series.samples[..] else { panic!("{labels}") };
                samples.insert(labels, (sample.timestamp, sample.value, 0));
            }
        }
        Wire::RemoteWriteV2 => {
            let message: RequestV2 = decode(request);
            assert_eq!(message.symbols[0], "");
            for series in message.timeseries {
                let symbol = |at: u32| message.symbols[at as usize].clone();
                let pairs = series.labels_refs.chunks_exact(2);
                let labels = text_of(pairs.map(|pair| (symbol(pair[0]), symbol(pair[1]))));
                let [sample] = series.samples[..] else { panic!("{labels}") };
                assert!((1..=5).contains(&series.metadata.unwrap().r#type));
                samples.insert(labels, (sample.timestamp, sample.value, sample.start_timestamp));
            }
        }
        Wire::Flight => {
            let rows = request.columns.as_ref().unwrap();
            let maps = rows.column(0).as_map();
            let times = rows.column(1).as_primitive::<TimestampMillisecondType>();
            let values = rows.column(2).as_primitive::<Float64Type>();
            for row in 0..rows.num_rows() {
                let entries = maps.value(row);
                let (names, texts) =
                    (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                let pairs =
                    (0..names.len()).map(|at| (names.value(at).to_owned(), texts.value(at).to_owned()));
                samples.insert(text_of(pairs), (times.value(row), values.value(row), 0));
            }
        }
        Wire::Otlp => panic!("has no samples"),
    }
    assert_eq!(samples.len() as u64, request.events, "no label set twice");
    samples
}

fn cycle_of(flags: &[&str], wire: Wire, cycle: u64) -> Samples {
    let mut replay = replay(flags, &ReplayOptions { wire, ..options() });
    let earlier: Vec<Request> = (0..cycle).flat_map(|cycle| one_cycle(&mut replay, cycle)).collect();
    drop(earlier);
    one_cycle(&mut replay, cycle).iter().flat_map(|request| samples_of(request, wire)).collect()
}

const FLAGS: [&str; 4] = [
    "--metrics-types-summary=20",
    "--metrics-churn-fraction=0.5",
    "--metrics-churn-interval=20s",
    "--metrics-types-histogram=20",
];

#[test]
fn all_wires_carry_the_same_samples() {
    let v1 = cycle_of(&FLAGS, Wire::RemoteWriteV1, 7);
    let v2 = cycle_of(&FLAGS, Wire::RemoteWriteV2, 7);
    let flight = cycle_of(&FLAGS, Wire::Flight, 7);
    assert_eq!(v1, flight);
    let without_starts: Samples =
        v2.iter().map(|(labels, (time, value, _))| (labels.clone(), (*time, *value, 0))).collect();
    assert_eq!(v1, without_starts);
    let mut replaced = 0;
    for (labels, (time_ms, _, start_ms)) in &v2 {
        assert_eq!(*time_ms as u64, STARTED_NS / 1_000_000 + 80_000);
        assert!(
            *start_ms == 0 || (*start_ms as u64) >= STARTED_NS / 1_000_000 && start_ms < time_ms,
            "{labels}"
        );
        assert!(labels.contains("job=") && labels.contains("instance=pod-a-"), "{labels}");
        replaced += usize::from(!labels.contains("-000000,"));
    }
    assert!(replaced > 0);
    assert!(v2.values().any(|(_, _, start_ms)| *start_ms > 0));
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let samples = cycle_of(&FLAGS, Wire::RemoteWriteV1, 0);
    let mut checked = 0;
    for (labels, (_, count, _)) in samples.iter().filter(|(labels, _)| labels.contains("_bucket")) {
        let (front, rest) = labels.split_once(",le=").unwrap_or_else(|| panic!("{labels}"));
        if rest == "+Inf" {
            let of_count = front.replace("_bucket", "_count");
            assert_eq!(samples[&of_count].1, *count, "{labels}");
            let smaller = samples.iter().filter(|(other, _)| other.starts_with(&format!("{front},le=")));
            assert!(
                smaller.clone().count() == 12 && smaller.clone().all(|(_, (_, bucket, _))| bucket <= count)
            );
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn what_the_catalog_counts_is_what_is_there() {
    for wire in [Wire::RemoteWriteV1, Wire::RemoteWriteV2, Wire::Flight] {
        let mut replay = replay(&FLAGS, &ReplayOptions { wire, ..options() });
        let catalog = replay.catalog().clone();
        let mut tally = Tally::default();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for request in one_cycle(&mut replay, 0) {
            tally.add(&request);
            for labels in samples_of(&request, wire).into_keys() {
                let name = labels.split(',').next().and_then(|pair| pair.strip_prefix("__name__=")).unwrap();
                *found.entry(name.to_owned()).or_default() += u64::from(!labels.contains("quantile="));
            }
        }
        for (info, points) in catalog.metrics.iter().zip(tally.points(&catalog)) {
            assert_eq!(found[&info.stored_name], points, "{wire:?} {info:?}");
        }
    }
}
