//! `/api/v1/query_exemplars`: always an empty list, as exemplars are not stored yet.

use axum::response::Response;
use mytsdb_promql::parse;

use super::call::Call;
use super::error::ApiError;
use super::response::success;

pub(super) async fn exemplars(call: Call) -> Result<Response, ApiError> {
    let range = call.params.time_range()?;
    if range.is_empty() {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = call.params.get("query").unwrap_or_default().to_owned();
    let options = call.core.parse_options.clone();
    call.core
        .blocking
        .run(move || parse(&query, &options).map(drop))
        .await?
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    success::<[(); 0]>(&[])
}
