//! The evaluator's promises beside PromQL: limits, cancellation, depth, determinism, names without delay.

use std::sync::Arc;

use mytsdb_promql::{
    BudgetScope, CancelReason, Cancellation, Engine, EngineOptions, EvalError, MemoryBudget, ParseOptions,
    QueryOutput, Value, parse,
};
use mytsdb_storage::model::{LabelSet, StartRun, TenantId};
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
    let EvalError::TooManyBytes { needed, limit, scope: BudgetScope::Query, selector } = &error else {
        panic!("{error}")
    };
    assert_eq!((*needed, *limit), (100 * 61 * 8, 30_000));
    assert_eq!(selector, r#" by selector {__name__="m"}"#);
    // An aggregation holds no series.
    assert!(range(&engine, &snapshot, "sum(m)").is_ok());
    // Raw samples count as they are read.
    let options = EngineOptions { query_bytes_max: 15_000, ..EngineOptions::default() };
    let error = instant(&engine.with_options(options), &snapshot, "m[1h]").unwrap_err();
    assert!(error.to_string().ends_with("by selector m[1h]"), "{error}");
    // Steps without end are refused before they are made.
    assert!(matches!(
        instant(&engine, &snapshot, "sum_over_time(vector(time())[100y:1ms])"),
        Err(EvalError::TooManyBytes { .. })
    ));
}

#[test]
fn a_shared_budget_holds_the_result_until_it_is_dropped() {
    let (_folder, storage) = stored(&["m"], 10, 60);
    let snapshot = storage.reader(&TenantId::anonymous());
    let shared = Arc::new(MemoryBudget::new(BudgetScope::All, 20_000, None));
    let options = EngineOptions { shared_budget: Some(Arc::clone(&shared)), ..EngineOptions::default() };
    let engine = Engine::default().with_options(options);
    let output = range(&engine, &snapshot, "m").unwrap();
    assert_eq!(shared.used_bytes(), 10 * 61 * 16);
    let error = range(&engine, &snapshot, "m").unwrap_err();
    assert!(matches!(error, EvalError::TooManyBytes { scope: BudgetScope::All, .. }), "{error}");
    drop(output);
    assert_eq!(shared.used_bytes(), 0);
    assert!(range(&engine, &snapshot, "m").is_ok());
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

/// A counter that began anew between its samples at 4 s and 6 s without falling.
fn restarted() -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StorageOptions::new(folder.path());
    options.limits.retention_ms = None;
    let storage = Storage::open(options, 0).unwrap();
    let labels = vec![LabelSet::from_pairs([("__name__", "m_total")]).unwrap()];
    let batch = WriteBatch {
        keys: &[storage.series_key(b"m_total")],
        sample_ends: &[5],
        timestamps_ms: &[2_000, 4_000, 6_000, 8_000, 10_000],
        values: &[1.0, 2.0, 3.0, 4.0, 5.0],
        starts: &[StartRun { position: 0, start_ms: 1_000 }, StartRun { position: 2, start_ms: 5_000 }],
        labels: &labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    storage.write(&TenantId::anonymous(), &batch, 10_000).unwrap();
    (folder, storage)
}

#[test]
fn start_times_count_only_where_they_are_switched_on() {
    let (_folder, storage) = restarted();
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = |use_start_timestamps| {
        Engine::new(EngineOptions { use_start_timestamps, ..EngineOptions::default() })
    };
    let number = |is_on: bool, query: &str| match instant(&engine(is_on), &snapshot, query).unwrap() {
        Value::Vector(samples) => samples.first().map(|sample| sample.value),
        other => panic!("{query}: {other:?}"),
    };
    for (query, without, with) in [
        ("start_timestamp(m_total)", None, Some(5.0)),
        ("start_timestamp(m_total offset 6s)", None, Some(1.0)),
        ("start_timestamp(-m_total)", None, None),
        ("start_timestamp(m_total offset 9s)", None, None),
        ("resets(m_total[10s])", Some(0.0), Some(1.0)),
        ("resets(m_total[5s] anchored)", Some(0.0), Some(1.0)),
        ("resets(m_total[3s])", Some(0.0), Some(0.0)),
        // From zero at 1 s: 2 up to the restart, then 5.
        ("increase(m_total[10s])", Some(5.0), Some(7.0)),
        ("irate(m_total[5s] offset 4s)", Some(0.5), Some(1.5)),
        ("increase(m_total[1s])", None, None),
        ("increase(m_total[2s] offset 4s)", None, Some(3.0)),
        ("delta(m_total[2s] offset 4s)", None, None),
        ("increase(m_total[10s] anchored)", Some(4.0), Some(4.0)),
        ("increase(m_total[10s:2s])", Some(5.0), Some(5.0)),
    ] {
        assert_eq!((number(false, query), number(true, query)), (without, with), "{query}");
    }
}

#[test]
fn counters_are_told_by_their_type_where_that_is_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(StorageOptions::new(folder.path()), 10_000).unwrap();
    let set = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs.iter().copied()).unwrap();
    let labels = vec![
        set(&[("__name__", "m_total"), ("__type__", "gauge"), ("i", "1")]),
        set(&[("__name__", "m_total"), ("__type__", "counter"), ("i", "2")]),
        set(&[("__name__", "seen"), ("__type__", "counter"), ("__unit__", "seconds")]),
        set(&[("__name__", "untyped")]),
    ];
    let batch = WriteBatch {
        keys: &[1, 2, 3, 4],
        sample_ends: &[2, 4, 6, 8],
        timestamps_ms: &[2_000, 4_000, 2_000, 4_000, 2_000, 4_000, 2_000, 4_000],
        values: &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
        starts: &[],
        labels: &labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    storage.write(&TenantId::anonymous(), &batch, 10_000).unwrap();
    let snapshot = storage.reader(&TenantId::anonymous());
    let remarks = |type_and_unit_labels: bool, query: &str| -> Vec<String> {
        let engine = Engine::new(EngineOptions { type_and_unit_labels, ..EngineOptions::default() });
        let tree = parse(query, &ParseOptions::default()).unwrap();
        let output = engine.instant(&snapshot, &tree, 5_000, &Cancellation::default()).unwrap();
        let Value::Vector(samples) = output.value else { panic!("no vector") };
        assert!(samples.iter().all(|sample| sample.labels.get("__type__").is_none()), "{query}");
        output.annotations.iter().map(|annotation| annotation.text.clone()).collect()
    };
    let by_name = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ";
    let by_type =
        "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got ";
    for (query, without, with) in [
        ("rate(m_total[5s])", None, Some("\"gauge\": \"m_total\"")),
        ("rate(m_total{i=\"2\"}[5s])", None, None),
        ("increase(seen[5s])", Some("\"seen\""), None),
        ("rate(untyped[5s])", Some("\"untyped\""), Some("\"\": \"untyped\"")),
        ("irate(untyped[5s])", None, None),
    ] {
        let expected = |head: &str, tail: Option<&str>| tail.map(|tail| format!("{head}{tail}"));
        assert_eq!(remarks(false, query), Vec::from_iter(expected(by_name, without)), "{query}");
        assert_eq!(remarks(true, query), Vec::from_iter(expected(by_type, with)), "{query}");
    }
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
