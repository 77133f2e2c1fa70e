//! Every answer of remote write, and the only place that chooses its status codes.
//!
//! `204` everything stored · `400` nothing of the refused part should be sent again (the rest is stored) · `413`
//! too large · `415` another format · `429` new series above the tenant's limit (the rest is stored) · `503` send
//! again later. What was stored is in the headers of every answer.
//! Exemplars and metadata that are refused fail a request of 2.0, as its specification wants, but not one of 1.0, as in
//! Prometheus: senders of 1.0 would count good samples as lost.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, …`/remote_write_spec_2_0/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_storage::model::TenantIdError;
use mytsdb_storage::{RejectReason, WriteError, WriteReport};

use super::receive::Message;
use super::refusals::{Counted, DecodeError, Refusals};
use super::snappy::SnappyError;
use crate::blocking::BlockingError;
use crate::http::body::BodyError;

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
        "content type {0:?} is not supported; allowed is application/x-protobuf, with proto=prometheus.WriteRequest \
         (without: the same) or proto=io.prometheus.write.v2.Request"
    )]
    ContentType(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    #[error("body is no remote write request: {0}")]
    Decode(#[from] DecodeError),
    #[error("more than {limit} bytes of writes are in flight, the limit of --write-max-inflight-bytes")]
    Busy { limit: usize },
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
            Self::Body(BodyError::TooLarge { .. }) | Self::Snappy(SnappyError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Self::Body(BodyError::Timeout { .. }) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body(BodyError::Broken { .. }) => (StatusCode::BAD_REQUEST, "body"),
            Self::Snappy(_) => (StatusCode::BAD_REQUEST, "snappy"),
            Self::Decode(DecodeError::TooMany { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Decode(DecodeError::FirstSymbol { .. }) => (StatusCode::BAD_REQUEST, "symbols"),
            Self::Decode(_) => (StatusCode::BAD_REQUEST, "protobuf"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Blocking(BlockingError::Closed) | Self::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, "closed")
            }
            Self::Write(WriteError::ReadOnly { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "read_only"),
            Self::Write(WriteError::DiskFull { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "disk_full"),
            Self::Write(WriteError::HeadFull { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "head_full"),
            Self::Write(error) if error.is_retryable() => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Write(_) | Self::Blocking(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// A short fixed word for counters.
    pub(super) fn label(&self) -> &'static str {
        self.code().1
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, _) = self.code();
        let mut headers = written_headers(&WriteReport::default());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        (status, headers, format!("{self}\n")).into_response()
    }
}

/// What became of a request that was read.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Which message it was.
    pub(super) message: Message,
    /// What the storage said.
    pub(super) report: WriteReport,
    /// What the storage never saw.
    pub(super) refusals: Refusals,
}

/// Samples that were refused for one reason.
#[derive(Debug, Default)]
struct Refused {
    series_count: usize,
    sample_count: usize,
    /// Position in the request of the first series, and its reason.
    evidence: Option<(usize, String)>,
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let headers = written_headers(&self.report);
        let Some(status) = self.failure() else {
            return (StatusCode::NO_CONTENT, headers).into_response();
        };
        (status, headers, self.refused_text()).into_response()
    }
}

impl Outcome {
    /// The status if not everything was stored that had to be.
    fn failure(&self) -> Option<StatusCode> {
        let Refusals { series, histograms, exemplars, metadata } = &self.refusals;
        let has_malformed = !series.is_empty() || !histograms.is_empty();
        let has_lost_others =
            exemplars.count + metadata.count > 0 || !self.report.exemplar_rejections.is_empty();
        let is_strict = self.message == Message::V2;
        let is_limit = |reason: &RejectReason| matches!(reason, RejectReason::SeriesLimit { .. });
        let rejections = &self.report.rejections;
        if has_malformed || rejections.iter().any(|one| !is_limit(&one.reason)) {
            Some(StatusCode::BAD_REQUEST)
        } else if !rejections.is_empty() {
            // Exemplars of series above the limit come along when they are sent again.
            Some(StatusCode::TOO_MANY_REQUESTS)
        } else {
            (is_strict && has_lost_others).then_some(StatusCode::BAD_REQUEST)
        }
    }

    /// Points refused, by a short fixed word.
    pub(super) fn refused_counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let samples = self.by_reason().into_iter().map(|(label, refused)| (label, refused.sample_count));
        let exemplars = self
            .report
            .exemplar_rejections
            .iter()
            .map(|rejection| (rejection.reason.label(), rejection.sample_count));
        let malformed = [
            ("invalid_exemplar", self.refusals.exemplars.count),
            ("invalid_metadata", self.refusals.metadata.count),
        ];
        samples.chain(exemplars).chain(malformed.into_iter().filter(|(_, count)| *count > 0))
    }

    /// Refused series and histograms by reason, whoever refused them.
    fn by_reason(&self) -> BTreeMap<&'static str, Refused> {
        let mut by_reason = BTreeMap::<&'static str, Refused>::new();
        let mut add = |label, index: usize, sample_count: usize, reason: &dyn std::fmt::Display| {
            let refused = by_reason.entry(label).or_default();
            refused.series_count += 1;
            refused.sample_count += sample_count;
            if refused.evidence.as_ref().is_none_or(|(first, _)| index < *first) {
                refused.evidence = Some((index, reason.to_string()));
            }
        };
        for (before, series) in self.refusals.series.iter().enumerate() {
            add(series.error.label(), series.column_index + before, series.sample_count, &series.error);
        }
        for (request_index, error) in &self.refusals.histograms {
            add("invalid_histogram", *request_index, 1, error);
        }
        for rejection in &self.report.rejections {
            let index = self.refusals.request_index(rejection.series_index);
            add(rejection.reason.label(), index, rejection.sample_count, &rejection.reason);
        }
        by_reason
    }

    /// One line per reason, with the first series as evidence.
    fn refused_text(&self) -> String {
        let by_reason = self.by_reason();
        let accepted = self.report.accepted_sample_count;
        let refused: usize = by_reason.values().map(|refused| refused.sample_count).sum();
        let mut text = format!("{accepted} samples stored, {refused} refused\n");
        for (label, refused) in by_reason {
            let Refused { series_count, sample_count, evidence } = refused;
            let (index, reason) = evidence.unwrap_or_default();
            let _infallible = writeln!(
                text,
                "{label}: {sample_count} samples of {series_count} series, first at series {index} of the request: \
                 {reason}"
            );
        }
        let mut exemplars = self.refusals.exemplars.clone();
        for rejection in &self.report.exemplar_rejections {
            exemplars.count += rejection.sample_count;
            let index = self.refusals.request_index(rejection.series_index);
            exemplars.first.get_or_insert_with(|| (index, rejection.reason.to_string()));
        }
        for (what, Counted { count, first }) in
            [("exemplars", &exemplars), ("metadata", &self.refusals.metadata)]
        {
            if let Some((index, reason)) = first {
                let _infallible = writeln!(
                    text,
                    "{what}: {count} refused, first at series {index} of the request: {reason}"
                );
            }
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
