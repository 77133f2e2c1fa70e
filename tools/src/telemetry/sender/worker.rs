//! A worker: waits until its next request is due, sends it, and repeats it until it is answered for good.
//!
//! Input: a source of its own (a `Replay`), its transport, the shared schedule. Output: what was acknowledged, for `--verify`.
//!
//! Invariant: a worker has one request in flight and makes the next one only when that is settled, retries included; as no two
//! workers have a series in common, the points of a series arrive in the order of their times. Many workers make many
//! requests in flight on each connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::Answer;
use super::backoff::{Backoff, RetrySettings};
use super::schedule::Schedule;
use super::stats::Stats;
use super::stop::{Stage, Stop};
use super::transport::Transport;
use crate::bench_load::random::Random;
use crate::telemetry::replay::{Catalog, Replay, Request, Tally};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// When events are due.
    pub schedule: Schedule,
    /// What became of them.
    pub stats: Stats,
    /// The schedule's zero.
    pub started: Instant,
    /// When no request may begin any more; `None` = never.
    pub ends: Option<Instant>,
    /// How long to wait for one answer.
    pub answer_timeout: Duration,
    /// How retries go.
    pub retry: RetrySettings,
}

/// Where a worker's requests come from.
pub trait Source: Send {
    /// Returns the next request at `now_ns`, nanoseconds since the Unix epoch; `None` after the last one.
    fn next_request(&mut self, now_ns: u64) -> Option<Request>;

    /// Returns what the requests hold.
    fn catalog(&self) -> Arc<Catalog>;
}

impl Source for Replay {
    fn next_request(&mut self, now_ns: u64) -> Option<Request> {
        self.next(now_ns)
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(Self::catalog(self))
    }
}

/// One worker.
#[derive(Debug)]
pub struct Worker<S> {
    /// Its number.
    pub index: usize,
    /// What it sends.
    pub source: S,
    /// How it sends.
    pub transport: Transport,
    /// About how many events its first request has.
    pub first_expected_count: u64,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// When it has to end.
    pub stop: Stop,
}

/// What a worker leaves behind.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Its number.
    pub index: usize,
    /// What its requests hold.
    pub catalog: Arc<Catalog>,
    /// Requests that were acknowledged whole.
    pub acknowledged: Tally,
    /// Requests of which it is not known how much the server has: failed, aborted, or refused in part.
    pub uncertain: Tally,
}

impl<S: Source> Worker<S> {
    /// Sends until there is nothing more, the time is over, or it has to stop.
    pub async fn run(mut self) -> WorkerEnd {
        let mut end = WorkerEnd {
            index: self.index,
            catalog: self.source.catalog(),
            acknowledged: Tally::default(),
            uncertain: Tally::default(),
        };
        let mut random =
            Random::new(self.shared.started.elapsed().as_nanos() as u64 ^ (self.index as u64) << 32);
        // The next request is as large as the last one, as far as the schedule knows; corrected when it is there.
        let mut expected_count = self.first_expected_count;
        loop {
            let reserved = self.shared.schedule.reserve(expected_count);
            let due = reserved.map_or_else(Instant::now, |after| self.shared.started + after);
            if !self.wait_until(due).await {
                break;
            }
            let Some(request) = self.source.next_request(unix_time_ns()) else { break };
            self.shared.schedule.settle(expected_count, request.events);
            expected_count = request.events;
            let is_whole = self.deliver(&request, due, &mut random).await;
            let tally = if is_whole { &mut end.acknowledged } else { &mut end.uncertain };
            tally.add(&request);
        }
        end
    }

    /// Waits for `due`; returns whether a request may be made then.
    async fn wait_until(&mut self, due: Instant) -> bool {
        if self.shared.ends.is_some_and(|ends| due >= ends || Instant::now() >= ends) {
            return false;
        }
        if due > Instant::now() {
            tokio::select! {
                biased;
                () = self.stop.reached(Stage::Draining) => {}
                () = sleep_until(due) => {}
            }
        }
        self.stop.stage() == Stage::Running
    }

    /// Sends `request` until its answer is final; returns whether the server has all of it.
    async fn deliver(&mut self, request: &Request, due: Instant, random: &mut Random) -> bool {
        let shared = Arc::clone(&self.shared);
        let first_sent = Instant::now();
        shared.stats.begin(request, first_sent.saturating_duration_since(due));
        let mut backoff = Backoff::new(shared.retry, random);
        loop {
            let answer = self.attempt(request).await;
            let retry = match answer {
                Answer::Taken { rejected_count, .. } => {
                    shared.stats.end(request, Some(rejected_count), due.elapsed());
                    return rejected_count == 0;
                }
                Answer::Refused { retry, .. } => retry,
            };
            let Some(pause) = backoff.pause(retry, first_sent.elapsed()) else { break };
            tokio::select! {
                biased;
                () = self.stop.reached(Stage::Aborted) => break,
                () = sleep(pause) => {}
            }
            shared.stats.retry(request);
        }
        shared.stats.end(request, None, due.elapsed());
        false
    }

    async fn attempt(&mut self, request: &Request) -> Answer {
        let sent = Instant::now();
        let limit = self.shared.answer_timeout;
        let answer = tokio::select! {
            biased;
            answer = timeout(limit, self.transport.send(request)) => answer.unwrap_or_else(|_| Answer::late(limit)),
            () = self.stop.reached(Stage::Aborted) => Answer::aborted(),
        };
        self.shared.stats.attempt(request, &answer, sent.elapsed());
        answer
    }
}

/// The wall clock, nanoseconds since the Unix epoch.
pub fn unix_time_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "worker_test.rs"]
mod tests;
