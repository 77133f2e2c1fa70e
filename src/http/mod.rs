//! The HTTP port: what its handlers share, its routes, and who answers before the storage is open.
//!
//! Not here: the endpoints themselves (`prom_api`, `remote`, `health`), sockets (see [`listener`]).

pub(crate) mod body;
mod cors;
pub mod floods;
mod frames;
pub mod listener;
mod metered;
pub(crate) mod observe;
pub mod security;

pub use listener::ClientAddr;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::config::Config;
use crate::core::Core;
use crate::inflight::Inflight;
use crate::otlp::Otlp;
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;
use crate::{health, otlp, prom_api, remote};

/// Responses below this size are not worth compressing.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// Bodies that are inflated at a time: each may take its limit before it turns out to be a bomb.
pub const INFLATE_TURN_COUNT: usize = 4;

/// Most clients that wait for notifications, as in Prometheus.
const NOTIFICATION_CLIENT_COUNT_MAX: usize = 16;

/// What all HTTP handlers share.
#[derive(Debug)]
pub struct HttpState {
    /// The settings.
    pub config: Config,
    /// The server's own metrics.
    pub metrics: Arc<Metrics>,
    /// The bytes of writes in flight, of all ports.
    pub inflight: Arc<Inflight>,
    /// One permit per body that is being inflated.
    pub inflate_turns: Arc<Semaphore>,
    /// Who flooded a port and has to wait.
    pub penalties: Arc<floods::Penalties>,
    /// One permit per client that waits for notifications.
    pub notification_gate: Arc<Semaphore>,
    /// Whether the server is going down.
    pub shutdown: Shutdown,
    /// When the server was started, for `/api/v1/status/runtimeinfo`.
    pub started_ms: i64,
    /// The same moment on the clock that never jumps.
    pub started: Instant,
    /// Set once, when the storage is open.
    core: OnceLock<Arc<Core>>,
    /// Set once, before `core`.
    otlp: OnceLock<Arc<Otlp>>,
}

impl HttpState {
    /// Creates the state of a server that is not ready yet.
    pub fn new(config: Config, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        Self {
            inflight: Arc::new(Inflight::new(config.limits.write_inflight_bytes_max)),
            inflate_turns: Arc::new(Semaphore::new(INFLATE_TURN_COUNT)),
            penalties: Arc::default(),
            notification_gate: Arc::new(Semaphore::new(NOTIFICATION_CLIENT_COUNT_MAX)),
            metrics,
            shutdown,
            started_ms: crate::core::now_ms(),
            started: Instant::now(),
            core: OnceLock::new(),
            otlp: OnceLock::new(),
            config,
        }
    }

    /// Makes the server ready. Only the first call counts.
    pub fn set_ready(&self, core: Arc<Core>, otlp: Arc<Otlp>) {
        let _first_wins = self.otlp.set(otlp);
        let _first_wins = self.core.set(core);
    }

    /// The way of OTLP requests; `None` if the server is not ready.
    pub fn otlp(&self) -> Option<&Arc<Otlp>> {
        self.otlp.get()
    }

    /// The core, or the answer of a server that is not ready or is going down.
    ///
    /// # Errors
    /// The response `503` with Prometheus' text and header.
    pub fn ready_core(&self) -> Result<&Arc<Core>, Box<Response>> {
        match self.core.get() {
            Some(core) => Ok(core),
            None => Err(Box::new(unavailable(self.shutdown.is_stopping()))),
        }
    }
}

pub(crate) fn unavailable(is_stopping: bool) -> Response {
    let stopping = HeaderValue::from_static(if is_stopping { "true" } else { "false" });
    let mut headers = HeaderMap::new();
    headers.insert("x-prometheus-stopping", stopping);
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    (StatusCode::SERVICE_UNAVAILABLE, headers, "Service Unavailable").into_response()
}

async fn method_not_allowed() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// Makes routes readable by pages of other origins, which may ask, but neither write nor administrate; compressed.
pub(crate) fn for_pages(routes: Router<Arc<HttpState>>, state: &Arc<HttpState>) -> Router<Arc<HttpState>> {
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
    routes
        // Set before the layers, so that they see `OPTIONS`.
        .method_not_allowed_fallback(method_not_allowed)
        .layer(compression)
        .layer(from_fn_with_state(Arc::clone(state), cors::allow_origin))
}

/// All routes of the HTTP port.
pub fn router(state: &Arc<HttpState>) -> Router {
    let operations = health::router().route("/", get(|| async { "MyTSDB\n" }));
    Router::new()
        .merge(for_pages(prom_api::router(), state))
        .merge(prom_api::admin::router())
        .merge(operations)
        .merge(remote::router())
        .merge(remote::read::router())
        .merge(otlp::http::router())
        // The words of Go's server.
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::new())
        .route_layer(from_fn_with_state(Arc::clone(state), observe::observe))
        .with_state(Arc::clone(state))
}
