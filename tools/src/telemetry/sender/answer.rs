//! What one attempt came to, and whether it may be tried again.
//!
//! Input: gRPC status, HTTP status, headers and bodies of answers. Output: an [`Answer`]. A message that was refused in part is
//! taken: sending it again would be wrong, what was refused is counted.
//! Source: the OTLP specification ("Failures", "Throttling", "Partial success"), remote write 1.0 and 2.0.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{HeaderMap, RETRY_AFTER};
use prost::Message as _;
use tonic::Code as GrpcCode;

/// Longest pause that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Characters of a server's words that are kept.
const REASON_CHARS_MAX: usize = 300;
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// What an attempt ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A gRPC status.
    Grpc(i32),
    /// An HTTP status.
    Http(u16),
    /// The batch was acknowledged over Arrow Flight.
    Acknowledged,
    /// The connection failed.
    Connection,
    /// No answer within the time limit.
    Timeout,
    /// An answer that the protocol does not know.
    Unreadable,
    /// The request could not be put into the form that the protocol wants.
    Unsendable,
    /// The run ended before there was an answer.
    Aborted,
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(code) => formatter.write_str(grpc_name(GrpcCode::from_i32(*code))),
            Self::Http(status) => write!(formatter, "{status}"),
            Self::Acknowledged => formatter.write_str("acknowledged"),
            Self::Connection => formatter.write_str("connection"),
            Self::Timeout => formatter.write_str("timeout"),
            Self::Unreadable => formatter.write_str("unreadable"),
            Self::Unsendable => formatter.write_str("unsendable"),
            Self::Aborted => formatter.write_str("aborted"),
        }
    }
}

/// Whether an attempt may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// After a pause of the sender's choice.
    Backoff,
    /// After the pause that the server asked for.
    After(Duration),
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server has it, but for `rejected_count` events.
    Taken {
        /// How it was answered.
        code: Code,
        /// Events refused.
        rejected_count: u64,
        /// What the server said about them; with 0 rejected a warning.
        message: Option<String>,
    },
    /// The server does not have it, or it is not known.
    Refused {
        /// How it was answered.
        code: Code,
        /// In words.
        reason: String,
        /// Whether it may be sent again.
        retry: Retry,
    },
}

impl Answer {
    /// Reads a successful answer of OTLP, protobuf.
    pub fn of_export(code: Code, body: &[u8]) -> Self {
        match ExportResponse::decode(body) {
            Ok(response) => {
                let partial = response.partial_success.unwrap_or_default();
                let message = (!partial.error_message.is_empty()).then(|| shortened(&partial.error_message));
                Self::Taken {
                    code,
                    rejected_count: u64::try_from(partial.rejected_count).unwrap_or(0),
                    message,
                }
            }
            Err(error) => Self::Refused {
                code: Code::Unreadable,
                reason: format!("the answer is no OTLP response: {error}"),
                retry: Retry::Never,
            },
        }
    }

    /// Reads an error of gRPC.
    pub fn of_status(status: &tonic::Status) -> Self {
        // What the server said has no cause; what became of the connection has one.
        let cause = std::error::Error::source(status);
        if let Some(cause) = cause {
            return Self::broken(&format!("{}: {cause}", status.message()));
        }
        let delay = retry_info(status.details());
        let is_retriable = match status.code() {
            GrpcCode::Cancelled
            | GrpcCode::DeadlineExceeded
            | GrpcCode::Aborted
            | GrpcCode::OutOfRange
            | GrpcCode::Unavailable
            | GrpcCode::DataLoss => true,
            GrpcCode::ResourceExhausted => delay.is_some(),
            _ => false,
        };
        let retry = match delay {
            _ if !is_retriable => Retry::Never,
            Some(delay) => Retry::After(delay.min(RETRY_AFTER_MAX)),
            None => Retry::Backoff,
        };
        Self::Refused { code: Code::Grpc(status.code() as i32), reason: shortened(status.message()), retry }
    }

    /// Reads an HTTP answer that is no success of OTLP or remote write.
    pub fn of_http_error(status: u16, headers: &HeaderMap, body: &Bytes) -> Self {
        let is_retriable = matches!(status, 429 | 502 | 503 | 504);
        let asked =
            headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
        let retry = match asked {
            _ if !is_retriable => Retry::Never,
            Some(pause) => Retry::After(pause.min(RETRY_AFTER_MAX)),
            None => Retry::Backoff,
        };
        Self::Refused { code: Code::Http(status), reason: http_reason(headers, body), retry }
    }

    /// Reads an answer to remote write about `event_count` events.
    ///
    /// Servers that say how much they wrote are believed: a refusal of a part is a partial success.
    pub fn of_remote_write(status: u16, headers: &HeaderMap, body: &Bytes, event_count: u64) -> Self {
        let written = written_count(headers);
        if (200..300).contains(&status) {
            let rejected_count = written.map_or(0, |written| event_count.saturating_sub(written));
            return Self::Taken { code: Code::Http(status), rejected_count, message: None };
        }
        match written {
            Some(written) if status == 400 && written > 0 => Self::Taken {
                code: Code::Http(status),
                rejected_count: event_count.saturating_sub(written),
                message: Some(http_reason(headers, body)),
            },
            _ => Self::of_http_error(status, headers, body),
        }
    }

    /// A connection that could not be made or broke.
    pub fn broken(reason: &str) -> Self {
        Self::Refused { code: Code::Connection, reason: shortened(reason), retry: Retry::Backoff }
    }

    /// A request that cannot be sent at all.
    pub fn unsendable(reason: &str) -> Self {
        Self::Refused { code: Code::Unsendable, reason: reason.to_owned(), retry: Retry::Never }
    }

    /// The run ended before there was an answer.
    pub fn aborted() -> Self {
        Self::Refused {
            code: Code::Aborted,
            reason: "the run ended before there was an answer".to_owned(),
            retry: Retry::Never,
        }
    }

    /// No answer within `limit`.
    pub fn late(limit: Duration) -> Self {
        Self::Refused {
            code: Code::Timeout,
            reason: format!("no answer within {limit:?}"),
            retry: Retry::Backoff,
        }
    }
}

/// `ExportMetricsServiceResponse` and its siblings: the fields have the same numbers in all three.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_count: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The pause in the details of a status; details that cannot be read ask for none.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status.details.into_iter().find(|detail| detail.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(detail.value).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    Some(Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999)))
}

/// `Retry-After`: seconds, or a date in the one form that senders have to make (RFC 9110).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now_s = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(http_date_s(text.trim())?.saturating_sub(now_s)))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date_s(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.strip_suffix(" GMT")?.split(' ');
    let day: i64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == name)? as i64 + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9_999).contains(year))?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days before the month, counted from March, so that the leap day comes last (Hinnant, "chrono-compatible dates").
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = 365 * shifted_year + leap_days + day_of_year - 719_468;
    u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()
}

/// Samples and histograms written, where the server says so.
fn written_count(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let samples = number("x-prometheus-remote-write-samples-written")?;
    Some(samples + number("x-prometheus-remote-write-histograms-written").unwrap_or(0))
}

/// The words of an HTTP error: the message of a `google.rpc.Status`, or the body as it is.
fn http_reason(headers: &HeaderMap, body: &Bytes) -> String {
    let is_protobuf = headers.get("content-type").is_some_and(|kind| kind.as_bytes().ends_with(b"protobuf"));
    match RpcStatus::decode(body.clone()) {
        Ok(status) if is_protobuf => shortened(&status.message),
        _ => shortened(&String::from_utf8_lossy(body)),
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(REASON_CHARS_MAX).collect()
}

/// The name that gRPC's specification has for a code.
fn grpc_name(code: GrpcCode) -> &'static str {
    match code {
        GrpcCode::Ok => "OK",
        GrpcCode::Cancelled => "CANCELLED",
        GrpcCode::Unknown => "UNKNOWN",
        GrpcCode::InvalidArgument => "INVALID_ARGUMENT",
        GrpcCode::DeadlineExceeded => "DEADLINE_EXCEEDED",
        GrpcCode::NotFound => "NOT_FOUND",
        GrpcCode::AlreadyExists => "ALREADY_EXISTS",
        GrpcCode::PermissionDenied => "PERMISSION_DENIED",
        GrpcCode::ResourceExhausted => "RESOURCE_EXHAUSTED",
        GrpcCode::FailedPrecondition => "FAILED_PRECONDITION",
        GrpcCode::Aborted => "ABORTED",
        GrpcCode::OutOfRange => "OUT_OF_RANGE",
        GrpcCode::Unimplemented => "UNIMPLEMENTED",
        GrpcCode::Internal => "INTERNAL",
        GrpcCode::Unavailable => "UNAVAILABLE",
        GrpcCode::DataLoss => "DATA_LOSS",
        GrpcCode::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
#[path = "answer_test.rs"]
mod tests;
