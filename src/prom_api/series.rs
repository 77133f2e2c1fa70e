//! `/api/v1/series`: the label sets of the series that selectors find.

use std::collections::BTreeSet;

use axum::response::Response;
use mytsdb_storage::model::{LabelSet, Matcher};

use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::response::{LabelsJson, limited_list};
use super::selectors::parse_selectors;

/// Labels lie in memory as a set, and twice as JSON while it is written.
const LABELS_FACTOR: usize = 4;

fn describe(matchers: &[Matcher]) -> String {
    let parts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", parts.join(","))
}

/// Prometheus routes it and has never done it; `delete_series` of the admin API is the way.
pub(super) async fn drop_series(_call: Call) -> ApiError {
    ApiError::new(ErrorType::Internal, "not implemented")
}

pub(super) async fn series(call: Call) -> Result<Response, ApiError> {
    let selectors = call.params.all("match[]");
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = call.params.limit()?;
    let range = call.params.time_range()?;
    let sets = parse_selectors(&selectors, &call.core.parse_options, "match[]")?;
    // One more than the limit, to know whether there is more.
    let enough = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
    let budget = call.core.queries.budget_of(&call.tenant);
    call.read(move |snapshot| {
        let mut found: BTreeSet<LabelSet> = BTreeSet::new();
        let mut memory = Vec::new();
        for matchers in &sets {
            let set = snapshot.select(matchers, range)?;
            let kept = set.len().min(enough);
            let bytes: usize = (0..kept).map(|index| set.labels(index).encoded().len()).sum();
            memory.push(budget.reserve(bytes.saturating_mul(LABELS_FACTOR), || describe(matchers))?);
            found.extend((0..kept).map(|index| set.labels(index).clone()));
        }
        let list: Vec<LabelsJson> = found.into_iter().map(LabelsJson).collect();
        // Written here, off the async threads: the list may be long.
        limited_list(&list, limit)
    })
    .await
}
