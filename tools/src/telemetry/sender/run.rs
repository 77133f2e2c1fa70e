//! One run: templates → workers → counts → verification → report.
//!
//! Input: a [`Config`]. Output: an [`Outcome`] with the report and the exit code, or why there was no run. A signal ends the run
//! as the duration does: no new requests, those in flight are answered, then the report; a second signal does not wait.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::asker::{AskError, Asker};
use super::config::Config;
use super::options::Protocol;
use super::probe::{ProbeReport, Prober};
use super::report::{Measured, cpu_time};
use super::schedule::Schedule;
use super::slo::Verdict;
use super::stats::Stats;
use super::stop::{Stage, Stop, Stopper, signal, stop};
use super::transport::connect::Traffic;
use super::transport::{TransportError, Transports};
use super::verify::verify;
use super::worker::{Shared, Source, Worker, WorkerEnd, unix_time_ns};
use super::{metrics, progress};
use crate::telemetry::replay::{BatchSizes, Detours, Replay, ReplayOptions, Wire};
use crate::telemetry::template::TemplateError;

/// Why there was no run, or none that says anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The templates cannot be replayed.
    #[error(transparent)]
    Templates(#[from] TemplateError),
    /// The endpoint cannot be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The address of `/metrics` cannot be used.
    #[error("cannot listen on {address} for /metrics: {source}")]
    MetricsAddress {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server could not be asked what it has.
    #[error("cannot verify: {0}")]
    Verify(#[from] AskError),
    /// A task died.
    #[error("a task died: {0}")]
    Task(#[from] JoinError),
    /// The run was broken off by a second signal.
    #[error("broken off by {0} while verifying")]
    BrokenOff(&'static str),
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub document: Value,
    /// Objectives and whether they were met.
    pub verdicts: Vec<Verdict>,
    /// Why the run is a failure, whatever the objectives; in words.
    pub failure: Option<String>,
}

/// Runs once.
///
/// # Errors
/// [`RunError`] if there is nothing to send or nobody to send it to.
pub async fn run(config: Config) -> Result<Outcome, RunError> {
    let config = Arc::new(config);
    let replays = spawn_blocking({
        let config = Arc::clone(&config);
        move || open_replays(&config)
    });
    let replays = replays.await??;
    let traffic = Arc::new(Traffic::default());
    let transports = Transports::connect(&config, Arc::clone(&traffic)).await?;
    let listener = match config.flags.metrics_address {
        Some(address) => Some(
            metrics::bind(address).await.map_err(|source| RunError::MetricsAddress { address, source })?,
        ),
        None => None,
    };
    let started = Instant::now();
    let shared = Arc::new(Shared {
        schedule: Schedule::new(config.flags.rate, config.flags.ramp_up),
        stats: Stats::default(),
        started,
        ends: config.duration().map(|duration| started + duration),
        answer_timeout: config.flags.timeout,
        retry: config.retry,
    });
    let (stopper, stop) = stop();
    let cpu_before = cpu_time();
    let mut workers = JoinSet::new();
    for (index, source) in replays.into_iter().enumerate() {
        let transport = transports.of_worker(&config, index)?;
        let first_expected_count = first_expected_count(&config, &source);
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        workers.spawn(Worker { index, source, transport, first_expected_count, shared, stop }.run());
    }
    let prober = start_prober(&config, &transports, stop)?;
    let mut beside = JoinSet::new();
    beside.spawn(progress::show(Arc::clone(&shared), config.flags.report_interval, config.duration()));
    if let Some(listener) = listener {
        beside.spawn(metrics::serve(listener, Arc::clone(&shared), Arc::clone(&traffic), config.flags.rate));
    }
    let (ends, ended_by) = wait_for_end(&stopper, workers, &shared, config.flags.drain_timeout).await?;
    let elapsed = started.elapsed();
    let cpu = cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    stopper.advance(Stage::Draining);
    let probes = match prober {
        Some(prober) => Some(prober.await?),
        None => None,
    };
    let verification = match &config.verify {
        Some(endpoint) => tokio::select! {
            verification = verify(&config, endpoint, &ends) => Some(verification?),
            name = signal() => return Err(RunError::BrokenOff(name)),
        },
        None => None,
    };
    // Its answers stay true until here.
    beside.shutdown().await;
    let wire_bytes = traffic.bytes();
    let measured =
        Measured { counts: shared.stats.counts(), elapsed, ended_by, wire_bytes, cpu, verification, probes };
    let verdicts = measured.judge(&config.slos);
    Ok(Outcome { document: measured.document(&config, &verdicts), failure: failure(&measured), verdicts })
}

/// Reads the templates, for all workers at once.
fn open_replays(config: &Config) -> Result<Vec<Replay>, TemplateError> {
    let flags = &config.flags;
    let options = ReplayOptions {
        wire: wire(flags.protocol),
        worker: 0,
        workers: flags.concurrency,
        instance: config.instance.clone(),
        started_ns: unix_time_ns(),
        signals: config.signals.clone(),
        batch: BatchSizes {
            metrics: flags.batch_metrics,
            traces: flags.batch_traces,
            logs: flags.batch_logs,
        },
        multiplier: flags.multiplier,
        detours: Detours {
            duplicate: flags.duplicate,
            out_of_order: flags.out_of_order,
            late: flags.late,
            late_by_ns: u64::try_from(flags.late_by.as_nanos()).unwrap_or(u64::MAX),
        },
    };
    Replay::open_all(&flags.templates, &options)
}

fn wire(protocol: Protocol) -> Wire {
    match protocol {
        Protocol::OtlpGrpc | Protocol::OtlpHttp => Wire::Otlp,
        Protocol::RemoteWrite => Wire::RemoteWriteV1,
        Protocol::RemoteWriteV2 => Wire::RemoteWriteV2,
        Protocol::Flight => Wire::Flight,
    }
}

/// About how many events the first request of a worker has: a full batch, or all its series.
fn first_expected_count(config: &Config, source: &impl Source) -> u64 {
    let series_count: u64 = source.catalog().metrics.iter().map(|metric| metric.series_count).sum();
    (config.flags.batch_metrics as u64).min(series_count).max(1)
}

fn start_prober(
    config: &Config,
    transports: &Transports,
    stop: Stop,
) -> Result<Option<JoinHandle<ProbeReport>>, RunError> {
    let Some(endpoint) = &config.verify else { return Ok(None) };
    let prober = Prober {
        wire: wire(config.flags.protocol),
        transport: transports.of_worker(config, 0)?,
        asker: Asker::new(config, endpoint, 0)?,
        instance: format!("{}-probe", config.instance),
        interval: config.flags.probe_interval,
        answer_timeout: config.flags.timeout,
        stop,
    };
    Ok(Some(tokio::spawn(prober.run())))
}

/// Waits until all workers have ended, and makes them end: when the time is over, and at a signal.
async fn wait_for_end(
    stopper: &Stopper,
    mut workers: JoinSet<WorkerEnd>,
    shared: &Shared,
    drain_timeout: Duration,
) -> Result<(Vec<WorkerEnd>, String), RunError> {
    let mut ends = Vec::new();
    let mut ended_by = "multiplier".to_owned();
    let time_over = async {
        match shared.ends {
            Some(ends) => sleep_until(ends).await,
            None => std::future::pending().await,
        }
    };
    let is_all = tokio::select! {
        joined = join(&mut workers, &mut ends) => joined.map(|()| true)?,
        () = time_over => { "duration".clone_into(&mut ended_by); false }
        name = signal() => { name.clone_into(&mut ended_by); false }
    };
    if !is_all {
        stopper.advance(Stage::Draining);
        tokio::select! {
            joined = join(&mut workers, &mut ends) => joined?,
            () = sleep(drain_timeout) => {}
            _ = signal() => {}
        }
    }
    stopper.advance(Stage::Aborted);
    join(&mut workers, &mut ends).await?;
    Ok((ends, ended_by))
}

/// Collects workers until none is left.
async fn join(workers: &mut JoinSet<WorkerEnd>, ends: &mut Vec<WorkerEnd>) -> Result<(), JoinError> {
    while let Some(end) = workers.join_next().await {
        ends.push(end?);
    }
    Ok(())
}

/// A run of which the server took nothing is a failure.
fn failure(measured: &Measured) -> Option<String> {
    let total = measured.counts.total();
    if total.accepted > 0 {
        return None;
    }
    if total.sent == 0 {
        return Some(
            "nothing was sent: the templates hold nothing for these workers, or the run was too short"
                .to_owned(),
        );
    }
    let reason =
        measured.counts.reasons.iter().max_by_key(|(_, count)| **count).map(|(reason, _)| reason.as_str());
    Some(format!("none of {} events was accepted: {}", total.sent, reason.unwrap_or("no answer")))
}
