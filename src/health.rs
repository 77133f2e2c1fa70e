//! Is the server alive, is it ready, its own metrics, and the calls that reload and end it.
//!
//! Source: Prometheus `web/web.go`; the texts are Prometheus' own, as probes compare them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tracing::{error, info};

use crate::http::HttpState;

/// `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`, `/health`, `/metrics`.
pub fn router() -> Router<Arc<HttpState>> {
    let only_post = || async { (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed") };
    Router::new()
        .route("/-/healthy", get(|| async { "Prometheus Server is Healthy.\n" }))
        .route("/health", get(|| async { "OK" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload).get(only_post))
        .route("/-/quit", post(quit).put(quit).get(only_post))
        .route("/metrics", get(metrics))
}

async fn ready(State(state): State<Arc<HttpState>>) -> Response {
    if state.shutdown.is_stopping() {
        return crate::http::unavailable(true);
    }
    match state.ready_core() {
        Ok(_) => "Prometheus Server is Ready.\n".into_response(),
        Err(response) => *response,
    }
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()
}

/// Opens the query log again, as is needed after it was moved away, and reads the section `otlp` of the configuration
/// file again. Flags are read at the start only.
async fn reload(State(state): State<Arc<HttpState>>) -> Response {
    if !state.config.is_lifecycle_enabled {
        return forbidden();
    }
    let core = match state.ready_core() {
        Ok(core) => Arc::clone(core),
        Err(response) => return *response,
    };
    let blocking = core.blocking.clone();
    let reloaded = blocking.run(move || {
        let query_log = core.queries.log().map_or(Ok(()), |log| log.reopen());
        query_log.map_err(|error| format!("query log: {error}")).and(reload_otlp(&state))
    });
    let failed = match reloaded.await {
        Ok(Ok(())) => return StatusCode::OK.into_response(),
        Ok(Err(reason)) => reason,
        Err(error) => error.to_string(),
    };
    error!(error = failed, "cannot reload");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {failed}\n")).into_response()
}

/// Requests that begin from now on are taken as the file says; if it is wrong nothing changes.
fn reload_otlp(state: &HttpState) -> Result<(), String> {
    let settings = state.config.read_otlp().map_err(|error| error.to_string())?;
    if let Some(otlp) = state.otlp() {
        otlp.set_settings(settings);
    }
    Ok(())
}

async fn quit(State(state): State<Arc<HttpState>>) -> Response {
    if !state.config.is_lifecycle_enabled {
        return forbidden();
    }
    info!("asked to stop over HTTP");
    state.shutdown.ask_to_quit();
    "Requesting termination... Goodbye!".into_response()
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let core = state.ready_core().ok();
    let stats = core.map(|core| core.storage.stats());
    let queries = core.map(|core| (core.queries.counts(), core.queries.used_bytes()));
    (content_type, state.metrics.render(stats.as_ref(), queries)).into_response()
}
