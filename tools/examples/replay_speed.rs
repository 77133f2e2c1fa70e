//! Measures how fast requests are made, without sending them: `cargo run --release -p mytsdb-tools --example replay_speed`.
//!
//! One core, the templates of the generator's defaults, for each signal and wire: nanoseconds (of the clock, so on an idle machine)
//! and bytes for each event.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use mytsdb_tools::telemetry::generator::options::{GeneratorOptions, KEYS};
use mytsdb_tools::telemetry::generator::template;
use mytsdb_tools::telemetry::replay::{Replay, ReplayOptions, Wire};
use mytsdb_tools::telemetry::settings::parse;
use mytsdb_tools::telemetry::template::{Signal, Template};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const STARTED_NS: u64 = 1_790_000_000_000_000_000;
const MEASURE: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let measured = [
        ("metrics, OTLP", Signal::Metrics, Wire::Otlp, &[][..]),
        ("metrics, OTLP, only gauges and counters", Signal::Metrics, Wire::Otlp, &NUMBERS[..]),
        ("spans, OTLP", Signal::Traces, Wire::Otlp, &[]),
        ("log records, OTLP", Signal::Logs, Wire::Otlp, &[]),
        ("samples, remote write 1.0", Signal::Metrics, Wire::RemoteWriteV1, &[]),
        ("samples, remote write 2.0", Signal::Metrics, Wire::RemoteWriteV2, &[]),
        ("samples, Flight", Signal::Metrics, Wire::Flight, &[]),
    ];
    for (name, signal, wire, flags) in measured {
        let options = settings(flags)?;
        let Some(template) = template(&options, signal) else { continue };
        measure(name, template, wire)?;
    }
    Ok(())
}

const NUMBERS: [&str; 4] = [
    "--metrics-types-histogram=0",
    "--metrics-types-exponential-histogram=0",
    "--metrics-types-summary=0",
    "--metrics-types-up-down-counter=0",
];

fn settings(flags: &[&str]) -> anyhow::Result<GeneratorOptions> {
    let arguments = ["replay_speed"].iter().chain(flags).map(OsString::from);
    Ok(parse(arguments, &KEYS)?)
}

#[expect(clippy::print_stdout, reason = "the figures are the program's output")]
fn measure(name: &str, template: Template, wire: Wire) -> anyhow::Result<()> {
    let options = ReplayOptions { wire, ..ReplayOptions::new("pod", STARTED_NS) };
    let mut replay = Replay::new(&[template], &options)?;
    let mut now_ns = STARTED_NS;
    let (mut events, mut bytes) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < MEASURE {
        now_ns += 1_000_000;
        let Some(request) = replay.next(now_ns) else { break };
        events += request.events;
        bytes += request.body.len();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{name}: {:.1} ns, {:.1} M/s, {:.0} bytes each",
        seconds * 1e9 / events as f64,
        events as f64 / seconds / 1e6,
        bytes as f64 / events as f64
    );
    Ok(())
}
