//! A metrics request as the columns of a `WriteBatch`, point by point.
//!
//! Input: the bytes of a request. Output: [`Columns`]; known series cost a hash of their bytes, labels are built only
//! for new ones ([`labels`]). A point that cannot be stored is counted with its reason and costs no other point.
//!
//! Invariant: the key of a series is a seeded 128-bit hash over tenant, options, resource, scope (if it makes labels),
//! metric without points, attributes as their bytes, and which part of the point it is. So another order of attributes
//! or another help text is another key of the same series, nothing else.

mod builder;
mod exemplars;
mod exponential;
mod histogram;
mod labels;
mod merge;
#[cfg(test)]
mod tests;

use mytsdb_storage::model::{MetricKind, MetricMetadata, StartTimes};
use mytsdb_storage::{ExemplarSample, HistogramSample, SeriesHint};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;

pub use self::builder::{Environment, decode};
pub use self::labels::RequestLabels;
use super::naming::NameKind;
use super::read::{DataKind, payloads};
use super::tally::Tally;
use super::templates::{Candidate, Repeated, TemplateUse};

/// Label that tells series of deltas from others.
pub const TEMPORALITY_LABEL: &str = "__temporality__";
/// Its value.
pub const DELTA: &str = "delta";

/// Most series of one request, repeats included: what a byte of the request may cost in memory is bounded.
pub const REQUEST_SERIES_COUNT_MAX: usize = 2_000_000;
/// Most exemplars of one request.
pub const REQUEST_EXEMPLAR_COUNT_MAX: usize = 100_000;

/// A request as columns.
///
/// # Shape
/// `keys`, `sample_ends`: `[series_count]`; `timestamps_ms`, `values`: `[sample_count]`.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// Per series: its key.
    pub keys: Vec<u128>,
    /// Per series: end of its samples.
    pub sample_ends: Vec<usize>,
    /// Sample times in milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// Sample values.
    pub values: Vec<f64>,
    /// When counting began: of what counts, not of gauges and quantiles.
    pub starts: StartTimes,
    /// Native histograms, by series.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars, by series.
    pub exemplars: Vec<ExemplarSample>,
    /// Metadata that is not known yet.
    pub metadata: Vec<MetricMetadata>,
    /// Digests of that metadata.
    pub(super) metadata_digests: Vec<u128>,
    /// Resources of which it was found out whether they have a `target_info`.
    pub(super) target_info: Vec<(u128, bool)>,
    /// Metrics that may come again, but for their numbers.
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Metrics that came before.
    pub(super) repeated: Vec<Repeated>,
    /// Per series what the storage said about its key; empty if nothing.
    pub(super) hints: Vec<SeriesHint>,
    /// How many metrics had come before.
    pub(super) template_use: TemplateUse,
    /// Points in the request.
    pub point_count: usize,
    /// Points refused before the storage saw them.
    pub refused: Tally,
    /// Exemplars refused before the storage saw them.
    pub refused_exemplars: Tally,
    /// Points and exemplars that are stored, but not as they were.
    pub losses: Tally,
    series: Vec<SeriesOrigin>,
    points: Vec<PointOrigin<'a>>,
    metrics: Vec<MetricOrigin<'a>>,
    sources: Vec<SourceBytes<'a>>,
}

impl<'a> Columns<'a> {
    /// Makes room for so many points of one series each.
    fn reserve(&mut self, point_count: usize) {
        self.keys.reserve(point_count);
        self.sample_ends.reserve(point_count);
        self.timestamps_ms.reserve(point_count);
        self.values.reserve(point_count);
        self.series.reserve(point_count);
        self.points.reserve(point_count);
        self.hints.reserve(point_count);
        // PERF: a few points a metric, mostly; vectors that grow are copied again and again.
        self.metrics.reserve(point_count / 2);
        self.repeated.reserve(point_count / 2);
    }

    /// The point that a series came from; `None` for `target_info`.
    pub(super) fn point_of(&self, series_index: usize) -> Option<u32> {
        self.series.get(series_index).filter(|origin| origin.part != Part::TargetInfo).map(|origin| origin.at)
    }

    /// The name of the metric that a point belongs to, as sent.
    pub(super) fn metric_name_of(&self, point: u32) -> &'a str {
        self.points
            .get(point as usize)
            .and_then(|point| self.metrics.get(point.metric as usize))
            .map_or("", MetricOrigin::name)
    }
}

/// Which series this is.
#[derive(Debug, Clone, Copy)]
struct SeriesOrigin {
    /// Index of its point; of its source for `target_info`.
    at: u32,
    part: Part,
}

#[derive(Debug, Clone, Copy)]
struct PointOrigin<'a> {
    metric: u32,
    /// Fields of the attributes.
    attributes: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct MetricOrigin<'a> {
    source: u32,
    /// Known to be UTF-8, as is the unit.
    name: &'a [u8],
    unit: &'a [u8],
    data_kind: DataKind,
    is_monotonic: bool,
    /// Fields `metadata`.
    metadata: &'a [u8],
    is_delta: bool,
}

impl<'a> MetricOrigin<'a> {
    fn name(&self) -> &'a str {
        std::str::from_utf8(self.name).unwrap_or_default()
    }

    fn unit(&self) -> &'a str {
        std::str::from_utf8(self.unit).unwrap_or_default()
    }

    /// What decides about the suffix of the name.
    fn name_kind(&self) -> NameKind {
        match self.data_kind {
            DataKind::Gauge => NameKind::Gauge,
            DataKind::Sum if self.is_monotonic => NameKind::Counter,
            _ => NameKind::Other,
        }
    }

    /// What it is called in Prometheus. Decodes what a collector notes.
    fn kind(&self) -> MetricKind {
        match self.data_kind {
            DataKind::Gauge => declared_kind(self.metadata).unwrap_or(MetricKind::Gauge),
            DataKind::Sum if self.is_monotonic => MetricKind::Counter,
            DataKind::Sum => MetricKind::Gauge,
            DataKind::Histogram | DataKind::ExponentialHistogram => MetricKind::Histogram,
            DataKind::Summary => MetricKind::Summary,
        }
    }
}

/// The kind that a gauge had where it was scraped, as the collector notes it.
fn declared_kind(metadata: &[u8]) -> Option<MetricKind> {
    let mut entries = payloads(metadata).filter_map(|payload| KeyValue::decode(payload.ok()?).ok());
    let noted = entries.find(|entry| entry.key == "prometheus.type")?;
    match noted.value?.value? {
        any_value::Value::StringValue(word) => MetricKind::from_word(&word).filter(|kind| {
            matches!(kind, MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet | MetricKind::Gauge)
        }),
        _ => None,
    }
}

/// A resource and a scope as they were sent.
#[derive(Debug, Clone, Copy, Default)]
struct SourceBytes<'a> {
    resource: &'a [u8],
    scope: Option<&'a [u8]>,
    scope_schema_url: &'a [u8],
}

/// Which series of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    /// The number of a gauge or sum.
    Number,
    Sum,
    Count,
    Bucket(f64),
    Quantile(f64),
    Min,
    Max,
    /// A native histogram.
    Native,
    TargetInfo,
}

impl Part {
    /// A number per part, and the bits that tell apart several of one kind.
    fn code(self) -> (u8, u64) {
        match self {
            Self::Number => (0, 0),
            Self::Sum => (1, 0),
            Self::Count => (2, 0),
            Self::Bucket(bound) => (3, bound.to_bits()),
            Self::Quantile(quantile) => (4, quantile.to_bits()),
            Self::Min => (5, 0),
            Self::Max => (6, 0),
            Self::Native => (7, 0),
            Self::TargetInfo => (8, 0),
        }
    }
}

/// Translates foreign bytes and checks what the storage relies on.
#[cfg(test)]
pub(super) fn check_shape(body: &[u8]) {
    use mytsdb_storage::LabelSource as _;
    use mytsdb_storage::model::{SeriesKeys, TenantId};

    use super::OtlpOptions;
    use super::known::KnownMetadata;

    let (known, keys) = (KnownMetadata::default(), SeriesKeys::from_seed(1));
    let facts = known.facts();
    for convert_histograms_to_nhcb in [false, true] {
        let options = OtlpOptions {
            convert_histograms_to_nhcb,
            promote_scope_metadata: true,
            ..OtlpOptions::default()
        };
        let environment =
            Environment { keys: &keys, tenant: &TenantId::anonymous(), options: &options, facts: &facts };
        let Ok(columns) = decode(environment, body) else { return };
        let (series_count, sample_count) = (columns.keys.len(), columns.values.len());
        assert_eq!(columns.sample_ends.len(), series_count);
        assert_eq!(columns.timestamps_ms.len(), sample_count);
        assert!(columns.sample_ends.is_sorted());
        assert!(columns.sample_ends.last().is_none_or(|end| *end == sample_count));
        assert!(columns.histograms.iter().all(|one| one.series_index < series_count));
        assert!(columns.exemplars.iter().all(|one| one.series_index < series_count));
        assert!(columns.refused.total() <= columns.point_count);
        let labels = RequestLabels::new(&columns, &options);
        for series_index in 0..series_count {
            // Labels may be refused, but for a reason that is said.
            assert!(labels.labels(series_index).map_or_else(|why| !why.is_empty(), |set| !set.is_empty()));
        }
    }
}
