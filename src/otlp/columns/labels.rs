//! Labels of a request's series, decoded from their bytes when the storage asks for them: only for new series.

use std::sync::OnceLock;

use mytsdb_storage::model::{LabelSet, LabelSetBuilder, MetricKind};
use mytsdb_storage::{LabelSource, SeriesHint};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::{Columns, DELTA, Part, SourceBytes, TEMPORALITY_LABEL};
use crate::otlp::OtlpOptions;
use crate::otlp::labels::{Bound, Source, series_labels, target_info_labels};
use crate::otlp::naming::unit_name;
use crate::otlp::read::payloads;

/// Gives the labels of the columns' series.
#[derive(Debug)]
pub struct RequestLabels<'c, 'a> {
    columns: &'c Columns<'a>,
    options: &'c OtlpOptions,
    /// Resources and scopes, decoded once each.
    sources: Vec<OnceLock<Result<DecodedSource, String>>>,
}

#[derive(Debug)]
struct DecodedSource {
    resource: Vec<KeyValue>,
    scope: Option<InstrumentationScope>,
    scope_schema_url: String,
}

impl DecodedSource {
    fn decode(bytes: &SourceBytes<'_>) -> Result<Self, String> {
        let resource = Resource::decode(bytes.resource).map_err(|error| format!("resource: {error}"))?;
        let scope = bytes.scope.map(InstrumentationScope::decode).transpose();
        let scope = scope.map_err(|error| format!("scope: {error}"))?;
        let scope_schema_url = String::from_utf8_lossy(bytes.scope_schema_url).into_owned();
        Ok(Self { resource: resource.attributes, scope, scope_schema_url })
    }
}

impl<'c, 'a> RequestLabels<'c, 'a> {
    /// The labels of `columns` under the options that these were made with.
    pub fn new(columns: &'c Columns<'a>, options: &'c OtlpOptions) -> Self {
        Self { columns, options, sources: columns.sources.iter().map(|_| OnceLock::new()).collect() }
    }

    fn source(&self, index: u32) -> Result<Source<'_>, String> {
        let missing = || format!("no resource at index {index}");
        let bytes = self.columns.sources.get(index as usize).ok_or_else(missing)?;
        let cell = self.sources.get(index as usize).ok_or_else(missing)?;
        let decoded = cell.get_or_init(|| DecodedSource::decode(bytes)).as_ref().map_err(Clone::clone)?;
        Ok(Source {
            resource: &decoded.resource,
            scope: decoded.scope.as_ref(),
            scope_schema_url: &decoded.scope_schema_url,
        })
    }
}

impl LabelSource for RequestLabels<'_, '_> {
    fn hints(&self) -> &[SeriesHint] {
        &self.columns.hints
    }

    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let missing = || format!("no series at index {series_index}");
        let origin = self.columns.series.get(series_index).ok_or_else(missing)?;
        if origin.part == Part::TargetInfo {
            return target_info_labels(self.options, self.source(origin.at)?.resource);
        }
        let point = self.columns.points.get(origin.at as usize).ok_or_else(missing)?;
        let metric = self.columns.metrics.get(point.metric as usize).ok_or_else(missing)?;
        let (suffix, bound) = match origin.part {
            Part::Number | Part::Native | Part::TargetInfo => ("", None),
            Part::Sum => ("_sum", None),
            Part::Count => ("_count", None),
            Part::Min => ("_min", None),
            Part::Max => ("_max", None),
            Part::Bucket(bound) => ("_bucket", Some(Bound::Le(bound))),
            Part::Quantile(quantile) => ("", Some(Bound::Quantile(quantile))),
        };
        let namer = self.options.namer;
        let family = namer
            .metric_name(metric.name(), metric.unit(), metric.name_kind())
            .map_err(|error| error.to_string())?;
        let attributes = attributes(point.attributes)?;
        let source = self.source(metric.source)?;
        let labels = series_labels(self.options, &source, &attributes, &(family + suffix), bound)?;
        if !metric.is_delta && !self.options.type_and_unit_labels {
            return Ok(labels);
        }
        let mut marked = LabelSetBuilder::new(&labels);
        if metric.is_delta {
            marked.set(TEMPORALITY_LABEL, DELTA);
        }
        if self.options.type_and_unit_labels {
            // The smallest and the largest of a histogram's observations go up and down.
            let is_gauge = matches!(origin.part, Part::Min | Part::Max);
            let kind = if is_gauge { MetricKind::Gauge } else { metric.kind() };
            marked.set("__type__", if kind == MetricKind::Unknown { "" } else { kind.as_str() });
            marked.set("__unit__", &unit_name(metric.unit()));
        }
        Ok(marked.build())
    }
}

/// Decodes a run of attributes.
fn attributes(run: &[u8]) -> Result<Vec<KeyValue>, String> {
    payloads(run)
        .map(|payload| {
            let payload = payload.map_err(|error| error.to_string())?;
            KeyValue::decode(payload).map_err(|error| format!("attribute: {error}"))
        })
        .collect()
}
