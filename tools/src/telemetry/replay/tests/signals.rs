//! Spans and log records, and what points at them.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::{LogRecord, LogsRequest, Span, TracesRequest};
use super::metrics::exemplars;
use super::*;
use crate::telemetry::replay::BatchSizes;

fn spans(request: &Request) -> Vec<Span> {
    let message: TracesRequest = decode(request);
    let of_resources = message.resource_spans.into_iter().flat_map(|of_resource| {
        let resource = of_resource.resource.unwrap();
        assert!(resource.attributes.iter().any(|pair| pair.key == "service.instance.id"));
        of_resource.scope_spans
    });
    let spans: Vec<Span> = of_resources
        .flat_map(|scope| {
            assert!(!scope.scope.unwrap().name.is_empty());
            scope.spans
        })
        .collect();
    assert_eq!(spans.len() as u64, request.events);
    spans
}

fn records(request: &Request) -> Vec<LogRecord> {
    let message: LogsRequest = decode(request);
    let of_resources = message.resource_logs.into_iter().flat_map(|of_resource| of_resource.scope_logs);
    let records: Vec<LogRecord> = of_resources.flat_map(|scope| scope.log_records).collect();
    assert_eq!(records.len() as u64, request.events);
    records
}

const TRACES: [&str; 2] = ["--metrics-enabled=false", "--logs-enabled=false"];

fn traces_of(flags: &[&str], options: &ReplayOptions, cycles: u64) -> Vec<Span> {
    let flags: Vec<&str> = TRACES.iter().chain(flags).copied().collect();
    let mut replay = replay(&flags, options);
    (0..cycles).flat_map(|cycle| one_cycle(&mut replay, cycle)).flat_map(|request| spans(&request)).collect()
}

#[test]
fn spans_lie_within_their_parents_and_ids_are_unique() {
    let batch = BatchSizes { traces: 33, ..BatchSizes::default() };
    let mut ids = BTreeSet::new();
    let mut trees: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    for worker in 0..3 {
        let options = ReplayOptions { worker, workers: 3, batch, ..options() };
        for span in traces_of(&["--traces-depth=4"], &options, 3) {
            assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
            assert!(ids.insert(span.span_id.clone()), "an id twice");
            assert!(!span.name.is_empty() && (1..=5).contains(&span.kind));
            trees.entry(span.trace_id.clone()).or_default().push(span);
        }
    }
    assert_eq!(trees.len(), 30, "ten traces, three times");
    for spans in trees.values() {
        let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&span.span_id[..], span)).collect();
        let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
        assert_eq!(roots.count(), 1);
        for span in spans {
            assert!(span.start_time_unix_nano < span.end_time_unix_nano);
            let mut depth = 1;
            let mut above = span;
            while !above.parent_span_id.is_empty() {
                let parent = by_id[&above.parent_span_id[..]];
                assert!(parent.start_time_unix_nano <= above.start_time_unix_nano);
                assert!(parent.end_time_unix_nano >= above.end_time_unix_nano);
                above = parent;
                depth += 1;
            }
            assert!(depth <= 4, "{depth}");
        }
    }
}

#[test]
fn errors_fat_spans_and_missing_roots_have_the_shares_asked_for() {
    let flags = [
        "--traces-count=200",
        "--traces-spans-mean=10",
        "--traces-error-fraction=0.1",
        "--traces-fat-spans-fraction=0.05",
        "--traces-fat-spans-attributes=50",
        "--traces-missing-root-fraction=0.25",
    ];
    let spans = traces_of(&flags, &options(), 1);
    let count = spans.len() as f64;
    let errors: Vec<&Span> =
        spans.iter().filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2)).collect();
    assert!((errors.len() as f64 / count - 0.1).abs() < 0.01);
    for span in &errors {
        assert_eq!(span.events[0].time_unix_nano, span.end_time_unix_nano);
        assert_eq!(span.events[0].name, "exception");
    }
    let fat = spans.iter().filter(|span| span.attributes.len() == 50).count() as f64;
    assert!((fat / count - 0.05).abs() < 0.01, "{fat} of {count}");
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| &span.span_id[..]).collect();
    let orphaned: BTreeSet<&[u8]> = spans
        .iter()
        .filter(|span| !span.parent_span_id.is_empty() && !ids.contains(&span.parent_span_id[..]))
        .map(|span| &span.trace_id[..])
        .collect();
    assert!((45..=50).contains(&orphaned.len()), "{}", orphaned.len());
}

#[test]
fn a_trace_longer_than_a_request_keeps_its_time() {
    let flags =
        ["--traces-count=1", "--traces-high-span-traces-count=1", "--traces-high-span-traces-spans=1000"];
    let batch = BatchSizes { traces: 100, ..BatchSizes::default() };
    let flags: Vec<&str> = TRACES.iter().chain(&flags).copied().collect();
    let mut replay = replay(&flags, &ReplayOptions { batch, ..options() });
    let mut now_ns = STARTED_NS;
    let mut by_trace: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    for _ in 0..replay.turns.order.len() {
        now_ns += 60 * SECOND_NS;
        for span in spans(&replay.next(now_ns).unwrap()) {
            by_trace.entry(span.trace_id.clone()).or_default().push(span);
        }
    }
    let long = by_trace.values().find(|spans| spans.len() == 1_000).unwrap();
    let first = long.iter().map(|span| span.start_time_unix_nano).min().unwrap();
    let last = long.iter().map(|span| span.end_time_unix_nano).max().unwrap();
    assert!(last - first < SECOND_NS, "{}", last - first);
}

#[test]
fn exemplars_and_log_records_point_at_spans_that_were_sent_before() {
    let flags = ["--metrics-exemplar-fraction=0.5", "--logs-correlated-fraction=0.5"];
    let batch = BatchSizes { metrics: 20, traces: 40, logs: 8 };
    let mut replay = replay(&flags, &ReplayOptions { batch, ..options() });
    let mut sent = BTreeSet::new();
    let (mut exemplar_count, mut linked, mut unlinked) = (0, 0, 0);
    let requests: Vec<Request> = (0..4).flat_map(|cycle| one_cycle(&mut replay, cycle)).collect();
    for request in &requests {
        match request.signal {
            Signal::Traces => {
                sent.extend(spans(request).into_iter().map(|span| (span.trace_id, span.span_id)))
            }
            Signal::Metrics => {
                for (start_ns, time_ns, exemplar) in exemplars(request) {
                    assert!(sent.contains(&(exemplar.trace_id, exemplar.span_id)));
                    assert!(start_ns < exemplar.time_unix_nano && exemplar.time_unix_nano <= time_ns);
                    exemplar_count += 1;
                }
            }
            Signal::Logs => {
                for record in records(request) {
                    assert_eq!(record.time_unix_nano, request.time_ns);
                    assert_eq!(record.observed_time_unix_nano, request.time_ns);
                    assert!((1..=24).contains(&record.severity_number) && !record.severity_text.is_empty());
                    assert!(record.body.is_some() && record.attributes.len() == 4);
                    if record.trace_id.is_empty() {
                        unlinked += 1;
                    } else {
                        assert!(sent.contains(&(record.trace_id, record.span_id)));
                        linked += 1;
                    }
                }
            }
        }
    }
    assert!(exemplar_count > 100);
    assert_eq!((linked, unlinked), (80, 80));
}

#[test]
fn equal_runs_are_equal_and_other_runs_have_other_ids() {
    let bodies = |started_ns: u64| -> Vec<_> {
        let mut replay = replay(&[], &ReplayOptions::new("pod-a", started_ns));
        one_cycle(&mut replay, 0).into_iter().map(|request| request.body).collect()
    };
    assert_eq!(bodies(STARTED_NS), bodies(STARTED_NS));
    let ids = |started_ns: u64| -> BTreeSet<Vec<u8>> {
        let options = ReplayOptions::new("pod-a", started_ns);
        traces_of(&[], &options, 1).into_iter().map(|span| span.trace_id).collect()
    };
    assert!(ids(STARTED_NS).is_disjoint(&ids(STARTED_NS + 1_000_000)));
}

#[test]
fn a_multiplier_ends_the_replay() {
    let mut replay = replay(&[], &ReplayOptions { multiplier: 2, ..options() });
    let batches = replay.turns.order.len();
    let requests = std::iter::from_fn(|| replay.next(STARTED_NS + SECOND_NS)).count();
    assert_eq!(requests, 2 * batches);
}
