//! The evaluator's promises for histograms beside PromQL: memory limits, determinism, hints, numbers that look alike.

use std::sync::Arc;

use mytsdb_promql::{
    Cancellation, Engine, EngineOptions, EvalError, MatrixSeries, ParseOptions, QueryOutput, Value, parse,
};
use mytsdb_storage::model::{BucketSpan, Histogram, HistogramLayout, LabelSet, ResetHint, TenantId};
use mytsdb_storage::{HistogramSample, Snapshot, Storage, StorageOptions, WriteBatch};

/// `h{i="0"} …`, each with `sample_count` histograms a second apart whose sums depend on the order of addition.
fn stored(series_count: usize, sample_count: usize, floats: &[(i64, f64)]) -> (tempfile::TempDir, Storage) {
    stored_with(series_count, sample_count, floats, 0)
}

/// As [`stored`], where the buckets of each series begin `spread` after those of the one before.
fn stored_with(
    series_count: usize,
    sample_count: usize,
    floats: &[(i64, f64)],
    spread: i32,
) -> (tempfile::TempDir, Storage) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StorageOptions::new(folder.path());
    options.limits.retention_ms = None;
    let storage = Storage::open(options, 0).unwrap();
    let label = |index: usize| LabelSet::from_pairs([("__name__", "h"), ("i", &index.to_string())]).unwrap();
    let labels: Vec<LabelSet> = (0..series_count).map(label).collect();
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let layout = |offset: i32| {
        let positive_spans = vec![BucketSpan { offset, length: 40 }];
        Arc::new(HistogramLayout { schema: 3, positive_spans, ..HistogramLayout::default() })
    };
    let layouts: Vec<_> = (0..series_count).map(|series| layout(series as i32 * spread)).collect();
    let sample = |series_index: usize, second: usize| {
        let unit = 0.1 + ((series_index * 7_919) % 1_009) as f64 * 1e5;
        let counts: Vec<f64> = (0..40).map(|bucket| unit * (second + bucket) as f64).collect();
        let histogram = Histogram {
            layout: Arc::clone(&layouts[series_index]),
            count: counts.iter().sum(),
            sum: unit,
            positive_counts: counts,
            ..Histogram::default()
        };
        HistogramSample { series_index, time_ms: second as i64 * 1_000, histogram }
    };
    let histograms: Vec<HistogramSample> = (0..series_count)
        .flat_map(|series| (0..sample_count).map(move |second| (series, second)))
        .map(|(series, second)| sample(series, second))
        .collect();
    let (times, values): (Vec<i64>, Vec<f64>) = floats.iter().copied().unzip();
    // All numbers belong to the first series.
    let ends = vec![times.len(); series_count];
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &ends,
        timestamps_ms: &times,
        values: &values,
        starts: &[],
        labels: &labels,
        histograms: &histograms,
        exemplars: &[],
        metadata: &[],
    };
    let report = storage.write(&TenantId::anonymous(), &batch, 1_000_000).unwrap();
    assert_eq!(report.accepted_histogram_count, histograms.len());
    (folder, storage)
}

fn range(engine: &Engine, snapshot: &Snapshot, query: &str) -> Result<QueryOutput, EvalError> {
    let expr = parse(query, &ParseOptions::default()).unwrap();
    engine.range(snapshot, &expr, 0, 20_000, 1_000, &Cancellation::default())
}

fn matrix(engine: &Engine, snapshot: &Snapshot, query: &str) -> Vec<MatrixSeries> {
    let Value::Matrix(matrix) = range(engine, snapshot, query).unwrap().value else { panic!("no matrix") };
    matrix
}

#[test]
fn sums_of_histograms_do_not_depend_on_the_number_of_threads() {
    let (_folder, storage) = stored(300, 20, &[]);
    let snapshot = storage.reader(&TenantId::anonymous());
    for query in ["sum(h)", "avg(rate(h[10s]))", "histogram_quantile(0.9, sum(rate(h[5s])))", "h + h"] {
        let outputs: Vec<Vec<MatrixSeries>> = [1, 2, 5]
            .map(|thread_count| {
                let engine = Engine::new(EngineOptions { thread_count, ..EngineOptions::default() });
                matrix(&engine, &snapshot, query)
            })
            .into();
        assert!(!outputs[0].is_empty(), "{query}");
        assert_eq!(outputs[0], outputs[1], "{query}");
        assert_eq!(outputs[0], outputs[2], "{query}");
    }
}

#[test]
fn histograms_count_against_the_memory_of_a_query() {
    let (_folder, storage) = stored(100, 20, &[]);
    let snapshot = storage.reader(&TenantId::anonymous());
    // 100 series with 20 histograms of 40 buckets are above a megabyte; the numbers alone are 17 KB.
    let engine = Engine::new(EngineOptions { query_bytes_max: 500_000, ..EngineOptions::default() });
    for query in ["h", "h * 2", "rate(h[5s])", "sum by (i) (h)"] {
        let error = range(&engine, &snapshot, query).unwrap_err();
        assert!(matches!(error, EvalError::TooManyBytes { .. }), "{query}: {error}");
    }
    // An aggregation holds the histograms of its groups, not those of its series.
    assert_eq!(matrix(&engine, &snapshot, "sum(h)").len(), 1);
    let output = range(&Engine::default(), &snapshot, "h").unwrap();
    assert!(output.stats.peak_bytes > 500_000, "{:?}", output.stats);
}

#[test]
fn sums_that_gather_buckets_count_what_they_gather() {
    let (_folder, storage) = stored_with(100, 20, &[], 40);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::new(EngineOptions { query_bytes_max: 1_000_000, ..EngineOptions::default() });
    let error = range(&engine, &snapshot, "sum(h)").unwrap_err();
    assert!(matches!(error, EvalError::TooManyBytes { .. }), "{error}");
    let sum = matrix(&Engine::default(), &snapshot, "sum(h)");
    assert_eq!(sum[0].histograms[1].1.positive_buckets().count(), 4_000);
}

#[test]
fn hints_follow_from_the_samples_before() {
    let (_folder, storage) = stored(1, 20, &[]);
    let snapshot = storage.reader(&TenantId::anonymous());
    let hints: Vec<ResetHint> =
        matrix(&Engine::default(), &snapshot, "h")[0].histograms.iter().map(|(_, h)| h.reset_hint).collect();
    assert_eq!(hints[..2], [ResetHint::Unknown, ResetHint::NotReset]);
    // The sample before the window decides about the first one inside.
    let first = matrix(&Engine::default(), &snapshot, "first_over_time(h[3s])");
    assert_eq!(first[0].histograms[10].1.reset_hint, ResetHint::NotReset);
}

#[test]
fn numbers_that_look_like_histograms_stay_numbers() {
    let bits = f64::from_bits(0x7ff0_0000_0000_0004);
    let (_folder, storage) = stored(2, 2, &[(3_000, bits), (4_000, 1.0)]);
    let snapshot = storage.reader(&TenantId::anonymous());
    let engine = Engine::default();
    let series = matrix(&engine, &snapshot, "h");
    assert_eq!(series[0].timestamps_ms[..2], [3_000, 4_000]);
    assert!(series[0].values[0].is_nan());
    assert_eq!(series[0].histograms.len(), 3, "at 0, 1 and 2 s");
    for query in
        ["h + 1", "sum by (i) (h)", "-h", "count_over_time(h[3s])", "h or h", "topk(1, h)", "sort(h)"]
    {
        assert!(range(&engine, &snapshot, query).is_ok(), "{query}");
    }
}
