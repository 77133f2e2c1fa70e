//! The GPU REST API, on a port of its own: which GPUs there are, and what each of them reported.
//!
//! Input: series named `DCGM_FI_…`, as NVIDIA's dcgm-exporter names them, whichever protocol brought them. Output: JSON.
//! A thin layer over the read door: a GPU is a group of series with one UUID, its telemetry a range of their samples.
//! Calls take their turn and their bytes as queries do ([`call`]). Not here: storing anything, PromQL, sockets.

mod call;
mod error;
mod gpu;
mod list;
mod openapi;
mod pivot;
mod reply;
mod telemetry;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use self::error::GatewayError;
use crate::http::{self, HttpState, observe};

/// All routes of the GPU API's port.
pub fn router(state: &Arc<HttpState>) -> Router {
    let routes = Router::new()
        .route("/api/v1/gpus", get(list::gpus))
        .route("/api/v1/gpus/{id}/telemetry", get(telemetry::telemetry))
        .route("/openapi.json", get(openapi::json))
        .route("/openapi.yaml", get(openapi::yaml))
        .route("/health", get(|| async { "OK" }));
    http::for_pages(routes, state)
        .fallback(|| async { GatewayError::NoSuchPath })
        .layer(CatchPanicLayer::new())
        .route_layer(from_fn_with_state(Arc::clone(state), observe::observe))
        .with_state(Arc::clone(state))
}
