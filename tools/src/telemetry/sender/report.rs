//! The final report: everything that was measured, as JSON, and the indicators of objectives.
//!
//! Input: counts, traffic, what `--verify` found. Output: a JSON document and verdicts.

use std::time::Duration;

use serde_json::{Value, json};

use super::config::Config;
use super::probe::ProbeReport;
use super::slo::{Slo, Verdict};
use super::stats::{Counts, SignalCounts, signal_name};
use super::verify::Verification;
use crate::telemetry::template::Signal;

/// What a run measured.
#[derive(Debug)]
pub struct Measured {
    /// Counters and latencies.
    pub counts: Counts,
    /// From the start until the last answer.
    pub elapsed: Duration,
    /// Why it ended.
    pub ended_by: String,
    /// Bytes sent and received on all connections.
    pub wire_bytes: (u64, u64),
    /// CPU time of the process while sending, where the system tells.
    pub cpu: Option<Duration>,
    /// What the server has; only with `--verify`.
    pub verification: Option<Verification>,
    /// How soon points were visible; only with `--verify`.
    pub probes: Option<ProbeReport>,
}

impl Measured {
    /// Returns accepted events a second.
    pub fn rate(&self) -> f64 {
        self.counts.total().accepted as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Returns the value of an indicator of [`super::slo::INDICATORS`]; `None` if it was not measured.
    pub fn indicator(&self, name: &str) -> Option<f64> {
        let total = self.counts.total();
        let ms = |share: f64| {
            (self.counts.latency.count() > 0).then(|| self.counts.latency.quantile(share).as_secs_f64() * 1e3)
        };
        let of_million_sent = |count: u64| (total.sent > 0).then(|| count as f64 * 1e6 / total.sent as f64);
        match name {
            "p50" => ms(0.5),
            "p90" => ms(0.9),
            "p99" => ms(0.99),
            "p999" => ms(0.999),
            "max" => ms(1.0),
            "rate" => Some(self.rate()),
            "bytes_rate" => Some(total.accepted_bytes as f64 / self.elapsed.as_secs_f64().max(1e-9)),
            "rejected_ppm" => of_million_sent(total.rejected),
            "failed_ppm" => of_million_sent(total.failed),
            "retried_ppm" => of_million_sent(total.retried),
            "loss_ppm" => self.verification.as_ref().map(Verification::loss_ppm),
            "duplicate_ppm" => self.verification.as_ref().map(Verification::duplicate_ppm),
            "queryable_p99" => self.probes.as_ref().and_then(ProbeReport::p99_ms),
            _ => None,
        }
    }

    /// Compares with objectives.
    pub fn judge(&self, slos: &[Slo]) -> Vec<Verdict> {
        slos.iter().map(|slo| slo.judge(self.indicator(slo.indicator()))).collect()
    }

    /// Returns the document; `verdicts` are those of [`Measured::judge`].
    pub fn document(&self, config: &Config, verdicts: &[Verdict]) -> Value {
        let (counts, total) = (&self.counts, self.counts.total());
        let signals: serde_json::Map<_, _> = Signal::ALL
            .into_iter()
            .map(|signal| (signal, counts.of(signal)))
            .filter(|(_, one)| one.requests > 0)
            .map(|(signal, one)| (signal_name(signal).to_owned(), signal_document(&one)))
            .collect();
        let mut codes = serde_json::Map::new();
        for ((signal, code), count) in &counts.codes {
            codes.insert(format!("{signal}/{code}"), json!(count));
        }
        let cpu_s = self.cpu.map(|cpu| cpu.as_secs_f64());
        json!({
            "endpoint": config.endpoint.to_string(),
            "protocol": config.flags.protocol.name(),
            "instance": config.instance,
            "ended_by": self.ended_by,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "rate_limit_events_per_s": config.flags.rate,
            "accepted_events_per_s": self.rate(),
            "events": signal_document(&total),
            "signals": signals,
            "answers": codes,
            "reasons": counts.reasons,
            "wire_bytes_sent": self.wire_bytes.0,
            "wire_bytes_received": self.wire_bytes.1,
            "latency_ms": counts.latency.summary_ms(),
            "service_ms": counts.service.summary_ms(),
            "late_ms_max": counts.late_max.as_secs_f64() * 1e3,
            "cpu_s": cpu_s,
            "accepted_events_per_cpu_s": cpu_s.filter(|cpu_s| *cpu_s > 0.0).map(|cpu_s| total.accepted as f64 / cpu_s),
            "verify": self.verification.as_ref().map(Verification::document),
            "time_to_queryable_ms": self.probes.as_ref().map(ProbeReport::document),
            "slo": verdicts.iter().map(verdict_document).collect::<Vec<_>>(),
        })
    }
}

fn signal_document(one: &SignalCounts) -> Value {
    json!({
        "requests": one.requests,
        "retries": one.retries,
        "sent": one.sent,
        "accepted": one.accepted,
        "rejected": one.rejected,
        "failed": one.failed,
        "retried": one.retried,
        "accepted_bytes": one.accepted_bytes,
    })
}

fn verdict_document(verdict: &Verdict) -> Value {
    json!({"objective": verdict.text, "value": verdict.value, "is_met": verdict.is_met})
}

/// CPU time of this process so far, user and system, where the system tells.
pub fn cpu_time() -> Option<Duration> {
    // Fields 14 and 15 of proc(5)'s stat, counted after the name in parentheses, in ticks of which Linux always shows 100 a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::super::slo::{INDICATORS, Unit};
    use super::*;

    fn measured() -> Measured {
        Measured {
            counts: Counts::default(),
            elapsed: Duration::from_secs(2),
            ended_by: "duration".to_owned(),
            wire_bytes: (0, 0),
            cpu: None,
            verification: None,
            probes: None,
        }
    }

    #[test]
    fn nothing_sent_gives_no_latency_and_no_shares() {
        let measured = measured();
        let is_measured: Vec<_> = INDICATORS
            .iter()
            .filter(|(name, ..)| measured.indicator(name).is_some())
            .map(|(name, ..)| *name)
            .collect();
        assert_eq!(is_measured, ["rate", "bytes_rate"]);
    }

    #[test]
    fn latencies_are_judged_in_milliseconds() {
        let mut measured = measured();
        measured.counts.latency.record(Duration::from_millis(60));
        for (name, unit, _) in INDICATORS {
            let value = measured.indicator(name);
            if unit == Unit::Milliseconds && name != "queryable_p99" {
                assert_eq!(value, Some(60.0), "{name}");
            }
        }
        let slos = ["p99<50ms".parse().unwrap(), "max<=60ms".parse().unwrap()];
        let is_met: Vec<_> = measured.judge(&slos).iter().map(|verdict| verdict.is_met).collect();
        assert_eq!(is_met, [false, true]);
    }

    #[test]
    fn the_process_has_used_some_cpu_time() {
        assert!(cpu_time().is_none_or(|cpu| cpu < Duration::from_secs(3_600)));
    }
}
