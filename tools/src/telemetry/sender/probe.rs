//! How soon an acknowledged point is visible: single points are sent beside the load and asked for until they are there.
//!
//! Input: a transport of its own, a Prometheus API. Output: a histogram of times from acknowledged to visible, how many
//! points were never acknowledged or never seen. Its series is `telemetry_sender_probe`; the value is a number that grows.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::answer::Answer;
use super::asker::Asker;
use super::latency::LatencyHistogram;
use super::stop::{Stage, Stop};
use super::transport::Transport;
use super::worker::unix_time_ns;
use crate::bench_load::{otlp, wire};
use crate::telemetry::replay::{Request, Wire};
use crate::telemetry::template::Signal;

/// The series that is sent and asked for.
const METRIC: &str = "telemetry_sender_probe";
const JOB: &str = "telemetry-sender";
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(2);
/// How long a point may take until it is visible.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// What became of the probes.
#[derive(Debug, Clone, Default)]
pub struct ProbeReport {
    /// From acknowledged to visible.
    pub visible_after: LatencyHistogram,
    /// Probes that were not acknowledged.
    pub unacknowledged_count: u64,
    /// Probes that were acknowledged and not seen in time, or could not be asked for.
    pub invisible_count: u64,
}

impl ProbeReport {
    /// Returns the time that 99 % of the probes did not exceed; a probe that was not seen took for ever.
    pub fn p99_ms(&self) -> Option<f64> {
        match (self.invisible_count, self.visible_after.count()) {
            (0, 0) => None,
            (0, _) => Some(self.visible_after.quantile(0.99).as_secs_f64() * 1e3),
            _ => Some(f64::INFINITY),
        }
    }

    /// Returns the part of the report.
    pub fn document(&self) -> Value {
        let mut document = self.visible_after.summary_ms();
        if let Some(fields) = document.as_object_mut() {
            fields.insert("unacknowledged".to_owned(), json!(self.unacknowledged_count));
            fields.insert("invisible".to_owned(), json!(self.invisible_count));
        }
        document
    }
}

/// Sends probes and asks for them.
#[derive(Debug)]
pub struct Prober {
    /// What probes are made of.
    pub wire: Wire,
    /// How they go.
    pub transport: Transport,
    /// Whom to ask.
    pub asker: Asker,
    /// Value of the label `instance`.
    pub instance: String,
    /// Time between probes.
    pub interval: Duration,
    /// How long to wait for an acknowledgement.
    pub answer_timeout: Duration,
    /// When to end.
    pub stop: Stop,
}

impl Prober {
    /// Probes until the run ends.
    pub async fn run(mut self) -> ProbeReport {
        let mut report = ProbeReport::default();
        let mut number = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.reached(Stage::Draining) => return report,
                () = sleep(self.interval) => {}
            }
            number += 1;
            let mut stop = self.stop.clone();
            tokio::select! {
                biased;
                () = self.probe(number, &mut report) => {}
                () = stop.reached(Stage::Aborted) => return report,
            }
        }
    }

    async fn probe(&mut self, number: u64, report: &mut ProbeReport) {
        let Ok(request) = request(self.wire, &self.instance, number, unix_time_ns()) else {
            report.unacknowledged_count += 1;
            return;
        };
        let answer = timeout(self.answer_timeout, self.transport.send(&request)).await;
        let Ok(Answer::Taken { rejected_count: 0, .. }) = answer else {
            report.unacknowledged_count += 1;
            return;
        };
        let acknowledged = Instant::now();
        let promql = format!("{METRIC}{{job=\"{JOB}\",instance=\"{}\"}}", self.instance);
        while acknowledged.elapsed() < VISIBLE_WITHIN {
            if self.asker.sum(&promql, None).await.is_ok_and(|value| value >= number as f64) {
                report.visible_after.record(acknowledged.elapsed());
                return;
            }
            sleep(ASK_AGAIN_PAUSE).await;
        }
        report.invisible_count += 1;
    }
}

/// One point with the value `number`.
fn request(wire: Wire, instance: &str, number: u64, time_ns: u64) -> Result<Request, ArrowError> {
    let time_ms = (time_ns / 1_000_000) as i64;
    let labels = [("__name__", METRIC), ("instance", instance), ("job", JOB)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut body = Vec::new();
    let mut columns = None;
    match wire {
        Wire::Otlp => {
            otlp::Target::new(&[labels.to_vec()], time_ms).put(&mut body, 0, &[number as f64], time_ms)
        }
        Wire::RemoteWriteV1 => {
            wire::put_series(&mut body, &wire::encode_labels(&labels), time_ms, number as f64)
        }
        Wire::RemoteWriteV2 => body = write_request_v2(&labels, time_ms, number as f64).encode_to_vec(),
        Wire::Flight => columns = Some(batch(instance, time_ms, number as f64)?),
    }
    let body = Bytes::from(body);
    Ok(Request { signal: Signal::Metrics, body, columns, events: 1, batch: 0, time_ns, is_repeat: false })
}

fn batch(instance: &str, time_ms: i64, value: f64) -> Result<RecordBatch, ArrowError> {
    let text = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
    let timestamp = TimestampMillisecondArray::from(vec![time_ms]).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("metric", text(METRIC)),
        ("timestamp", Arc::new(timestamp) as ArrayRef),
        ("value", Arc::new(Float64Array::from(vec![value])) as ArrayRef),
        ("instance", text(instance)),
        ("job", text(JOB)),
    ])
}

/// `io.prometheus.write.v2.Request`, what a gauge needs of it.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SampleV2 {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn write_request_v2(labels: &[(String, String)], timestamp: i64, value: f64) -> WriteRequestV2 {
    let mut symbols = vec![String::new()];
    symbols.extend(labels.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
    let labels_refs = (1..symbols.len() as u32).collect();
    let samples = vec![SampleV2 { value, timestamp }];
    WriteRequestV2 { symbols, timeseries: vec![TimeSeriesV2 { labels_refs, samples }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_was_not_seen_took_for_ever() {
        let mut report = ProbeReport::default();
        assert_eq!(report.p99_ms(), None);
        report.visible_after.record(Duration::from_millis(5));
        assert_eq!(report.p99_ms(), Some(5.0));
        report.invisible_count += 1;
        assert_eq!(report.p99_ms(), Some(f64::INFINITY));
    }

    #[test]
    fn probes_of_every_wire_have_one_point() {
        for wire in [Wire::Otlp, Wire::RemoteWriteV1, Wire::RemoteWriteV2, Wire::Flight] {
            let request = request(wire, "pod-1", 7, 1_000_000_000).unwrap();
            let rows = request.columns.as_ref().map(RecordBatch::num_rows);
            assert_eq!((request.events, rows.is_some()), (1, wire == Wire::Flight), "{wire:?}");
            assert_eq!(request.body.is_empty(), wire == Wire::Flight, "{wire:?}");
        }
    }
}
