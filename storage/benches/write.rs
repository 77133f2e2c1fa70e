//! The write path: batches through the door, with the WAL, without waiting for the disk.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mytsdb_storage::model::{LabelSet, TenantId};
use mytsdb_storage::{LabelSource, Storage, StorageOptions, WalSync, WriteBatch};

const NOW_MS: i64 = 1_700_000_000_000;
const SERIES_COUNT: usize = 100_000;
const BATCH_SERIES_COUNT: usize = 2_000;

fn labels(id: usize) -> LabelSet {
    let pod = format!("checkout-6d5f7c9b8-{id:05}");
    let pairs = [
        ("__name__", "container_cpu_usage_seconds_total"),
        ("cluster", "prod-eu-1"),
        ("container", "app"),
        ("namespace", "shop"),
        ("node", "node-17"),
        ("pod", pod.as_str()),
        ("region", "eu-west-1"),
        ("zone", "eu-west-1b"),
    ];
    LabelSet::from_pairs(pairs).unwrap_or_else(|_| LabelSet::empty())
}

struct Sets<'a>(&'a [LabelSet]);

impl LabelSource for Sets<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        Ok(self.0[series_index].clone())
    }
}

fn open(directory: &tempfile::TempDir) -> Storage {
    let options = StorageOptions {
        wal_sync: WalSync::None,
        head_bytes_max: usize::MAX,
        ..StorageOptions::new(directory.path())
    };
    match Storage::open(options, NOW_MS) {
        Ok(storage) => storage,
        Err(error) => panic!("{error}"),
    }
}

/// One sample for each of 2 000 series a batch, 100 000 series in turn, as scrapes arrive.
fn scrape_order(criterion: &mut Criterion) {
    let tenant = TenantId::anonymous();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let storage = open(&directory);
    let sets: Vec<LabelSet> = (0..SERIES_COUNT).map(labels).collect();
    let keys: Vec<u128> = sets.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let sample_ends: Vec<usize> = (1..=BATCH_SERIES_COUNT).collect();
    let mut batch_index = 0;
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(BATCH_SERIES_COUNT as u64));
    group.bench_function("scrape_order", |bencher| {
        bencher.iter_batched(
            || {
                let round = batch_index * BATCH_SERIES_COUNT / SERIES_COUNT;
                let start = batch_index * BATCH_SERIES_COUNT % SERIES_COUNT;
                batch_index += 1;
                let time_ms = NOW_MS - 10 * 86_400_000 + round as i64 * 15_000;
                let values: Vec<f64> =
                    (0..BATCH_SERIES_COUNT).map(|i| (round * 3 + i) as f64 * 0.01).collect();
                (start, vec![time_ms; BATCH_SERIES_COUNT], values)
            },
            |(start, timestamps_ms, values)| {
                let batch = WriteBatch {
                    keys: &keys[start..start + BATCH_SERIES_COUNT],
                    sample_ends: &sample_ends,
                    timestamps_ms: &timestamps_ms,
                    values: &values,
                    starts: &[],
                    labels: &Sets(&sets[start..start + BATCH_SERIES_COUNT]),
                    histograms: &[],
                    exemplars: &[],
                    metadata: &[],
                };
                storage.submit(&tenant, &batch, NOW_MS).map(|(report, _)| report)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, scrape_order);
criterion_main!(benches);
