//! A call of one message, with the message as bytes: received without a copy if it came in one frame.
//!
//! Why not tonic's codecs: they gather every message in a buffer of their own, which for large requests costs more than
//! reading them. Compression and limits of memory are the work of the gate before (see [`super::gate`]); what arrives here
//! is not compressed.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::BufMut as _;
use futures::future::poll_fn;
use hyper::body::Frame;
use prost::Message;
use tonic::Status;
use tonic::codegen::StdError;
use tonic::metadata::AsciiMetadataValue;

use super::inflate::ENCODING;
use super::inflated_body::MESSAGE_HEAD_BYTES;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
const STATUS_OK: HeaderValue = HeaderValue::from_static("0");
const ACCEPTED_ENCODINGS: &str = "identity,gzip,zstd";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Refuses a call in a compression that the gate did not understand.
///
/// # Errors
/// `UNIMPLEMENTED`, with the compressions that are understood.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(ENCODING) {
        None => Ok(()),
        Some(identity) if identity == "identity" => Ok(()),
        Some(other) => {
            let mut status = Status::unimplemented(format!(
                "messages in the encoding {other:?} are not understood; allowed are identity, gzip and zstd"
            ));
            let accepted = AsciiMetadataValue::from_static(ACCEPTED_ENCODINGS);
            status.metadata_mut().insert(ACCEPT_ENCODING, accepted);
            Err(status)
        }
    }
}

/// Receives the message of a call.
///
/// # Errors
/// `RESOURCE_EXHAUSTED` if it has more than `bytes_max` bytes, `INTERNAL` if there is none or it is not framed as the
/// protocol has it, or what the body says.
pub(crate) async fn receive_message<B>(body: B, bytes_max: usize) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<StdError>,
{
    let mut body = pin!(body);
    let mut received = Bytes::new();
    while received.len() < MESSAGE_HEAD_BYTES {
        let Some(data) = next_data(body.as_mut()).await? else {
            return Err(Status::internal("the call has no message"));
        };
        received = if received.is_empty() { data } else { [received, data].concat().into() };
    }
    let head = received.split_to(MESSAGE_HEAD_BYTES);
    let length = head.iter().skip(1).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    match head.first() {
        Some(0) => {}
        Some(1) => {
            return Err(Status::internal("the message is compressed, but the call has no grpc-encoding"));
        }
        flag => {
            return Err(Status::internal(format!(
                "the flag of the message is {flag:?}; allowed are 0 and 1"
            )));
        }
    }
    if length > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "message has {length} bytes, the limit of --grpc-max-bytes is {bytes_max}"
        )));
    }
    if received.len() < length {
        // Nothing is written to what was not received, so a length that lies costs no memory.
        let mut gathered = Vec::with_capacity(length);
        gathered.put(received);
        while gathered.len() < length {
            let Some(data) = next_data(body.as_mut()).await? else {
                let got = gathered.len();
                return Err(Status::internal(format!("the message ends after {got} of {length} bytes")));
            };
            gathered.put(data);
        }
        received = gathered.into();
    }
    match received.len() > length || has_more(body).await? {
        true => Err(Status::internal("the call has more than one message")),
        false => Ok(received),
    }
}

/// Whether anything but trailers follows.
async fn has_more<B>(mut body: Pin<&mut B>) -> Result<bool, Status>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<StdError>,
{
    loop {
        match next_data(body.as_mut()).await? {
            None => return Ok(false),
            Some(data) if data.is_empty() => {}
            Some(_) => return Ok(true),
        }
    }
}

async fn next_data<B>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, Status>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<StdError>,
{
    loop {
        match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Status::from_error(error.into())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The answer to a call that went well.
pub(crate) fn response(message: &impl Message) -> Response<tonic::body::Body> {
    let message = message.encode_to_vec();
    let mut bytes = Vec::with_capacity(MESSAGE_HEAD_BYTES + message.len());
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(&message);
    let mut response =
        Response::new(tonic::body::Body::new(Answer { message: Some(bytes.into()), is_over: false }));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// One message and the status that all went well.
struct Answer {
    message: Option<Bytes>,
    is_over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(message) = this.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut this.is_over, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, STATUS_OK);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;
    use tonic::Code;

    use super::*;

    /// Receives what comes in the given frames.
    async fn receive(frames: &[&[u8]], bytes_max: usize) -> Result<Bytes, Status> {
        let frames: Vec<Result<Bytes, Status>> =
            frames.iter().map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
        let body = Body::from_stream(stream::iter(frames));
        receive_message(body, bytes_max).await
    }

    #[tokio::test]
    async fn a_message_is_the_same_however_it_is_cut() {
        let whole = b"\0\0\0\0\x03abc";
        assert_eq!(receive(&[whole], 3).await.unwrap(), "abc");
        for cut in 1..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(receive(&[left, right], 3).await.unwrap(), "abc", "cut at {cut}");
            assert_eq!(receive(&[left, b"", right, b""], 3).await.unwrap(), "abc", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(receive(&bytes, 3).await.unwrap(), "abc");
        assert_eq!(receive(&[b"\0\0\0\0\0"], 0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_message_in_one_frame_is_not_copied() {
        let frame = Bytes::from_static(b"\0\0\0\0\x03abc");
        let body = Body::from(frame.clone());
        let message = receive_message(body, 3).await.unwrap();
        assert_eq!(message.as_ptr(), frame[MESSAGE_HEAD_BYTES..].as_ptr());
    }

    #[tokio::test]
    async fn what_is_no_single_message_is_refused() {
        for (frames, code, words) in [
            (&[][..], Code::Internal, "no message"),
            (&[&b"\0\0\0"[..]][..], Code::Internal, "no message"),
            (&[&b"\0\0\0\0\x04abc"[..]][..], Code::Internal, "3 of 4 bytes"),
            (&[&b"\0\0\0\0\x03abcd"[..]][..], Code::Internal, "more than one"),
            (&[&b"\0\0\0\0\x03abc"[..], &b"\0\0\0\0\0"[..]][..], Code::Internal, "more than one"),
            (&[&b"\x01\0\0\0\x03abc"[..]][..], Code::Internal, "no grpc-encoding"),
            (&[&b"\x02\0\0\0\x03abc"[..]][..], Code::Internal, "allowed are 0 and 1"),
            (
                &[&b"\0\0\0\0\x05abcde"[..]][..],
                Code::ResourceExhausted,
                "5 bytes, the limit of --grpc-max-bytes is 4",
            ),
            (&[&b"\0\xff\xff\xff\xff"[..]][..], Code::ResourceExhausted, "4294967295 bytes"),
        ] {
            let refused = receive(frames, 4).await.unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.message().contains(words), "{refused}");
        }
    }

    #[test]
    fn only_unknown_compressions_are_refused() {
        let mut headers = HeaderMap::new();
        assert!(check_encoding(&headers).is_ok());
        headers.insert(ENCODING, HeaderValue::from_static("identity"));
        assert!(check_encoding(&headers).is_ok());
        headers.insert(ENCODING, HeaderValue::from_static("snappy"));
        let refused = check_encoding(&headers).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.metadata().get(ACCEPT_ENCODING).unwrap(), "identity,gzip,zstd");
    }
}
