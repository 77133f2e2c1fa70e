//! `/api/v1/metadata`: kind, help and unit of metrics.

use std::collections::BTreeMap;

use axum::response::Response;
use mytsdb_storage::model::MetricMetadata;
use serde::Serialize;

use super::call::Call;
use super::error::ApiError;
use super::response::success;

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

pub(super) async fn metadata(call: Call) -> Result<Response, ApiError> {
    let metric = call.params.get("metric").map(str::to_owned);
    let limit = limit(&call, "limit")?;
    let limit_per_metric = limit_of_entries(&call)?;
    call.read(move |snapshot| {
        let mut by_metric: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for MetricMetadata { metric: name, kind, unit, help } in snapshot.metadata() {
            if metric.as_ref().is_some_and(|metric| *metric != name) {
                continue;
            }
            if !by_metric.contains_key(&name) && by_metric.len() >= limit {
                continue;
            }
            let entries = by_metric.entry(name).or_default();
            if entries.len() < limit_per_metric {
                entries.push(Entry { kind: kind.as_str(), help, unit });
            }
        }
        success(&by_metric)
    })
    .await
}

/// A limit; absent and negative mean none, 0 means nothing, as in Prometheus.
fn limit(call: &Call, name: &str) -> Result<usize, ApiError> {
    let Some(text) = call.params.get(name) else { return Ok(usize::MAX) };
    let limit: i64 = text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// As [`limit`], but 0 means none.
fn limit_of_entries(call: &Call) -> Result<usize, ApiError> {
    limit(call, "limit_per_metric").map(|limit| if limit == 0 { usize::MAX } else { limit })
}
