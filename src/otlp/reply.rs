//! What an OTLP client is told: success, partial success, or an error that it may or may not retry.
//!
//! Input: what was refused while decoding and by the storage. Output: a response or a status. By the protocol a
//! client retries `UNAVAILABLE` and must not retry a partial success, `INVALID_ARGUMENT`, or `RESOURCE_EXHAUSTED`
//! without a delay.

use std::collections::BTreeSet;

use mytsdb_storage::WriteReport;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use tonic::Status;

use super::decode::Decoded;

/// Reasons that a message names; the counters have them all.
const REASON_COUNT_MAX: usize = 3;
/// The word of series above a tenant's limit.
const SERIES_LIMIT: &str = "series_limit";
/// Longest message in characters: a response must stay small.
const MESSAGE_LENGTH_MAX: usize = 2_000;

/// What became of a request's points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Points in the request.
    pub(super) point_count: usize,
    /// Points of which at least one series was refused.
    pub(super) refused_point_count: usize,
    /// Per reason: short fixed word, points, and what was wrong with the first.
    pub(super) reasons: Vec<(&'static str, usize, String)>,
}

impl Outcome {
    /// Puts together what the decoder and the storage refused.
    pub(super) fn new(decoded: &Decoded<'_>, report: &WriteReport) -> Self {
        let mut reasons: Vec<(&'static str, usize, String)> = decoded
            .refused
            .by_reason
            .iter()
            .map(|(reason, (count, message))| (*reason, *count, message.clone()))
            .collect();
        let mut points = BTreeSet::new();
        for rejection in &report.rejections {
            // A series of several that a point makes counts for the point once, under the first reason.
            let Some(point) = decoded.point_of(rejection.series_index) else { continue };
            if !points.insert(point) {
                continue;
            }
            let word = rejection.reason.label();
            match reasons.iter_mut().find(|(known, ..)| *known == word) {
                Some((_, count, _)) => *count += 1,
                None => reasons.push((word, 1, rejection.reason.to_string())),
            }
        }
        let refused_point_count = decoded.refused.point_count() + points.len();
        Self { point_count: decoded.point_count, refused_point_count, reasons }
    }

    /// The answer to a request whose accepted points are stored.
    pub(super) fn reply(&self) -> Result<ExportMetricsServiceResponse, Status> {
        if self.refused_point_count == 0 {
            return Ok(ExportMetricsServiceResponse::default());
        }
        let error_message = self.message();
        if self.refused_point_count >= self.point_count {
            let is_limit = |(word, ..): &(&'static str, usize, String)| *word == SERIES_LIMIT;
            return Err(if self.reasons.iter().all(is_limit) {
                Status::resource_exhausted(error_message)
            } else {
                Status::invalid_argument(error_message)
            });
        }
        let rejected_data_points = self.refused_point_count as i64;
        let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
        Ok(ExportMetricsServiceResponse { partial_success })
    }

    fn message(&self) -> String {
        let listed = self.reasons.iter().take(REASON_COUNT_MAX);
        let mut parts: Vec<String> =
            listed.map(|(word, count, message)| format!("{count} {word} ({message})")).collect();
        if self.reasons.len() > REASON_COUNT_MAX {
            parts.push(format!("{} more reasons", self.reasons.len() - REASON_COUNT_MAX));
        }
        let (refused, all) = (self.refused_point_count, self.point_count);
        let text = format!("{refused} of {all} data points rejected: {}", parts.join("; "));
        text.chars().take(MESSAGE_LENGTH_MAX).collect()
    }
}
