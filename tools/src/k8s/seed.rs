//! One run: builds the data set, generates and sends it over several streams, verifies what arrived.
//!
//! Input: options and the time. Output: a [`SeedReport`] or the first reason for failure. Each stream has a thread
//! that generates and encodes, and a connection that sends; a short queue lies between.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::error::ArrowError;
use arrow_flight::FlightData;
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};

use super::batch::{Cut, MessageEncoder, StreamBatches, streams};
use super::follow::horizon;
use super::model::Clock;
use super::options::{OptionsError, SeedOptions};
use super::plan::Plan;
use super::progress::Progress;
use super::topology::Topology;
use super::verify::{VerifyError, count_queries, verify};
use crate::flight_client::{FlightClient, FlightClientError, FlightTarget, PutLimits, PutReport};

/// Messages generated but not yet sent, per stream.
const MESSAGE_QUEUE_COUNT: usize = 2;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// The flags do not fit together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The server could not be reached or broke off.
    #[error(transparent)]
    Flight(#[from] FlightClientError),
    /// The server refused samples.
    #[error("the server refused {sample_count} samples: {reason}")]
    Refused {
        /// How many.
        sample_count: u64,
        /// The first reason it gave.
        reason: String,
    },
    /// The server does not hold what was sent.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A batch could not be built.
    #[error("cannot build a batch: {0}")]
    Batch(#[from] ArrowError),
    /// A generating thread died.
    #[error("a generating thread died: {0}")]
    Thread(#[from] JoinError),
}

/// Everything about the samples to be sent.
#[derive(Debug)]
pub struct Dataset {
    /// Who exists.
    pub topology: Topology,
    /// Which series.
    pub plan: Plan,
    /// When.
    pub clock: Clock,
}

impl Dataset {
    /// Builds what `options` ask for; the samples end at `now_ms` if the options say nothing else.
    ///
    /// # Errors
    /// [`OptionsError`] as [`SeedOptions::clock`].
    pub fn new(options: &SeedOptions, now_ms: i64) -> Result<Self, OptionsError> {
        let clock = options.clock(now_ms)?;
        let topology = Topology::new(options.scale(), options.seed);
        let plan = Plan::new(&topology, options.seed_run.as_deref());
        Ok(Self { topology, plan, clock })
    }

    /// Returns how many samples there are.
    pub fn sample_count(&self) -> u64 {
        self.plan.series_count() as u64 * self.clock.step_count
    }
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedReport {
    /// Samples sent and acknowledged.
    pub sample_count: u64,
    /// From the first message to the last acknowledgement.
    pub elapsed: Duration,
    /// Samples counted in the server, unless that was not asked for.
    pub verified_count: Option<u64>,
}

impl fmt::Display for SeedReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.sample_count as f64 / seconds.max(1e-9) / 1e6;
        write!(formatter, "seeded {} samples in {seconds:.2} s ({rate:.2} M samples/s)", self.sample_count)
    }
}

/// Seeds the server with `dataset`.
///
/// # Errors
/// [`SeedError`]; the server then holds a part of the samples, and running again completes it.
pub async fn seed(
    options: &SeedOptions,
    dataset: &Dataset,
    progress: &Arc<Progress>,
) -> Result<SeedReport, SeedError> {
    backfill(options, dataset, progress).await.map(|(report, _streams)| report)
}

/// As [`seed`]; the streams are given back where they ended, for [`super::follow`].
///
/// # Errors
/// As [`seed`].
pub async fn backfill(
    options: &SeedOptions,
    dataset: &Dataset,
    progress: &Arc<Progress>,
) -> Result<(SeedReport, Vec<StreamBatches>), SeedError> {
    let target = FlightTarget {
        endpoint: options.endpoint.clone(),
        tenant: options.tenant.clone(),
        connect_timeout: options.connect_timeout,
    };
    let connect = || FlightClient::connect(&target, |reason| say_waiting(progress, &target, reason));
    let mut verifier = connect().await?;
    let started = Instant::now();
    let cut = Cut {
        stream_count: options.streams,
        run_length: options.run_length,
        batch_bytes: options.batch_bytes,
    };
    let mut sending = Vec::new();
    let horizon = if options.follow { horizon(&dataset.clock) } else { dataset.clock.clone() };
    for batches in streams(&dataset.topology, &dataset.plan, &dataset.clock, &horizon, cut)? {
        sending.push(send(connect().await?, batches, options, progress));
    }
    let (mut report, mut ended) = (PutReport::default(), Vec::new());
    for (of_stream, batches) in try_join_all(sending).await? {
        report.add(of_stream);
        ended.push(batches);
    }
    let elapsed = started.elapsed();
    progress.finish();
    if report.rejected_rows > 0 || report.first_error.is_some() {
        let reason = report.first_error.unwrap_or_else(|| "it gave no reason".to_owned());
        return Err(SeedError::Refused { sample_count: report.rejected_rows, reason });
    }
    let mut verified_count = None;
    if !options.no_verify {
        let run = options.seed_run.as_deref();
        let queries = count_queries(&dataset.topology, &dataset.plan, &dataset.clock, run);
        verified_count = Some(verify(options, &mut verifier, &queries).await?);
    }
    Ok((SeedReport { sample_count: dataset.sample_count(), elapsed, verified_count }, ended))
}

fn say_waiting(progress: &Progress, target: &FlightTarget, reason: &str) {
    progress.say(&format!("waiting for {} up to {:?}: {reason}", target.endpoint, target.connect_timeout));
}

async fn send(
    mut client: FlightClient,
    batches: StreamBatches,
    options: &SeedOptions,
    progress: &Arc<Progress>,
) -> Result<(PutReport, StreamBatches), SeedError> {
    let (sender, receiver) = mpsc::channel(MESSAGE_QUEUE_COUNT);
    let generating = spawn_blocking(move || generate(batches, &sender));
    let limits = PutLimits { in_flight: options.in_flight, ack_timeout: options.ack_timeout };
    // If the server breaks off, the queue closes, and the thread stops at its next message.
    let report = client.put(receiver, limits, |ack| progress.add(ack.affected_rows)).await?;
    Ok((report, generating.await??))
}

fn generate(
    mut batches: StreamBatches,
    sender: &mpsc::Sender<FlightData>,
) -> Result<StreamBatches, ArrowError> {
    let mut encoder = MessageEncoder::default();
    if sender.blocking_send(encoder.schema_message()).is_err() {
        return Ok(batches);
    }
    while let Some(batch) = batches.next_batch()? {
        if sender.blocking_send(encoder.message(&batch)?).is_err() {
            return Ok(batches);
        }
    }
    Ok(batches)
}
