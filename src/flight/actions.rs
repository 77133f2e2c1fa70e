//! `DoAction`: small things to ask of the server. Answers are JSON, but for the actions of Flight SQL.
//!
//! `flush` works on all tenants' data as `POST /api/v1/admin/tsdb/flush` does, and is switched on with it.

use arrow_flight::{Action, ActionType};
use bytes::Bytes;
use mytsdb_storage::model::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::scan::read_status;
use super::sql;
use crate::core::Core;
use crate::queries::ActiveQuery;

/// Name and meaning of every action.
const ACTIONS: [(&str, &str); 5] = [
    ("healthcheck", "Answers {\"status\":\"ok\"} while the server runs."),
    ("flush", "Writes the samples in memory to a block now; needs --enable-admin-api."),
    ("stats", "Answers how much the tenant has in memory and in blocks."),
    ("queries", "Answers which queries and exports of the tenant wait and run, with their ids."),
    ("cancel", "Stops a query or an export of the tenant. Body: {\"id\":\"…\"} as listed by queries."),
];

/// The actions of Flight SQL.
const SQL_ACTIONS: [&str; 2] = ["CreatePreparedStatement", "ClosePreparedStatement"];

/// All actions.
pub(super) fn list() -> Vec<ActionType> {
    let own = ACTIONS
        .iter()
        .map(|(name, meaning)| ActionType { r#type: (*name).to_owned(), description: (*meaning).to_owned() });
    own.chain(SQL_ACTIONS.into_iter().filter_map(sql::is_action)).collect()
}

/// Runs one action; may block.
pub(super) fn run(core: &Core, tenant: &TenantId, action: &Action, is_admin: bool) -> Result<Bytes, Status> {
    let answer = match action.r#type.as_str() {
        "healthcheck" => json!({ "status": "ok" }),
        "flush" => flush(core, is_admin)?,
        "stats" => stats(core, tenant)?,
        "queries" => {
            let queries = core.queries.active().of(tenant);
            json!({ "queries": queries.iter().map(described).collect::<Vec<Value>>() })
        }
        "cancel" => cancel(core, tenant, &action.body)?,
        "CreatePreparedStatement" => return sql::create(&action.body, tenant),
        "ClosePreparedStatement" => return Ok(sql::close()),
        unknown => {
            let allowed: Vec<String> = list().into_iter().map(|action| action.r#type).collect();
            let allowed = allowed.join(", ");
            return Err(Status::unimplemented(format!(
                "action {unknown:?} is unknown; allowed are {allowed}"
            )));
        }
    };
    Ok(answer.to_string().into())
}

fn flush(core: &Core, is_admin: bool) -> Result<Value, Status> {
    if !is_admin {
        return Err(Status::permission_denied("admin APIs disabled: flush needs --enable-admin-api"));
    }
    core.storage.flush(core.now_ms()).map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(json!({ "status": "ok" }))
}

fn stats(core: &Core, tenant: &TenantId) -> Result<Value, Status> {
    let reader = core.storage.reader(tenant);
    let counts = reader.cardinality(0).map_err(|error| read_status(&error))?;
    let blocks = reader.blocks();
    Ok(json!({
        "series_count": counts.series_count,
        "label_pair_count": counts.label_pair_count,
        "chunk_count": counts.chunk_count,
        "span_ms": counts.span_ms,
        "block_count": blocks.len(),
        "block_sample_count": blocks.iter().map(|block| block.sample_count).sum::<u64>(),
        "block_bytes": blocks.iter().map(|block| block.file_bytes).sum::<u64>(),
    }))
}

fn described(query: &ActiveQuery) -> Value {
    json!({
        "id": format!("{:016x}", query.id),
        "query": query.description.query,
        "path": query.description.path,
        "state": if query.is_running { "running" } else { "waiting" },
        "elapsed_secs": query.elapsed.as_secs_f64(),
    })
}

fn cancel(core: &Core, tenant: &TenantId, body: &[u8]) -> Result<Value, Status> {
    #[derive(Deserialize)]
    struct Body {
        id: String,
    }
    let Body { id } = serde_json::from_slice(body).map_err(|error| {
        Status::invalid_argument(format!(
            "cannot read the body of cancel: {error}; allowed is {{\"id\":\"…\"}}"
        ))
    })?;
    let number = u64::from_str_radix(&id, 16).ok();
    if number.is_some_and(|number| core.queries.active().stop(tenant, number)) {
        return Ok(json!({ "status": "ok" }));
    }
    Err(Status::not_found(format!(
        "no active query has the id {id:?}; the action queries lists those that there are"
    )))
}
