//! `/api/v1/format_query`: the query as the printer writes it.

use axum::response::Response;
use mytsdb_promql::parse;

use super::call::Call;
use super::error::ApiError;
use super::response::success;

pub(super) async fn format_query(call: Call) -> Result<Response, ApiError> {
    let query = call.params.get("query").unwrap_or_default().to_owned();
    let options = call.core.parse_options.clone();
    let text = call
        .core
        .blocking
        .run(move || parse(&query, &options).map(|expr| expr.to_string()))
        .await?
        .map_err(|error| ApiError::parse(&error))?;
    success(&text)
}
