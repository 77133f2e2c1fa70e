//! `GET /api/v1/gpus[?hostname=]`: the GPUs that the storage has series of.

use std::collections::BTreeMap;

use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{TimeRange, is_stale};
use mytsdb_storage::read::SampleColumns;
use serde::Serialize;

use super::call::Call;
use super::error::GatewayError;
use super::gpu::{Gpu, select_all, whole};
use super::reply::Json;
use crate::queries::Place;

/// Labels lie in memory as a set, and again as an entry of the list.
const LABELS_FACTOR: usize = 2;

/// A GPU and whether it reports.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    gpu: Gpu,
    /// `active`: it has a sample within the last `--lookback-delta`; else `inactive`.
    status: &'static str,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct List {
    success: bool,
    count: usize,
    data: Vec<Listed>,
}

pub(super) async fn gpus(call: Call) -> Result<Json<List>, GatewayError> {
    let hostname = call.get("hostname").map(str::to_owned);
    let now_ms = call.core.now_ms();
    let lookback_ms = call.core.engine.options().lookback_ms;
    // Samples may be ahead of the clock by as much as the limits allow.
    let recent = TimeRange::new(now_ms - lookback_ms, whole().end_ms);
    let work = move |snapshot: &Snapshot, place: &Place| list(snapshot, place, hostname.as_deref(), recent);
    let data = call.read("/api/v1/gpus", (recent.start_ms, now_ms), work).await?;
    Ok(Json(List { success: true, count: data.len(), data }))
}

fn list(
    snapshot: &Snapshot,
    place: &Place,
    hostname: Option<&str>,
    recent: TimeRange,
) -> Result<Vec<Listed>, GatewayError> {
    let set = select_all(snapshot, whole())?;
    let label_bytes: usize = (0..set.len()).map(|index| set.labels(index).encoded().len()).sum();
    let _memory = place.budget().reserve(label_bytes.saturating_mul(LABELS_FACTOR), String::new)?;
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    let mut columns = SampleColumns::default();
    for index in 0..set.len() {
        let Some(gpu) = Gpu::of(set.labels(index)) else { continue };
        if found.get(&gpu.uuid).is_some_and(|known| known.status == "active") {
            continue;
        }
        place.check_cancelled()?;
        set.read_presence(index, recent, &mut columns)?;
        let is_active = columns.values.last().is_some_and(|value| !is_stale(*value));
        // Who reports now describes the GPU best: it may have moved to another host.
        if is_active || !found.contains_key(&gpu.uuid) {
            let status = if is_active { "active" } else { "inactive" };
            found.insert(gpu.uuid.clone(), Listed { gpu, status });
        }
    }
    let mut data: Vec<Listed> = found.into_values().collect();
    data.retain(|listed| hostname.is_none_or(|hostname| listed.gpu.hostname == hostname));
    let key = |gpu: &Gpu| (gpu.hostname.clone(), gpu.gpu.parse().unwrap_or(u32::MAX), gpu.uuid.clone());
    data.sort_by_cached_key(|listed| key(&listed.gpu));
    Ok(data)
}
