//! Counts every answered request and its duration by route.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::HttpState;

/// Passes the request on and counts the answer.
pub(crate) async fn observe(
    State(state): State<Arc<HttpState>>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let response = next.run(request).await;
    state.metrics.http_request(route.as_str(), response.status().as_u16(), started.elapsed());
    response
}
