//! From labels to GPUs: which series belong to one, and who it is.
//!
//! dcgm-exporter's labels have had several spellings; all are understood. What has no UUID is no GPU here.
//!
//! Source: NVIDIA dcgm-exporter, `internal/pkg/rendermetrics`; `Hostname` became `hostname` in 2026.

use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{LabelSet, MatchOp, Matcher, TimeRange};
use mytsdb_storage::read::SeriesSet;
use serde::Serialize;

use super::error::GatewayError;

/// The names that dcgm-exporter gives to metrics.
const METRIC_NAMES: &str = "DCGM_FI_.+";
const UUID: [&str; 3] = ["UUID", "uuid", "gpu_uuid"];
const HOST: [&str; 3] = ["Hostname", "hostname", "node"];
const MODEL: [&str; 3] = ["modelName", "model_name", "model"];

/// One GPU, as its labels describe it. What they do not say is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Gpu {
    /// What `/api/v1/gpus/{id}/telemetry` takes: the UUID.
    pub(super) id: String,
    pub(super) uuid: String,
    pub(super) hostname: String,
    /// The model, such as `NVIDIA H100 80GB HBM3`.
    pub(super) name: String,
    /// The device on its host, such as `nvidia0`.
    pub(super) device: String,
    /// The number on its host.
    pub(super) gpu: String,
}

impl Gpu {
    /// The GPU that a series belongs to.
    pub(super) fn of(labels: &LabelSet) -> Option<Self> {
        let uuid = first(labels, UUID)?;
        let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
        let gpu = text(labels.get("gpu"));
        let device = match labels.get("device") {
            Some(device) => device.to_owned(),
            None if gpu.is_empty() => String::new(),
            None => format!("nvidia{gpu}"),
        };
        Some(Self {
            id: uuid.to_owned(),
            uuid: uuid.to_owned(),
            hostname: text(first(labels, HOST).or_else(|| host_of_instance(labels))),
            name: text(first(labels, MODEL)),
            device,
            gpu,
        })
    }

    /// Whether `id` means this GPU: its UUID, or its host and device (or number).
    fn is_meant_by(&self, id: &str) -> bool {
        if self.uuid == id {
            return true;
        }
        let Some((host, device)) = id.rsplit_once(':') else { return false };
        self.hostname == host && !device.is_empty() && (self.device == device || self.gpu == device)
    }
}

fn first<'a>(labels: &'a LabelSet, names: [&str; 3]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(name)).filter(|text| !text.is_empty())
}

/// The host of `instance`, which is `host:port`.
fn host_of_instance(labels: &LabelSet) -> Option<&str> {
    let instance = labels.get("instance")?;
    Some(instance.rsplit_once(':').map_or(instance, |(host, _)| host))
}

/// Finds all series of GPUs that may have samples inside `range`.
///
/// # Errors
/// [`GatewayError::Read`] if an index is damaged.
pub(super) fn select_all(snapshot: &Snapshot, range: TimeRange) -> Result<SeriesSet, GatewayError> {
    let names = Matcher::new(MatchOp::Regex, "__name__", METRIC_NAMES)?;
    Ok(snapshot.select(&[names], range)?)
}

/// Finds the GPU that `id` means, and its series that may have samples inside `range`: a set per spelling of the UUID.
///
/// # Errors
/// [`GatewayError::UnknownGpu`] if there is none; [`GatewayError::Read`] if an index is damaged.
pub(super) fn find(
    snapshot: &Snapshot,
    id: &str,
    range: TimeRange,
) -> Result<(Gpu, [SeriesSet; 3]), GatewayError> {
    let of_uuid = |uuid: &str, range: TimeRange| -> Result<[SeriesSet; 3], GatewayError> {
        let [upper, lower, long] = UUID.map(|spelling| select_label(snapshot, spelling, uuid, range));
        Ok([upper?, lower?, long?])
    };
    // First the way that needs a look-up per spelling; a host and a device need a look at all.
    let mut meant = of_uuid(id, whole())?.iter().find_map(|set| meant_by(set, id));
    if meant.is_none() && id.contains(':') {
        meant = meant_by(&select_all(snapshot, whole())?, id);
    }
    let gpu = meant.ok_or_else(|| GatewayError::UnknownGpu { id: id.to_owned() })?;
    let sets = of_uuid(&gpu.uuid, range)?;
    Ok((gpu, sets))
}

fn select_label(
    snapshot: &Snapshot,
    name: &str,
    value: &str,
    range: TimeRange,
) -> Result<SeriesSet, GatewayError> {
    let names = Matcher::new(MatchOp::Regex, "__name__", METRIC_NAMES)?;
    Ok(snapshot.select(&[names, Matcher::equal(name, value)], range)?)
}

fn meant_by(set: &SeriesSet, id: &str) -> Option<Gpu> {
    (0..set.len()).filter_map(|index| Gpu::of(set.labels(index))).find(|gpu| gpu.is_meant_by(id))
}

/// All times.
pub(super) fn whole() -> TimeRange {
    TimeRange::new(i64::MIN / 4, i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(pairs: &[(&str, &str)]) -> Option<Gpu> {
        Gpu::of(&LabelSet::from_pairs(pairs.iter().copied()).unwrap())
    }

    #[test]
    fn all_spellings_of_dcgm_exporter_are_understood() {
        let old = gpu(&[
            ("Hostname", "h1"),
            ("UUID", "GPU-1"),
            ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
            ("device", "nvidia3"),
            ("gpu", "3"),
            ("modelName", "H100"),
        ]);
        let new = gpu(&[
            ("UUID", "GPU-1"),
            ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
            ("gpu", "3"),
            ("hostname", "h1"),
            ("modelName", "H100"),
        ]);
        let link =
            gpu(&[("gpu", "3"), ("gpu_uuid", "GPU-1"), ("instance", "h1:9400"), ("model_name", "H100")]);
        assert_eq!(old.as_ref().map(|gpu| gpu.device.as_str()), Some("nvidia3"));
        assert_eq!(old, new);
        assert_eq!(new, link);
        assert_eq!(gpu(&[("__name__", "DCGM_FI_DEV_GPU_UTIL"), ("gpu", "0")]), None);
    }

    #[test]
    fn a_gpu_is_meant_by_its_uuid_or_by_host_and_device() {
        let gpu = gpu(&[("Hostname", "h1"), ("UUID", "GPU-1"), ("device", "nvidia3"), ("gpu", "3")]).unwrap();
        for id in ["GPU-1", "h1:nvidia3", "h1:3"] {
            assert!(gpu.is_meant_by(id), "{id}");
        }
        for id in ["GPU-2", "h1", "h1:", "h2:nvidia3", ":nvidia3", ""] {
            assert!(!gpu.is_meant_by(id), "{id}");
        }
    }
}
