//! `/api/v1/admin/*`: off unless `--enable-admin-api`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::call::Call;
use super::error::{ApiError, ErrorType};
use crate::http::HttpState;

/// All endpoints that administrate.
pub fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/api/v1/admin/tsdb/flush", post(flush).put(flush))
}

/// Writes the head to blocks and answers when that is done.
async fn flush(call: Call) -> Result<Response, ApiError> {
    if !call.state.config.is_admin_api_enabled {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    let (storage, now_ms) = (Arc::clone(&call.core.storage), call.core.now_ms());
    call.core.blocking.run(move || storage.flush(now_ms)).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}
