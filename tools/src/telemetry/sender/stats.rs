//! What was sent and what became of it, counted as it happens.
//!
//! Input: attempts and answers of all workers. Output: a [`Counts`] at any time, for progress, `/metrics` and the report.
//! One lock for all workers: it is taken a few times a request, and a request has thousands of events.
//!
//! Invariant: sent = accepted + rejected + failed + in flight, in events, for every signal.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Answer, Code};
use super::latency::LatencyHistogram;
use crate::telemetry::replay::Request;
use crate::telemetry::template::Signal;

/// Different reasons of refusal that are kept.
const REASONS_MAX: usize = 20;

/// The name of a signal in reports and metrics.
pub fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "metrics",
        Signal::Traces => "traces",
        Signal::Logs => "logs",
    }
}

/// Counters of one signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignalCounts {
    /// Requests made, without retries.
    pub requests: u64,
    /// Attempts after the first one.
    pub retries: u64,
    /// Events of requests made.
    pub sent: u64,
    /// Events that the server acknowledged.
    pub accepted: u64,
    /// Events that the server refused in partial success.
    pub rejected: u64,
    /// Events of requests that failed for good.
    pub failed: u64,
    /// Events of attempts after the first one.
    pub retried: u64,
    /// Bytes of acknowledged bodies, before compression.
    pub accepted_bytes: u64,
}

impl SignalCounts {
    /// Returns events without an answer yet.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.accepted - self.rejected - self.failed
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.retried += other.retried;
        self.accepted_bytes += other.accepted_bytes;
    }
}

/// Everything counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    signals: [SignalCounts; 3],
    /// Attempts by how they ended.
    pub codes: BTreeMap<(&'static str, Code), u64>,
    /// Why events were refused, with the number of attempts.
    pub reasons: BTreeMap<String, u64>,
    /// From due to acknowledged or failed.
    pub latency: LatencyHistogram,
    /// From sent to answered, every attempt by itself.
    pub service: LatencyHistogram,
    /// Longest time that a request was made after it was due.
    pub late_max: Duration,
}

impl Counts {
    /// Returns the counters of one signal.
    pub fn of(&self, signal: Signal) -> SignalCounts {
        self.signals[signal as usize]
    }

    /// Returns the counters of all signals.
    pub fn total(&self) -> SignalCounts {
        self.signals.iter().fold(SignalCounts::default(), |mut total, one| {
            total.add(*one);
            total
        })
    }
}

/// The counters that workers share.
#[derive(Debug, Default)]
pub struct Stats {
    counts: Mutex<Counts>,
}

impl Stats {
    // A thread that panicked left whole numbers behind.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy of everything.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Returns the sums alone, which is cheaper.
    pub fn total(&self) -> SignalCounts {
        self.lock().total()
    }

    /// Counts a request that is sent the first time, `late` after it was due.
    pub fn begin(&self, request: &Request, late: Duration) {
        let mut counts = self.lock();
        let signal = &mut counts.signals[request.signal as usize];
        signal.requests += 1;
        signal.sent += request.events;
        counts.late_max = counts.late_max.max(late);
    }

    /// Counts the answer to one attempt.
    pub fn attempt(&self, request: &Request, answer: &Answer, service: Duration) {
        let mut counts = self.lock();
        let (code, reason) = match answer {
            Answer::Taken { code, message, .. } => (code, message.as_ref()),
            Answer::Refused { code, reason, .. } => (code, Some(reason)),
        };
        *counts.codes.entry((signal_name(request.signal), *code)).or_default() += 1;
        counts.service.record(service);
        let Some(reason) = reason else { return };
        let text = format!("{code}: {reason}");
        let is_kept = counts.reasons.len() < REASONS_MAX || counts.reasons.contains_key(&text);
        let text = if is_kept { text } else { "other reasons".to_owned() };
        *counts.reasons.entry(text).or_default() += 1;
    }

    /// Counts that a request is sent again.
    pub fn retry(&self, request: &Request) {
        let mut counts = self.lock();
        let signal = &mut counts.signals[request.signal as usize];
        signal.retries += 1;
        signal.retried += request.events;
    }

    /// Counts what became of a request in the end; `rejected_count` is `None` if it failed.
    pub fn end(&self, request: &Request, rejected_count: Option<u64>, latency: Duration) {
        let mut counts = self.lock();
        counts.latency.record(latency);
        let signal = &mut counts.signals[request.signal as usize];
        match rejected_count {
            Some(rejected_count) => {
                // A server may count other things than events, such as the samples of a histogram.
                let rejected_count = rejected_count.min(request.events);
                signal.rejected += rejected_count;
                signal.accepted += request.events - rejected_count;
                signal.accepted_bytes += request_bytes(request);
            }
            None => signal.failed += request.events,
        }
    }
}

fn request_bytes(request: &Request) -> u64 {
    match &request.columns {
        Some(columns) => columns.get_array_memory_size() as u64,
        None => request.body.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Retry;
    use super::*;

    fn request(events: u64) -> Request {
        Request {
            signal: Signal::Logs,
            body: bytes::Bytes::from_static(b"12345"),
            columns: None,
            events,
            batch: 0,
            time_ns: 0,
            is_repeat: false,
        }
    }

    #[test]
    fn every_event_is_accepted_rejected_failed_or_in_flight() {
        let stats = Stats::default();
        let (one, two, three, four) = (request(10), request(20), request(30), request(40));
        for request in [&one, &two, &three, &four] {
            stats.begin(request, Duration::from_millis(request.events));
        }
        stats.end(&one, Some(0), Duration::from_millis(1));
        stats.end(&two, Some(3), Duration::from_millis(2));
        stats.retry(&three);
        stats.end(&three, None, Duration::from_millis(3));
        let counts = stats.counts();
        let logs = counts.of(Signal::Logs);
        assert_eq!((logs.requests, logs.retries, logs.sent, logs.retried), (4, 1, 100, 30));
        assert_eq!((logs.accepted, logs.rejected, logs.failed, logs.in_flight()), (27, 3, 30, 40));
        assert_eq!(logs.accepted_bytes, 10);
        assert_eq!(counts.total(), logs);
        assert_eq!(counts.late_max, Duration::from_millis(40));
        assert_eq!(counts.latency.count(), 3);
    }

    #[test]
    fn more_rejected_than_sent_is_all_of_it() {
        let stats = Stats::default();
        stats.begin(&request(10), Duration::ZERO);
        stats.end(&request(10), Some(500), Duration::ZERO);
        let logs = stats.total();
        assert_eq!((logs.accepted, logs.rejected), (0, 10));
    }

    #[test]
    fn answers_are_counted_by_code_and_reasons_are_bounded() {
        let stats = Stats::default();
        for number in 0..100 {
            let refused =
                Answer::Refused { code: Code::Http(503), reason: number.to_string(), retry: Retry::Backoff };
            stats.attempt(&request(1), &refused, Duration::ZERO);
        }
        let taken = Answer::Taken { code: Code::Http(200), rejected_count: 0, message: None };
        stats.attempt(&request(1), &taken, Duration::ZERO);
        let counts = stats.counts();
        assert_eq!(counts.codes[&("logs", Code::Http(503))], 100);
        assert_eq!(counts.codes[&("logs", Code::Http(200))], 1);
        assert_eq!(counts.reasons.len(), REASONS_MAX + 1);
        assert_eq!(counts.reasons["other reasons"], 80);
    }
}
