//! Tests of what answers mean, and of which of them are tried again.

use hyper::header::HeaderValue;
use tonic::Status;

use super::*;

fn retry_of(answer: &Answer) -> Retry {
    match answer {
        Answer::Refused { retry, .. } => *retry,
        Answer::Taken { .. } => panic!("{answer:?} is no refusal"),
    }
}

fn details(delay: Delay) -> Bytes {
    let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec().into();
    let other = Detail { type_url: "type.googleapis.com/google.rpc.Help".to_owned(), value: Bytes::new() };
    let details = vec![other, Detail { type_url: RETRY_INFO.to_owned(), value }];
    RpcStatus { message: String::new(), details }.encode_to_vec().into()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn grpc_codes_are_retried_as_otlp_specifies() {
    let retriable: Vec<_> = (1..=16)
        .filter(|code| {
            let answer = Answer::of_status(&Status::new(GrpcCode::from_i32(*code), "busy"));
            retry_of(&answer) == Retry::Backoff
        })
        .map(|code| Code::Grpc(code).to_string())
        .collect();
    let expected = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"];
    assert_eq!(retriable, expected);
}

#[test]
fn resource_exhausted_is_retried_only_when_the_server_says_when() {
    let without = Status::new(GrpcCode::ResourceExhausted, "too large");
    assert_eq!(retry_of(&Answer::of_status(&without)), Retry::Never);
    let delay = Delay { seconds: 1, nanos: 500_000_000 };
    let with = Status::with_details(GrpcCode::ResourceExhausted, "slow down", details(delay));
    assert_eq!(retry_of(&Answer::of_status(&with)), Retry::After(Duration::from_millis(1_500)));
}

#[test]
fn retry_info_does_not_make_a_wrong_request_right_and_is_bounded() {
    let of = |code, delay| retry_of(&Answer::of_status(&Status::with_details(code, "", details(delay))));
    let one = Delay { seconds: 1, nanos: 0 };
    assert_eq!(of(GrpcCode::InvalidArgument, one.clone()), Retry::Never);
    assert_eq!(of(GrpcCode::Unavailable, one), Retry::After(Duration::from_secs(1)));
    assert_eq!(
        of(GrpcCode::Unavailable, Delay { seconds: i64::MAX, nanos: -1 }),
        Retry::After(RETRY_AFTER_MAX)
    );
    assert_eq!(of(GrpcCode::Unavailable, Delay { seconds: -5, nanos: 0 }), Retry::After(Duration::ZERO));
}

#[test]
fn a_status_with_a_cause_is_a_broken_connection() {
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let answer = Answer::of_status(&Status::from_error(Box::new(cause)));
    assert!(
        matches!(&answer, Answer::Refused { code: Code::Connection, retry: Retry::Backoff, .. }),
        "{answer:?}"
    );
}

#[test]
fn http_codes_are_retried_as_otlp_specifies() {
    let retriable: Vec<u16> = (400..600)
        .filter(|status| {
            retry_of(&Answer::of_http_error(*status, &HeaderMap::new(), &Bytes::new())) == Retry::Backoff
        })
        .collect();
    assert_eq!(retriable, [429, 502, 503, 504]);
    let asked = headers(&[("retry-after", "7")]);
    let of = |status| retry_of(&Answer::of_http_error(status, &asked, &Bytes::new()));
    assert_eq!((of(503), of(400)), (Retry::After(Duration::from_secs(7)), Retry::Never));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
    assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
    assert_eq!(retry_after("Sat, 05 Nov 1994 08:49:37 GMT", now), Some(Duration::ZERO));
    for wrong in [
        "",
        "soon",
        "-1",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994",
        "Sun, 06 Nov 99999999999 1:1:1 GMT",
    ] {
        assert_eq!(retry_after(wrong, now), None, "{wrong}");
    }
    assert_eq!(http_date_s("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    assert_eq!(http_date_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
}

#[test]
fn partial_success_is_taken_and_counted() {
    assert_eq!(
        Answer::of_export(Code::Grpc(0), &[]),
        Answer::Taken { code: Code::Grpc(0), rejected_count: 0, message: None }
    );
    let partial = PartialSuccess { rejected_count: 3, error_message: "too old".to_owned() };
    let body = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
    let expected =
        Answer::Taken { code: Code::Http(200), rejected_count: 3, message: Some("too old".to_owned()) };
    assert_eq!(Answer::of_export(Code::Http(200), &body), expected);
    let unreadable = Answer::of_export(Code::Grpc(0), b"\xff\xff");
    assert!(matches!(unreadable, Answer::Refused { code: Code::Unreadable, retry: Retry::Never, .. }));
}

#[test]
fn remote_write_is_believed_what_it_wrote() {
    let written = headers(&[
        ("x-prometheus-remote-write-samples-written", "6"),
        ("x-prometheus-remote-write-histograms-written", "1"),
    ]);
    let body = Bytes::from_static(b"out of bounds");
    let taken = |status, rejected_count, message: Option<&str>| Answer::Taken {
        code: Code::Http(status),
        rejected_count,
        message: message.map(str::to_owned),
    };
    let of = |status, headers: &HeaderMap| Answer::of_remote_write(status, headers, &body, 10);
    assert_eq!(of(204, &HeaderMap::new()), taken(204, 0, None));
    assert_eq!(of(204, &written), taken(204, 3, None));
    assert_eq!(of(400, &written), taken(400, 3, Some("out of bounds")));
    assert_eq!(retry_of(&of(400, &HeaderMap::new())), Retry::Never);
    assert_eq!(retry_of(&of(503, &written)), Retry::Backoff);
}

#[test]
fn errors_over_http_have_the_words_of_the_status() {
    let status = RpcStatus { message: "not today".to_owned(), details: Vec::new() };
    let protobuf = headers(&[("content-type", "application/x-protobuf")]);
    let answer = Answer::of_http_error(400, &protobuf, &status.encode_to_vec().into());
    assert!(matches!(&answer, Answer::Refused { reason, .. } if reason == "not today"), "{answer:?}");
    let answer = Answer::of_http_error(400, &HeaderMap::new(), &Bytes::from_static(b"plain words\n"));
    assert!(matches!(&answer, Answer::Refused { reason, .. } if reason == "plain words"), "{answer:?}");
}
