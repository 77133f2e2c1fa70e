//! Selecting series, opening a block, reading labels and chunk entries, at the scale of one busy cluster.
//!
//! Run: `cargo bench -p mytsdb-storage --features bench --bench index`. Prints the sizes of the index first.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::unwrap_used, reason = "a bench has nobody to report an error to")]

use criterion::{Criterion, criterion_group, criterion_main};
use mytsdb_storage::IndexDoor;
use mytsdb_storage::model::{LabelSet, MatchOp, Matcher};

/// Metrics of a container.
const METRIC_COUNT: usize = 90;

/// Series as a Kubernetes cluster has them, in order of scraping: 12 labels, 90 metrics a container.
fn kubernetes(container_count: usize) -> Vec<LabelSet> {
    let mut series = Vec::with_capacity(container_count * METRIC_COUNT);
    for container in 0..container_count {
        let service = container % 40;
        let hash = (container as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let pod = format!("service-{service}-{:08x}-{:05x}", (hash >> 32) as u32, hash & 0xf_ffff);
        let uid = format!("{hash:016x}-{:016x}", hash.rotate_left(17));
        let node = format!("node-{:03}.cluster.local", container % 28);
        let instance = format!("10.{}.{}.{}:8080", container % 28, container / 28 % 250, container % 250);
        let (name, namespace) = (format!("service-{service}"), format!("namespace-{}", service % 12));
        let image = format!("registry.example.com/{name}:v1.{}", container % 3);
        for metric in 0..METRIC_COUNT {
            let metric = format!("container_metric_{metric}_total");
            let pairs = [
                ("__name__", metric.as_str()),
                ("cluster", "production"),
                ("container", name.as_str()),
                ("endpoint", "http-metrics"),
                ("image", image.as_str()),
                ("instance", instance.as_str()),
                ("job", "kubelet"),
                ("namespace", namespace.as_str()),
                ("node", node.as_str()),
                ("pod", pod.as_str()),
                ("service", name.as_str()),
                ("uid", uid.as_str()),
            ];
            series.push(LabelSet::from_pairs(pairs).unwrap());
        }
    }
    series
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

fn selections() -> Vec<(&'static str, Vec<Matcher>)> {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let metric = || matcher(Equal, "__name__", "container_metric_7_total");
    vec![
        ("metric", vec![metric()]),
        ("metric_and_namespace", vec![metric(), matcher(Equal, "namespace", "namespace-3")]),
        (
            "metric_and_set",
            vec![metric(), matcher(Regex, "namespace", "namespace-1|namespace-2|namespace-7")],
        ),
        ("metric_and_prefix", vec![metric(), matcher(Regex, "pod", "service-1-.*")]),
        ("metric_and_infix", vec![metric(), matcher(Regex, "pod", ".*-1-.*")]),
        ("metric_and_regex", vec![metric(), matcher(Regex, "pod", "service-[0-9]+-[0-9a-f]{8}-0.*")]),
        ("metric_and_not_regex", vec![metric(), matcher(NotRegex, "pod", "service-[0-9]+-[0-9a-f]{8}-0.*")]),
        ("metric_and_not_equal", vec![metric(), matcher(NotEqual, "namespace", "namespace-3")]),
        ("metric_and_pod_present", vec![metric(), matcher(NotEqual, "pod", "")]),
        ("all", vec![matcher(NotEqual, "__name__", "")]),
        ("regex_alone", vec![matcher(Regex, "pod", "service-[0-9]+-[0-9a-f]{8}-0.*")]),
    ]
}

fn print_sizes(title: &str, door: &IndexDoor, series_count: usize, chunk_count: usize) {
    eprintln!("{title}: {series_count} series, {chunk_count} chunks each");
    let mut index_bytes = 0;
    for (name, bytes) in door.section_bytes() {
        eprintln!("  {name:9} {bytes:10} B  {:7.2} B/series", bytes as f64 / series_count as f64);
        if name != "CHUNKS" {
            index_bytes += bytes;
        }
    }
    let samples = (series_count * chunk_count * 480) as f64;
    eprintln!("  index     {index_bytes:10} B  {:.4} B/sample at 480 a chunk", index_bytes as f64 / samples);
}

fn index(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let day = kubernetes(40);
    let door = IndexDoor::new(&day, 12, &directory.path().join("a"));
    print_sizes("A", &door, day.len(), 12);
    criterion.bench_function("block/chunks/all_of_3600x12", |bench| bench.iter(|| door.read_chunks(&[])));

    let series = kubernetes(1_120);
    let door = IndexDoor::new(&series, 1, &directory.path().join("b"));
    print_sizes("B", &door, series.len(), 1);
    criterion.bench_function("block/open/100800", |bench| bench.iter(|| door.open()));
    for (name, matchers) in selections() {
        let found = door.select_in_block(&matchers);
        assert_eq!(found, door.select_in_memory(&matchers), "{name}");
        criterion.bench_function(&format!("block/select/{name}/{found}"), |bench| {
            bench.iter(|| door.select_in_block(&matchers));
        });
        criterion.bench_function(&format!("memory/select/{name}/{found}"), |bench| {
            bench.iter(|| door.select_in_memory(&matchers));
        });
    }
    let metric = [matcher(MatchOp::Equal, "__name__", "container_metric_7_total")];
    criterion.bench_function("block/labels/1120", |bench| bench.iter(|| door.read_labels(&metric)));
    criterion.bench_function("block/labels/100800", |bench| bench.iter(|| door.read_labels(&[])));
    criterion.bench_function("block/chunks/1120", |bench| bench.iter(|| door.read_chunks(&metric)));
    criterion.bench_function("block/chunks/100800", |bench| bench.iter(|| door.read_chunks(&[])));
    criterion.bench_function("block/label_values/pod_of_metric", |bench| {
        bench.iter(|| door.label_values("pod", &metric));
    });
    criterion.bench_function("memory/insert/100800", |bench| bench.iter(|| IndexDoor::insert_all(&series)));
}

criterion_group!(benches, index);
criterion_main!(benches);
