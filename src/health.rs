//! Is the server alive, is it ready, and its own metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::HttpState;

/// `/-/healthy`, `/-/ready`, `/health`, `/metrics`.
pub fn router() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/-/healthy", get(|| async { "MyTSDB is Healthy.\n" }))
        .route("/health", get(|| async { "OK" }))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(state): State<Arc<HttpState>>) -> Response {
    if state.shutdown.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response();
    }
    match state.ready_core() {
        Ok(_) => "MyTSDB is Ready.\n".into_response(),
        Err(response) => *response,
    }
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let stats = state.ready_core().ok().map(|core| core.storage.stats());
    (content_type, state.metrics.render(stats.as_ref())).into_response()
}
