//! The answer of gRPC to a client that should come back: a status with `RetryInfo`.
//!
//! Source: OTLP specification, "OTLP/gRPC throttling"; `google/rpc/{status,error_details}.proto`.

use std::time::Duration;

use mytsdb_storage::WriteError;
use prost::Message;
use tonic::{Code, Status};

/// When a client should come back that found no room.
const BUSY_DELAY: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `UNAVAILABLE` that asks the client to come back after `delay`.
pub(crate) fn retry_later(message: &str, delay: Duration) -> Status {
    let retry_delay =
        ProtoDuration { seconds: delay.as_secs() as i64, nanos: delay.subsec_nanos().cast_signed() };
    let info = RetryInfo { retry_delay: Some(retry_delay) };
    let details = vec![Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: info.encode_to_vec(),
    }];
    let status = RpcStatus { code: Code::Unavailable as i32, message: message.to_owned(), details };
    Status::with_details(Code::Unavailable, message, status.encode_to_vec().into())
}

/// `UNAVAILABLE` for a client that found no room.
pub(crate) fn busy(message: &str) -> Status {
    retry_later(message, BUSY_DELAY)
}

/// The status of a write that failed: the client should try again unless the server is at fault.
pub(crate) fn write_status(error: &WriteError) -> Status {
    let message = error.to_string();
    match error.retry_after_ms() {
        Some(retry_after_ms) => retry_later(&message, Duration::from_millis(retry_after_ms)),
        None if error.is_retryable() => Status::unavailable(message),
        None => Status::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_above_its_rate_is_told_when_to_come_back() {
        let error = WriteError::RateLimited { given: 5, samples_per_second: 2, retry_after_ms: 2_500 };
        let status = write_status(&error);
        assert_eq!(status.code(), Code::Unavailable);
        let decoded = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((decoded.code, decoded.message.as_str()), (14, status.message()));
        let info = RetryInfo::decode(decoded.details[0].value.as_slice()).unwrap();
        assert_eq!(info.retry_delay, Some(ProtoDuration { seconds: 2, nanos: 500_000_000 }));
        assert_eq!(decoded.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    }

    #[test]
    fn other_failures_say_whether_to_come_back_but_not_when() {
        let full = write_status(&WriteError::DiskFull { free_bytes: 1, reserve_bytes: 2 });
        assert_eq!((full.code(), full.details().len()), (Code::Unavailable, 0));
        assert_eq!(write_status(&WriteError::Shape(String::new())).code(), Code::Internal);
    }
}
