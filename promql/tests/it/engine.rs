//! The evaluator's promises beside PromQL: limits, cancellation, depth, determinism, names without delay.

use mytsdb_promql::{
    CancelReason, Cancellation, Engine, EngineOptions, EvalError, ParseOptions, QueryOutput, Value, parse,
};
use mytsdb_storage::model::{LabelSet, TenantId};
use mytsdb_storage::{Snapshot, Storage, StorageOptions, WriteBatch};

/// `name{i="0"} … name{i="count - 1"}` with `sample_count` samples a second apart.
fn stored(names: &[&str], count: usize, sample_count: usize) -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StorageOptions::new(folder.path());
    options.limits.retention_ms = None;
    let storage = Storage::open(options, 0).unwrap();
    let mut labels = Vec::new();
    for name in names {
        for index in 0..count {
            let index = index.to_string();
            labels.push(LabelSet::from_pairs([("__name__", *name), ("i", index.as_str())]).unwrap());
        }
    }
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let times: Vec<i64> =
        labels.iter().flat_map(|_| (0..sample_count as i64).map(|index| index * 1_000)).collect();
    // Values whose sum depends on the order of addition.
    let values: Vec<f64> =
        (0..times.len()).map(|index| ((index * 7_919) % 1_009) as f64 * 0.1 + 1e6).collect();
    let ends: Vec<usize> = (1..=labels.len()).map(|series| series * sample_count).collect();
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &ends,
        timestamps_ms: &times,
        values: &values,
        starts: &[],
        labels: &labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    storage.write(&TenantId::anonymous(), &batch, 1_000_000).unwrap();
    (folder, storage)
}

fn range(engine: &Engine, snapshot: &Snapshot, query: &str) -> Result<QueryOutput, EvalError> {
    let expr = parse(query, &ParseOptions::default()).unwrap();
    engine.range(snapshot, &expr, 0, 60_000, 1_000, &Cancellation::default())
}

fn instant(engine: &Engine, snapshot: &Snapshot, query: &str) -> Result<Value, EvalError> {
    let expr = parse(query, &ParseOptions::default()).unwrap();
    engine.instant(snapshot, &expr, 10_000, &Cancellation::default()).map(|output| output.value)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (_folder, storage) = stored(&["m_total"], 1_500, 60);
    let snapshot = storage.reader(&TenantId::anonymous());
    for query in ["sum(m_total)", "avg by (i) (rate(m_total[10s]))", "stddev(rate(m_total[10s]))"] {
        let outputs: Vec<Value> = [1, 2, 5]
            .map(|thread_count| {
                let engine = Engine::new(EngineOptions { thread_count, ..EngineOptions::default() });
                range(&engine, &snapshot, query).unwrap().value
            })
            .into();
        assert_eq!(outputs[0], outputs[1], "{query}");
        assert_eq!(outputs[0], outputs[2], "{query}");
    }
}

#[test]
fn queries_that_need_too_much_memory_say_so() {
    let (_folder, storage) = stored(&["m"], 100, 60);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::new(EngineOptions { query_bytes_max: 30_000, ..EngineOptions::default() });
    let error = range(&engine, &snapshot, "m").unwrap_err();
    let EvalError::TooManyBytes { needed, limit, selector } = &error else { panic!("{error}") };
    assert_eq!((*needed, *limit), (100 * 61 * 8, 30_000));
    assert_eq!(selector, r#" by selector {__name__="m"}"#);
    // An aggregation holds no series.
    assert!(range(&engine, &snapshot, "sum(m)").is_ok());
    // Steps without end are refused before they are made.
    assert!(matches!(
        instant(&engine, &snapshot, "sum_over_time(vector(time())[100y:1ms])"),
        Err(EvalError::TooManyBytes { .. })
    ));
}

#[test]
fn stopped_queries_fail_with_the_reason() {
    let (_folder, storage) = stored(&["m"], 1, 1);
    let snapshot = storage.reader(&TenantId::anonymous());
    let expr = parse("m", &ParseOptions::default()).unwrap();
    let run = |reason| {
        let cancellation = Cancellation::default();
        cancellation.cancel(reason);
        Engine::default().instant(&snapshot, &expr, 0, &cancellation).unwrap_err()
    };
    assert_eq!(run(CancelReason::Canceled), EvalError::Canceled);
    assert_eq!(run(CancelReason::TimedOut), EvalError::TimedOut);
}

#[test]
fn long_chains_and_deep_nesting_are_evaluated() {
    let (_folder, storage) = stored(&["m"], 1, 20);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::default();
    let chain = format!("sum(m * 0){}", " + 1".repeat(20_000));
    let Value::Vector(samples) = instant(&engine, &snapshot, &chain).unwrap() else { panic!("no vector") };
    assert_eq!(samples[0].value, 20_000.0);
    let nested = format!("{}m{}", "abs(".repeat(400), ")".repeat(400));
    assert!(instant(&engine, &snapshot, &nested).is_ok());
    let subqueries = format!("{}m{}", "sum_over_time(".repeat(100), "[2s:1s])".repeat(100));
    assert!(instant(&engine, &snapshot, &subqueries).is_ok());
}

#[test]
fn names_are_cut_at_each_node_without_delay() {
    let (_folder, storage) = stored(&["a", "b"], 1, 20);
    let snapshot = storage.reader(&TenantId::anonymous());
    let at_once = Engine::default();
    let delayed = Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() });
    let same = EvalError::Execution("vector cannot contain metrics with the same labelset".to_owned());
    for query in [
        r#"sum(abs({__name__=~"a|b"}))"#,
        r#"sum(rate({__name__=~"a|b"}[5s]))"#,
        r#"count(-{__name__=~"a|b"})"#,
        r#"count({__name__=~"a|b"} * 2)"#,
    ] {
        assert_eq!(instant(&at_once, &snapshot, query).unwrap_err(), same, "{query}");
        assert!(instant(&delayed, &snapshot, query).is_ok(), "{query}");
    }
    let by_name = r#"sum by (__name__) (abs({__name__="a"}))"#;
    let names = |engine: &Engine| match instant(engine, &snapshot, by_name).unwrap() {
        Value::Vector(samples) => samples[0].labels.metric_name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((names(&at_once), names(&delayed)), (String::new(), String::new()));
    let replaced = r#"label_replace(abs(a), "__name__", "c_$1", "__name__", "(.*)")"#;
    let name = |engine: &Engine| match instant(engine, &snapshot, replaced).unwrap() {
        Value::Vector(samples) => samples[0].labels.metric_name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((name(&at_once), name(&delayed)), ("c_".to_owned(), "c_a".to_owned()));
}

#[test]
fn range_queries_take_numbers_and_instant_vectors_only() {
    let (_folder, storage) = stored(&["m"], 1, 1);
    let snapshot = storage.reader(&TenantId::anonymous());
    let error = range(&Engine::default(), &snapshot, "m[1m]").unwrap_err();
    let text = r#"invalid expression type "range vector" for range query, must be Scalar or instant Vector"#;
    assert_eq!(error.to_string(), text);
}

#[test]
fn statistics_count_samples_and_bytes() {
    let (_folder, storage) = stored(&["m"], 10, 20);
    let snapshot = storage.reader(&TenantId::anonymous());
    let stats = range(&Engine::default(), &snapshot, "sum(m)").unwrap().stats;
    assert_eq!(stats.samples_read, 200);
    assert!(stats.peak_bytes > 0);
}

#[test]
fn labels_that_a_query_makes_count_against_its_limit() {
    let (_folder, storage) = stored(&["m"], 100, 60);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::new(EngineOptions { query_bytes_max: 1 << 20, ..EngineOptions::default() });
    let long = "x".repeat(20_000);
    let tenfold = "$1".repeat(1_000);
    for query in [
        format!(r#"label_replace(m, "l", "{long}", "", "")"#),
        format!(r#"label_replace(label_replace(m, "l", "{long}", "", ""), "l", "{tenfold}", "l", "(.*)")"#),
        format!(r#"label_join(m, "l", "{long}", "i", "i")"#),
        format!(r#"m * on () group_left (l) label_replace(vector(1), "l", "{long}", "", "")"#),
    ] {
        let error = instant(&engine, &snapshot, &query).unwrap_err();
        assert!(matches!(error, EvalError::TooManyBytes { limit: 1_048_576, .. }), "{error}");
    }
    assert!(instant(&engine, &snapshot, r#"label_replace(m, "l", "$1", "i", "(.*)")"#).is_ok());
}

#[test]
fn rows_of_many_steps_are_the_same_as_their_parts() {
    let (_folder, storage) = stored(&["m_total"], 2, 600);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::default();
    let points = |query: &str, start_ms: i64, end_ms: i64| -> Vec<(i64, u64)> {
        let expr = parse(query, &ParseOptions::default()).unwrap();
        let output = engine.range(&snapshot, &expr, start_ms, end_ms, 200, &Cancellation::default()).unwrap();
        let Value::Matrix(series) = output.value else { panic!("{query}") };
        let rounded = |value: f64| (value * 1e6).round() as u64;
        series
            .iter()
            .flat_map(|series| {
                series.timestamps_ms.iter().copied().zip(series.values.iter().copied().map(rounded))
            })
            .collect()
    };
    for query in [
        r#"rate(m_total{i="0"}[7s])"#,
        r#"max_over_time(m_total{i="1"}[5s])"#,
        r#"predict_linear(m_total{i="0"}[9s], time())"#,
        r#"quantile_over_time(time() / 1000, m_total{i="1"}[11s])"#,
    ] {
        let whole = points(query, 10_000, 510_000);
        assert_eq!(whole.len(), 2_501, "{query}");
        let parts: Vec<_> =
            (0..25).flat_map(|part| points(query, 10_000 + part * 20_000, 29_800 + part * 20_000)).collect();
        assert_eq!(whole[..2_500], parts, "{query}");
    }
}
