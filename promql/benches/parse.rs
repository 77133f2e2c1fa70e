//! Parsing: an everyday query, and texts that must take linear time. 50000 `+1` terms are to take at most 50 ms.

#![expect(clippy::unwrap_used, reason = "a bench has no one to report to")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mytsdb_promql::{ParseOptions, parse};

const EVERYDAY: &str = r#"histogram_quantile(0.99, sum by (le, job) (rate(latency_bucket{job=~"api|web",code!~"5.."}[5m])))
    / on (job) group_left (version) max by (job, version) (build_info) > bool 0.5"#;

fn parsing(criterion: &mut Criterion) {
    let options = ParseOptions::default();
    let mut group = criterion.benchmark_group("parse");
    group.sample_size(20);
    let terms = format!("1{}", "+1".repeat(50_000));
    let half_the_terms = format!("1{}", "+1".repeat(25_000));
    let selectors = format!("a{}", " or a{b=\"c\"}".repeat(15_000));
    let depth = options.depth_max - 2;
    let nested = format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    for (name, query) in [
        ("everyday", EVERYDAY),
        ("25000 terms", &half_the_terms),
        ("50000 terms", &terms),
        ("15000 selectors", &selectors),
        ("deepest nesting", &nested),
    ] {
        group.throughput(Throughput::Bytes(query.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(query), &options).unwrap()));
        let tree = parse(query, &options).unwrap();
        group
            .bench_function(format!("print {name}"), |bencher| bencher.iter(|| black_box(&tree).to_string()));
    }
    group.throughput(Throughput::Bytes(20_000));
    group.bench_function("20000 parentheses refused", |bencher| {
        let query = "(".repeat(20_000);
        bencher.iter(|| parse(black_box(&query), &options).unwrap_err());
    });
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);
