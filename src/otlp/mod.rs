//! OpenTelemetry metrics in: OTLP over gRPC, translated into series as Prometheus does it.
//!
//! Way of a write: bytes → [`ingest`] → [`decode`] (points become columns, labels are made only for new series) →
//! `Storage::submit` → [`outcome`] → [`reply`] when durable. Names follow Prometheus' `UnderscoreEscapingWithSuffixes` ([`naming`]).
//! Not here: storage, HTTP.

mod decode;
#[cfg(test)]
mod decode_test;
pub mod grpc;
mod ingest;
mod labels;
pub mod naming;
mod outcome;
mod reply;

/// Settings and limits of OTLP ingest; the names are those of Prometheus' `otlp:` section.
#[derive(Debug, Clone)]
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
            lookback_ms: 5 * 60_000,
        }
    }
}
