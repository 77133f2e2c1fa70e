//! Fills the columns while the request is read.

use std::ops::Range;

use mytsdb_storage::SeriesHint;
use mytsdb_storage::model::{MetricKind, MetricMetadata, SeriesKeys, TenantId, UNKNOWN_START_MS, stale_nan};
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::merge::Deltas;
use super::{Columns, MetricOrigin, Part, PointOrigin, REQUEST_SERIES_COUNT_MAX, SeriesOrigin, SourceBytes};
use crate::otlp::known::Facts;
use crate::otlp::naming::unit_name;
use crate::otlp::read::{
    DataKind, ExponentialPoint, HistogramPoint, MetricHeader, Number, NumberPoint, ReadError, SummaryPoint,
    Visitor, read,
};
use crate::otlp::templates::{Candidate, REQUEST_CANDIDATE_COUNT_MAX, Repeated, Template, TemplateId};
use crate::otlp::{DeltaTemporality, OtlpOptions, labels};

/// `DataPointFlags::NO_RECORDED_VALUE`.
pub(super) const NO_RECORDED_VALUE: u32 = 1;
/// Most samples of `target_info` per resource and request: a point with a time far in the past must not cost more.
const TARGET_INFO_SAMPLE_COUNT_MAX: usize = 1_000;
/// About as many bytes of a request are a point.
const POINT_BYTES_USUAL: usize = 256;
/// Integers up to here are exact as `f64`.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// What a request is translated with.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'e> {
    /// What the storage's keys are made with.
    pub keys: &'e SeriesKeys,
    /// Whose request it is.
    pub tenant: &'e TenantId,
    /// The tenant's options.
    pub options: &'e OtlpOptions,
    /// What earlier requests brought.
    pub facts: &'e Facts,
}

/// Translates the request in `body`.
///
/// # Errors
/// [`ReadError`].
pub fn decode<'a>(environment: Environment<'_>, body: &'a [u8]) -> Result<Columns<'a>, ReadError> {
    let mut builder = Builder::new(environment);
    builder.out.reserve(body.len() / POINT_BYTES_USUAL);
    read(body, &mut builder)?;
    let mut columns = builder.out;
    if !columns.hints.is_empty() {
        columns.hints.resize(columns.keys.len(), SeriesHint::NONE);
    }
    Ok(columns)
}

/// Collects the columns of one request.
pub(super) struct Builder<'a, 'e> {
    environment: Environment<'e>,
    pub(super) out: Columns<'a>,
    pub(super) deltas: Deltas,
    tenant_digest: u128,
    resource_digest: u128,
    source_digest: u128,
    metric_digest: u128,
    source: SourceBytes<'a>,
    /// The template of the last metric that has one.
    template: TemplateId,
    first_series_of_metric: usize,
    /// Whether the metric at hand may become a template, as far as it was told.
    is_plain: bool,
    /// Whether the source is in the columns: that costs memory, and a source without points is nothing.
    is_source_kept: bool,
    first_sample_of_resource: usize,
    first_series_of_resource: usize,
    scratch: Vec<u8>,
}

/// The point at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    digest: u128,
    index: u32,
    pub(super) time_ms: i64,
    /// [`UNKNOWN_START_MS`] if the sender did not say.
    pub(super) start_ms: i64,
    pub(super) start_ns: u64,
    pub(super) is_stale: bool,
}

impl<'a, 'e> Builder<'a, 'e> {
    fn new(environment: Environment<'e>) -> Self {
        let mut builder = Self {
            environment,
            out: Columns::default(),
            deltas: Deltas::default(),
            tenant_digest: 0,
            resource_digest: 0,
            source_digest: 0,
            metric_digest: 0,
            source: SourceBytes::default(),
            template: TemplateId::NONE,
            first_series_of_metric: 0,
            is_plain: false,
            is_source_kept: false,
            first_sample_of_resource: 0,
            first_series_of_resource: 0,
            scratch: Vec::with_capacity(512),
        };
        let fingerprint = environment.options.fingerprint();
        builder.tenant_digest = builder.digest(|scratch| {
            scratch.extend_from_slice(b"otlp");
            scratch.extend_from_slice(&fingerprint.to_le_bytes());
            push_bytes(scratch, environment.tenant.as_str().as_bytes());
        });
        builder
    }

    pub(super) fn options(&self) -> &'e OtlpOptions {
        self.environment.options
    }

    /// Hash of bytes that `fill` gathers.
    fn digest(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> u128 {
        self.scratch.clear();
        fill(&mut self.scratch);
        self.key(&self.scratch)
    }

    #[inline]
    fn key(&self, bytes: &[u8]) -> u128 {
        self.environment.keys.key(bytes)
    }

    /// The metric at hand; there is one whenever a point is told.
    pub(super) fn metric_name(&self) -> &'a str {
        self.out.metrics.last().map_or("", MetricOrigin::name)
    }

    pub(super) fn is_delta(&self) -> bool {
        self.out.metrics.last().is_some_and(|metric| metric.is_delta)
    }

    /// Counts a point of the metric at hand as refused.
    #[cold]
    pub(super) fn refuse(&mut self, reason: &'static str, message: impl FnOnce() -> String) {
        let name = self.metric_name();
        self.out.refused.add(reason, name, 1, message);
    }

    /// Counts something of the metric at hand that is stored otherwise than it was sent.
    #[cold]
    pub(super) fn lose(&mut self, what: &'static str, message: impl FnOnce() -> String) {
        let name = self.metric_name();
        self.out.losses.add(what, name, 1, message);
    }

    /// Begins a point; `None` if the request has too many series already.
    #[inline]
    pub(super) fn point(
        &mut self,
        attributes: &'a [u8],
        (start_ns, time_ns): (u64, u64),
        flags: u32,
    ) -> Option<Point> {
        if self.out.keys.len() >= REQUEST_SERIES_COUNT_MAX {
            self.refuse("request_series_limit", || {
                format!("the request has more than {REQUEST_SERIES_COUNT_MAX} series, send smaller ones")
            });
            return None;
        }
        let index = self.out.points.len() as u32;
        let metric = (self.out.metrics.len() as u32).saturating_sub(1);
        self.out.points.push(PointOrigin { metric, attributes });
        Some(Point {
            digest: self.key(attributes),
            index,
            time_ms: time_ms(time_ns),
            start_ms: time_ms(start_ns),
            start_ns,
            is_stale: flags & NO_RECORDED_VALUE != 0,
        })
    }

    #[inline]
    pub(super) fn part_key(&self, point: &Point, part: Part) -> u128 {
        let (code, number) = part.code();
        self.pair_key(self.metric_digest ^ (u128::from(code) << 64 | u128::from(number)), point.digest)
    }

    /// Hash of two hashes.
    #[inline]
    fn pair_key(&self, one: u128, other: u128) -> u128 {
        let mut bytes = [0_u8; 32];
        bytes[..16].copy_from_slice(&one.to_le_bytes());
        bytes[16..].copy_from_slice(&other.to_le_bytes());
        self.key(&bytes)
    }

    /// Adds a sample of a part of the point; `is_counted` = the value was counted up from the point's start.
    #[inline]
    pub(super) fn push(&mut self, point: &Point, part: Part, value: f64, is_counted: bool) {
        let key = self.part_key(point, part);
        if self.is_delta() && self.merged(key, point, part, value) {
            return;
        }
        let start_ms = if is_counted { point.start_ms } else { UNKNOWN_START_MS };
        self.out.starts.push(self.out.values.len(), start_ms);
        self.out.timestamps_ms.push(point.time_ms);
        self.out.values.push(if point.is_stale { stale_nan() } else { value });
        self.push_series(key, point, part);
    }

    /// Adds a series that ends at the last sample.
    #[inline]
    pub(super) fn push_series(&mut self, key: u128, point: &Point, part: Part) {
        self.out.keys.push(key);
        self.out.sample_ends.push(self.out.values.len());
        self.out.series.push(SeriesOrigin { at: point.index, part });
    }

    /// Adds a metric whose message repeats a template.
    #[inline]
    fn push_repeated(&mut self, template: &Template, message: &'a [u8]) {
        let facts = self.environment.facts;
        let (points, keys) = (facts.templates.points_of(template), facts.templates.keys_of(template));
        let part_of =
            |range: &Range<u32>| message.get(range.start as usize..range.end as usize).unwrap_or_default();
        let source = self.keep_source();
        let metric = self.out.metrics.len() as u32;
        self.out.metrics.push(MetricOrigin {
            source,
            name: part_of(&template.name),
            unit: part_of(&template.unit),
            data_kind: template.kind,
            is_monotonic: template.is_monotonic,
            metadata: part_of(&template.metadata),
            is_delta: false,
        });
        self.out.point_count += points.len();
        let (first_point, first_sample) = (self.out.points.len() as u32, self.out.values.len());
        self.out.repeated.push(Repeated::new(template, self.out.keys.len()));
        self.out.hints.resize(self.out.keys.len(), SeriesHint::NONE);
        facts.templates.hints_of(template, &mut self.out.hints);
        self.out.keys.extend_from_slice(keys);
        self.out.sample_ends.extend((first_sample..).skip(1).take(points.len()));
        let series = (first_point..).take(points.len()).map(|at| SeriesOrigin { at, part: Part::Number });
        self.out.series.extend(series);
        let mut rest = message;
        for point in points {
            let Some((region, behind)) = rest.split_at_checked(usize::from(point.region_bytes)) else {
                break;
            };
            rest = behind;
            let NumberPoint { attributes, start_ns, time_ns: at_ns, value, .. } = point.read(region);
            let is_counted = template.kind != DataKind::Gauge;
            let start_ms = if is_counted { time_ms(start_ns) } else { UNKNOWN_START_MS };
            self.out.starts.push(self.out.values.len(), start_ms);
            self.out.points.push(PointOrigin { metric, attributes });
            self.out.timestamps_ms.push(time_ms(at_ns));
            let value = value.map_or(0.0, |number| self.float(number));
            self.out.values.push(value);
        }
    }

    /// Smallest and largest observation as series of their own. The stale marker ends them only where they are.
    pub(super) fn push_range(&mut self, point: &Point, min: Option<f64>, max: Option<f64>) {
        for (part, value) in [(Part::Min, min), (Part::Max, max)] {
            if let Some(value) = value {
                self.push(point, part, value, false);
            }
        }
    }

    /// A number as a sample.
    #[inline]
    fn float(&mut self, number: Number) -> f64 {
        match number {
            Number::Double(value) => value,
            Number::Int(value) => {
                if value.unsigned_abs() > EXACT_INTEGER_MAX && value as f64 as i128 != i128::from(value) {
                    self.lose_integer(value);
                }
                value as f64
            }
        }
    }

    /// A count as a sample.
    pub(super) fn float_count(&mut self, count: u64) -> f64 {
        if count > EXACT_INTEGER_MAX && count as f64 as u64 != count {
            self.lose_integer(count);
        }
        count as f64
    }

    #[cold]
    fn lose_integer(&mut self, given: impl std::fmt::Display) {
        self.lose("integer_rounded", || format!("{given} is above 2^53 and stored as the nearest float"));
    }

    fn keep_source(&mut self) -> u32 {
        if !self.is_source_kept {
            self.out.sources.push(self.source);
            self.is_source_kept = true;
        }
        self.out.sources.len() as u32 - 1
    }

    /// Takes the metadata of the metric at hand.
    #[cold]
    fn take_metadata(&mut self, digest: u128, header: &MetricHeader<'a>) {
        let Some(metric) = self.out.metrics.last() else { return };
        // A name that cannot be translated has no series either; the points are refused with that reason.
        let namer = self.options().namer;
        let Ok(name) = namer.metric_name(metric.name(), metric.unit(), metric.name_kind()) else { return };
        let help = String::from_utf8_lossy(header.description).into_owned();
        let unit = unit_name(metric.unit());
        self.out.metadata.push(MetricMetadata { metric: name, kind: metric.kind(), unit, help });
        self.out.metadata_digests.push(digest);
    }

    /// Whether the resource at hand has a `target_info`, found out once.
    fn has_target_info(&mut self) -> bool {
        if let Some(known) = self.environment.facts.target_info(self.resource_digest) {
            return known;
        }
        // A resource that cannot be decoded has no series: its points are refused.
        let resource = Resource::decode(self.source.resource).unwrap_or_default();
        let found = labels::has_target_info(&resource.attributes);
        self.out.target_info.push((self.resource_digest, found));
        found
    }

    /// Adds `target_info` for the span of the resource's samples, often enough for every lookback to find one.
    fn take_target_info(&mut self) {
        let floats = self.out.timestamps_ms.get(self.first_sample_of_resource..).unwrap_or_default();
        let (mut first_ms, mut last_ms) = (i64::MAX, i64::MIN);
        let histograms = self.out.histograms.iter().rev();
        let histograms = histograms.take_while(|one| one.series_index >= self.first_series_of_resource);
        for time_ms in floats.iter().copied().chain(histograms.map(|one| one.time_ms)) {
            first_ms = first_ms.min(time_ms);
            last_ms = last_ms.max(time_ms);
        }
        if first_ms > last_ms || !self.has_target_info() {
            return;
        }
        let resource_digest = self.resource_digest;
        let key = self.digest(|scratch| {
            scratch.extend_from_slice(&resource_digest.to_le_bytes());
            scratch.push(Part::TargetInfo.code().0);
        });
        let step_ms = (self.options().lookback_ms / 2).max(1);
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
        let at = self.keep_source();
        self.out.series.push(SeriesOrigin { at, part: Part::TargetInfo });
        self.take_target_info_metadata();
    }

    fn take_target_info_metadata(&mut self) {
        let tenant_digest = self.tenant_digest;
        let digest = self.digest(|scratch| {
            scratch.extend_from_slice(&tenant_digest.to_le_bytes());
            scratch.extend_from_slice(b"target_info metadata");
        });
        if !self.out.metadata_digests.contains(&digest) && !self.environment.facts.has_metadata(digest) {
            self.out.metadata.push(MetricMetadata {
                metric: "target_info".to_owned(),
                kind: MetricKind::Gauge,
                unit: String::new(),
                help: "Target metadata".to_owned(),
            });
            self.out.metadata_digests.push(digest);
        }
    }

    /// Whether the metric's points are deltas.
    ///
    /// # Errors
    /// Why none of them can be stored: a short fixed word, and advice for the sender.
    fn check_temporality(&self, kind: DataKind, temporality: i32) -> Result<bool, (&'static str, String)> {
        if matches!(kind, DataKind::Gauge | DataKind::Summary) {
            return Ok(false);
        }
        match AggregationTemporality::try_from(temporality) {
            Ok(AggregationTemporality::Cumulative) => Ok(false),
            Ok(AggregationTemporality::Delta) => match self.options().delta_temporality {
                DeltaTemporality::Keep => Ok(true),
                DeltaTemporality::Reject => Err((
                    "delta_temporality",
                    "delta temporality is switched off for this tenant; set the sender's temporality preference to cumulative"
                        .to_owned(),
                )),
            },
            _ => Err((
                "no_temporality",
                format!("the aggregation temporality is {temporality}; allowed are delta (1) and cumulative (2)"),
            )),
        }
    }
}

impl<'a> Visitor<'a> for Builder<'a, '_> {
    fn wants_schema_urls(&self) -> bool {
        self.options().promote_scope_metadata
    }

    fn resource(&mut self, resource: Option<&'a [u8]>, _schema_url: &'a [u8]) {
        let tenant_digest = self.tenant_digest;
        let resource = resource.unwrap_or_default();
        self.resource_digest = self.digest(|scratch| {
            scratch.extend_from_slice(&tenant_digest.to_le_bytes());
            scratch.extend_from_slice(resource);
        });
        self.source = SourceBytes { resource, ..SourceBytes::default() };
        self.is_source_kept = false;
        self.first_sample_of_resource = self.out.values.len();
        self.first_series_of_resource = self.out.keys.len();
    }

    fn scope(&mut self, scope: Option<&'a [u8]>, schema_url: &'a [u8]) {
        self.source.scope = scope;
        self.source.scope_schema_url = schema_url;
        self.is_source_kept = false;
        self.source_digest = match scope.filter(|_| self.options().promote_scope_metadata) {
            None => self.resource_digest,
            Some(scope) => {
                let resource_digest = self.resource_digest;
                self.digest(|scratch| {
                    scratch.extend_from_slice(&resource_digest.to_le_bytes());
                    push_bytes(scratch, scope);
                    push_bytes(scratch, schema_url);
                })
            }
        };
    }

    #[inline]
    fn take_repeated(&mut self, message: &'a [u8]) -> bool {
        let templates = &self.environment.facts.templates;
        let Some((id, template)) = templates.expected_behind(self.template) else { return false };
        let is_room = self.out.keys.len() + template.point_count() <= REQUEST_SERIES_COUNT_MAX;
        let (of, with) = ((message, self.source_digest), (self.environment.keys, &mut self.scratch));
        if !is_room || !templates.is_repeated(template, of, with) {
            return false;
        }
        self.template = id;
        self.out.template_use.hits += 1;
        self.push_repeated(template, message);
        true
    }

    fn metric(&mut self, header: &MetricHeader<'a>) -> bool {
        self.out.point_count += header.point_count;
        self.is_plain = false;
        let Some(kind) = header.kind.filter(|_| header.point_count > 0) else { return false };
        let is_delta = match self.check_temporality(kind, header.temporality) {
            Ok(is_delta) => is_delta,
            Err((reason, message)) => {
                let name = String::from_utf8_lossy(header.name);
                self.out.refused.add(reason, &name, header.point_count, || message);
                return false;
            }
        };
        let (before_data, behind_data) = header.beside_data;
        let mut header_digest = self.key(before_data);
        if !behind_data.is_empty() {
            header_digest = self.digest(|scratch| {
                scratch.extend_from_slice(&header_digest.to_le_bytes());
                scratch.extend_from_slice(behind_data);
            });
        }
        let flags = [kind as u8, u8::from(is_delta), u8::from(header.is_monotonic)];
        // PERF: digests have no structure, so any way to combine them is as good as a hash of both.
        let facts_digest = header_digest
            ^ self.tenant_digest
            ^ u128::from(u32::from_le_bytes([flags[0], flags[1], flags[2], 0]));
        // What is known was looked at before: texts included.
        let is_known = self.environment.facts.has_metadata(facts_digest);
        if !is_known && [header.name, header.unit].iter().any(|text| std::str::from_utf8(text).is_err()) {
            let name = String::from_utf8_lossy(header.name);
            self.out.refused.add("invalid_utf8", &name, header.point_count, || {
                "name or unit of the metric is not UTF-8".to_owned()
            });
            return false;
        }
        self.first_series_of_metric = self.out.keys.len();
        self.is_plain = matches!(kind, DataKind::Gauge | DataKind::Sum) && !is_delta;
        let MetricHeader { name, unit, metadata, is_monotonic, .. } = *header;
        let source = self.keep_source();
        self.out.metrics.push(MetricOrigin {
            source,
            name,
            unit,
            data_kind: kind,
            is_monotonic,
            metadata,
            is_delta,
        });
        if !is_known {
            self.take_metadata(facts_digest, header);
        }
        self.metric_digest = self.pair_key(self.source_digest, facts_digest);
        true
    }

    #[inline]
    fn number(&mut self, point: &NumberPoint<'a>) {
        let value = match point.value {
            Some(number) => self.float(number),
            None if point.flags & NO_RECORDED_VALUE != 0 => 0.0,
            None => return self.refuse("no_value", || "the point has no value".to_owned()),
        };
        self.is_plain &= point.flags == 0 && point.exemplars.is_empty();
        let times = (point.start_ns, point.time_ns);
        let Some(at) = self.point(point.attributes, times, point.flags) else { return };
        let is_counted = self.out.metrics.last().is_some_and(|metric| metric.data_kind != DataKind::Gauge);
        let series_index = self.out.keys.len();
        self.push(&at, Part::Number, value, is_counted);
        // A delta that was added to an earlier one has no series of its own.
        if !point.exemplars.is_empty() && self.out.keys.len() > series_index {
            self.take_exemplars(point.exemplars, at.time_ms, |_| series_index);
        }
    }

    fn histogram(&mut self, point: &HistogramPoint<'a, '_>) {
        self.take_histogram(point);
    }

    fn exponential(&mut self, point: &ExponentialPoint<'a, '_>) {
        self.take_exponential(point);
    }

    fn summary(&mut self, point: &SummaryPoint<'a, '_>) {
        self.take_summary(point);
    }

    fn metric_end(&mut self, message: &'a [u8]) {
        let first_series = self.first_series_of_metric;
        let Some(first_key) = self.out.keys.get(first_series).filter(|_| self.is_plain) else { return };
        self.out.template_use.misses += 1;
        let templates = &self.environment.facts.templates;
        let found = templates.find(*first_key, message);
        if let Some(found) = found {
            templates.follow(self.template, found);
            self.template = found;
        }
        if self.out.candidates.len() < REQUEST_CANDIDATE_COUNT_MAX && templates.wants(found) {
            let (source_digest, series_count) = (self.source_digest, self.out.keys.len() - first_series);
            self.out.candidates.push(Candidate { message, source_digest, first_series, series_count });
        }
    }

    fn resource_end(&mut self) {
        self.take_target_info();
    }
}

pub(super) fn time_ms(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

fn push_bytes(scratch: &mut Vec<u8>, bytes: &[u8]) {
    scratch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    scratch.extend_from_slice(bytes);
}
