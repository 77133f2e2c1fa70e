//! Sizes and speed of the chunk codecs over a Kubernetes-like mix.
//!
//! Prints bytes a sample per kind first (deterministic), then times encoding and decoding.
//! `cargo bench -p mytsdb-storage --bench codec`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mytsdb_storage::chunk::{ChunkDecoder, ChunkEncoder};
use std::hint::black_box;
use std::time::Duration;

mod mix;

const CHUNK_LENGTHS: [usize; 4] = [32, 120, 480, 5760];
const SERIES_COUNT: usize = 400;

struct Encoded {
    chunks: Vec<(Vec<u8>, usize)>,
    sample_count: usize,
    byte_count: usize,
}

fn encode_all<'a>(columns: impl Iterator<Item = &'a Vec<f64>>, chunk_length: usize) -> Encoded {
    let mut encoder = ChunkEncoder::new();
    let mut encoded = Encoded { chunks: Vec::new(), sample_count: 0, byte_count: 0 };
    for column in columns {
        for values in column.chunks(chunk_length) {
            let mut bytes = Vec::new();
            encoder.encode_values(values, &mut bytes);
            encoded.byte_count += bytes.len();
            encoded.sample_count += values.len();
            encoded.chunks.push((bytes, values.len()));
        }
    }
    encoded
}

fn decode_all(chunks: &[(Vec<u8>, usize)], decoder: &mut ChunkDecoder, out: &mut Vec<f64>) {
    for (bytes, count) in chunks {
        out.clear();
        let result = decoder.decode_values(bytes, *count, out);
        assert!(result.is_ok(), "a chunk just encoded decodes");
        black_box(&out);
    }
}

#[expect(clippy::print_stdout, reason = "the sizes are this bench's first result")]
fn print_sizes(kinds: &[mix::Kind]) {
    println!("B/sample       {}", CHUNK_LENGTHS.map(|length| format!("{length:>8}")).concat());
    for kind in kinds {
        let sizes = CHUNK_LENGTHS.map(|length| {
            let encoded = encode_all(kind.series.iter(), length);
            format!("{:8.4}", encoded.byte_count as f64 / encoded.sample_count as f64)
        });
        println!("{:<15}{}", kind.name, sizes.concat());
    }
    let sizes = CHUNK_LENGTHS.map(|length| {
        let encoded = encode_all(kinds.iter().flat_map(|kind| &kind.series), length);
        format!("{:8.4}", encoded.byte_count as f64 / encoded.sample_count as f64)
    });
    println!("{:<15}{}", "ALL", sizes.concat());
}

fn bench_values(criterion: &mut Criterion) {
    let kinds = mix::generate(SERIES_COUNT, mix::SAMPLES_A_DAY);
    print_sizes(&kinds);
    let columns: Vec<&Vec<f64>> = kinds.iter().flat_map(|kind| &kind.series).collect();
    let mut group = criterion.benchmark_group("values");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for length in CHUNK_LENGTHS {
        let encoded = encode_all(columns.iter().copied(), length);
        group.throughput(Throughput::Elements(encoded.sample_count as u64));
        let mut encoder = ChunkEncoder::new();
        let mut bytes = Vec::new();
        group.bench_function(BenchmarkId::new("encode", length), |bencher| {
            bencher.iter(|| {
                for column in &columns {
                    for values in column.chunks(length) {
                        bytes.clear();
                        encoder.encode_values(values, &mut bytes);
                        black_box(&bytes);
                    }
                }
            });
        });
        let mut decoder = ChunkDecoder::new();
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("decode", length), |bencher| {
            bencher.iter(|| decode_all(&encoded.chunks, &mut decoder, &mut out));
        });
    }
    group.finish();
}

fn bench_kinds(criterion: &mut Criterion) {
    let kinds = mix::generate(SERIES_COUNT, mix::SAMPLES_A_DAY);
    let mut group = criterion.benchmark_group("values_480");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    for kind in &kinds {
        let encoded = encode_all(kind.series.iter(), 480);
        group.throughput(Throughput::Elements(encoded.sample_count as u64));
        let mut encoder = ChunkEncoder::new();
        let mut bytes = Vec::new();
        group.bench_function(BenchmarkId::new("encode", kind.name), |bencher| {
            bencher.iter(|| {
                for column in &kind.series {
                    for values in column.chunks(480) {
                        bytes.clear();
                        encoder.encode_values(values, &mut bytes);
                        black_box(&bytes);
                    }
                }
            });
        });
        let mut decoder = ChunkDecoder::new();
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("decode", kind.name), |bencher| {
            bencher.iter(|| decode_all(&encoded.chunks, &mut decoder, &mut out));
        });
    }
    group.finish();
}

/// Columns of 480 timestamps: exact, jittering, with missing scrapes, drifting, late now and then.
fn timestamp_columns(name: &str) -> Vec<Vec<i64>> {
    let mut random = mix::Random(7);
    (0..200)
        .map(|column| {
            let start = 1_760_000_000_000 + column * 137;
            let mut point = start;
            let mut timestamps = Vec::new();
            while timestamps.len() < 480 {
                let is_missing = matches!(name, "missing" | "jitter_missing") && random.unit() < 0.02;
                let deviation = match name {
                    "jitter" | "jitter_missing" => (random.bits() % 7) as i64 - 3,
                    "otel" if random.unit() < 0.01 => (random.unit() * 1000.0) as i64,
                    "otel" => (random.normal() * 2.0).round() as i64,
                    "drift" => timestamps.len() as i64 * 3 / 10,
                    _ => 0,
                };
                if !is_missing {
                    timestamps.push(point + deviation);
                }
                point += 15_000;
            }
            timestamps
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "the sizes are a result of this bench")]
fn bench_timestamps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timestamps_480");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    for name in ["exact", "jitter", "otel", "missing", "drift", "jitter_missing"] {
        let columns = timestamp_columns(name);
        let mut encoder = ChunkEncoder::new();
        let chunks: Vec<Vec<u8>> = columns
            .iter()
            .map(|column| {
                let mut bytes = Vec::new();
                encoder.encode_timestamps(column, &mut bytes);
                bytes
            })
            .collect();
        let byte_count: usize = chunks.iter().map(Vec::len).sum();
        println!("{name}: {:.3} bits/timestamp", byte_count as f64 * 8.0 / (columns.len() * 480) as f64);
        group.throughput(Throughput::Elements((columns.len() * 480) as u64));
        let mut bytes = Vec::new();
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| {
                for column in &columns {
                    bytes.clear();
                    encoder.encode_timestamps(column, &mut bytes);
                    black_box(&bytes);
                }
            });
        });
        let mut decoder = ChunkDecoder::new();
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| {
                for chunk in &chunks {
                    out.clear();
                    let result = decoder.decode_timestamps(chunk, 480, &mut out);
                    assert!(result.is_ok(), "a column just encoded decodes");
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench_values, bench_kinds, bench_timestamps);
criterion_main!(benches);
