//! Turns one metrics request into the columns of a `WriteBatch`, point by point.
//!
//! Input: the request as decoded from protobuf. Output: [`Decoded`], which is also the `LabelSource` of its series:
//! known series cost a hash of their bytes, labels are built only for new ones. A point that cannot be stored is
//! counted with its reason and costs no other point.
//!
//! Invariant: the key of a series is a seeded 128-bit hash over tenant, resource, scope (if it makes labels), name,
//! unit and kind of the metric, attributes, and which part of the point it is; every field with its length.

use std::collections::BTreeMap;

use mytsdb_storage::model::{
    LabelSet, MetricKind, MetricMetadata, StartTimes, TenantId, UNKNOWN_START_MS, stale_nan,
};
use mytsdb_storage::{LabelSource, Storage};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, number_data_point,
};

use super::OtlpOptions;
use super::labels::{self, Bound, Source};
use super::naming::{NameKind, metric_name, unit_name};

/// `DataPointFlags::NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u32 = 1;
/// Series that belong to no point (`target_info`).
const NO_POINT: u32 = u32::MAX;
/// Most samples of `target_info` per resource and request: a point with a time far in the past must not cost more.
const TARGET_INFO_SAMPLE_COUNT_MAX: usize = 1_000;

/// Points refused, by reason.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Short fixed word → how many points, and what was wrong with the first.
    pub(super) by_reason: BTreeMap<&'static str, (usize, String)>,
}

impl Refused {
    /// Counts points; the message is only asked for once per reason.
    pub(super) fn add(&mut self, reason: &'static str, point_count: usize, message: impl FnOnce() -> String) {
        if point_count > 0 {
            self.by_reason.entry(reason).or_insert_with(|| (0, message())).0 += point_count;
        }
    }

    /// How many points were refused.
    pub(super) fn point_count(&self) -> usize {
        self.by_reason.values().map(|(count, _)| count).sum()
    }
}

/// A request as columns.
///
/// # Shape
/// `keys`, `sample_ends`, `origins`: `[series_count]`; `timestamps_ms`, `values`: `[sample_count]`.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub(super) keys: Vec<u128>,
    pub(super) sample_ends: Vec<usize>,
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// When counting began: of what counts, not of gauges and quantiles.
    pub(super) starts: StartTimes,
    /// Metadata with its digest; what `is_known` knows is left out.
    pub(super) metadata: Vec<(u128, MetricMetadata)>,
    /// Points in the request.
    pub(super) point_count: usize,
    /// What was refused before the storage saw it.
    pub(super) refused: Refused,
    origins: Vec<Origin<'a>>,
    sources: Vec<Source<'a>>,
    metrics: Vec<&'a Metric>,
    options: &'a OtlpOptions,
}

/// What the labels of a series are made of.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    source: u32,
    metric: u32,
    point: u32,
    attributes: &'a [KeyValue],
    part: Part,
}

/// Which series of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Counter,
    Gauge,
    Number,
    Sum,
    Count,
    Bucket(f64),
    Quantile(f64),
    TargetInfo,
}

impl Part {
    /// Whether the value was counted up from a start.
    fn is_counted(self) -> bool {
        !matches!(self, Self::Gauge | Self::Quantile(_) | Self::TargetInfo)
    }

    fn code(self) -> (u8, u64) {
        match self {
            Self::Counter => (0, 0),
            Self::Gauge => (1, 0),
            Self::Number => (2, 0),
            Self::Sum => (3, 0),
            Self::Count => (4, 0),
            Self::Bucket(bound) => (5, bound.to_bits()),
            Self::Quantile(quantile) => (6, quantile.to_bits()),
            Self::TargetInfo => (7, 0),
        }
    }
}

impl Decoded<'_> {
    /// The point that a series came from; `None` for `target_info`.
    pub(super) fn point_of(&self, series_index: usize) -> Option<u32> {
        self.origins.get(series_index).map(|origin| origin.point).filter(|point| *point != NO_POINT)
    }
}

impl LabelSource for Decoded<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let missing = || format!("no series at index {series_index}");
        let origin = self.origins.get(series_index).ok_or_else(missing)?;
        let source = self.sources.get(origin.source as usize).ok_or_else(missing)?;
        if origin.part == Part::TargetInfo {
            return labels::target_info_labels(self.options, source.resource);
        }
        let metric = self.metrics.get(origin.metric as usize).ok_or_else(missing)?;
        let (kind, suffix, bound) = match origin.part {
            Part::Counter => (NameKind::Counter, "", None),
            Part::Gauge => (NameKind::Gauge, "", None),
            Part::Number | Part::TargetInfo => (NameKind::Other, "", None),
            Part::Sum => (NameKind::Other, "_sum", None),
            Part::Count => (NameKind::Other, "_count", None),
            Part::Bucket(bound) => (NameKind::Other, "_bucket", Some(Bound::Le(bound))),
            Part::Quantile(quantile) => (NameKind::Other, "", Some(Bound::Quantile(quantile))),
        };
        let family = metric_name(&metric.name, &metric.unit, kind).map_err(|error| error.to_string())?;
        labels::series_labels(self.options, source, origin.attributes, &(family + suffix), bound)
    }
}

/// Translates a request. `is_known` tells whether the metadata with a digest has been stored already.
pub(super) fn decode<'a>(
    storage: &Storage,
    tenant: &TenantId,
    options: &'a OtlpOptions,
    request: &'a ExportMetricsServiceRequest,
    is_known: impl Fn(u128) -> bool,
) -> Decoded<'a> {
    let mut decoder = Decoder {
        storage,
        scratch: Vec::with_capacity(1024),
        is_known,
        out: Decoded {
            keys: Vec::new(),
            sample_ends: Vec::new(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            starts: StartTimes::new(),
            metadata: Vec::new(),
            point_count: 0,
            refused: Refused::default(),
            origins: Vec::new(),
            sources: Vec::new(),
            metrics: Vec::new(),
            options,
        },
    };
    let tenant_digest = decoder.digest(|scratch| push_text(scratch, "otlp tenant", tenant.as_str()));
    for resource_metrics in &request.resource_metrics {
        let resource = resource_metrics.resource.as_ref().map_or(&[][..], |found| &found.attributes);
        let resource_digest = decoder.digest(|scratch| {
            scratch.extend_from_slice(&tenant_digest.to_le_bytes());
            push_attributes(scratch, resource);
        });
        let first_sample = decoder.out.timestamps_ms.len();
        for scope_metrics in &resource_metrics.scope_metrics {
            let scope = scope_metrics.scope.as_ref();
            let source = Source { resource, scope, scope_schema_url: &scope_metrics.schema_url };
            let source_digest = decoder.source_digest(resource_digest, &source);
            decoder.out.sources.push(source);
            for metric in &scope_metrics.metrics {
                decoder.take_metric(tenant_digest, source_digest, metric);
            }
        }
        decoder.take_target_info(resource_digest, resource, first_sample);
    }
    decoder.out
}

struct Decoder<'a, 's, F> {
    storage: &'s Storage,
    scratch: Vec<u8>,
    is_known: F,
    out: Decoded<'a>,
}

/// The point at hand.
#[derive(Clone, Copy)]
struct Point<'a> {
    digest: u128,
    time_ms: i64,
    /// [`UNKNOWN_START_MS`] if the sender did not say.
    start_ms: i64,
    is_stale: bool,
    attributes: &'a [KeyValue],
}

impl<'a, F: Fn(u128) -> bool> Decoder<'a, '_, F> {
    fn digest(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> u128 {
        self.scratch.clear();
        fill(&mut self.scratch);
        self.storage.series_key(&self.scratch)
    }

    fn source_digest(&mut self, resource_digest: u128, source: &Source<'_>) -> u128 {
        let Some(scope) = source.scope.filter(|_| self.out.options.promote_scope_metadata) else {
            return resource_digest;
        };
        self.digest(|scratch| {
            scratch.extend_from_slice(&resource_digest.to_le_bytes());
            push_text(scratch, &scope.name, &scope.version);
            push_text(scratch, source.scope_schema_url, "");
            push_attributes(scratch, &scope.attributes);
        })
    }

    fn take_metric(&mut self, tenant_digest: u128, source_digest: u128, metric: &'a Metric) {
        let Some(data) = &metric.data else { return };
        let point_count = point_count(data);
        self.out.point_count += point_count;
        if let Some((reason, why)) = unsupported(data) {
            self.out.refused.add(reason, point_count, || format!("metric {:?}: {why}", metric.name));
            return;
        }
        if point_count == 0 {
            return;
        }
        self.out.metrics.push(metric);
        self.take_metadata(tenant_digest, metric, data);
        let metric_digest = self.digest(|scratch| {
            scratch.extend_from_slice(&source_digest.to_le_bytes());
            push_text(scratch, &metric.name, &metric.unit);
        });
        match data {
            Data::Gauge(gauge) => {
                for point in &gauge.data_points {
                    self.take_number(metric_digest, point, Part::Gauge);
                }
            }
            Data::Sum(sum) => {
                let part = if sum.is_monotonic { Part::Counter } else { Part::Number };
                for point in &sum.data_points {
                    self.take_number(metric_digest, point, part);
                }
            }
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    self.take_histogram(metric_digest, point);
                }
            }
            Data::Summary(summary) => {
                for point in &summary.data_points {
                    self.take_summary(metric_digest, point);
                }
            }
            Data::ExponentialHistogram(_) => {}
        }
    }

    fn take_metadata(&mut self, tenant_digest: u128, metric: &Metric, data: &Data) {
        let (name_kind, kind) = kind_of(metric, data);
        let digest = self.digest(|scratch| {
            scratch.extend_from_slice(&tenant_digest.to_le_bytes());
            push_text(scratch, &metric.name, &metric.unit);
            push_text(scratch, &metric.description, kind.as_str());
        });
        if (self.is_known)(digest) {
            return;
        }
        // A name that cannot be translated has no series either; the points are refused with that reason.
        if let Ok(name) = metric_name(&metric.name, &metric.unit, name_kind) {
            let (unit, help) = (unit_name(&metric.unit), metric.description.clone());
            self.out.metadata.push((digest, MetricMetadata { metric: name, kind, unit, help }));
        }
    }

    fn point(
        &mut self,
        metric_digest: u128,
        attributes: &'a [KeyValue],
        (start_ns, time_ns): (u64, u64),
        flags: u32,
    ) -> Point<'a> {
        let digest = self.digest(|scratch| {
            scratch.extend_from_slice(&metric_digest.to_le_bytes());
            push_attributes(scratch, attributes);
        });
        Point {
            digest,
            time_ms: time_ms(time_ns),
            start_ms: time_ms(start_ns),
            is_stale: flags & NO_RECORDED_VALUE != 0,
            attributes,
        }
    }

    fn push(&mut self, point: &Point<'a>, part: Part, value: f64) {
        let (code, number) = part.code();
        let mut bytes = [0_u8; 25];
        bytes[..16].copy_from_slice(&point.digest.to_le_bytes());
        bytes[16] = code;
        bytes[17..].copy_from_slice(&number.to_le_bytes());
        self.out.keys.push(self.storage.series_key(&bytes));
        let start_ms = if part.is_counted() { point.start_ms } else { UNKNOWN_START_MS };
        self.out.starts.push(self.out.values.len(), start_ms);
        self.out.timestamps_ms.push(point.time_ms);
        self.out.values.push(if point.is_stale { stale_nan() } else { value });
        self.out.sample_ends.push(self.out.values.len());
        self.out.origins.push(Origin {
            source: self.out.sources.len() as u32 - 1,
            metric: self.out.metrics.len() as u32 - 1,
            // Points are counted before they are taken; any number that is distinct per point would do.
            point: self.out.origins.len() as u32,
            attributes: point.attributes,
            part,
        });
    }

    /// Gives the series pushed since `first_series` the same point.
    fn close_point(&mut self, first_series: usize) {
        for origin in &mut self.out.origins[first_series..] {
            origin.point = first_series as u32;
        }
    }

    fn take_number(&mut self, metric_digest: u128, point: &'a NumberDataPoint, part: Part) {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None if point.flags & NO_RECORDED_VALUE != 0 => 0.0,
            None => {
                let name = self.metric_name();
                self.out.refused.add("no_value", 1, || format!("metric {name:?}: a point has no value"));
                return;
            }
        };
        let at = self.point(
            metric_digest,
            &point.attributes,
            (point.start_time_unix_nano, point.time_unix_nano),
            point.flags,
        );
        self.push(&at, part, value);
    }

    fn take_histogram(&mut self, metric_digest: u128, point: &'a HistogramDataPoint) {
        let (counts, bounds) = (&point.bucket_counts, &point.explicit_bounds);
        let fits = if counts.is_empty() { bounds.is_empty() } else { counts.len() == bounds.len() + 1 };
        if !fits {
            let name = self.metric_name();
            self.out.refused.add("bucket_shape", 1, || {
                let (counts, bounds) = (counts.len(), bounds.len());
                format!(
                    "metric {name:?}: {counts} bucket counts with {bounds} bounds; allowed is one count more"
                )
            });
            return;
        }
        if !bounds.is_sorted_by(|left, right| left < right) {
            let name = self.metric_name();
            self.out.refused.add("bucket_order", 1, || format!("metric {name:?}: bounds do not ascend"));
            return;
        }
        let first_series = self.out.origins.len();
        let at = self.point(
            metric_digest,
            &point.attributes,
            (point.start_time_unix_nano, point.time_unix_nano),
            point.flags,
        );
        if let Some(sum) = point.sum {
            self.push(&at, Part::Sum, sum);
        }
        self.push(&at, Part::Count, point.count as f64);
        let mut cumulative = 0_u64;
        for (bound, count) in bounds.iter().zip(counts) {
            cumulative = cumulative.saturating_add(*count);
            // A last bound of infinity would be the same series as the bucket that holds everything.
            if *bound != f64::INFINITY {
                self.push(&at, Part::Bucket(*bound), cumulative as f64);
            }
        }
        self.push(&at, Part::Bucket(f64::INFINITY), point.count as f64);
        self.close_point(first_series);
    }

    fn take_summary(&mut self, metric_digest: u128, point: &'a SummaryDataPoint) {
        let first_series = self.out.origins.len();
        let at = self.point(
            metric_digest,
            &point.attributes,
            (point.start_time_unix_nano, point.time_unix_nano),
            point.flags,
        );
        self.push(&at, Part::Sum, point.sum);
        self.push(&at, Part::Count, point.count as f64);
        for quantile in &point.quantile_values {
            self.push(&at, Part::Quantile(quantile.quantile), quantile.value);
        }
        self.close_point(first_series);
    }

    fn metric_name(&self) -> &'a str {
        self.out.metrics.last().map_or("", |metric| metric.name.as_str())
    }

    /// Adds `target_info` for the span of the resource's samples, often enough for every lookback to find one.
    fn take_target_info(&mut self, resource_digest: u128, resource: &'a [KeyValue], first_sample: usize) {
        let times = &self.out.timestamps_ms[first_sample..];
        let (Some(first_ms), Some(last_ms)) = (times.iter().min().copied(), times.iter().max().copied())
        else {
            return;
        };
        if !labels::has_target_info(resource) {
            return;
        }
        let (code, _) = Part::TargetInfo.code();
        let key = self.digest(|scratch| {
            scratch.extend_from_slice(&resource_digest.to_le_bytes());
            scratch.push(code);
        });
        let step_ms = (self.out.options.lookback_ms / 2).max(1);
        let span_ms = step_ms.saturating_mul(TARGET_INFO_SAMPLE_COUNT_MAX as i64);
        self.out.starts.push(self.out.values.len(), UNKNOWN_START_MS);
        let mut time_ms = first_ms.max(last_ms.saturating_sub(span_ms));
        while time_ms < last_ms {
            self.out.timestamps_ms.push(time_ms);
            self.out.values.push(1.0);
            time_ms += step_ms;
        }
        self.out.timestamps_ms.push(last_ms);
        self.out.values.push(1.0);
        self.out.keys.push(key);
        self.out.sample_ends.push(self.out.values.len());
        let source = self.out.sources.len() as u32 - 1;
        let part = Part::TargetInfo;
        self.out.origins.push(Origin { source, metric: 0, point: NO_POINT, attributes: &[], part });
        self.take_target_info_metadata();
    }

    fn take_target_info_metadata(&mut self) {
        let digest = self.digest(|scratch| scratch.extend_from_slice(b"target_info metadata"));
        let is_new = !self.out.metadata.iter().any(|(known, _)| *known == digest);
        if is_new && !(self.is_known)(digest) {
            let metadata = MetricMetadata {
                metric: "target_info".to_owned(),
                kind: MetricKind::Gauge,
                unit: String::new(),
                help: "Target metadata".to_owned(),
            };
            self.out.metadata.push((digest, metadata));
        }
    }
}

fn time_ms(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

fn point_count(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}

/// Why no point of this data can be stored: a short fixed word, and advice for the sender.
fn unsupported(data: &Data) -> Option<(&'static str, &'static str)> {
    let temporality = match data {
        Data::Gauge(_) | Data::Summary(_) => return None,
        Data::ExponentialHistogram(_) => {
            return Some((
                "exponential_histogram",
                "exponential histograms are not supported yet; use explicit buckets",
            ));
        }
        Data::Sum(sum) => sum.aggregation_temporality,
        Data::Histogram(histogram) => histogram.aggregation_temporality,
    };
    match AggregationTemporality::try_from(temporality) {
        Ok(AggregationTemporality::Cumulative) => None,
        Ok(AggregationTemporality::Delta) => Some((
            "delta_temporality",
            "delta temporality is not supported yet; set the sender's temporality preference to cumulative",
        )),
        _ => Some(("no_temporality", "the aggregation temporality is missing; allowed is cumulative")),
    }
}

fn kind_of(metric: &Metric, data: &Data) -> (NameKind, MetricKind) {
    match data {
        Data::Gauge(_) => (NameKind::Gauge, declared_kind(metric).unwrap_or(MetricKind::Gauge)),
        Data::Sum(sum) if sum.is_monotonic => (NameKind::Counter, MetricKind::Counter),
        Data::Sum(_) => (NameKind::Other, MetricKind::Gauge),
        Data::Histogram(_) | Data::ExponentialHistogram(_) => (NameKind::Other, MetricKind::Histogram),
        Data::Summary(_) => (NameKind::Other, MetricKind::Summary),
    }
}

/// The kind that a gauge had where it was scraped, as the collector notes it.
fn declared_kind(metric: &Metric) -> Option<MetricKind> {
    let noted = metric.metadata.iter().find(|entry| entry.key == "prometheus.type")?;
    match &noted.value.as_ref()?.value {
        Some(any_value::Value::StringValue(word)) => MetricKind::from_word(word).filter(|kind| {
            matches!(kind, MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet | MetricKind::Gauge)
        }),
        _ => None,
    }
}

fn push_bytes(scratch: &mut Vec<u8>, bytes: &[u8]) {
    scratch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    scratch.extend_from_slice(bytes);
}

fn push_text(scratch: &mut Vec<u8>, first: &str, second: &str) {
    push_bytes(scratch, first.as_bytes());
    push_bytes(scratch, second.as_bytes());
}

fn push_attributes(scratch: &mut Vec<u8>, attributes: &[KeyValue]) {
    scratch.extend_from_slice(&(attributes.len() as u32).to_le_bytes());
    for attribute in attributes {
        push_bytes(scratch, attribute.key.as_bytes());
        push_value(scratch, attribute.value.as_ref());
    }
}

fn push_value(scratch: &mut Vec<u8>, value: Option<&AnyValue>) {
    use any_value::Value;
    match value.and_then(|any| any.value.as_ref()) {
        None => scratch.push(0),
        Some(Value::StringValue(text)) => {
            scratch.push(1);
            push_bytes(scratch, text.as_bytes());
        }
        Some(Value::BoolValue(flag)) => scratch.extend_from_slice(&[2, u8::from(*flag)]),
        Some(Value::IntValue(number)) => {
            scratch.push(3);
            scratch.extend_from_slice(&number.to_le_bytes());
        }
        Some(Value::DoubleValue(number)) => {
            scratch.push(4);
            scratch.extend_from_slice(&number.to_le_bytes());
        }
        Some(Value::BytesValue(bytes)) => {
            scratch.push(5);
            push_bytes(scratch, bytes);
        }
        Some(Value::ArrayValue(array)) => {
            scratch.push(6);
            scratch.extend_from_slice(&(array.values.len() as u32).to_le_bytes());
            array.values.iter().for_each(|item| push_value(scratch, Some(item)));
        }
        Some(Value::KvlistValue(list)) => {
            scratch.push(7);
            push_attributes(scratch, &list.values);
        }
        Some(Value::StringValueStrindex(index)) => {
            scratch.push(8);
            scratch.extend_from_slice(&index.to_le_bytes());
        }
    }
}
