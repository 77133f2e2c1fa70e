//! The server's own metrics and its log.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Counters of the server, rendered at `/metrics`.
#[derive(Debug, Default)]
pub struct Metrics {
    counters: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl Metrics {
    /// Counts samples that were accepted over `protocol` (`flight`, `remote_write`, `otlp`).
    pub fn accepted_samples(&self, protocol: &'static str, sample_count: usize) {
        self.add("mytsdb_accepted_samples_total", format!("protocol=\"{protocol}\""), sample_count);
    }

    /// Counts points that were refused over `protocol` for `reason` (a short fixed word).
    pub fn rejected_points(&self, protocol: &'static str, reason: &str, tenant: &str, point_count: usize) {
        let labels = format!("protocol=\"{protocol}\",reason=\"{reason}\",tenant=\"{tenant}\"");
        self.add("mytsdb_rejected_points_total", labels, point_count);
    }

    fn add(&self, name: &'static str, labels: String, count: usize) {
        if let Ok(mut counters) = self.counters.lock() {
            *counters.entry((name, labels)).or_default() += count as u64;
        }
    }
}
