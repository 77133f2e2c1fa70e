//! `/api/v1/query_range`: a query at every step of a range.

use axum::response::Response;

use super::call::Call;
use super::error::ApiError;
use super::evaluate::{Question, Times, evaluate};

/// Most steps of a result.
const STEP_COUNT_MAX: i64 = 11_000;

pub(super) async fn query_range(call: Call) -> Result<Response, ApiError> {
    let limit = call.params.limit()?;
    let start_ms = call.params.required_time_ms("start")?;
    let end_ms = call.params.required_time_ms("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = call
        .params
        .duration_ms("step")?
        .ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end_ms - start_ms) / step_ms > STEP_COUNT_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let question = Question::of(&call, Times::Range { start_ms, end_ms, step_ms }, limit)?;
    evaluate(&call, question).await
}
