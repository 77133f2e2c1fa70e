//! Every answer of remote write, and the only place that chooses its status codes.
//!
//! `204` everything stored · `400` nothing of the refused part should be sent again (the rest is stored) · `413`
//! too large · `415` another format · `429` new series above the tenant's limit (the rest is stored), or, with
//! `Retry-After`, samples above its rate (nothing is stored) · `503` send again later.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_storage::model::TenantIdError;
use mytsdb_storage::{RejectReason, WriteError, WriteReport};

use super::wire::WireError;
use crate::blocking::BlockingError;
use crate::inflight::InflightFull;

/// How long senders should wait before they come back, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// Why a request was refused as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    #[error(transparent)]
    Tenant(#[from] TenantIdError),
    #[error("content encoding {0:?} is not supported; allowed is snappy (the block format)")]
    ContentEncoding(String),
    #[error(
        "content type {0:?} is not supported; allowed is application/x-protobuf (prometheus.WriteRequest)"
    )]
    ContentType(String),
    #[error("body has more than {limit} bytes, the limit of --write-max-bytes")]
    BodyTooLarge { limit: usize },
    #[error("body declares {given} bytes after decompression, the limit of --write-max-bytes is {limit}")]
    DeclaredTooLarge { given: usize, limit: usize },
    #[error("body was not received within {0:?}, the limit of --http-read-timeout")]
    BodyTimeout(std::time::Duration),
    #[error("body could not be received: {0}")]
    Body(String),
    #[error("body is no snappy block: {0}")]
    Snappy(String),
    #[error("body is no remote write request: {0}")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Busy(#[from] InflightFull),
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("storage was closed before the write was durable")]
    Closed,
}

impl Refusal {
    /// Status, and a short fixed word for counters.
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Tenant(_) => (StatusCode::BAD_REQUEST, "tenant"),
            Self::ContentEncoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding"),
            Self::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
            Self::BodyTooLarge { .. } | Self::DeclaredTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "body"),
            Self::Snappy(_) => (StatusCode::BAD_REQUEST, "snappy"),
            Self::Wire(_) => (StatusCode::BAD_REQUEST, "protobuf"),
            Self::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Blocking(BlockingError::Closed) | Self::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, "closed")
            }
            Self::Write(WriteError::ReadOnly { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "read_only"),
            Self::Write(WriteError::DiskFull { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "disk_full"),
            Self::Write(WriteError::HeadFull { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "head_full"),
            Self::Write(WriteError::RateLimited { .. }) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit"),
            Self::Write(error) if error.is_retryable() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Write(_) | Self::Blocking(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// A short fixed word for counters.
    pub(super) fn label(&self) -> &'static str {
        self.code().1
    }

    /// How long the sender should wait before it comes back, in seconds; `None` if it should not.
    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Write(error) if error.retry_after_ms().is_some() => {
                error.retry_after_ms().map(|retry_after_ms| retry_after_ms.div_ceil(1000).max(1))
            }
            _ => (self.code().0 == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, _) = self.code();
        let mut headers = written_headers(&WriteReport::default());
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        (status, headers, format!("{self}\n")).into_response()
    }
}

/// What became of a request that was read.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the storage said.
    pub(super) report: WriteReport,
    /// Exemplars that the storage never saw.
    pub(super) malformed_exemplar_count: usize,
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let headers = written_headers(&self.report);
        // As in Prometheus, exemplars alone never fail a request: senders would count good samples as lost.
        if self.report.rejections.is_empty() {
            return (StatusCode::NO_CONTENT, headers).into_response();
        }
        let is_limit = |reason: &RejectReason| matches!(reason, RejectReason::SeriesLimit { .. });
        let is_only_limited = self.report.rejections.iter().all(|one| is_limit(&one.reason));
        let status = if is_only_limited { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST };
        (status, headers, self.refused_text()).into_response()
    }
}

impl Outcome {
    /// One line per reason, with the first series as evidence.
    fn refused_text(&self) -> String {
        let accepted = self.report.accepted_sample_count;
        let refused = self.report.rejected_sample_count();
        let mut text = format!("{accepted} samples stored, {refused} refused\n");
        let mut by_reason: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
        for rejection in &self.report.rejections {
            let reason = by_reason.entry(rejection.reason.label()).or_insert_with(|| {
                (
                    0,
                    format!(
                        "first at series {} of the request: {}",
                        rejection.series_index, rejection.reason
                    ),
                )
            });
            reason.0 += rejection.sample_count;
        }
        for (label, (sample_count, evidence)) in by_reason {
            let _infallible = writeln!(text, "{label}: {sample_count} samples, {evidence}");
        }
        let rejections = &self.report.exemplar_rejections;
        let refused_exemplars = rejections.iter().map(|rejection| rejection.sample_count).sum::<usize>()
            + self.malformed_exemplar_count;
        if refused_exemplars > 0 {
            let _infallible = writeln!(text, "exemplars: {refused_exemplars} refused");
        }
        text
    }
}

/// The headers that say what was stored.
fn written_headers(report: &WriteReport) -> HeaderMap {
    let float_count = report.accepted_sample_count.saturating_sub(report.accepted_histogram_count);
    let written = [
        ("x-prometheus-remote-write-samples-written", float_count),
        ("x-prometheus-remote-write-histograms-written", report.accepted_histogram_count),
        ("x-prometheus-remote-write-exemplars-written", report.accepted_exemplar_count),
    ];
    written
        .map(|(name, count)| (HeaderName::from_static(name), HeaderValue::from(count)))
        .into_iter()
        .collect()
}
