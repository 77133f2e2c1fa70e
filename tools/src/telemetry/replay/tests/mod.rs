//! What is handed out, decoded with the official messages: points, spans, log records, order, identity, detours.

mod messages;
mod metrics;
mod signals;
mod wires;

use std::ffi::OsString;

use super::{Replay, ReplayOptions, Request};
use crate::telemetry::generator::options::{GeneratorOptions, KEYS};
use crate::telemetry::generator::template;
use crate::telemetry::settings::parse;
use crate::telemetry::template::{Signal, Template};

/// A whole day, so that curves begin at midnight.
const STARTED_NS: u64 = 1_789_948_800_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn generator_options(flags: &[&str]) -> GeneratorOptions {
    let small = [
        "telemetry-generator",
        "--services=3",
        "--metrics-targets=4",
        "--metrics-names=12",
        "--metrics-series-per-name=3",
        "--traces-count=10",
        "--logs-count=40",
    ];
    let options: GeneratorOptions = parse(small.iter().chain(flags).map(OsString::from), &KEYS).unwrap();
    options.check().unwrap();
    options
}

fn templates(flags: &[&str]) -> Vec<Template> {
    let options = generator_options(flags);
    Signal::ALL.into_iter().filter_map(|signal| template(&options, signal)).collect()
}

/// Only metrics, all types alike, without noise and shape: what comes out is exact.
const EXACT: [&str; 9] = [
    "--traces-enabled=false",
    "--logs-enabled=false",
    "--metrics-rate-diurnal=0",
    "--metrics-rate-noise=0",
    "--metrics-types-gauge=1",
    "--metrics-types-counter=1",
    "--metrics-types-up-down-counter=1",
    "--metrics-types-histogram=1",
    "--metrics-types-exponential-histogram=1",
];

fn options() -> ReplayOptions {
    ReplayOptions::new("pod-a", STARTED_NS)
}

fn replay(flags: &[&str], options: &ReplayOptions) -> Replay {
    Replay::new(&templates(flags), options).unwrap()
}

/// Everything of one replay of all batches, a second apart.
fn one_cycle(replay: &mut Replay, cycle: u64) -> Vec<Request> {
    let batches = replay.turns.order.len();
    let time_ns = STARTED_NS + (cycle + 1) * 10 * SECOND_NS;
    (0..batches).map(|_| replay.next(time_ns).unwrap()).collect()
}

fn decode<M: prost::Message + Default>(request: &Request) -> M {
    M::decode(request.body.clone()).unwrap()
}

#[test]
fn all_workers_are_opened_from_one_reading() {
    let folder = tempfile::tempdir().unwrap();
    let output = format!("--output={}", folder.path().display());
    let generator = generator_options(&[&output]);
    crate::telemetry::generator::generate(&generator).unwrap();
    let mut all =
        Replay::open_all(folder.path(), &ReplayOptions { workers: 3, worker: 7, ..options() }).unwrap();
    assert_eq!(all.len(), 3);
    for (worker, replay) in all.iter_mut().enumerate() {
        let of_worker = ReplayOptions { workers: 3, worker, ..options() };
        let mut alone = Replay::open(folder.path(), of_worker).unwrap();
        let time_ns = STARTED_NS + SECOND_NS;
        assert_eq!(replay.next(time_ns).unwrap().body, alone.next(time_ns).unwrap().body);
    }
    let error = Replay::open_all(folder.path(), &ReplayOptions { workers: 0, ..options() }).unwrap_err();
    assert_eq!(error.to_string(), "workers is 0; allowed is 1 to 4096");
}
