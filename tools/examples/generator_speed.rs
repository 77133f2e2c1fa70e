//! Measures the generator without a server: time per sample to draw, to build batches, to encode messages, and how many
//! bytes per sample the values need at least.
//!
//! The estimate per series is the cheapest of constant, value, delta and delta of delta, each as the entropy of the bit
//! length plus the bits below the highest one, on integers where the values are decimals. It is comparable to the
//! order-0 floor of a codec, not a promise of one.

use std::io::Write as _;
use std::time::Instant;

use clap::Parser;
use mytsdb_tools::k8s::batch::{Cut, MessageEncoder, streams};
use mytsdb_tools::k8s::expected::group_values;
use mytsdb_tools::k8s::model::Run;
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::plan::model;
use mytsdb_tools::k8s::seed::Dataset;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = SeedOptions::parse();
    let dataset = Dataset::new(&options, 1_760_000_000_000)?;
    let sample_count = dataset.sample_count() as f64;
    let mut out = std::io::stdout().lock();
    let started = Instant::now();
    draw(&dataset, options.run_length);
    writeln!(out, "draw {:.2} ns/sample", started.elapsed().as_nanos() as f64 / sample_count)?;
    for encodes in [false, true] {
        let started = Instant::now();
        let byte_count = build(&dataset, &options, encodes)?;
        let ns = started.elapsed().as_nanos() as f64 / sample_count;
        let step = if encodes { "draw, build, encode" } else { "draw, build" };
        writeln!(out, "{step} {ns:.2} ns/sample, {:.1} B/sample", byte_count as f64 / sample_count)?;
    }
    let bits: f64 = dataset
        .plan
        .groups
        .iter()
        .map(|group| {
            group_values(&dataset, group)
                .iter()
                .take(group.labels.len())
                .map(|values| floor_bits(values))
                .sum::<f64>()
        })
        .sum();
    writeln!(out, "values need about {:.3} B/sample", bits / 8.0 / sample_count)?;
    Ok(())
}

/// Draws every value in windows, as a run does.
fn draw(dataset: &Dataset, run_length: usize) {
    let mut models: Vec<_> = dataset
        .plan
        .groups
        .iter()
        .map(|group| model(&dataset.topology, &dataset.clock, group.kind))
        .collect();
    let mut values = Vec::new();
    let mut first_step = 0;
    while first_step < dataset.clock.step_count {
        let step_count = run_length.min((dataset.clock.step_count - first_step) as usize);
        for model in &mut models {
            values.resize(model.series_count() * step_count, 0.0);
            model.fill(&Run { clock: &dataset.clock, first_step, step_count }, &mut values);
            std::hint::black_box(&mut values);
        }
        first_step += step_count as u64;
    }
}

fn build(dataset: &Dataset, options: &SeedOptions, encodes: bool) -> Result<usize, arrow::error::ArrowError> {
    let cut = Cut { stream_count: 1, run_length: options.run_length, batch_bytes: options.batch_bytes };
    let mut byte_count = 0;
    for mut stream in streams(&dataset.topology, &dataset.plan, &dataset.clock, &dataset.clock, cut)? {
        let mut encoder = MessageEncoder::default();
        while let Some(batch) = stream.next_batch()? {
            byte_count += if encodes {
                encoder.message(&batch)?.data_body.len()
            } else {
                batch.get_array_memory_size()
            };
        }
    }
    Ok(byte_count)
}

/// Integers that stand for `values`: decimals without their point, else the bits.
fn integers(values: &[f64]) -> Vec<i64> {
    for exponent in 0..10 {
        let scale = 10f64.powi(exponent);
        if values
            .iter()
            .all(|value| (value * scale).abs() < 9e15 && (value * scale).round() / scale == *value)
        {
            let integers: Vec<i64> = values.iter().map(|value| (value * scale).round() as i64).collect();
            let first = integers.first().copied().unwrap_or(0);
            let divisor =
                integers.iter().fold(0, |divisor, integer| gcd(divisor, (integer - first).abs())).max(1);
            return integers.iter().map(|integer| (integer - first) / divisor).collect();
        }
    }
    values.iter().map(|value| value.to_bits() as i64).collect()
}

fn gcd(left: i64, right: i64) -> i64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

fn floor_bits(values: &[f64]) -> f64 {
    let integers = integers(values);
    let delta = |integers: &[i64]| -> Vec<i64> {
        integers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
    };
    let deltas = delta(&integers);
    let second = delta(&deltas);
    [&integers, &deltas, &second]
        .map(|integers| entropy_bits(integers))
        .into_iter()
        .fold(f64::INFINITY, f64::min)
}

fn entropy_bits(integers: &[i64]) -> f64 {
    let mut counts = [0u32; 130];
    let mut low_bits = 0;
    for integer in integers {
        let length = 64 - integer.unsigned_abs().leading_zeros();
        counts[(2 * length + u32::from(*integer < 0)) as usize] += 1;
        low_bits += u64::from(length.saturating_sub(1));
    }
    let total = integers.len() as f64;
    let classes = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count));
    classes.map(|count| count * (total / count).log2()).sum::<f64>() + low_bits as f64
}
