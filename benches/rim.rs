//! What the rim costs per sample: remote write in (`decode`), JSON out (`encode`).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mytsdb::prom_api::result_json::{Remarks, ResultJson};
use mytsdb::remote::write_v1::Columns;
use mytsdb_promql::{MatrixSeries, Value};
use mytsdb_storage::model::LabelSet;
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

criterion_group!(rim, decode, encode);
criterion_main!(rim);
