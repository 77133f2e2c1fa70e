//! Prometheus remote read: `POST /api/v1/read`.
//!
//! Way: snappy protobuf ([`proto`]) → matchers and ranges → series of one snapshot → samples ([`samples`]) or a stream
//! of frames with chunks in Prometheus' own bits ([`frames`], [`xor`], [`histogram`]). Not here: remote write.
//!
//! Source: Prometheus `storage/remote/{read_handler,codec,chunked}.go`.

mod bits;
mod frames;
mod histogram;
mod proto;
mod samples;
mod xor;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mytsdb_promql::EvalError;
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{MatchOp, Matcher, MatcherError, TimeRange};
use mytsdb_storage::read::{ReadError, SeriesSet};
use prost::Message as _;

use self::proto::{LabelMatcher, ReadRequest};
use crate::blocking::BlockingError;
use crate::http::{ClientAddr, HttpState};
use crate::queries::{CancelOnDrop, Description, StartError};
use crate::tenant::tenant_of;

/// Largest body, as sent and decompressed.
const BODY_BYTES_MAX: usize = 32 << 20;

const SAMPLES: i32 = 0;
const STREAMED_XOR_CHUNKS: i32 = 1;

/// `/api/v1/read`.
pub fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/api/v1/read", post(read)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Why nothing is read. Answered as plain text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    #[error("{0}")]
    Request(String),
    #[error(
        "server does not support any of the requested response types: [{0}]; supported: map[SAMPLES:{{}} STREAMED_XOR_CHUNKS:{{}}]"
    )]
    ResponseTypes(String),
    #[error("exceeded sample limit ({limit})")]
    TooManySamples { limit: usize },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<MatcherError> for ReadFailure {
    fn from(error: MatcherError) -> Self {
        Self::Request(error.to_string())
    }
}

impl ReadFailure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::ResponseTypes(_) | Self::TooManySamples { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Eval(EvalError::TooManyBytes { .. }) => StatusCode::BAD_REQUEST,
            Self::Start(_) | Self::Blocking(BlockingError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ReadFailure {
    fn into_response(self) -> Response {
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// One query of a request, ready to be asked.
#[derive(Debug)]
struct Selection {
    matchers: Vec<Matcher>,
    range: TimeRange,
}

impl Selection {
    fn select(&self, snapshot: &Snapshot) -> Result<SeriesSet, ReadError> {
        snapshot.select(&self.matchers, self.range)
    }

    fn describe(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    }
}

async fn read(State(state): State<Arc<HttpState>>, request: Request) -> Response {
    let client = request.extensions().get::<ClientAddr>().copied();
    let core = match state.ready_core() {
        Ok(core) => Arc::clone(core),
        Err(response) => return *response,
    };
    let tenant = match tenant_of(request.headers()) {
        Ok(tenant) => tenant,
        Err(error) => return ReadFailure::Request(error.to_string()).into_response(),
    };
    let outcome = async {
        let (selections, response_type) = receive(request, state.config.limits.read_timeout).await?;
        let texts: Vec<String> = selections.iter().map(Selection::describe).collect();
        let start_ms = selections.iter().map(|selection| selection.range.start_ms).min().unwrap_or(0);
        let end_ms = selections.iter().map(|selection| selection.range.end_ms - 1).max().unwrap_or(0);
        let description = Description {
            tenant: tenant.clone(),
            query: texts.join(" "),
            times_ms: (start_ms, end_ms, 0),
            client: client.map(|client| client.0.ip().to_string()),
            method: "POST".to_owned(),
            path: "/api/v1/read",
        };
        let place = core.queries.start(description, state.config.query.timeout, core.now_ms()).await?;
        let guard = CancelOnDrop(place.cancellation().clone());
        let snapshot = core.storage.reader(&tenant);
        if response_type == STREAMED_XOR_CHUNKS {
            return Ok(frames::stream(core, place, guard, snapshot, selections));
        }
        let work = move || samples::encode(&snapshot, &selections, &place);
        let (body, memory) = core.blocking.run(work).await??;
        let headers =
            [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
        // The bytes count against the limits until they are sent.
        let body = futures::stream::iter([(Bytes::from(body), memory)]);
        let body = futures::StreamExt::map(body, |(bytes, _memory)| Ok::<_, std::convert::Infallible>(bytes));
        Ok((headers, Body::from_stream(body)).into_response())
    };
    outcome.await.unwrap_or_else(ReadFailure::into_response)
}

/// Reads the body and checks all of it.
async fn receive(request: Request, wait: Duration) -> Result<(Vec<Selection>, i32), ReadFailure> {
    // Before the body is gathered, which may be large.
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && !matches!(encoding.as_bytes(), b"" | b"snappy")
    {
        return Err(ReadFailure::Request(format!(
            "content encoding {encoding:?} is not supported; allowed is snappy (the block format)"
        )));
    }
    let body = tokio::time::timeout(wait, Bytes::from_request(request, &()))
        .await
        .map_err(|_| ReadFailure::Request(format!("body was not received within {wait:?}")))?
        .map_err(|error| ReadFailure::Request(error.to_string()))?;
    let not_snappy = |error: snap::Error| ReadFailure::Request(format!("body is no snappy block: {error}"));
    let declared = snap::raw::decompress_len(&body).map_err(not_snappy)?;
    if declared > BODY_BYTES_MAX {
        let reason =
            format!("snappy: decoded block is too large: {declared} bytes, {BODY_BYTES_MAX} are allowed");
        return Err(ReadFailure::Request(reason));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).map_err(not_snappy)?;
    let request = ReadRequest::decode(&bytes[..])
        .map_err(|error| ReadFailure::Request(format!("body is no remote read request: {error}")))?;
    let selections = request
        .queries
        .iter()
        .map(|query| {
            let matchers = query.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
            let range = TimeRange::from_inclusive(query.start_timestamp_ms, query.end_timestamp_ms);
            Ok(Selection { matchers, range })
        })
        .collect::<Result<_, ReadFailure>>()?;
    Ok((selections, response_type(&request.accepted_response_types)?))
}

fn matcher(matcher: &LabelMatcher) -> Result<Matcher, ReadFailure> {
    let op = match matcher.kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(ReadFailure::Request("invalid matcher type".to_owned())),
    };
    Ok(Matcher::new(op, &matcher.name, &matcher.value)?)
}

/// The first of the accepted types that there is; nothing said = samples.
fn response_type(accepted: &[i32]) -> Result<i32, ReadFailure> {
    match accepted.iter().find(|kind| matches!(**kind, SAMPLES | STREAMED_XOR_CHUNKS)) {
        Some(kind) => Ok(*kind),
        None if accepted.is_empty() => Ok(SAMPLES),
        None => {
            let names: Vec<String> = accepted.iter().map(ToString::to_string).collect();
            Err(ReadFailure::ResponseTypes(names.join(" ")))
        }
    }
}
