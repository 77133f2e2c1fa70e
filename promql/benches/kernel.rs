//! The loops that queries spend their time in, and whole aggregations over in-memory rows.
//!
//! `kernel/*`: one series of a day at 15 s over a day of steps at 1 min. `engine/*`: parse-free evaluation over
//! storage. Throughput counts samples scanned.

#![expect(clippy::unwrap_used, reason = "a bench has no one to report to")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mytsdb_promql::{Cancellation, Engine, EngineOptions, ParseOptions, bench_kernels, parse};
use mytsdb_storage::model::{LabelSet, TenantId};
use mytsdb_storage::{Storage, StorageOptions, WriteBatch};

const SAMPLE_COUNT: usize = 5_760;
const STEP_MS: i64 = 15_000;

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    group.throughput(Throughput::Elements(SAMPLE_COUNT as u64));
    let regular: Vec<i64> = (0..SAMPLE_COUNT as i64).map(|index| index * STEP_MS).collect();
    let jittered: Vec<i64> = regular.iter().map(|time| time + (time / STEP_MS * 7_919) % 1_000).collect();
    let values: Vec<f64> = (0..SAMPLE_COUNT).map(|index| (index * 7) as f64).collect();
    for (name, times) in [("regular", &regular), ("jittered", &jittered)] {
        for kernel in bench_kernels::ALL {
            let mut run = kernel.prepare(times, &values, 300_000, 60_000);
            group.bench_function(format!("{}/{name}", kernel.name()), |bencher| {
                bencher.iter(|| black_box(run()));
            });
        }
    }
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StorageOptions::new(folder.path());
    options.limits.retention_ms = None;
    let storage = Storage::open(options, 0).unwrap();
    let tenant = TenantId::anonymous();
    let series_count = 200;
    let labels: Vec<LabelSet> = (0..series_count)
        .map(|index| {
            let (instance, job) = (index.to_string(), (index % 10).to_string());
            let pairs = [("__name__", "x_total"), ("instance", &instance), ("job", &job)];
            LabelSet::from_pairs(pairs).unwrap()
        })
        .collect();
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let times: Vec<i64> =
        (0..series_count).flat_map(|_| (0..SAMPLE_COUNT as i64).map(|index| index * STEP_MS)).collect();
    let values: Vec<f64> = (0..times.len()).map(|index| (index % SAMPLE_COUNT * 7) as f64).collect();
    let ends: Vec<usize> = (1..=series_count).map(|series| series * SAMPLE_COUNT).collect();
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
    storage.write(&tenant, &batch, times[times.len() - 1]).unwrap();
    let snapshot = storage.reader(&tenant);
    let engine = Engine::new(EngineOptions { thread_count: 1, ..EngineOptions::default() });
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(20);
    group.throughput(Throughput::Elements(times.len() as u64));
    for query in ["sum(rate(x_total[5m]))", "sum by (job) (rate(x_total[5m]))", "max(x_total)"] {
        let expr = parse(query, &ParseOptions::default()).unwrap();
        group.bench_function(query, |bencher| {
            bencher.iter(|| {
                let end_ms = times[times.len() - 1];
                engine.range(&snapshot, &expr, 0, end_ms, 60_000, &Cancellation::default()).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, engine);
criterion_main!(benches);
