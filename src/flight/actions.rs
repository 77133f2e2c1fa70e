//! `DoAction`: small things to ask of the server. Answers are JSON.

use arrow_flight::ActionType;
use mytsdb_storage::model::TenantId;
use serde_json::json;
use tonic::Status;

use crate::core::Core;

/// Name and meaning of every action.
const ACTIONS: [(&str, &str); 3] = [
    ("healthcheck", "Answers {\"status\":\"ok\"} while the server runs."),
    ("flush", "Writes the samples in memory to a block now."),
    ("stats", "Answers how much the tenant has in memory."),
];

/// All actions.
pub(super) fn list() -> Vec<ActionType> {
    ACTIONS
        .iter()
        .map(|(name, meaning)| ActionType { r#type: (*name).to_owned(), description: (*meaning).to_owned() })
        .collect()
}

/// Runs one action; may block.
pub(super) fn run(core: &Core, tenant: &TenantId, action: &str) -> Result<serde_json::Value, Status> {
    match action {
        "healthcheck" => Ok(json!({ "status": "ok" })),
        "flush" => {
            core.storage.flush(core.now_ms()).map_err(|error| Status::unavailable(error.to_string()))?;
            Ok(json!({ "status": "ok" }))
        }
        "stats" => {
            let counts = core
                .storage
                .reader(tenant)
                .cardinality(0)
                .map_err(|error| Status::data_loss(error.to_string()))?;
            Ok(json!({
                "series_count": counts.series_count,
                "label_pair_count": counts.label_pair_count,
                "chunk_count": counts.chunk_count,
                "span_ms": counts.span_ms,
            }))
        }
        _ => {
            let allowed: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
            let allowed = allowed.join(", ");
            Err(Status::unimplemented(format!("action {action:?} is unknown; allowed are {allowed}")))
        }
    }
}
