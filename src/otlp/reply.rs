//! What an OTLP/gRPC client is told: success, partial success, or an error that it may or may not retry.
//!
//! Input: an [`Outcome`] or an [`OtlpError`]. Output: a response or a status. By the protocol a client retries
//! `UNAVAILABLE` and must not retry a partial success, `INVALID_ARGUMENT`, or `RESOURCE_EXHAUSTED` without a delay.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use tonic::Status;

use super::ingest::OtlpError;
use super::outcome::{Outcome, Verdict};

/// The answer to a request whose accepted points are stored.
pub(super) fn reply(outcome: &Outcome) -> Result<ExportMetricsServiceResponse, Status> {
    match outcome.verdict() {
        Verdict::Full { warning } if warning.is_empty() => Ok(ExportMetricsServiceResponse::default()),
        Verdict::Full { warning } => Ok(partial_success(0, warning)),
        Verdict::Partial { refused_point_count, message } => {
            Ok(partial_success(refused_point_count, message))
        }
        Verdict::AllRefused { message, is_limit: true } => Err(Status::resource_exhausted(message)),
        Verdict::AllRefused { message, is_limit: false } => Err(Status::invalid_argument(message)),
    }
}

/// The body of an answer that has something to say.
pub(super) fn partial_success(
    refused_point_count: usize,
    error_message: String,
) -> ExportMetricsServiceResponse {
    let rejected_data_points = refused_point_count as i64;
    let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
    ExportMetricsServiceResponse { partial_success }
}

/// The status of a request that is not stored: the client should try again if that may help.
pub(super) fn error_status(error: &OtlpError) -> Status {
    let message = error.to_string();
    match error {
        OtlpError::Malformed(_) | OtlpError::Unmergeable(_) | OtlpError::Wire(_) => {
            Status::invalid_argument(message)
        }
        OtlpError::SignalOff { .. } => Status::unimplemented(message),
        _ if error.is_retryable() => Status::unavailable(message),
        _ => Status::internal(message),
    }
}
