//! Errors of the API: Prometheus' types, their status codes and the envelope. Chosen nowhere else.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_promql::{EvalError, ParseError};
use mytsdb_storage::MaintainError;
use mytsdb_storage::read::ReadError;
use serde::Serialize;

use crate::blocking::BlockingError;
use crate::queries::StartError;

/// Prometheus' error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorType {
    BadData,
    Execution,
    Canceled,
    Timeout,
    Internal,
    Unavailable,
    /// `unavailable` with a status that tells clients to come back.
    Overloaded,
    NotFound,
}

impl ErrorType {
    /// The word of `errorType`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable | Self::Overloaded => "unavailable",
            Self::NotFound => "not_found",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // 499 is nginx's "client closed request", which Prometheus uses too.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Timeout | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            // Prometheus gives `unavailable` the default status.
            Self::Internal | Self::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a call failed, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct ApiError {
    pub(super) kind: ErrorType,
    pub(super) text: String,
}

impl ApiError {
    pub(super) fn new(kind: ErrorType, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn bad_data(text: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, text)
    }

    /// `invalid parameter "query": …`
    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// A query that does not parse.
    pub(super) fn parse(error: &ParseError) -> Self {
        Self::parameter("query", error)
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let kind = match &error {
            EvalError::Canceled => ErrorType::Canceled,
            EvalError::TimedOut => ErrorType::Timeout,
            EvalError::Read(_) => ErrorType::Internal,
            _ => ErrorType::Execution,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        let kind = match error {
            StartError::Gate(_) => ErrorType::Overloaded,
            StartError::Canceled => ErrorType::Canceled,
            StartError::TimedOut => ErrorType::Timeout,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::new(ErrorType::Internal, error.to_string())
    }
}

impl From<MaintainError> for ApiError {
    fn from(error: MaintainError) -> Self {
        Self::new(ErrorType::Internal, error.to_string())
    }
}

impl From<BlockingError> for ApiError {
    fn from(error: BlockingError) -> Self {
        let kind = match error {
            BlockingError::Closed => ErrorType::Unavailable,
            _ => ErrorType::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let envelope = Envelope { status: "error", error_type: self.kind.as_str(), error: &self.text };
        // A struct of three texts always serialises.
        let json = serde_json::to_vec(&envelope).unwrap_or_default();
        (self.kind.status(), [(header::CONTENT_TYPE, "application/json")], json).into_response()
    }
}
