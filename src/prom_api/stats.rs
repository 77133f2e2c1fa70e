//! The figures of a query, as `stats` of an answer and the query log show them.

use std::time::Duration;

use mytsdb_promql::QueryStats;
use serde_json::{Value, json};

/// Bytes of one sample in memory: time and value.
const SAMPLE_BYTES: u64 = 16;

/// How long the parts of a query took, and what it read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timings {
    pub(super) queued: Duration,
    pub(super) prepared: Duration,
    pub(super) evaluated: Duration,
    pub(super) samples: QueryStats,
}

impl Timings {
    /// The object in Prometheus' shape; times in seconds.
    pub(super) fn to_json(self) -> Value {
        let seconds = |duration: Duration| duration.as_secs_f64();
        json!({
            "timings": {
                "evalTotalTime": seconds(self.prepared + self.evaluated),
                "resultSortTime": 0,
                "queryPreparationTime": seconds(self.prepared),
                "innerEvalTime": seconds(self.evaluated),
                "execQueueTime": seconds(self.queued),
                "execTotalTime": seconds(self.queued + self.prepared + self.evaluated),
            },
            "samples": {
                "totalQueryableSamples": self.samples.samples_read,
                "samplesRead": self.samples.samples_read,
                "peakSamples": self.samples.peak_bytes / SAMPLE_BYTES,
            },
        })
    }
}
