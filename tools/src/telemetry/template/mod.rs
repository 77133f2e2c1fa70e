//! Template files: encoded OTLP messages in parts, and where in them something is patched when they are sent.
//!
//! A folder holds up to three: `metrics.template`, `traces.template`, `logs.template`. An *item* is a point, span or log
//! record: the bytes of its message, encoded once. What is patched has a fixed width and a place that its *layout* names;
//! all points of a metric share a layout, as patched fields come before attributes. Items are stored apart from the
//! messages around them, as sizes of requests, the share of a worker and its identity are known only when they are sent.
//!
//! Format: docs/format/template.md

mod error;
pub mod file;
mod format;
pub mod protobuf;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use error::TemplateError;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Points of metrics.
    Metrics,
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals, in the order of their numbers in files.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// Returns what its items are called.
    pub fn item_name(self) -> &'static str {
        match self {
            Self::Metrics => "points",
            Self::Traces => "spans",
            Self::Logs => "log records",
        }
    }

    /// Returns the name of the signal's template in its folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics.template",
            Self::Traces => "traces.template",
            Self::Logs => "logs.template",
        }
    }
}

/// One template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// What its items are.
    pub signal: Signal,
    /// What values depend on besides the items.
    pub settings: ModelSettings,
    /// Fields of the messages `Resource`, without `service.instance.id`.
    pub resources: Vec<Vec<u8>>,
    /// Metrics; none in traces and logs.
    pub metrics: Vec<Metric>,
    /// Where items are patched.
    pub layouts: Vec<Vec<Patch>>,
    /// Points, spans or log records; points by target and metric, spans by trace.
    pub items: Vec<Item>,
    /// The bytes of all items.
    pub arena: Vec<u8>,
}

/// What values depend on besides the items.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ModelSettings {
    /// Decides what noise and walks look like, and when targets restart.
    pub seed: u64,
    /// How much rates rise and fall over a day, as a share.
    pub diurnal: f64,
    /// How much rates differ from ten seconds to the next, as a share.
    pub noise: f64,
    /// Time between restarts of a target; 0 = never.
    pub restart_interval_ns: u64,
    /// How long a target lives until another takes its place; 0 = for ever.
    pub lifetime_ns: u64,
    /// Time from the start of a run until all series are there.
    pub ramp_ns: u64,
}

/// The types of metrics, by their numbers in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `Gauge`.
    Gauge,
    /// `Sum`, monotonic.
    Counter,
    /// `Sum`, not monotonic.
    UpDownCounter,
    /// `Histogram`.
    Histogram,
    /// `ExponentialHistogram`.
    ExponentialHistogram,
    /// `Summary`.
    Summary,
}

impl MetricType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Gauge,
        Self::Counter,
        Self::UpDownCounter,
        Self::Histogram,
        Self::ExponentialHistogram,
        Self::Summary,
    ];

    /// Returns the field of the message `Metric` that holds the points.
    pub fn field(self) -> u32 {
        match self {
            Self::Gauge => 5,
            Self::Counter | Self::UpDownCounter => 7,
            Self::Histogram => 9,
            Self::ExponentialHistogram => 10,
            Self::Summary => 11,
        }
    }

    /// Returns the field of the point that holds its attributes.
    pub fn attributes_field(self) -> u32 {
        match self {
            Self::Gauge | Self::Counter | Self::UpDownCounter | Self::Summary => 7,
            Self::Histogram => 9,
            Self::ExponentialHistogram => 1,
        }
    }
}

/// What the points of a metric have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its OTLP name.
    pub name: String,
    /// Its unit, in UCUM.
    pub unit: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Whether points are increases since the last one.
    pub is_delta: bool,
    /// Whether values are integers.
    pub is_integer: bool,
    /// Fields of the message `Metric` before its points.
    pub head: Vec<u8>,
    /// Fields of `Sum`, `Histogram`, `ExponentialHistogram` after the points.
    pub tail: Vec<u8>,
    /// How observations spread.
    pub shape: Shape,
}

/// How the observations of a histogram or summary spread; empty for other types.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape {
    /// Bounds of the buckets, or quantiles of a summary.
    pub bounds: Vec<f64>,
    /// Share of each bucket in the fast mode; of a summary the value at each quantile.
    pub fast: Vec<f64>,
    /// Share of each bucket in the slow mode; as long as `fast`, or empty.
    pub slow: Vec<f64>,
    /// Share of zeros in the fast mode.
    pub zero: f64,
    /// Mean of the fast mode.
    pub fast_mean: f64,
    /// Mean of the slow mode.
    pub slow_mean: f64,
    /// Number of the first exponential bucket.
    pub offset: i32,
    /// Scale of exponential buckets.
    pub scale: i32,
}

/// What is patched, by its number in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Start of a point, fixed64.
    Start,
    /// Time of a point or record, fixed64.
    Time,
    /// Value of a gauge or sum: double, or sfixed64 if the metric's values are integers.
    Number,
    /// Number of observations, fixed64.
    Count,
    /// Sum of observations, double.
    Sum,
    /// Packed fixed64 for each of the shape's buckets.
    Buckets,
    /// Observations that are zero, fixed64.
    ZeroCount,
    /// Packed varints of six bytes for each of the shape's buckets.
    ExponentialBuckets,
    /// The first of doubles, twenty bytes apart, for each quantile.
    Quantiles,
    /// Time of an exemplar, fixed64.
    ExemplarTime,
    /// Value of an exemplar, double.
    ExemplarValue,
    /// A span's own trace id.
    TraceId,
    /// A span's own id.
    SpanId,
    /// The id of a span's parent.
    ParentId,
    /// When a span began, fixed64.
    Begin,
    /// When a span ended, fixed64.
    End,
    /// The trace that an exemplar or record points at.
    LinkedTrace,
    /// The span that an exemplar or record points at.
    LinkedSpan,
}

/// Distance of the values of a summary's quantiles.
pub const QUANTILE_STRIDE: usize = 20;

impl Place {
    /// All places, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Start,
        Self::Time,
        Self::Number,
        Self::Count,
        Self::Sum,
        Self::Buckets,
        Self::ZeroCount,
        Self::ExponentialBuckets,
        Self::Quantiles,
        Self::ExemplarTime,
        Self::ExemplarValue,
        Self::TraceId,
        Self::SpanId,
        Self::ParentId,
        Self::Begin,
        Self::End,
        Self::LinkedTrace,
        Self::LinkedSpan,
    ];

    /// Returns how many bytes are patched if the shape has so many buckets or quantiles.
    pub fn width(self, bucket_count: usize) -> usize {
        match self {
            Self::TraceId | Self::LinkedTrace => 16,
            Self::Buckets => 8 * bucket_count,
            Self::ExponentialBuckets => protobuf::WIDE_VARINT_BYTES * bucket_count,
            Self::Quantiles => (QUANTILE_STRIDE * bucket_count).saturating_sub(QUANTILE_STRIDE - 8),
            _ => 8,
        }
    }
}

/// Where something is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// What.
    pub place: Place,
    /// First byte, from the beginning of the item.
    pub offset: u32,
}

/// A point, span or log record.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Position in `resources`.
    pub resource: u32,
    /// Position in `layouts`.
    pub layout: u32,
    /// Bytes at the beginning that point at a span; left out if no spans are sent.
    pub link_bytes: u32,
    /// What its values are.
    pub model: Model,
    /// Its message in the arena.
    pub bytes: Range<usize>,
}

/// What the values of an item are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// A point of a series.
    Series {
        /// Position in `metrics`.
        metric: u32,
        /// Which curve it follows.
        phase: u8,
        /// Counters: increase per second. Histograms, summaries: observations per second of the fast mode. Else the low bound.
        first: f64,
        /// Histograms: observations per second of the slow mode. Gauges and up-down counters: the high bound.
        second: f64,
        /// Where on its walk a gauge is, 0 to 1.
        shift: f64,
    },
    /// A span.
    Span {
        /// Which trace; traces are numbered from 0 without gaps and in order.
        trace: u32,
        /// Its number in the trace, whether or not all of the others are there.
        span: u32,
        /// Number of its parent in the trace.
        parent: Option<u32>,
        /// How long before the end of the trace it began.
        begin_back_ns: u64,
        /// How long before the end of the trace it ended.
        end_back_ns: u64,
    },
    /// A log record.
    Record,
}

impl Item {
    /// Returns how many bytes of the beginning are left out.
    pub fn cut(&self, has_links: bool) -> usize {
        if has_links { 0 } else { self.link_bytes as usize }
    }
}

impl Template {
    /// Returns a template without items.
    pub fn new(signal: Signal, settings: ModelSettings) -> Self {
        Self {
            signal,
            settings,
            resources: Vec::new(),
            metrics: Vec::new(),
            layouts: Vec::new(),
            items: Vec::new(),
            arena: Vec::new(),
        }
    }

    /// Appends an item.
    pub fn push(&mut self, resource: u32, layout: u32, link_bytes: u32, model: Model, message: &[u8]) {
        let begin = self.arena.len();
        self.arena.extend_from_slice(message);
        self.items.push(Item { resource, layout, link_bytes, model, bytes: begin..self.arena.len() });
    }

    /// Returns the number of a layout, a new one if there is none like it.
    pub fn layout(&mut self, patches: &[Patch]) -> u32 {
        let position = self.layouts.iter().position(|layout| layout == patches).unwrap_or_else(|| {
            self.layouts.push(patches.to_vec());
            self.layouts.len() - 1
        });
        position as u32
    }

    /// Returns the message of an item, without what points at spans if `has_links` is false.
    pub fn message(&self, item: &Item, has_links: bool) -> &[u8] {
        self.arena.get(item.bytes.start + item.cut(has_links)..item.bytes.end).unwrap_or_default()
    }
}
