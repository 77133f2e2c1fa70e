//! What the rim costs per sample: remote write 1.0 and 2.0 in (`decode`), OTLP in (`otlp`), JSON out (`encode`).

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mytsdb::otlp::OtlpOptions;
use mytsdb::otlp::columns::{self, Environment};
use mytsdb::otlp::known::KnownMetadata;
use mytsdb::otlp::read::{
    ExponentialPoint, HistogramPoint, MetricHeader, NumberPoint, SummaryPoint, Visitor, read,
};
use mytsdb::prom_api::result_json::{Remarks, ResultJson};
use mytsdb::remote::{write_v1, write_v2};
use mytsdb_promql::{MatrixSeries, Value};
use mytsdb_storage::ResolvedSeries;
use mytsdb_storage::model::{LabelSet, SeriesKeys, TenantId};
use mytsdb_tools::bench_load::container::{SERIES_PER_CONTAINER, label_sets};
use mytsdb_tools::bench_load::otlp::Target;
use xxhash_rust::xxh3::xxh3_128_with_seed;

const SAMPLE_COUNT: usize = 2000;
const STEP_COUNT: usize = 11_000;

/// The value at a step.
type Kind = fn(usize) -> f64;

fn push_message(out: &mut Vec<u8>, key: u8, message: &[u8]) {
    out.push(key);
    push_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The labels of 2,000 series as a cluster's scrape has them: 90 metrics of each of 23 containers, 12 labels.
fn labels(series_index: usize) -> Vec<(String, String)> {
    let (container, metric) = (series_index / 90, series_index % 90);
    let mut labels = vec![("__name__".to_owned(), format!("container_metric_{metric}_seconds_total"))];
    for (name, value_count) in [
        ("cluster", 1),
        ("container", 7),
        ("endpoint", 1),
        ("id", 100),
        ("image", 9),
        ("instance", 3),
        ("job", 1),
        ("namespace", 4),
        ("node", 3),
        ("pod", 100),
        ("service", 2),
    ] {
        labels.push((name.to_owned(), format!("{name}-value-{:06}", container % value_count)));
    }
    labels
}

fn sample(sample_index: usize) -> Vec<u8> {
    let mut sample = vec![0x09];
    sample.extend_from_slice(&(sample_index as f64 * 0.5).to_le_bytes());
    sample.push(0x10);
    push_varint(&mut sample, 1_750_000_000_000 + sample_index as u64 * 15_000);
    sample
}

/// A request of remote write 1.0 with 2,000 samples.
fn request_v1(samples_per_series: usize) -> Vec<u8> {
    let mut request = Vec::new();
    for series_index in 0..SAMPLE_COUNT / samples_per_series {
        let mut series = Vec::new();
        for (name, value) in labels(series_index) {
            let mut label = Vec::new();
            push_message(&mut label, 0x0a, name.as_bytes());
            push_message(&mut label, 0x12, value.as_bytes());
            push_message(&mut series, 0x0a, &label);
        }
        for sample_index in 0..samples_per_series {
            push_message(&mut series, 0x12, &sample(sample_index));
        }
        push_message(&mut request, 0x0a, &series);
    }
    request
}

/// The same in remote write 2.0, with metadata.
fn request_v2(samples_per_series: usize) -> Vec<u8> {
    let (mut symbols, mut numbers) = (vec![String::new()], HashMap::new());
    let mut number = |text: String| -> u64 {
        *numbers.entry(text.clone()).or_insert_with(|| {
            symbols.push(text);
            symbols.len() as u64 - 1
        })
    };
    let mut all_series = Vec::new();
    for series_index in 0..SAMPLE_COUNT / samples_per_series {
        let (mut series, mut references) = (Vec::new(), Vec::new());
        for (name, value) in labels(series_index) {
            push_varint(&mut references, number(name));
            push_varint(&mut references, number(value));
        }
        push_message(&mut series, 0x0a, &references);
        for sample_index in 0..samples_per_series {
            push_message(&mut series, 0x12, &sample(sample_index));
        }
        let mut metadata = vec![0x08, 1, 0x18];
        push_varint(&mut metadata, number(format!("What metric {} counts.", series_index % 90)));
        push_message(&mut series, 0x2a, &metadata);
        push_message(&mut all_series, 0x2a, &series);
    }
    let mut request = Vec::new();
    for symbol in &symbols {
        push_message(&mut request, 0x22, symbol.as_bytes());
    }
    request.extend(all_series);
    request
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SAMPLE_COUNT as u64));
    let key_of = |bytes: &[u8]| xxh3_128_with_seed(bytes, 7);
    for samples_per_series in [1, 100] {
        let bodies = [("v1", request_v1(samples_per_series)), ("v2", request_v2(samples_per_series))];
        for (version, body) in &bodies {
            let compressed = snap::raw::Encoder::new().compress_vec(body).unwrap_or_default();
            let mut scratch = vec![0; body.len()];
            group.bench_function(format!("snappy_{version}/{samples_per_series}"), |bencher| {
                bencher.iter(|| snap::raw::Decoder::new().decompress(black_box(&compressed), &mut scratch));
            });
        }
        let [(_, first), (_, second)] = &bodies;
        let mut request = write_v1::Request::default();
        group.bench_function(format!("v1/{samples_per_series}"), |bencher| {
            bencher.iter(|| request.decode(black_box(first), key_of));
        });
        let mut request = write_v2::Request::default();
        group.bench_function(format!("v2/{samples_per_series}"), |bencher| {
            bencher.iter(|| request.decode(black_box(second), false, key_of));
        });
    }
}

/// Adds up what it is told, so that nothing is optimised away.
#[derive(Default)]
struct Adder {
    sum: u64,
}

impl<'a> Visitor<'a> for Adder {
    fn resource(&mut self, _: Option<&'a [u8]>, _: &'a [u8]) {}
    fn scope(&mut self, _: Option<&'a [u8]>, _: &'a [u8]) {}
    fn metric(&mut self, _: &MetricHeader<'a>) -> bool {
        true
    }
    fn number(&mut self, point: &NumberPoint<'a>) {
        self.sum = self.sum.wrapping_add(point.time_ns).wrapping_add(point.attributes.len() as u64);
    }
    fn histogram(&mut self, _: &HistogramPoint<'a, '_>) {}
    fn exponential(&mut self, _: &ExponentialPoint<'a, '_>) {}
    fn summary(&mut self, _: &SummaryPoint<'a, '_>) {}
    fn resource_end(&mut self) {}
}

/// Number points with twelve labels, as a collector sends what it scraped: `read` walks them, `repeated`
/// makes columns of them at a server that had the same before, all but the numbers.
fn otlp(criterion: &mut Criterion) {
    let target_count = SAMPLE_COUNT / SERIES_PER_CONTAINER;
    let values = [0.5; SERIES_PER_CONTAINER];
    let mut body = Vec::new();
    for index in 0..target_count {
        Target::new(&label_sets(index), 1_750_000_000_000).put(&mut body, 0, &values, 1_750_000_015_000);
    }
    let mut group = criterion.benchmark_group("otlp");
    group.throughput(Throughput::Elements((target_count * SERIES_PER_CONTAINER) as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut adder = Adder::default();
            let result = read(black_box(&body), &mut adder);
            (result, adder.sum)
        });
    });
    let (options, known, tenant) = (OtlpOptions::default(), KnownMetadata::default(), TenantId::anonymous());
    let keys = SeriesKeys::from_seed(7);
    let decode = |body| {
        let facts = known.facts();
        let environment = Environment { keys: &keys, tenant: &tenant, options: &options, facts: &facts };
        columns::decode(environment, body)
    };
    if let Ok(columns) = decode(&body) {
        known.learn(&columns, &ResolvedSeries::default(), &keys);
    }
    group.bench_function("repeated", |bencher| bencher.iter(|| decode(black_box(&body))));
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(STEP_COUNT as u64));
    let kinds: [(&str, Kind); 3] = [
        ("integers", |index| (index * 37) as f64),
        ("decimals", |index| index as f64 * 0.25),
        ("rates", |index| (index as f64 * 0.1237).sin() * 1000.0),
    ];
    for (name, value) in kinds {
        let result = Value::Matrix(vec![MatrixSeries {
            labels: LabelSet::empty(),
            timestamps_ms: (0..STEP_COUNT as i64).map(|step| 1_750_000_000_000 + step * 15_000).collect(),
            values: (0..STEP_COUNT).map(value).collect(),
            histograms: Vec::new(),
        }]);
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || ResultJson::new(result.clone(), &Remarks::default()),
                |mut json| {
                    out.clear();
                    json.fill(&mut out, usize::MAX)
                },
                criterion::BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(rim, decode, otlp, encode);
criterion_main!(rim);
