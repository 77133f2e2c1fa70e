//! `/api/v1/format_query`: the query on lines of a hundred columns, as Prometheus writes it.

use axum::response::Response;
use mytsdb_promql::parse;

use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::response::success;

/// Longest text that is written: indentation grows with the square of the depth.
const FORMATTED_BYTES_MAX: usize = 16 << 20;

pub(super) async fn format_query(call: Call) -> Result<Response, ApiError> {
    let query = call.params.get("query").unwrap_or_default().to_owned();
    let options = call.core.parse_options.clone();
    let work = move || {
        let expr = parse(&query, &options).map_err(|error| ApiError::parse(&error))?;
        expr.pretty(FORMATTED_BYTES_MAX)
            .map_err(|error| ApiError::new(ErrorType::Execution, error.to_string()))
    };
    let text: Result<String, ApiError> = call.core.blocking.run(work).await?;
    success(&text?)
}
