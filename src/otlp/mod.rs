//! OpenTelemetry metrics in: OTLP over gRPC, translated into series as Prometheus does it.
//!
//! Way of a write: bytes → [`ingest`] → [`read`] (nothing is built) → [`columns`] (points become columns, labels are made
//! only for new series) → `Storage::submit` → [`outcome`] → [`reply`] when durable. Names follow Prometheus' `UnderscoreEscapingWithSuffixes` ([`naming`]).
//! Not here: storage, HTTP.

pub mod columns;
pub mod grpc;
mod ingest;
pub mod known;
mod labels;
pub mod naming;
mod outcome;
pub mod read;
mod reply;
mod tally;

use std::hash::{Hash as _, Hasher as _};

use xxhash_rust::xxh3::Xxh3;

/// Settings and limits of OTLP ingest; the names are those of Prometheus' `otlp:` section.
#[derive(Debug, Clone, Hash)]
pub struct OtlpOptions {
    /// Largest request in bytes, as received and after decompression.
    pub message_bytes_max: usize,
    /// Requests of up to this many bytes are translated where they arrive, larger ones on a blocking thread.
    pub inline_bytes_max: usize,
    /// Resource attributes that become labels of every series of the resource.
    pub promote_resource_attributes: Vec<String>,
    /// Whether `target_info` also has the attributes that make `job` and `instance`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether name, version, schema URL and attributes of the scope become labels `otel_scope_…`.
    pub promote_scope_metadata: bool,
    /// Whether histograms with explicit bounds are stored as native histograms with these bounds.
    pub convert_histograms_to_nhcb: bool,
    /// What becomes of sums and histograms that are deltas.
    pub delta_temporality: DeltaTemporality,
    /// Whether kind and unit of the metric become labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Half of it is the distance between samples of `target_info`.
    pub lookback_ms: i64,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            inline_bytes_max: 64 << 10,
            promote_resource_attributes: Vec::new(),
            keep_identifying_resource_attributes: false,
            promote_scope_metadata: false,
            convert_histograms_to_nhcb: false,
            delta_temporality: DeltaTemporality::Keep,
            type_and_unit_labels: false,
            lookback_ms: 5 * 60_000,
        }
    }
}

impl OtlpOptions {
    /// A number that is another one under other options: what was remembered under these must not be used then.
    fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// What becomes of points with delta temporality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeltaTemporality {
    /// They are stored as they are, with their start times; their series have the label `__temporality__="delta"`.
    #[default]
    Keep,
    /// They are refused, point by point.
    Reject,
}
