//! Errors of the GPU API, their status codes and the envelope `{"success":false,"error":…}`. Chosen nowhere else.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_promql::EvalError;
use mytsdb_storage::model::{MatcherError, TenantIdError};
use mytsdb_storage::read::ReadError;
use serde_json::json;

use crate::blocking::BlockingError;
use crate::queries::StartError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum GatewayError {
    /// A parameter is wrong.
    #[error("invalid parameter {name:?}: {reason}")]
    Parameter { name: &'static str, reason: String },
    /// The time range ends before it begins.
    #[error("end_time is before start_time")]
    RangeBackwards,
    /// There is no such GPU, for this tenant.
    #[error("no GPU {id:?}: no series DCGM_FI_… has this UUID, or this host and device")]
    UnknownGpu { id: String },
    /// There is nothing at this path.
    #[error("no such path; see /openapi.json")]
    NoSuchPath,
    /// The name of the tenant is not allowed.
    #[error(transparent)]
    Tenant(#[from] TenantIdError),
    /// The call did not get its turn.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The work did not come to an end.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// It was stopped, or wanted more bytes than it may have.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The storage cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A selector of this API is wrong, which would be a defect.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// The answer is no JSON, which would be a defect.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl GatewayError {
    /// The word for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Parameter { .. } | Self::RangeBackwards | Self::Tenant(_) => "bad_data",
            Self::UnknownGpu { .. } | Self::NoSuchPath => "not_found",
            Self::Start(StartError::Canceled) | Self::Eval(EvalError::Canceled) => "canceled",
            Self::Start(StartError::TimedOut) | Self::Eval(EvalError::TimedOut) => "timeout",
            Self::Start(_) | Self::Blocking(BlockingError::Closed) => "unavailable",
            Self::Eval(_) => "execution",
            Self::Blocking(_) | Self::Read(_) | Self::Matcher(_) | Self::Json(_) => "internal",
        }
    }

    fn status(&self) -> StatusCode {
        match self.label() {
            "bad_data" => StatusCode::BAD_REQUEST,
            "not_found" => StatusCode::NOT_FOUND,
            "timeout" | "unavailable" | "canceled" => StatusCode::SERVICE_UNAVAILABLE,
            "execution" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let json = json!({"success": false, "error": self.to_string()});
        (self.status(), [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
    }
}
