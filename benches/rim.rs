//! What the rim costs per sample: remote write in (`decode`), OTLP in (`otlp`), JSON out (`encode`).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mytsdb::otlp::OtlpOptions;
use mytsdb::otlp::columns::{self, Environment};
use mytsdb::otlp::known::KnownMetadata;
use mytsdb::otlp::read::{
    ExponentialPoint, HistogramPoint, MetricHeader, NumberPoint, SummaryPoint, Visitor, read,
};
use mytsdb::prom_api::result_json::{Remarks, ResultJson};
use mytsdb::remote::write_v1::Columns;
use mytsdb_promql::{MatrixSeries, Value};
use mytsdb_storage::model::{LabelSet, TenantId};
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

/// A request of 2,000 samples with 12 labels a series.
fn request(samples_per_series: usize) -> Vec<u8> {
    let mut request = Vec::new();
    for series_index in 0..SAMPLE_COUNT / samples_per_series {
        let mut series = Vec::new();
        for label_index in 0..12 {
            let mut label = Vec::new();
            push_message(&mut label, 0x0a, format!("label_name_{label_index}").as_bytes());
            push_message(&mut label, 0x12, format!("container_{label_index}_{series_index}").as_bytes());
            push_message(&mut series, 0x0a, &label);
        }
        for sample_index in 0..samples_per_series {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&(sample_index as f64 * 0.5).to_le_bytes());
            sample.push(0x10);
            push_varint(&mut sample, 1_750_000_000_000 + sample_index as u64 * 15_000);
            push_message(&mut series, 0x12, &sample);
        }
        push_message(&mut request, 0x0a, &series);
    }
    request
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SAMPLE_COUNT as u64));
    for samples_per_series in [1, 100] {
        let body = request(samples_per_series);
        let compressed = snap::raw::Encoder::new().compress_vec(&body).unwrap_or_default();
        let mut scratch = vec![0; body.len()];
        group.bench_function(format!("snappy/{samples_per_series}"), |bencher| {
            bencher.iter(|| snap::raw::Decoder::new().decompress(black_box(&compressed), &mut scratch));
        });
        let mut columns = Columns::default();
        group.bench_function(format!("columns/{samples_per_series}"), |bencher| {
            bencher.iter(|| columns.decode(black_box(&body), |labels| xxh3_128_with_seed(labels, 7)));
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

/// Number points with twelve labels, as a collector sends what it scraped: `read` walks them, `columns` also hashes
/// them into keys and collects the columns.
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
    let decode = |body| {
        let facts = known.facts();
        let environment = Environment { key_seed: 7, tenant: &tenant, options: &options, facts: &facts };
        columns::decode(environment, body)
    };
    if let Ok(columns) = decode(&body) {
        known.learn(&columns);
    }
    group.bench_function("columns", |bencher| bencher.iter(|| decode(black_box(&body))));
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
