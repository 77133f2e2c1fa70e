//! What a metric is: its kind, unit and help text.

/// The kind of a metric, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum MetricKind {
    /// Nobody said.
    #[default]
    Unknown,
    /// Only grows, resets to zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count that only grow.
    Histogram,
    /// Buckets, sum and count that may shrink.
    GaugeHistogram,
    /// Precomputed quantiles.
    Summary,
    /// Constant 1 with facts as labels.
    Info,
    /// One of several states is 1.
    StateSet,
}

impl MetricKind {
    /// The word of the Prometheus HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Parses the word of the Prometheus HTTP API; `None` if it is no such word.
    pub fn from_word(word: &str) -> Option<Self> {
        const ALL: [MetricKind; 8] = [
            MetricKind::Unknown,
            MetricKind::Counter,
            MetricKind::Gauge,
            MetricKind::Histogram,
            MetricKind::GaugeHistogram,
            MetricKind::Summary,
            MetricKind::Info,
            MetricKind::StateSet,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Kind, unit and help of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricMetadata {
    /// The metric's name as stored (for histograms the family name, without `_bucket`).
    pub metric: String,
    /// The kind.
    pub kind: MetricKind,
    /// The unit; empty if nobody said.
    pub unit: String,
    /// The help text; empty if nobody said.
    pub help: String,
}
