//! `POST /api/v1/write`: checks, snappy, columns, storage, and the answer after the write is durable.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt as _;
use mytsdb_storage::model::TenantId;
use mytsdb_storage::{Commit, RejectReason, Rejection};
use tokio::sync::oneshot;

use super::reply::{Outcome, Refusal};
use super::write_v1::Columns;
use crate::core::Core;
use crate::http::HttpState;
use crate::inflight::Reservation;
use crate::tenant::tenant_of;

const PROTOCOL: &str = "remote_write";

/// Compressed bodies above this size are decoded on a blocking thread.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Scratch memory above this size is given back after the request.
const SCRATCH_BYTES_MAX: usize = 8 << 20;

/// A snappy block cannot grow by more than this: 3 bytes copy at most 64.
const SNAPPY_EXPANSION_MAX: usize = 32;

/// Memory that one thread reuses between requests.
#[derive(Default)]
struct Scratch {
    body: Vec<u8>,
    columns: Columns,
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
    check_format(request.headers())?;
    let _inflight = reserve(state, core, &tenant, request.headers())?;
    let body = receive_body(state, request.into_body()).await?;
    let limit = state.config.limits.write_bytes_max;
    let (outcome, commit) = if body.len() <= INLINE_BYTES_MAX {
        store(core, &tenant, &body, limit)?
    } else {
        let (core, tenant) = (Arc::clone(core), tenant.clone());
        let blocking = core.blocking.clone();
        blocking.run(move || store(&core, &tenant, &body, limit)).await??
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

/// Checks Content-Encoding and Content-Type; both may be absent.
fn check_format(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text(header::CONTENT_ENCODING) {
        None => {}
        Some(encoding) if encoding.is_empty() || encoding == "snappy" => {}
        Some(encoding) => return Err(Refusal::ContentEncoding(encoding)),
    }
    let Some(content_type) = text(header::CONTENT_TYPE) else { return Ok(()) };
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let is_version_1 =
        parts.filter_map(|part| part.strip_prefix("proto=")).all(|proto| proto == "prometheus.WriteRequest");
    if content_type.is_empty() || (is_protobuf && is_version_1) {
        return Ok(());
    }
    Err(Refusal::ContentType(content_type))
}

/// Takes room for the body; a body of unknown length takes as much as it may have.
fn reserve(
    state: &HttpState,
    core: &Core,
    tenant: &TenantId,
    headers: &HeaderMap,
) -> Result<Reservation, Refusal> {
    let limits = &state.config.limits;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(limits.write_bytes_max);
    if declared > limits.write_bytes_max {
        return Err(Refusal::BodyTooLarge { limit: limits.write_bytes_max });
    }
    let tenant_bytes_max = core.storage.limits(tenant).inflight_bytes_max;
    let mut reservation = state.inflight.begin(tenant.clone(), tenant_bytes_max);
    reservation.grow(declared)?;
    Ok(reservation)
}

async fn receive_body(state: &HttpState, body: Body) -> Result<Bytes, Refusal> {
    let wait = state.config.limits.read_timeout;
    let collected = collect(body, state.config.limits.write_bytes_max);
    tokio::time::timeout(wait, collected).await.map_err(|_| Refusal::BodyTimeout(wait))?
}

/// Gathers the frames of a body; one frame stays where it is.
async fn collect(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Refusal::Body(error.to_string()))?;
        if first.len().max(rest.len()) + frame.len() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if first.is_empty() && rest.is_empty() {
            first = frame;
        } else {
            if rest.is_empty() {
                rest.reserve(4 * first.len());
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&frame);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// Decompresses, decodes and submits, in memory that this thread reuses.
fn store(
    core: &Core,
    tenant: &TenantId,
    compressed: &[u8],
    limit: usize,
) -> Result<(Outcome, Commit), Refusal> {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { body, columns } = scratch;
        let body_bytes = decompress(compressed, body, limit)?;
        let body_slice = &body[..body_bytes];
        columns.decode(body_slice, |labels| core.storage.series_key(labels))?;
        let labels = columns.labels(body_slice);
        let (report, commit) = core.storage.submit(tenant, &columns.batch(&labels), core.now_ms())?;
        let mut outcome = Outcome { report, malformed_exemplar_count: columns.malformed_exemplar_count };
        for (series_index, error) in &columns.malformed_histograms {
            let reason = RejectReason::InvalidHistogram(error.to_string());
            outcome.report.rejections.push(Rejection {
                series_index: *series_index,
                sample_count: 1,
                reason,
            });
        }
        let rejections = outcome.report.rejections.iter().chain(&outcome.report.exemplar_rejections);
        core.rejections.add_batch(tenant, (PROTOCOL, core.now_ms()), rejections, &labels);
        // What the storage took is large beside the columns that are reused.
        columns.histograms.clear();
        columns.exemplars.clear();
        if body.capacity() + columns.capacity_bytes() > SCRATCH_BYTES_MAX {
            *scratch = Scratch::default();
        }
        Ok((outcome, commit))
    })
}

/// Decompresses into the front of `body` and returns how many bytes that are. `body` never shrinks, so that its
/// memory is cleared once and not per request.
fn decompress(compressed: &[u8], body: &mut Vec<u8>, limit: usize) -> Result<usize, Refusal> {
    let snappy = |error: snap::Error| Refusal::Snappy(error.to_string());
    let declared = snap::raw::decompress_len(compressed).map_err(snappy)?;
    if declared > limit {
        return Err(Refusal::DeclaredTooLarge { given: declared, limit });
    }
    if declared > compressed.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        let (given, declared) = (compressed.len(), declared);
        return Err(Refusal::Snappy(format!("{given} bytes cannot hold the {declared} they declare")));
    }
    if body.len() < declared {
        body.resize(declared, 0);
    }
    snap::raw::Decoder::new().decompress(compressed, &mut body[..declared]).map_err(snappy)
}

fn count(state: &HttpState, tenant: &TenantId, outcome: &Outcome) {
    state.metrics.accepted_samples(PROTOCOL, outcome.report.accepted_sample_count);
    for rejection in &outcome.report.rejections {
        let label = rejection.reason.label();
        state.metrics.rejected_points(PROTOCOL, label, tenant.as_str(), rejection.sample_count);
    }
    for rejection in &outcome.report.exemplar_rejections {
        let label = rejection.reason.label();
        state.metrics.rejected_points(PROTOCOL, label, tenant.as_str(), rejection.sample_count);
    }
    if outcome.malformed_exemplar_count > 0 {
        let malformed_count = outcome.malformed_exemplar_count;
        state.metrics.rejected_points(PROTOCOL, "invalid_exemplar", tenant.as_str(), malformed_count);
    }
}
