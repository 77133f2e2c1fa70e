//! What one server exports over Arrow Flight a second one takes, and then answers the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::{FlightClient, Ticket};
use futures::TryStreamExt;
use mytsdb::Running;
use mytsdb_storage::model::{
    BucketSpan, CUSTOM_BOUNDS_SCHEMA, Exemplar, Histogram, HistogramLayout, LabelSet, MetricKind,
    MetricMetadata, ResetHint, StartTimes, TenantId, TimeRange, stale_nan,
};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{ExemplarSample, HistogramSample, WriteBatch};
use serde_json::{Value, json};
use tonic::Code;

use crate::flight::{client, path, put, status};
use crate::grpc_server::{TestServer, now_ms, start};
use crate::support::client::{call, escape};

/// Everything of a tenant: floats with bits and start times, histograms, exemplars, metadata.
#[derive(Debug, PartialEq)]
struct Everything {
    floats: BTreeMap<String, Vec<(i64, u64, i64)>>,
    histograms: BTreeMap<String, Vec<(i64, Histogram)>>,
    exemplars: Vec<(LabelSet, Vec<Exemplar>)>,
    metadata: Vec<MetricMetadata>,
}

fn everything(server: &Running) -> Everything {
    let reader = server.core().storage.reader(&TenantId::anonymous());
    let set = reader.select(&[], TimeRange::ALL).unwrap();
    let (mut floats, mut histograms) = (BTreeMap::new(), BTreeMap::new());
    let mut samples = SampleColumns::default();
    for index in 0..set.len() {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        let name = set.labels(index).to_string();
        let is_histogram =
            |position: usize| samples.histograms.iter().any(|(at, _)| *at as usize == position);
        let of_floats = (0..samples.len()).filter(|position| !is_histogram(*position));
        let of_floats = of_floats.map(|position| {
            (samples.timestamps_ms[position], samples.values[position].to_bits(), samples.starts.at(position))
        });
        floats.insert(name.clone(), of_floats.collect());
        let of_histograms = samples.histograms.iter();
        let of_histograms =
            of_histograms.map(|(position, one)| (samples.timestamps_ms[*position as usize], (**one).clone()));
        histograms.insert(name, of_histograms.collect());
    }
    let exemplars = reader.exemplars(&[], TimeRange::ALL, 1_000).unwrap();
    Everything { floats, histograms, exemplars, metadata: reader.metadata() }
}

fn histogram(count: f64, layout: &Arc<HistogramLayout>, start_ms: Option<i64>) -> Histogram {
    Histogram {
        layout: Arc::clone(layout),
        reset_hint: if count > 20.0 { ResetHint::NotReset } else { ResetHint::Unknown },
        start_ms,
        count,
        sum: count * 1.5,
        zero_count: if layout.schema == CUSTOM_BOUNDS_SCHEMA { 0.0 } else { 1.0 },
        positive_counts: vec![count - 4.0, 2.0],
        negative_counts: if layout.negative_spans.is_empty() { Vec::new() } else { vec![1.0] },
    }
}

/// Writes something of every kind.
fn fill(server: &Running, now: i64) {
    let labels: Vec<LabelSet> = [
        [("__name__", "requests_total"), ("pod", "a")],
        [("__name__", "requests_total"), ("pod", "ü \"quoted\"")],
        [("__name__", "latency_seconds"), ("pod", "a")],
        [("__name__", "size_bytes"), ("pod", "a")],
        [("__name__", "mixed"), ("pod", "a")],
        [("__name__", "target_info"), ("job", "shop")],
    ]
    .map(|pairs| LabelSet::from_pairs(pairs).unwrap())
    .into();
    let storage = &server.core().storage;
    let keys: Vec<u128> = labels.iter().map(|one| storage.series_key(one.encoded().as_bytes())).collect();
    let times: Vec<i64> = (0..60).map(|step| now - (60 - step) * 15_000).collect();
    let mut values: Vec<f64> = (0..60).map(f64::from).collect();
    values[30] = f64::NAN;
    values[31] = f64::INFINITY;
    values[32] = -0.0;
    values[59] = stale_nan();
    let (mut all_times, mut all_values, mut starts) = (Vec::new(), Vec::new(), StartTimes::new());
    let mut sample_ends = Vec::new();
    for index in 0..labels.len() {
        let own = match index {
            0 | 1 => 0..60,
            4 => 0..20,
            5 => 50..59,
            _ => 0..0,
        };
        if index == 0 {
            starts.push(0, now - 1_000_000);
            starts.push(40, now - 310_000);
        } else if index == 1 {
            starts.push(all_times.len(), mytsdb_storage::model::UNKNOWN_START_MS);
        }
        all_times.extend_from_slice(&times[own.clone()]);
        all_values.extend_from_slice(&values[own]);
        sample_ends.push(all_times.len());
    }
    let exponential = Arc::new(HistogramLayout {
        schema: 3,
        is_integer: true,
        zero_threshold: 1e-128,
        positive_spans: vec![BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 3, length: 1 }],
        negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
        custom_bounds: Vec::new(),
    });
    let custom = Arc::new(HistogramLayout {
        schema: CUSTOM_BOUNDS_SCHEMA,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        custom_bounds: vec![0.25, 1.0],
        ..HistogramLayout::default()
    });
    let mut histograms = Vec::new();
    for (step, time_ms) in times.iter().enumerate() {
        let count = step as f64 + 10.0;
        let add = |series_index, histogram| HistogramSample { series_index, time_ms: *time_ms, histogram };
        histograms.push(add(2, histogram(count, &exponential, Some(now - 2_000_000))));
        histograms.push(add(3, histogram(count + 0.5, &custom, None)));
        if step >= 20 {
            histograms.push(add(4, histogram(count, &exponential, None)));
        }
    }
    histograms.push(HistogramSample { series_index: 2, time_ms: now, histogram: Histogram::stale() });
    let exemplar = |series_index, step: usize| ExemplarSample {
        series_index,
        exemplar: Exemplar {
            labels: LabelSet::from_pairs([("trace_id", format!("t{step}").as_str())]).unwrap(),
            value: step as f64,
            time_ms: times[step],
        },
    };
    let metadata = |metric: &str, kind, unit: &str, help: &str| MetricMetadata {
        metric: metric.to_owned(),
        kind,
        unit: unit.to_owned(),
        help: help.to_owned(),
    };
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &sample_ends,
        timestamps_ms: &all_times,
        values: &all_values,
        starts: starts.runs(),
        histograms: &histograms,
        exemplars: &[exemplar(0, 3), exemplar(0, 33), exemplar(2, 40)],
        labels: &labels,
        metadata: &[
            metadata("requests_total", MetricKind::Counter, "", "Requests, \"all\" of them."),
            metadata("latency_seconds", MetricKind::Histogram, "seconds", ""),
        ],
    };
    let report = storage.write(&TenantId::anonymous(), &batch, now).unwrap();
    assert!(report.rejections.is_empty() && report.exemplar_rejections.is_empty(), "{report:?}");
}

async fn fetch(client: &mut FlightClient, ticket: Value) -> Vec<RecordBatch> {
    client.do_get(Ticket::new(ticket.to_string())).await.unwrap().try_collect().await.unwrap()
}

/// Copies everything with exports of this layout; returns how many rows were put.
async fn copy(from: &TestServer, to: &TestServer, layout: &str) -> u64 {
    let (mut from, mut to) = (client(&from.running).await, client(&to.running).await);
    let mut row_count = 0;
    for (table, layout) in [("samples", layout), ("exemplars", "long"), ("metadata", "long")] {
        let batches = fetch(&mut from, json!({"export": {"table": table, "layout": layout}})).await;
        let acks = put(&mut to, path(table), batches).await.unwrap();
        assert!(acks.iter().all(|ack| ack["rejected_rows"] == 0), "{table}: {acks:?}");
        row_count += acks.iter().map(|ack| ack["affected_rows"].as_u64().unwrap()).sum::<u64>();
    }
    row_count
}

/// What a server answers to what people ask.
fn answers(http: SocketAddr, now: i64) -> Vec<Value> {
    let (start, end) = ((now - 900_000) / 1_000, now / 1_000);
    let mut paths: Vec<String> = [
        "sum by (pod) (rate(requests_total[2m]))",
        "requests_total",
        "latency_seconds",
        "histogram_quantile(0.9, rate(latency_seconds[2m]))",
        "histogram_sum(size_bytes)",
        "mixed",
        "target_info",
        "start_timestamp(requests_total)",
    ]
    .iter()
    .map(|query| format!("/api/v1/query_range?query={}&start={start}&end={end}&step=15", escape(query)))
    .collect();
    paths.push(format!("/api/v1/query_exemplars?query=%7Bpod%3D%22a%22%7D&start={start}&end={end}"));
    paths.push("/api/v1/metadata".to_owned());
    paths.push("/api/v1/series?match[]=%7B__name__!%3D%22%22%7D".to_owned());
    let ask = |path: &String| {
        let mut answer = call(http, "GET", path, &[], b"").json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    };
    paths.iter().map(ask).collect()
}

#[tokio::test]
async fn everything_exported_and_put_into_a_second_server_is_answered_the_same() {
    let now = now_ms() / 1_000 * 1_000;
    for layout in ["long", "series"] {
        let (first, second) = (start().await, start().await);
        fill(&first.running, now);
        if layout == "long" {
            first.running.core().storage.flush(now).unwrap();
        }
        let row_count = copy(&first, &second, layout).await;
        // 60 + 60 + 20 + 9 floats, 60 + 60 + 40 + 1 histograms, 3 exemplars, 2 facts.
        assert_eq!(row_count, 149 + 161 + 3 + 2, "{layout}");
        let expected = everything(&first.running);
        assert_eq!(expected.histograms[r#"{__name__="latency_seconds", pod="a"}"#].len(), 61);
        assert_eq!(everything(&second.running), expected, "{layout}");
        let (one, two) = (first.running.addrs.http, second.running.addrs.http);
        let answered = tokio::task::spawn_blocking(move || (answers(one, now), answers(two, now)));
        let (expected, found) = answered.await.unwrap();
        assert!(expected.iter().all(|answer| *answer != json!([]) && *answer != json!({})));
        assert_eq!(found, expected, "{layout}");
    }
}

#[tokio::test]
async fn an_export_holds_the_series_of_its_selectors_once_and_only_its_times() {
    let now = now_ms() / 1_000 * 1_000;
    let server = start().await;
    fill(&server.running, now);
    let mut client = client(&server.running).await;
    let row_count = async |client: &mut FlightClient, export: Value| -> usize {
        fetch(client, json!({ "export": export })).await.iter().map(RecordBatch::num_rows).sum()
    };
    let overlapping = json!({"match": ["requests_total", "{pod=\"a\",__name__=~\"req.*|mixed\"}"]});
    assert_eq!(row_count(&mut client, overlapping).await, 60 + 60 + 60);
    let (start, end) = ((now - 900_000) / 1_000, (now - 600_000) / 1_000);
    let slice = json!({"match": ["requests_total{pod=\"a\"}"], "start": start, "end": end});
    assert_eq!(row_count(&mut client, slice).await, 20);
    for (table, expected) in
        [("series", 6), ("resources", 1), ("histograms", 161), ("exemplars", 3), ("metadata", 2)]
    {
        assert_eq!(row_count(&mut client, json!({ "table": table })).await, expected, "{table}");
    }
    let rest = json!({"table": "exemplars", "match": ["latency_seconds"]});
    assert_eq!(row_count(&mut client, rest).await, 1);
    for (export, part) in [
        (json!({"match": ["up{"]}), "match \"up{\""),
        (json!({"match": ["{}"]}), "non-empty"),
        (json!({"table": "histograms", "layout": "series"}), "allowed is long"),
    ] {
        let ticket = Ticket::new(json!({ "export": export }).to_string());
        let refused = status(client.do_get(ticket).await.err().unwrap());
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
    let floats = client.do_get(Ticket::new(json!({"table": "mixed"}).to_string())).await.unwrap();
    let refused = status(floats.try_collect::<Vec<_>>().await.unwrap_err());
    assert!(refused.message().contains("\"histograms\": true"), "{refused}");
    let all = fetch(&mut client, json!({"table": "mixed", "histograms": true})).await;
    assert_eq!(all[0].num_rows(), 60);
}

#[tokio::test]
async fn bad_rows_of_the_tables_without_floats_are_refused_by_number() {
    let now = now_ms() / 1_000 * 1_000;
    let (first, second) = (start().await, start().await);
    fill(&first.running, now);
    let (mut from, mut to) = (client(&first.running).await, client(&second.running).await);
    let histograms = fetch(&mut from, json!({"export": {"table": "histograms"}})).await.remove(0);
    let sum_of = |batch: &RecordBatch| batch.column_by_name("histogram").unwrap().clone();
    let structs = sum_of(&histograms);
    let structs = arrow::array::AsArray::as_struct(&structs);
    let (fields, mut children, nulls) = structs.clone().into_parts();
    let mut counts: Vec<f64> =
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&children[2]).values().to_vec();
    counts[5] = -1.0;
    children[2] = Arc::new(arrow::array::Float64Array::from(counts));
    let mut columns = histograms.columns().to_vec();
    columns[3] = Arc::new(arrow::array::StructArray::new(fields, children, nulls));
    let damaged = RecordBatch::try_new(histograms.schema(), columns).unwrap();
    let acks = put(&mut to, path("histograms"), vec![damaged]).await.unwrap();
    assert_eq!((&acks[0]["affected_rows"], &acks[0]["rejected_rows"]), (&160.into(), &1.into()));
    assert_eq!(acks[0]["rejected"][0]["row"], 5, "{acks:?}");
    assert!(acks[0]["error"].as_str().unwrap().contains("count is -1"), "{acks:?}");

    let facts = fetch(&mut from, json!({"table": "metadata"})).await.remove(0);
    let mut columns = facts.columns().to_vec();
    columns[1] = Arc::new(arrow::array::StringArray::from(vec!["thing", "counter"]));
    let wrong = RecordBatch::try_new(facts.schema(), columns).unwrap();
    let acks = put(&mut to, path("metadata"), vec![wrong]).await.unwrap();
    assert_eq!((&acks[0]["affected_rows"], &acks[0]["rejected_rows"]), (&1.into(), &1.into()));
    assert!(acks[0]["error"].as_str().unwrap().contains("type is \"thing\""), "{acks:?}");
}

#[tokio::test]
async fn an_export_holds_no_more_bytes_than_a_query_may_and_says_so() {
    let server = crate::grpc_server::start_with(&["--query-max-bytes=4KiB"]).await;
    fill(&server.running, now_ms());
    let mut client = client(&server.running).await;
    let ticket = Ticket::new(json!({"export": {"match": ["requests_total"]}}).to_string());
    let rows = client.do_get(ticket).await.unwrap();
    // What was sent before is of no use: the stream ends with an error, not as if it were whole.
    let refused = status(rows.try_collect::<Vec<_>>().await.unwrap_err());
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(server.running.core().queries.used_bytes(), 0);
}
