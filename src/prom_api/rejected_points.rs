//! `/api/v1/status/rejected_points`: the tenant's last points that were refused, and why.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::call::Call;
use super::error::ApiError;
use super::response::success;
use crate::http::HttpState;
use crate::queries::rfc3339;

/// Entries of an answer to a call that does not say how many.
const LENGTH_DEFAULT: usize = 100;

pub(super) fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/api/v1/status/rejected_points", get(list))
}

async fn list(call: Call) -> Result<Response, ApiError> {
    // As everywhere: no limit is 0, and then there are as many as are kept.
    let length_max = match call.params.get("limit") {
        None => LENGTH_DEFAULT,
        Some(_) => call.params.limit()?.unwrap_or(usize::MAX),
    };
    let entries = call.core.rejections.last(&call.tenant, length_max);
    let rejected: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            json!({
                "time": rfc3339(entry.time_ms),
                "protocol": entry.protocol,
                "reason": entry.reason,
                "metric": entry.metric,
                "message": entry.message,
                "pointCount": entry.point_count,
            })
        })
        .collect();
    success(&json!({ "rejectedPoints": rejected }))
}
