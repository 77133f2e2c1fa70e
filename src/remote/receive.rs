//! `POST /api/v1/write`: checks, snappy, columns, storage, and the answer after the write is durable.
//!
//! Remote write 1.0 and 2.0 differ in their message, which Content-Type names, and in what fails a request.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mytsdb_storage::model::TenantId;
use mytsdb_storage::{Commit, LabelSource, WriteError, WriteReport};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::columns::Columns;
use super::reply::{Outcome, Refusal};
use super::snappy::decompress;
use super::{write_v1, write_v2};
use crate::core::Core;
use crate::http::HttpState;
use crate::http::body::{self, BodyError, BodyLimits};
use crate::tenant::tenant_of;

const PROTOCOL: &str = "remote_write";
/// The flag that limits bodies.
const BYTES_FLAG: &str = "--write-max-bytes";

/// Compressed bodies above this size are decoded on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Scratch memory above this size is given back after the request.
const SCRATCH_BYTES_MAX: usize = 8 << 20;

/// Memory that one thread reuses between requests.
#[derive(Default)]
struct Scratch {
    body: Vec<u8>,
    v1: write_v1::Request,
    v2: write_v2::Request,
}

impl Scratch {
    fn capacity_bytes(&self) -> usize {
        self.body.capacity() + self.v1.capacity_bytes() + self.v2.capacity_bytes()
    }
}

/// Which message a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// How a body is to be read.
#[derive(Debug, Clone, Copy)]
struct Format {
    message: Message,
    /// Most bytes of the body, decompressed.
    bytes_max: usize,
    /// Whether type and unit become labels.
    has_type_and_unit: bool,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `/api/v1/write`.
pub fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/api/v1/write", post(receive))
}

async fn receive(State(state): State<Arc<HttpState>>, request: Request) -> Response {
    let core = match state.ready_core() {
        Ok(core) => core,
        Err(response) => return *response,
    };
    match write(&state, core, request).await {
        Ok(outcome) => outcome.into_response(),
        Err(refusal) => {
            state.metrics.refused_write_request(PROTOCOL, refusal.label());
            refusal.into_response()
        }
    }
}

async fn write(state: &HttpState, core: &Arc<Core>, request: Request) -> Result<Outcome, Refusal> {
    let tenant = tenant_of(request.headers())?;
    let format = Format {
        message: message_of(request.headers())?,
        bytes_max: state.config.limits.write_bytes_max,
        has_type_and_unit: state.config.query.features.type_and_unit_labels,
    };
    let _inflight = reserve(state, request.headers())?;
    let body = receive_body(state, request.into_body()).await?;
    let (outcome, commit) = if body.len() <= INLINE_BYTES_MAX {
        store(core, &tenant, &body, format)?
    } else {
        let (core, tenant) = (Arc::clone(core), tenant.clone());
        let blocking = core.blocking.clone();
        blocking.run(move || store(&core, &tenant, &body, format)).await??
    };
    count(state, &tenant, &outcome);
    let (sender, receiver) = oneshot::channel();
    commit.on_durable(move |durable| {
        // The receiver is gone if the client is: nobody to tell.
        let _unheard = sender.send(durable);
    });
    receiver.await.map_err(|_| Refusal::Closed)??;
    Ok(outcome)
}

/// Checks Content-Encoding and Content-Type; both may be absent, as senders of 1.0 leave them out.
fn message_of(headers: &HeaderMap) -> Result<Message, Refusal> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let encoding = text(header::CONTENT_ENCODING).unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(Refusal::ContentEncoding(encoding));
    }
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    if content_type.is_empty() {
        return Ok(Message::V1);
    }
    message_named(&content_type).ok_or(Refusal::ContentType(content_type))
}

/// The message that a media type with its parameters names.
fn message_named(content_type: &str) -> Option<Message> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    for part in parts {
        let (name, value) = part.split_once('=')?;
        if name.eq_ignore_ascii_case("proto") {
            return match value.trim_matches('"') {
                "prometheus.WriteRequest" => Some(Message::V1),
                "io.prometheus.write.v2.Request" => Some(Message::V2),
                _ => None,
            };
        }
    }
    Some(Message::V1)
}

/// Takes room for the body; a body of unknown length takes as much as it may have.
fn reserve(state: &HttpState, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Refusal> {
    let limits = &state.config.limits;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(limits.write_bytes_max);
    if declared > limits.write_bytes_max {
        let (limit, flag) = (limits.write_bytes_max, BYTES_FLAG);
        return Err(BodyError::TooLarge { limit, flag }.into());
    }
    let kib = u32::try_from(declared.div_ceil(1024)).unwrap_or(u32::MAX);
    Arc::clone(&state.write_gate)
        .try_acquire_many_owned(kib)
        .map_err(|_| Refusal::Busy { limit: limits.write_inflight_bytes_max })
}

async fn receive_body(state: &HttpState, body: Body) -> Result<Bytes, Refusal> {
    let limits = &state.config.limits;
    let (bytes_max, wait) = (limits.write_bytes_max, limits.read_timeout);
    // All bytes that the body may have are reserved already.
    body::receive(body, BodyLimits { bytes_max, flag: BYTES_FLAG, wait }, |_| Ok(())).await
}

/// Decompresses, decodes and submits, in memory that this thread reuses.
fn store(
    core: &Core,
    tenant: &TenantId,
    compressed: &[u8],
    format: Format,
) -> Result<(Outcome, Commit), Refusal> {
    SCRATCH.with_borrow_mut(|scratch| {
        let body_bytes = decompress(compressed, &mut scratch.body, format.bytes_max)?;
        let body = &scratch.body[..body_bytes];
        let key_of = |bytes: &[u8]| core.storage.series_key(bytes);
        let (report, commit) = match format.message {
            Message::V1 => {
                scratch.v1.decode(body, key_of)?;
                submit(core, tenant, &scratch.v1.columns, &scratch.v1.labels(body))?
            }
            Message::V2 => {
                scratch.v2.decode(body, format.has_type_and_unit, key_of)?;
                submit(core, tenant, &scratch.v2.columns, &scratch.v2.labels(body))?
            }
        };
        let columns = match format.message {
            Message::V1 => &mut scratch.v1.columns,
            Message::V2 => &mut scratch.v2.columns,
        };
        let refusals = std::mem::take(&mut columns.refusals);
        // What the storage took is large beside the columns that are reused.
        columns.histograms.clear();
        columns.exemplars.clear();
        if scratch.capacity_bytes() > SCRATCH_BYTES_MAX {
            *scratch = Scratch::default();
        }
        Ok((Outcome { message: format.message, report, refusals }, commit))
    })
}

fn submit(
    core: &Core,
    tenant: &TenantId,
    columns: &Columns,
    labels: &dyn LabelSource,
) -> Result<(WriteReport, Commit), WriteError> {
    core.storage.submit(tenant, &columns.batch(labels), core.now_ms())
}

fn count(state: &HttpState, tenant: &TenantId, outcome: &Outcome) {
    state.metrics.accepted_samples(PROTOCOL, outcome.report.accepted_sample_count);
    for (label, point_count) in outcome.refused_counts() {
        state.metrics.rejected_points(PROTOCOL, label, tenant.as_str(), point_count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_name_messages() {
        for (content_type, expected) in [
            ("application/x-protobuf", Some(Message::V1)),
            ("Application/X-Protobuf; charset=utf-8", Some(Message::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Message::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Message::V2)),
            (
                "application/x-protobuf; version=1; proto=\"io.prometheus.write.v2.Request\"",
                Some(Message::V2),
            ),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/x-protobuf;proto=", None),
            ("application/x-protobuf;proto", None),
            ("application/json", None),
        ] {
            assert_eq!(message_named(content_type), expected, "{content_type}");
        }
    }
}
