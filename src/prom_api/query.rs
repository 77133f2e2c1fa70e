//! `/api/v1/query`: a query at one time.

use axum::response::Response;

use super::call::Call;
use super::error::ApiError;
use super::evaluate::{Question, Times, evaluate};

pub(super) async fn query(call: Call) -> Result<Response, ApiError> {
    let limit = call.params.limit()?;
    let time_ms = call.params.time_ms("time")?.unwrap_or_else(|| call.core.now_ms());
    let question = Question::of(&call, Times::Instant { time_ms }, limit)?;
    evaluate(&call, question).await
}
