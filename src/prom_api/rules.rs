//! Rules, alerts, targets: a server that scrapes nothing and runs no rules says so with empty lists.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::call::Call;
use super::error::ApiError;
use super::response::success;
use crate::http::HttpState;

pub(super) fn router() -> Router<Arc<HttpState>> {
    let answers = [
        ("/api/v1/rules", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
        ("/api/v1/targets", json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})),
        ("/api/v1/targets/metadata", json!([])),
        ("/api/v1/scrape_pools", json!({"scrapePools": []})),
        ("/api/v1/alertmanagers", json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})),
        ("/api/v1/notifications", json!([])),
    ];
    answers.into_iter().fold(Router::new(), |router, (path, data)| {
        router.route(path, get(move |_call: Call| answer(data.clone())))
    })
}

async fn answer(data: Value) -> Result<Response, ApiError> {
    success(&data)
}
