//! Counts of events as a metrics request in protobuf: a counter of spans and a histogram of their durations, or a counter
//! of log records; all points of delta temporality.
//!
//! Input: cells and the time of each second. Output: the bytes of an `ExportMetricsServiceRequest`, with the resources
//! as they came. Every cell makes [`point_count_of`] points, side by side.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ScopeMetrics,
    Sum, exemplar, number_data_point,
};
use prost::Message as _;

use super::spans::each;
use super::{CALLS, Counted, DURATION, LOG_RECORDS, ResourceEvents, Signal};
use crate::wire::WireError;

/// Upper bounds of durations in milliseconds: those of the connector.
const BOUNDS_MS: [f64; 16] = [
    2.0, 4.0, 6.0, 8.0, 10.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1000.0, 1400.0, 2000.0, 5000.0, 10_000.0,
    15_000.0,
];
const BUCKET_COUNT: usize = BOUNDS_MS.len() + 1;

/// What tells the cells of one resource and second apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Dimensions<'a> {
    Span {
        name: &'a str,
        kind: &'static str,
        status_code: &'static str,
    },
    /// Spans beyond the limit of series.
    Overflow,
    Log {
        severity: &'static str,
    },
}

/// Events of one resource that are counted together.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) dimensions: Dimensions<'a>,
    /// Seconds since the Unix epoch.
    pub(super) second: i64,
    pub(super) count: u64,
    sum_ms: f64,
    min_ms: f64,
    max_ms: f64,
    bucket_counts: [u64; BUCKET_COUNT],
    /// Per bucket at most one: its last.
    exemplars: BTreeMap<usize, EventExemplar<'a>>,
}

/// An event that stands for others.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventExemplar<'a> {
    value: f64,
    time_ns: u64,
    trace_id: &'a [u8],
    span_id: &'a [u8],
}

impl<'a> EventExemplar<'a> {
    /// An event that can be found again: it has a trace. Without one it leads nowhere.
    pub(super) fn new(value: f64, time_ns: u64, trace_id: &'a [u8], span_id: &'a [u8]) -> Option<Self> {
        (!trace_id.is_empty()).then_some(Self { value, time_ns, trace_id, span_id })
    }

    fn proto(&self) -> Exemplar {
        Exemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: self.time_ns,
            span_id: self.span_id.to_vec(),
            trace_id: self.trace_id.to_vec(),
            value: Some(exemplar::Value::AsDouble(self.value)),
        }
    }
}

impl<'a> Cell<'a> {
    pub(super) fn new(dimensions: Dimensions<'a>, second: i64) -> Self {
        Self {
            dimensions,
            second,
            count: 0,
            sum_ms: 0.0,
            min_ms: f64::INFINITY,
            max_ms: 0.0,
            bucket_counts: [0; BUCKET_COUNT],
            exemplars: BTreeMap::new(),
        }
    }

    pub(super) fn add_span(&mut self, duration_ms: f64, exemplar: Option<EventExemplar<'a>>) {
        let bucket = BOUNDS_MS.partition_point(|bound| *bound < duration_ms);
        self.count += 1;
        self.sum_ms += duration_ms;
        self.min_ms = self.min_ms.min(duration_ms);
        self.max_ms = self.max_ms.max(duration_ms);
        self.bucket_counts[bucket] += 1;
        if let Some(exemplar) = exemplar {
            self.exemplars.insert(bucket, exemplar);
        }
    }

    pub(super) fn add_log(&mut self, exemplar: Option<EventExemplar<'a>>) {
        self.count += 1;
        if let Some(exemplar) = exemplar {
            self.exemplars.insert(0, exemplar);
        }
    }

    /// Adds what another cell has counted.
    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum_ms += other.sum_ms;
        self.min_ms = self.min_ms.min(other.min_ms);
        self.max_ms = self.max_ms.max(other.max_ms);
        for (own, others) in self.bucket_counts.iter_mut().zip(other.bucket_counts) {
            *own += others;
        }
        self.exemplars.extend(other.exemplars);
    }

    fn attributes(&self, service_name: Option<&str>) -> Vec<KeyValue> {
        let mut attributes = Vec::new();
        let mut add = |key: &str, text: &str| {
            let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
            attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
        };
        if let Dimensions::Overflow = self.dimensions {
            add("otel.metric.overflow", "true");
            return attributes;
        }
        if let Some(service_name) = service_name {
            add("service.name", service_name);
        }
        match self.dimensions {
            Dimensions::Span { name, kind, status_code } => {
                add("span.name", name);
                add("span.kind", kind);
                add("status.code", status_code);
            }
            Dimensions::Log { severity } => add("severity", severity),
            Dimensions::Overflow => {}
        }
        attributes
    }

    fn count_point(&self, attributes: Vec<KeyValue>, (start_ns, time_ns): (u64, u64)) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            start_time_unix_nano: start_ns,
            time_unix_nano: time_ns,
            value: Some(number_data_point::Value::AsInt(self.count as i64)),
            // A counter has one exemplar: the last event, whatever its duration.
            exemplars: self
                .exemplars
                .values()
                .max_by_key(|one| one.time_ns)
                .map(EventExemplar::proto)
                .into_iter()
                .collect(),
            flags: 0,
        }
    }

    fn duration_point(
        &self,
        attributes: Vec<KeyValue>,
        (start_ns, time_ns): (u64, u64),
    ) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes,
            start_time_unix_nano: start_ns,
            time_unix_nano: time_ns,
            count: self.count,
            sum: Some(self.sum_ms),
            bucket_counts: self.bucket_counts.to_vec(),
            explicit_bounds: BOUNDS_MS.to_vec(),
            exemplars: self.exemplars.values().map(EventExemplar::proto).collect(),
            flags: 0,
            min: Some(self.min_ms),
            max: Some(self.max_ms),
        }
    }
}

/// Points that a cell makes, side by side in the request.
pub(super) fn point_count_of(signal: Signal) -> usize {
    if signal == Signal::Logs { 1 } else { 2 }
}

/// Writes the request. `times_ms`: second → the time of its points.
pub(super) fn metrics_request(
    counted: &Counted<'_>,
    times_ms: &BTreeMap<i64, i64>,
    signal: Signal,
) -> Vec<u8> {
    let mut out = Vec::new();
    for events in counted.resources.iter().filter(|events| !events.cells.is_empty()) {
        let scope_metrics =
            ScopeMetrics { metrics: metrics(events, times_ms, signal), ..ScopeMetrics::default() };
        let mut body = Vec::new();
        prost::encoding::bytes::encode(1, &events.resource.to_vec(), &mut body);
        prost::encoding::message::encode(2, &scope_metrics, &mut body);
        prost::encoding::bytes::encode(1, &body, &mut out);
    }
    out
}

/// A metric per point, so that the points of a cell stand side by side.
fn metrics(events: &ResourceEvents<'_>, times_ms: &BTreeMap<i64, i64>, signal: Signal) -> Vec<Metric> {
    let mut metrics = Vec::with_capacity(events.cells.len() * point_count_of(signal));
    for cell in &events.cells {
        let start_ns = cell.second as u64 * 1_000_000_000;
        let time_ns = times_ms.get(&cell.second).map_or(start_ns, |time_ms| *time_ms as u64 * 1_000_000);
        let attributes = cell.attributes(events.service_name.as_deref());
        let aggregation_temporality = AggregationTemporality::Delta as i32;
        let (name, description) = match signal {
            Signal::Logs => (LOG_RECORDS, "The number of log records observed."),
            _ => (CALLS, "The number of spans observed."),
        };
        let count = Sum {
            data_points: vec![cell.count_point(attributes.clone(), (start_ns, time_ns))],
            aggregation_temporality,
            is_monotonic: true,
        };
        metrics.push(metric(name, description, "", Data::Sum(count)));
        if signal != Signal::Logs {
            let data_points = vec![cell.duration_point(attributes, (start_ns, time_ns))];
            let durations = Histogram { data_points, aggregation_temporality };
            metrics.push(metric(DURATION, "The duration of spans.", "ms", Data::Histogram(durations)));
        }
    }
    metrics
}

fn metric(name: &str, description: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

/// The resource of a `ResourceSpans` or `ResourceLogs`; empty if it has none.
pub(super) fn resource_of(message: &[u8]) -> Result<&[u8], WireError> {
    let mut resource: &[u8] = &[];
    each(message, 1, |payload| {
        resource = payload;
        Ok(())
    })?;
    Ok(resource)
}

/// The text of the attribute `service.name` of a resource.
pub(super) fn service_name_of(resource: &[u8]) -> Result<Option<String>, WireError> {
    let mut found = None;
    // Attributes are few, and only this one matters here; what is wrong with others the metrics' way tells.
    each(resource, 1, |attribute| {
        if let Ok(KeyValue { key, value: Some(AnyValue { value: Some(Value::StringValue(text)) }), .. }) =
            KeyValue::decode(attribute)
            && key == "service.name"
            && !text.is_empty()
        {
            found = Some(text);
        }
        Ok(())
    })?;
    Ok(found)
}
