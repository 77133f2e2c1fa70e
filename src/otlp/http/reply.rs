//! Every answer of OTLP/HTTP, and the only place that chooses its status codes.
//!
//! `200` stored, a part refused is told in the body · `400` nothing stored, not to be sent again · `404` the tenant does not
//! take the signal · `408`, `413`, `415` the body is too slow, too large, in another format · `429` and `503` with
//! `Retry-After`: send again later · `500` the server is at fault.
//! Bodies are in the encoding of the request: `Export…ServiceResponse`, or `google.rpc.Status`.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_storage::model::TenantIdError;
use prost::Message as _;
use serde_json::json;
use tonic::Code;

use super::inflate::{self, InflateError};
use crate::http::body::BodyError;
use crate::otlp::ingest::OtlpError;
use crate::otlp::json::JsonError;
use crate::otlp::outcome::{Outcome, Verdict};
use crate::otlp::reply::partial_success;
use crate::otlp::signal::Signal;

/// How long clients should wait before they come back, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// How the message of a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// The encoding that Content-Type names; `Err` has the name of one that is not known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let named = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let named = String::from_utf8_lossy(named);
        let media = named.split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(named.into_owned()),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// Why nothing of a request is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    #[error("server is not ready")]
    NotReady,
    #[error(transparent)]
    Tenant(#[from] TenantIdError),
    #[error("content type {0:?} is not supported; allowed are application/x-protobuf and application/json")]
    ContentType(String),
    #[error("content encoding {0:?} is not supported; allowed are {allowed}", allowed = inflate::ALLOWED)]
    ContentEncoding(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Inflate(#[from] InflateError),
    #[error("more than {limit} bytes of writes are in flight, the limit of --write-max-inflight-bytes")]
    Busy { limit: usize },
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

impl Refusal {
    /// HTTP status, code of `google.rpc.Status`, and a short fixed word for counters.
    fn code(&self) -> (StatusCode, Code, &'static str) {
        match self {
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "not_ready"),
            Self::Tenant(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, "tenant"),
            Self::ContentType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, "content_type")
            }
            Self::ContentEncoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, "content_encoding")
            }
            Self::Body(BodyError::TooLarge { .. })
            | Self::Inflate(InflateError::TooLarge { .. })
            | Self::Json(JsonError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, "too_large")
            }
            Self::Body(BodyError::Timeout { .. }) => {
                (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded, "timeout")
            }
            Self::Body(BodyError::Broken { .. }) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, "body"),
            Self::Inflate(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, "compression"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "busy"),
            Self::Json(JsonError::Malformed(_)) => (StatusCode::BAD_REQUEST, Code::InvalidArgument, "json"),
            Self::Otlp(error) => otlp_code(error),
        }
    }

    /// A short fixed word for counters.
    pub(super) fn label(&self) -> &'static str {
        self.code().2
    }

    /// The answer.
    pub(super) fn respond(&self, encoding: Encoding) -> Response {
        let (status, code, _) = self.code();
        let mut response = status_response(encoding, status, code, &self.to_string());
        let headers = response.headers_mut();
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if let Self::ContentEncoding(_) = self {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(inflate::ALLOWED));
        }
        if let Self::ContentType(_) = self {
            let allowed = HeaderValue::from_static("application/x-protobuf, application/json");
            headers.insert("accept-post", allowed);
        }
        response
    }
}

fn otlp_code(error: &OtlpError) -> (StatusCode, Code, &'static str) {
    match error {
        OtlpError::Malformed(_) | OtlpError::Unmergeable(_) | OtlpError::Wire(_) => {
            (StatusCode::BAD_REQUEST, Code::InvalidArgument, "protobuf")
        }
        OtlpError::SignalOff { .. } => (StatusCode::NOT_FOUND, Code::Unimplemented, "signal_off"),
        _ if error.is_retryable() => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "unavailable"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "internal"),
    }
}

/// The answer to a request that was read.
pub(super) fn respond(encoding: Encoding, signal: Signal, outcome: &Outcome) -> Response {
    match outcome.verdict() {
        Verdict::Full { warning } => success(encoding, signal, 0, warning),
        Verdict::Partial { refused_point_count, message } => {
            success(encoding, signal, refused_point_count, message)
        }
        // Sent again it would be refused again; that a limit is the reason is told in the code.
        Verdict::AllRefused { message, is_limit } => {
            let code = if is_limit { Code::ResourceExhausted } else { Code::InvalidArgument };
            status_response(encoding, StatusCode::BAD_REQUEST, code, &message)
        }
    }
}

fn success(encoding: Encoding, signal: Signal, refused_count: usize, message: String) -> Response {
    let has_nothing_to_say = refused_count == 0 && message.is_empty();
    let body = match encoding {
        // Field by field, the responses of all signals have the same bytes.
        Encoding::Protobuf if has_nothing_to_say => Vec::new(),
        Encoding::Protobuf => partial_success(refused_count, message).encode_to_vec(),
        Encoding::Json if has_nothing_to_say => b"{}".to_vec(),
        Encoding::Json => {
            // As canonical JSON has 64-bit integers: a text.
            let refused = refused_count.to_string();
            let partial = json!({signal.rejected_key(): refused, "errorMessage": message});
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    };
    ([(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn status_response(encoding: Encoding, status: StatusCode, code: Code, message: &str) -> Response {
    let body = match encoding {
        Encoding::Protobuf => RpcStatus { code: code as i32, message: message.to_owned() }.encode_to_vec(),
        Encoding::Json => json!({"code": code as i32, "message": message}).to_string().into_bytes(),
    };
    (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}
