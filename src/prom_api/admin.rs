//! `/api/v1/admin/tsdb/*`: off unless `--enable-admin-api`.
//!
//! Not here: what deleting, snapshots and compaction are (see `mytsdb_storage::Storage`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use mytsdb_storage::Storage;
use serde::Serialize;

use super::active_queries;
use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::response::success;
use super::selectors::parse_selectors;
use crate::http::HttpState;

/// All endpoints that administrate.
pub fn router() -> Router<Arc<HttpState>> {
    // Prometheus takes PUT for each of them too.
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .route("/api/v1/admin/tsdb/compact", post(compact).put(compact))
        .route("/api/v1/admin/tsdb/flush", post(flush).put(flush))
        // Pages of other origins must not stop queries.
        .merge(active_queries::router())
}

/// Deletes the samples in a range of the tenant's series that any `match[]` finds; answers when that is durable.
async fn delete_series(call: Call) -> Result<Response, ApiError> {
    check_enabled(&call)?;
    let selectors = call.params.all("match[]");
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = call.params.time_range()?;
    let sets = parse_selectors(&selectors, &call.core.parse_options, "match[]")?;
    let tenant = call.tenant.clone();
    work(&call, move |storage, now_ms| storage.delete_series(&tenant, &sets, range, now_ms)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Rewrites the tenant's blocks from which something was deleted, so that its room is free.
async fn clean_tombstones(call: Call) -> Result<Response, ApiError> {
    check_enabled(&call)?;
    let tenant = call.tenant.clone();
    work(&call, move |storage, _now_ms| storage.clean_tombstones(&tenant)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct SnapshotName {
    name: String,
}

/// Takes a snapshot of all tenants and answers with its name below `<data>/snapshots`.
async fn snapshot(call: Call) -> Result<Response, ApiError> {
    check_enabled(&call)?;
    let skip_head = match call.params.get("skip_head") {
        None => false,
        Some(text) => parse_bool(text).ok_or_else(|| {
            ApiError::parameter(
                "skip_head",
                format!("unable to parse boolean, got {text:?}; allowed are true and false"),
            )
        })?,
    };
    let info = work(&call, move |storage, now_ms| {
        storage.snapshot(&snapshot_name(now_ms, RandomState::new().hash_one(now_ms)), now_ms, skip_head)
    })
    .await?;
    success(&SnapshotName { name: info.name })
}

/// Compacts the blocks of all tenants down to one a day.
async fn compact(call: Call) -> Result<Response, ApiError> {
    check_enabled(&call)?;
    work(&call, |storage, now_ms| storage.compact_all(now_ms)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Writes the head to blocks and answers when that is done.
async fn flush(call: Call) -> Result<Response, ApiError> {
    check_enabled(&call)?;
    work(&call, |storage, now_ms| storage.flush(now_ms)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check_enabled(call: &Call) -> Result<(), ApiError> {
    if call.state.config.is_admin_api_enabled {
        return Ok(());
    }
    Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"))
}

/// Runs work on the storage off the async threads; a failure is the server's.
async fn work<T: Send + 'static, E: std::error::Error + Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Storage, i64) -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError> {
    let (storage, now_ms) = (Arc::clone(&call.core.storage), call.core.now_ms());
    let outcome = call.core.blocking.run(move || work(&storage, now_ms)).await?;
    outcome.map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A name as Prometheus gives it: the time to the second, and digits that make it the only one.
fn snapshot_name(now_ms: i64, number: u64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    format!("{}-{number:016x}", time.format("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_time() {
        assert_eq!(snapshot_name(1_789_985_472_999, 255), "20260921T101112Z-00000000000000ff");
    }
}
