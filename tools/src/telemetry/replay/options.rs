//! What a worker replays, and as whom.

use crate::telemetry::template::{Signal, TemplateError};

/// Most items of one request.
const BATCH_SIZE_MAX: usize = 1_000_000;
/// Most workers of one run.
const WORKERS_MAX: usize = 4_096;

/// What bodies are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// OTLP: `Export…ServiceRequest` of any signal, as protobuf.
    Otlp,
    /// Prometheus remote write 1.0, metrics only; not compressed with snappy yet.
    RemoteWriteV1,
    /// Prometheus remote write 2.0, metrics only; not compressed with snappy yet.
    RemoteWriteV2,
    /// Arrow Flight, metrics only: columns.
    Flight,
}

/// How many points, spans, log records a request has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSizes {
    /// Points a request.
    pub metrics: usize,
    /// Spans a request.
    pub traces: usize,
    /// Log records a request.
    pub logs: usize,
}

impl Default for BatchSizes {
    fn default() -> Self {
        Self { metrics: 1_000, traces: 500, logs: 1_000 }
    }
}

/// Shares of the metrics requests that do not go the straight way; their points are neither lost nor changed.
///
/// Each is a share of requests, and as all requests are about of one size, of points. Together at most 0.9.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Detours {
    /// Handed out again later, byte for byte.
    pub duplicate: f64,
    /// Handed out right after the next request of the same series: out of order.
    pub out_of_order: f64,
    /// Handed out `late_by_ns` after its time.
    pub late: f64,
    /// How late the late ones are.
    pub late_by_ns: u64,
}

/// What a worker replays, and as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// What bodies are made of.
    pub wire: Wire,
    /// This worker, below `workers`.
    pub worker: usize,
    /// Workers of the process; together they own every series once.
    pub workers: usize,
    /// Beginning of every `service.instance.id`; another one for each pod.
    pub instance: String,
    /// Start of the run: counters are zero then. The same for all workers, never later than a time handed to `next`.
    pub started_ns: u64,
    /// What is sent of what the folder has.
    pub signals: Vec<Signal>,
    /// Sizes of requests.
    pub batch: BatchSizes,
    /// How often everything is replayed; 0 = without end.
    pub multiplier: u64,
    /// Late, repeated and disordered points.
    pub detours: Detours,
}

impl ReplayOptions {
    /// Returns the only worker of a run without end, with everything by OTLP.
    pub fn new(instance: impl Into<String>, started_ns: u64) -> Self {
        Self {
            wire: Wire::Otlp,
            worker: 0,
            workers: 1,
            instance: instance.into(),
            started_ns,
            signals: Signal::ALL.to_vec(),
            batch: BatchSizes::default(),
            multiplier: 0,
            detours: Detours::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), TemplateError> {
        let refuse =
            |name, given: &dyn ToString, allowed: String| Err(out_of_range(name, given.to_string(), allowed));
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return refuse("workers", &self.workers, format!("1 to {WORKERS_MAX}"));
        }
        if self.worker >= self.workers {
            return refuse("worker", &self.worker, format!("below {}", self.workers));
        }
        if self.instance.is_empty() || self.instance.len() > 200 {
            return refuse("instance", &self.instance, "1 to 200 bytes".to_owned());
        }
        let sizes = [
            ("batch size of metrics", self.batch.metrics),
            ("batch size of traces", self.batch.traces),
            ("batch size of logs", self.batch.logs),
        ];
        for (name, size) in sizes {
            if !(1..=BATCH_SIZE_MAX).contains(&size) {
                return refuse(name, &size, format!("1 to {BATCH_SIZE_MAX}"));
            }
        }
        let Detours { duplicate, out_of_order, late, .. } = self.detours;
        let shares =
            [("share of duplicates", duplicate), ("share out of order", out_of_order), ("share late", late)];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return refuse(name, &share, "0 to 1".to_owned());
            }
        }
        let together = duplicate + out_of_order + late;
        if together > 0.9 {
            return refuse("sum of the shares of detours", &together, "at most 0.9".to_owned());
        }
        Ok(())
    }
}

fn out_of_range(name: &'static str, given: String, allowed: String) -> TemplateError {
    TemplateError::OutOfRange { name, given, allowed }
}
