//! After the backfill: the same series go on in real time, step by step, until a signal.
//!
//! Input: the streams where the backfill left them, so models keep their state and counters go on. Output: samples at the
//! times of the same grid, without gap or overlap, whenever the server comes back. Steps that fell due while it was away
//! are sent when it is there again. Not here: the backfill (see [`super::seed`]).

use std::time::{Duration, Instant};

use arrow::error::ArrowError;
use arrow_flight::FlightData;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::batch::{MessageEncoder, StreamBatches};
use super::model::Clock;
use super::options::SeedOptions;
use super::seed::SeedError;
use crate::flight_client::{FlightClient, FlightClientError, FlightTarget, PutLimits, PutReport};

/// Time between two lines about how it goes.
const LINE_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Steps that models are prepared for beyond the backfill: ten years.
const HORIZON_MS: u64 = 10 * 366 * 86_400_000;

/// What was sent after the backfill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowReport {
    /// Steps of the grid that are wholly acknowledged.
    pub step_count: u64,
    /// Samples stored.
    pub sample_count: u64,
    /// Samples refused.
    pub rejected_count: u64,
    /// Attempts that failed.
    pub retry_count: u64,
}

impl FollowReport {
    /// A line of JSON.
    pub fn line(&self, event: &str, behind_ms: i64) -> Value {
        json!({
            "event": event,
            "steps": self.step_count,
            "samples": self.sample_count,
            "rejected": self.rejected_count,
            "retries": self.retry_count,
            "behind_ms": behind_ms,
        })
    }
}

/// The grid that models must know: they draw restarts in advance.
pub fn horizon(clock: &Clock) -> Clock {
    let mut clock = clock.clone();
    clock.step_count += HORIZON_MS / clock.interval_ms;
    clock
}

/// Who goes on, with what.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The flags.
    pub options: &'a SeedOptions,
    /// The grid; its steps so far are sent.
    pub clock: Clock,
    /// Where the backfill left them.
    pub streams: Vec<StreamBatches>,
    /// Turns true when it should end.
    pub stop: watch::Receiver<bool>,
    /// The clock: milliseconds since the Unix epoch.
    pub now_ms: fn() -> i64,
    /// Hears lines of JSON.
    pub say: fn(Value),
}

/// A window of one stream was not acknowledged, because it should end.
struct Stopped;

impl Follower<'_> {
    /// Goes on until it is stopped.
    ///
    /// # Errors
    /// [`SeedError`] for what no other try would mend. A server that is away is none.
    pub async fn run(mut self) -> Result<FollowReport, SeedError> {
        let mut report = FollowReport::default();
        let mut client = None;
        let mut last_line = Instant::now();
        let first_step = self.clock.step_count;
        while !*self.stop.borrow() {
            let behind_ms = (self.now_ms)() - self.clock.time_ms(self.clock.step_count);
            if behind_ms < 0 {
                self.pause(Duration::from_millis(behind_ms.unsigned_abs())).await;
                continue;
            }
            // All that is due, but no more at a time than the backfill sends.
            let due_count = behind_ms.unsigned_abs() / self.clock.interval_ms + 1;
            self.clock.step_count += due_count.min(self.options.run_length as u64);
            for index in 0..self.streams.len() {
                let messages = self.messages(index)?;
                if self.deliver(&mut client, &messages, &mut report).await?.is_err() {
                    return Ok(report);
                }
            }
            report.step_count = self.clock.step_count - first_step;
            if last_line.elapsed() >= LINE_INTERVAL {
                last_line = Instant::now();
                let next_ms = self.clock.time_ms(self.clock.step_count);
                (self.say)(report.line("following", ((self.now_ms)() - next_ms).max(0)));
            }
        }
        Ok(report)
    }

    /// Encodes the new steps of a stream.
    fn messages(&mut self, index: usize) -> Result<Vec<FlightData>, ArrowError> {
        let mut encoder = MessageEncoder::default();
        let mut messages = vec![encoder.schema_message()];
        if let Some(stream) = self.streams.get_mut(index) {
            stream.prolong(self.clock.step_count);
            while let Some(batch) = stream.next_batch()? {
                messages.push(encoder.message(&batch)?);
            }
        }
        Ok(messages)
    }

    /// Sends until it is acknowledged: the same bytes each time, which change nothing if they are there already.
    async fn deliver(
        &self,
        client: &mut Option<FlightClient>,
        messages: &[FlightData],
        report: &mut FollowReport,
    ) -> Result<Result<(), Stopped>, SeedError> {
        let (mut pause, mut is_first) = (RETRY_PAUSE_MIN, true);
        loop {
            let error = match self.attempt(client, messages).await {
                Ok(put) => {
                    report.sample_count += put.affected_rows;
                    report.rejected_count += put.rejected_rows;
                    if let Some(reason) = put.first_error {
                        (self.say)(
                            json!({"event": "rejected", "samples": put.rejected_rows, "reason": reason}),
                        );
                    }
                    return Ok(Ok(()));
                }
                Err(error) if error.is_temporary() => error,
                Err(error) => return Err(error.into()),
            };
            report.retry_count += 1;
            if std::mem::replace(&mut is_first, false) {
                (self.say)(json!({"event": "retrying", "reason": error.to_string()}));
            }
            if *self.stop.borrow() || self.pause(pause).await {
                return Ok(Err(Stopped));
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    async fn attempt(
        &self,
        client: &mut Option<FlightClient>,
        messages: &[FlightData],
    ) -> Result<PutReport, FlightClientError> {
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => {
                let target = FlightTarget {
                    endpoint: self.options.endpoint.clone(),
                    tenant: self.options.tenant.clone(),
                    connect_timeout: CONNECT_TIMEOUT,
                };
                FlightClient::connect(&target, |_| {}).await?
            }
        };
        let (sender, receiver) = mpsc::channel(messages.len().max(1));
        for message in messages {
            // There is room for all of them.
            let _queued = sender.send(message.clone()).await;
        }
        drop(sender);
        let limits = PutLimits { in_flight: self.options.in_flight, ack_timeout: self.options.ack_timeout };
        let report = connected.put(receiver, limits, |_| {}).await?;
        // Kept only while it works.
        *client = Some(connected);
        Ok(report)
    }

    /// Waits; comes back early, with true, if it should end.
    async fn pause(&self, pause: Duration) -> bool {
        let mut stop = self.stop.clone();
        let stopped = async {
            // Without a sender nobody will ever stop it.
            if stop.wait_for(|is_stopped| *is_stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stopped => true,
            () = sleep(pause) => false,
        }
    }
}
