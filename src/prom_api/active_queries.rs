//! `/api/v1/status/active_queries`: the tenant's queries that wait and run, and stopping one of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::response::success;
use crate::http::HttpState;
use crate::queries::{ActiveQuery, rfc3339};

pub(super) fn router() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/v1/status/active_queries", get(list))
        .route("/api/v1/status/active_queries/{id}", delete(cancel))
        .route("/api/v1/status/active_queries/{id}/cancel", post(cancel))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    let queries = call.core.queries.active().of(&call.tenant);
    let (running, waiting) = call.core.queries.counts();
    success(&json!({
        "activeQueries": queries.iter().map(to_json).collect::<Vec<Value>>(),
        // Those of all tenants.
        "runningCount": running,
        "waitingCount": waiting,
        "usedBytes": call.core.queries.used_bytes(),
    }))
}

fn to_json(query: &ActiveQuery) -> Value {
    let description = &query.description;
    let (start_ms, end_ms, step_ms) = description.times_ms;
    json!({
        "id": id_text(query.id),
        "query": description.query,
        "start": rfc3339(start_ms),
        "end": rfc3339(end_ms),
        "step": step_ms as f64 / 1000.0,
        "state": if query.is_running { "running" } else { "waiting" },
        "askedAt": rfc3339(query.asked_ms),
        "elapsed": query.elapsed.as_secs_f64(),
        "clientIP": description.client.as_deref().unwrap_or_default(),
        "path": description.path,
    })
}

fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// Stops a query; its client is told that it was canceled.
async fn cancel(Path(id): Path<String>, call: Call) -> Result<Response, ApiError> {
    let is_stopped = u64::from_str_radix(&id, 16)
        .is_ok_and(|number| call.core.queries.active().stop(&call.tenant, number));
    if is_stopped {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::new(
        ErrorType::NotFound,
        format!(
            "no active query has the id {id:?}; /api/v1/status/active_queries lists those that there are"
        ),
    ))
}
