//! `/api/v1/series`: the label sets of the series that selectors find.

use std::collections::BTreeSet;

use axum::response::Response;
use mytsdb_storage::model::LabelSet;

use super::call::Call;
use super::error::ApiError;
use super::response::{LabelsJson, limited_list};
use super::selectors::parse_selectors;

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
    call.read(move |snapshot| {
        let mut found: BTreeSet<LabelSet> = BTreeSet::new();
        for matchers in &sets {
            let set = snapshot.select(matchers, range)?;
            found.extend((0..set.len().min(enough)).map(|index| set.labels(index).clone()));
        }
        let list: Vec<LabelsJson> = found.into_iter().map(LabelsJson).collect();
        // Written here, off the async threads: the list may be long.
        limited_list(&list, limit)
    })
    .await
}
