//! The Prometheus HTTP API: one endpoint per file, and what they share.
//!
//! Input: parameters of the URL and of form bodies. Output: JSON in Prometheus' envelope, written from columns.
//! Not here: PromQL (see `mytsdb_promql`), sockets and CORS (see `http`), writing (see `remote`).
//!
//! Source: Prometheus 3.14 `web/api/v1/api.go`, `docs/querying/api.md`.

mod active_queries;
pub mod admin;
mod call;
mod error;
mod evaluate;
mod exemplars;
mod federate;
mod format_query;
mod labels;
mod metadata;
pub mod number;
mod openapi;
pub(crate) mod params;
mod parse_query;
mod query;
mod query_range;
mod rejected_points;
mod response;
pub mod result_json;
mod rules;
mod selectors;
mod series;
mod stats;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;

use crate::http::HttpState;

/// Largest form body, as in Go's `ParseForm`.
const FORM_BYTES_MAX: usize = 10 << 20;

/// All endpoints that read.
pub fn router() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/v1/query", get(query::query).post(query::query))
        .route("/api/v1/query_range", get(query_range::query_range).post(query_range::query_range))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(format_query::format_query).post(format_query::format_query))
        .route("/api/v1/parse_query", get(parse_query::parse_query).post(parse_query::parse_query))
        .route("/api/v1/series", get(series::series).post(series::series).delete(series::drop_series))
        .route("/api/v1/labels", get(labels::labels).post(labels::labels))
        .route("/api/v1/label/{name}/values", get(labels::label_values))
        .route("/api/v1/metadata", get(metadata::metadata))
        .merge(federate::router())
        .merge(openapi::router())
        .merge(rejected_points::router())
        .merge(rules::router())
        .merge(status::router())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}
