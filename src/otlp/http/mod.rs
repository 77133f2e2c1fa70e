//! The HTTP doors of OTLP: `POST /v1/metrics`, `/v1/traces`, `/v1/logs` on a port of their own, and under Prometheus'
//! and other paths on the port of the Prometheus API.
//!
//! Way of a request: headers → room for the body → body → [`inflate`] → [`json`](super::json) if it is that → the door that
//! gRPC goes through, too → [`reply`] in the encoding of the request.
//! Limits: bytes as sent and inflated (while inflating), time of the body, bytes in flight.

mod inflate;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::post;
use tower_http::catch_panic::CatchPanicLayer;

use self::inflate::ContentEncoding;
use self::reply::{Encoding, Refusal, respond};
use super::door::Otlp;
use super::json::{self, schema};
use super::outcome::Outcome;
use super::signal::Signal;
use crate::http::body::{self, BodyError, BodyLimits};
use crate::http::{HttpState, observe};
use crate::inflight::Reservation;
use crate::tenant::tenant_of;

const PROTOCOL: &str = "otlp_http";
/// The flag that limits bodies.
const BYTES_FLAG: &str = "--grpc-max-bytes";

/// The doors on the port of the Prometheus API.
pub fn router() -> Router<Arc<HttpState>> {
    let doors = [
        ("/api/v1/otlp/v1/metrics", Signal::Metrics),
        ("/api/v1/otlp/v1/traces", Signal::Traces),
        ("/api/v1/otlp/v1/logs", Signal::Logs),
        ("/otlp/v1/metrics", Signal::Metrics),
        ("/otlp/v1/traces", Signal::Traces),
        ("/otlp/v1/logs", Signal::Logs),
        ("/opentelemetry/v1/metrics", Signal::Metrics),
        ("/opentelemetry/v1/traces", Signal::Traces),
        ("/opentelemetry/v1/logs", Signal::Logs),
    ];
    doors.into_iter().fold(Router::new(), |router, (path, signal)| router.route(path, door(signal)))
}

/// Everything that the port of OTLP/HTTP answers.
pub fn port_router(state: &Arc<HttpState>) -> Router {
    let signals = [Signal::Metrics, Signal::Traces, Signal::Logs];
    let doors = signals
        .into_iter()
        .fold(Router::new(), |router, signal| router.route(&format!("/v1/{}", signal.name()), door(signal)));
    doors
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not found; POST /v1/metrics, /v1/traces or /v1/logs\n")
        })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed\n") })
        .layer(CatchPanicLayer::new())
        .route_layer(from_fn_with_state(Arc::clone(state), observe::observe))
        .with_state(Arc::clone(state))
}

fn door(signal: Signal) -> axum::routing::MethodRouter<Arc<HttpState>> {
    post(move |State(state): State<Arc<HttpState>>, request: Request| async move {
        receive(&state, signal, request).await
    })
}

async fn receive(state: &HttpState, signal: Signal, request: Request) -> Response {
    let named = Encoding::of(request.headers());
    // Who speaks another language is answered in one that people can read.
    let encoding = *named.as_ref().unwrap_or(&Encoding::Json);
    let taken = match named {
        Ok(encoding) => take(state, signal, encoding, request).await,
        Err(name) => Err(Refusal::ContentType(name)),
    };
    match taken {
        Ok(outcome) => respond(encoding, signal, &outcome),
        Err(refusal) => {
            state.metrics.refused_write_request(PROTOCOL, refusal.label());
            refusal.respond(encoding)
        }
    }
}

async fn take(
    state: &HttpState,
    signal: Signal,
    encoding: Encoding,
    request: Request,
) -> Result<Outcome, Refusal> {
    let otlp = state.otlp().ok_or(Refusal::NotReady)?;
    let tenant = tenant_of(request.headers())?;
    let content_encoding = ContentEncoding::of(request.headers()).map_err(Refusal::ContentEncoding)?;
    let options = otlp.options(&tenant);
    let limits = BodyLimits {
        bytes_max: options.message_bytes_max,
        flag: BYTES_FLAG,
        wait: state.config.limits.read_timeout,
    };
    let mut declared_bytes = declared_bytes(request.headers(), limits)?;
    let core = state.ready_core().map_err(|_not_ready| Refusal::NotReady)?;
    let mut room = state.inflight.begin(tenant.clone(), core.storage.limits(&tenant).inflight_bytes_max);
    // What a body says that it has is taken at once: refused later, what has come by then would have cost memory.
    room.grow(declared_bytes)?;
    let grow = |bytes: usize| {
        let undeclared_bytes = bytes.saturating_sub(declared_bytes);
        declared_bytes = declared_bytes.saturating_sub(bytes);
        room.grow(undeclared_bytes).map_err(Refusal::from)
    };
    let body = body::receive(request.into_body(), limits, grow).await?;
    let (body, _room) =
        decode(state, otlp, (body, room), (content_encoding, encoding), signal, limits.bytes_max).await?;
    Ok(Arc::clone(otlp).export(signal, tenant, body).await?)
}

/// How many bytes a body says that it has, 0 if it does not say. One that is too large is refused before it is received.
fn declared_bytes(headers: &HeaderMap, limits: BodyLimits) -> Result<usize, BodyError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match declared {
        Some(bytes) if bytes > limits.bytes_max => {
            Err(BodyError::TooLarge { limit: limits.bytes_max, flag: limits.flag })
        }
        declared => Ok(declared.unwrap_or(0)),
    }
}

/// The body as protobuf, on a blocking thread if there is something to do.
async fn decode(
    state: &HttpState,
    otlp: &Arc<Otlp>,
    (body, mut room): (Bytes, Reservation),
    (content_encoding, encoding): (ContentEncoding, Encoding),
    signal: Signal,
    limit: usize,
) -> Result<(Bytes, Reservation), Refusal> {
    if content_encoding == ContentEncoding::Identity && encoding == Encoding::Protobuf {
        return Ok((body, room));
    }
    // The semaphore is never closed.
    let turn = Arc::clone(&state.inflate_turns).acquire_owned().await;
    let work = move || {
        let body = match content_encoding {
            ContentEncoding::Identity => body,
            packed => {
                Bytes::from(packed.inflate(&body, limit, |bytes| room.grow(bytes).map_err(Refusal::from))?)
            }
        };
        let body = match encoding {
            Encoding::Protobuf => body,
            Encoding::Json => {
                let message = match signal {
                    Signal::Metrics => &schema::METRICS,
                    Signal::Traces => &schema::TRACES,
                    Signal::Logs => &schema::LOGS,
                };
                room.grow(body.len().saturating_mul(json::GROWTH_MAX).min(limit))?;
                Bytes::from(json::to_protobuf(&body, message, limit)?)
            }
        };
        drop(turn);
        Ok::<_, Refusal>((body, room))
    };
    otlp.run_blocking(work).await?
}
