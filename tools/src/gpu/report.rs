//! What a replay has done so far: counters that all workers share, as JSON lines and as Prometheus text.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::recording::Skipped;

/// Counters of a replay.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    skipped: Skipped,
    /// Series, GPUs and rows that this replay plays.
    pub scope: Scope,
    /// Rows that the server stored.
    pub accepted: AtomicU64,
    /// Rows that the server refused.
    pub rejected: AtomicU64,
    /// Requests that were acknowledged.
    pub requests: AtomicU64,
    /// Requests that were sent once more.
    pub retries: AtomicU64,
    /// Loops that are over, of the worker that is furthest.
    pub loops: AtomicU64,
    /// Rows that were under way when the replay ended.
    pub unacknowledged: AtomicU64,
}

/// How much there is to play.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope {
    /// Series of this shard.
    pub series_count: usize,
    /// GPUs of this shard.
    pub gpu_count: usize,
    /// Rows of a loop of this shard.
    pub row_count: usize,
}

impl Progress {
    /// Begins to count.
    pub fn new(scope: Scope, skipped: Skipped) -> Self {
        Self {
            started: Instant::now(),
            skipped,
            scope,
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            loops: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
        }
    }

    fn counters(&self) -> [(&'static str, u64); 6] {
        [
            ("accepted", &self.accepted),
            ("rejected", &self.rejected),
            ("requests", &self.requests),
            ("retries", &self.retries),
            ("loops", &self.loops),
            ("unacknowledged", &self.unacknowledged),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }

    /// A line of JSON; `event` says what it is about: `progress`, `finished`, `stopped`, `failed`.
    pub fn line(&self, event: &str) -> Value {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut line = json!({
            "event": event,
            "seconds": (seconds * 1e3).round() / 1e3,
            "series": self.scope.series_count,
            "gpus": self.scope.gpu_count,
            "rows": self.scope.row_count,
            "skipped": self.skipped,
        });
        for (name, count) in self.counters() {
            line[name] = json!(count);
        }
        line["rows_per_second"] =
            json!((self.accepted.load(Ordering::Relaxed) as f64 / seconds.max(1e-3)).round());
        line
    }

    /// The counters in Prometheus' text format.
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        let mut push = |name: &str, kind: &str, help: &str, samples: Vec<(String, u64)>| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            samples.iter().for_each(|(labels, value)| text.push_str(&format!("{name}{labels} {value}\n")));
        };
        let helps = [
            "Rows that the server stored.",
            "Rows that the server refused.",
            "Requests that were acknowledged.",
            "Requests that were sent once more.",
            "Loops that are over.",
            "Rows under way when the replay ended.",
        ];
        for ((name, count), help) in self.counters().into_iter().zip(helps) {
            let name = format!("gpu_csv_replay_{name}_total");
            push(&name, "counter", help, vec![(String::new(), count)]);
        }
        let skipped =
            self.skipped.iter().map(|(reason, rows)| (format!("{{reason=\"{reason}\"}}"), rows.count));
        push(
            "gpu_csv_replay_skipped_rows_total",
            "counter",
            "Rows of the file that were left out.",
            skipped.collect(),
        );
        let gpus = vec![(String::new(), self.scope.gpu_count as u64)];
        push("gpu_csv_replay_gpus", "gauge", "GPUs of this shard.", gpus);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::recording::SkippedRows;

    #[test]
    fn lines_and_metrics_have_the_same_counts() {
        let skipped = SkippedRows { count: 2, first_lines: vec![3, 9] };
        let scope = Scope { series_count: 10, gpu_count: 1, row_count: 10 };
        let progress = Progress::new(scope, Skipped::from([("value", skipped)]));
        progress.accepted.store(7, Ordering::Relaxed);
        let line = progress.line("finished");
        assert_eq!(
            (&line["event"], &line["accepted"], &line["gpus"]),
            (&json!("finished"), &json!(7), &json!(1))
        );
        assert_eq!(line["skipped"], json!({"value": {"count": 2, "first_lines": [3, 9]}}));
        let text = progress.metrics_text();
        for part in [
            "\ngpu_csv_replay_accepted_total 7\n",
            "\ngpu_csv_replay_skipped_rows_total{reason=\"value\"} 2\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
