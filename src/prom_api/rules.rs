//! Rules, alerts, targets and notifications: there are none of them, said in the shape that clients expect.
//!
//! Parameters are checked all the same, so that a client with a mistake finds it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mytsdb_promql::parse_selector;
use serde_json::{Value, json};

use super::admin::parse_bool;
use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::response::success;
use super::selectors::parse_selectors;
use crate::http::HttpState;

pub(super) fn router() -> Router<Arc<HttpState>> {
    let answers = [
        ("/api/v1/alerts", json!({"alerts": []})),
        ("/api/v1/targets", json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})),
        ("/api/v1/scrape_pools", json!({"scrapePools": []})),
        ("/api/v1/alertmanagers", json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})),
    ];
    let router = answers.into_iter().fold(Router::new(), |router, (path, data)| {
        router.route(path, get(move |_call: Call| answer(data.clone())))
    });
    router
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/targets/metadata", get(targets_metadata))
        .route("/api/v1/targets/relabel_steps", get(no_scrape_pool))
        .route("/api/v1/scrape_pools/config", get(no_scrape_pool))
        // These answer before the server is ready, too.
        .route("/api/v1/notifications", get(|| answer(json!([]))))
        .route("/api/v1/notifications/live", get(live_notifications))
}

async fn answer(data: Value) -> Result<Response, ApiError> {
    success(&data)
}

async fn rules(call: Call) -> Result<Response, ApiError> {
    parse_selectors(&call.params.all("match[]"), &call.core.parse_options, "match[]")?;
    match call.params.get("type").map(str::to_lowercase).as_deref() {
        None | Some("alert" | "record") => {}
        Some(other) => return Err(ApiError::parameter("type", format!("not supported value {other:?}"))),
    }
    if let Some(text) = call.params.get("exclude_alerts")
        && parse_bool(text).is_none()
    {
        let reason = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(ApiError::parameter(
            "exclude_alerts",
            format!("error converting exclude_alerts: {reason}"),
        ));
    }
    let token = call.params.get("group_next_token");
    match (call.params.get("group_limit"), token) {
        (None, Some(_)) => {
            let reason = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", reason));
        }
        (Some(text), _) => match text.parse::<i64>() {
            Err(_) => {
                let reason = format!(
                    "group_limit needs to be a valid number: strconv.ParseInt: parsing {text:?}: invalid syntax"
                );
                return Err(ApiError::parameter("group_limit", reason));
            }
            Ok(..=0) => {
                return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
            }
            Ok(_) => {}
        },
        (None, None) => {}
    }
    if let Some(token) = token {
        let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(ApiError::parameter("group_next_token", reason));
    }
    success(&json!({"groups": []}))
}

async fn targets_metadata(call: Call) -> Result<Response, ApiError> {
    if call.params.get("limit").is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err(ApiError::bad_data("limit must be a number"));
    }
    if let Some(text) = call.params.get("match_target") {
        parse_selector(text, &call.core.parse_options)
            .map_err(|error| ApiError::parameter("match_target", error))?;
    }
    success(&json!([]))
}

/// Questions about one scrape pool: there is none.
async fn no_scrape_pool(call: Call) -> Result<Response, ApiError> {
    match call.params.get("scrapePool") {
        None => Err(ApiError::bad_data("no scrapePool parameter provided")),
        Some(pool) => Err(ApiError::new(ErrorType::NotFound, format!("scrape pool {pool:?} not found"))),
    }
}

/// A stream of events that has none and ends with the server.
async fn live_notifications(State(state): State<Arc<HttpState>>) -> Response {
    let Ok(subscription) = Arc::clone(&state.notification_gate).try_acquire_owned() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let stopping = state.shutdown.stopping();
    let events = futures::stream::once(async move {
        stopping.await;
        drop(subscription);
        Ok::<_, std::convert::Infallible>(Bytes::new())
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}
