//! `/api/v1/status/*`: what runs here, with which settings, and how much it holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mytsdb_storage::{BlockInfo, Cardinality};
use serde::Serialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::ApiError;
use super::response::success;
use crate::http::HttpState;

/// The version of the Prometheus API that is answered. Clients switch features on by it.
const API_VERSION: &str = "3.14.0";

const LIST_LENGTH_DEFAULT: usize = 10;
const LIST_LENGTH_MAX: usize = 10_000;

pub(super) fn router() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/status/tsdb/blocks", get(blocks))
        .route("/api/v1/features", get(features))
        .route("/version", get(version))
        .route("/api/v1/status/walreplay", get(wal_replay))
}

/// Without a `features` object: with one, Grafana takes the server for Mimir and calls its ruler.
async fn build_info(_call: Call) -> Result<Response, ApiError> {
    success(&build_json())
}

/// The same without envelope, as `/version` has it.
async fn version() -> Response {
    // Prometheus writes JSON and says that it is text.
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", build_json())).into_response()
}

fn build_json() -> Value {
    json!({
        "version": API_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "MyTSDB",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    })
}

async fn features(call: Call) -> Result<Response, ApiError> {
    let categories = call.state.config.query.features.shown();
    let shown: BTreeMap<&str, BTreeMap<&str, bool>> =
        categories.into_iter().map(|(name, features)| (name, features.into_iter().collect())).collect();
    success(&shown)
}

/// The tenant's blocks in the shape of Prometheus' `meta.json`.
async fn blocks(call: Call) -> Result<Response, ApiError> {
    call.read(|snapshot| {
        let blocks: Vec<Value> = snapshot.blocks().iter().map(block_json).collect();
        success(&json!({ "blocks": blocks }))
    })
    .await
}

fn block_json(block: &BlockInfo) -> Value {
    let ulid = ulid(block.range.start_ms.unsigned_abs(), block.id);
    json!({
        "ulid": ulid,
        "minTime": block.range.start_ms,
        "maxTime": block.range.end_ms,
        "stats": {
            "numSamples": block.sample_count,
            "numSeries": block.series_count,
            "numChunks": block.chunk_count,
            "numBytes": block.file_bytes,
        },
        "compaction": { "level": block.level, "sources": [ulid] },
        "version": 1,
    })
}

/// A number of a block as Prometheus' tools expect it: 26 digits to base 32, the first ten the time in ms.
fn ulid(time_ms: u64, id: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = u128::from(time_ms & ((1 << 48) - 1)) << 80 | u128::from(id);
    (0..26).rev().map(|digit| char::from(DIGITS[(number >> (5 * digit) & 31) as usize])).collect()
}

async fn runtime_info(call: Call) -> Result<Response, ApiError> {
    let rfc3339 = |time_ms: i64| {
        chrono::DateTime::from_timestamp_millis(time_ms)
            .map_or_else(String::new, |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    };
    let config = &call.state.config;
    let directory = std::env::current_dir().unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    success(&json!({
        "startTime": rfc3339(call.state.started_ms),
        "CWD": directory.to_string_lossy(),
        "hostname": std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "serverTime": rfc3339(call.core.now_ms()),
        "reloadConfigSuccess": true,
        "lastConfigTime": rfc3339(call.state.started_ms),
        "corruptionCount": call.core.storage.damage().len(),
        "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": config.flags.get("retention"),
    }))
}

/// All settings as YAML; there are no secrets among them.
async fn config(call: Call) -> Result<Response, ApiError> {
    let lines = call.state.config.flags.iter().map(|(name, value)| format!("{name}: {value:?}\n"));
    success(&json!({ "yaml": lines.collect::<String>() }))
}

async fn flags(call: Call) -> Result<Response, ApiError> {
    success(&call.state.config.flags)
}

/// Answers before the server is ready, too: that is what it is for.
async fn wal_replay(State(state): State<Arc<HttpState>>) -> Result<Response, ApiError> {
    let progress = &state.config.storage.replay_progress;
    let (min, max, current) =
        progress.state().map_or((0, 0, 0), |replay| (replay.first, replay.last, replay.current));
    let word = match (progress.is_done(), progress.state()) {
        (true, _) => "done",
        (false, Some(_)) => "in progress",
        (false, None) => "waiting",
    };
    success(&json!({ "min": min, "max": max, "current": current, "state": word }))
}

async fn tsdb(call: Call) -> Result<Response, ApiError> {
    let limit = match call.params.get("limit") {
        None => LIST_LENGTH_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIST_LENGTH_MAX) => limit,
            Ok(0) | Err(_) => return Err(ApiError::bad_data("limit must be a positive number")),
            Ok(_) => return Err(ApiError::bad_data(format!("limit must not exceed {LIST_LENGTH_MAX}"))),
        },
    };
    let damaged = damaged_json(&call);
    call.read(move |snapshot| {
        let mut json = tsdb_json(&snapshot.cardinality(limit)?);
        if !damaged.is_empty() {
            json["damagedFiles"] = Value::Array(damaged);
        }
        success(&json)
    })
    .await
}

/// The damaged files that may hold samples of the tenant; the WAL holds everybody's.
fn damaged_json(call: &Call) -> Vec<Value> {
    let files = call.core.storage.damage().into_iter();
    files
        .filter(|file| file.tenant.as_ref().is_none_or(|tenant| *tenant == call.tenant))
        .map(|file| {
            json!({
                "path": file.path.to_string_lossy(),
                "reason": file.reason,
                "minTime": file.range.map(|range| range.start_ms),
                "maxTime": file.range.map(|range| range.end_ms.saturating_sub(1)),
            })
        })
        .collect()
}

#[derive(Serialize)]
struct NamedCount<'a> {
    name: &'a str,
    value: u64,
}

fn tsdb_json(cardinality: &Cardinality) -> Value {
    fn list(counts: &[(String, u64)]) -> Vec<NamedCount<'_>> {
        counts.iter().map(|(name, value)| NamedCount { name, value: *value }).collect()
    }
    // An empty head has the largest minimum and the smallest maximum, as in Prometheus.
    let (min_ms, max_ms) = cardinality.span_ms.unwrap_or((i64::MAX, i64::MIN));
    json!({
        "headStats": {
            "numSeries": cardinality.series_count,
            "numLabelPairs": cardinality.label_pair_count,
            "chunkCount": cardinality.chunk_count,
            "minTime": min_ms,
            "maxTime": max_ms,
        },
        "seriesCountByMetricName": list(&cardinality.series_by_metric),
        "labelValueCountByLabelName": list(&cardinality.values_by_label),
        "memoryInBytesByLabelName": list(&cardinality.bytes_by_label),
        "seriesCountByLabelValuePair": list(&cardinality.series_by_pair),
    })
}
