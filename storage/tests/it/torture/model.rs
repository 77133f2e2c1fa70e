//! What the engine should know, as maps.

use std::collections::{BTreeMap, BTreeSet};

use mytsdb_storage::model::TimeRange;

use super::query::Condition;
use super::series;

/// The samples of a series: value bits by time.
pub(super) type Samples = BTreeMap<i64, u64>;

/// Everything one tenant wrote.
#[derive(Debug, Default)]
pub(super) struct TenantModel {
    /// Live samples by series.
    pub(super) series: BTreeMap<u32, Samples>,
    /// Every series that ever was: labels may be known for longer than samples.
    pub(super) ever: BTreeSet<u32>,
    /// Help text by metric.
    pub(super) metadata: BTreeMap<String, String>,
}

impl TenantModel {
    pub(super) fn write(&mut self, id: u32, time_ms: i64, value: f64) {
        self.ever.insert(id);
        self.series.entry(id).or_default().insert(time_ms, value.to_bits());
    }

    /// Forgets what is older than retention: the engine may have dropped it, or not.
    pub(super) fn forget_before(&mut self, oldest_ms: i64) {
        for samples in self.series.values_mut() {
            *samples = samples.split_off(&oldest_ms);
        }
        self.series.retain(|_, samples| !samples.is_empty());
    }

    /// The series that match and have samples inside `range`, with these samples.
    pub(super) fn select(
        &self,
        conditions: &[Condition],
        range: TimeRange,
    ) -> BTreeMap<u32, Vec<(i64, u64)>> {
        if range.is_empty() {
            return BTreeMap::new();
        }
        let inside = |samples: &Samples| -> Vec<(i64, u64)> {
            samples.range(range.start_ms..range.end_ms).map(|(time_ms, bits)| (*time_ms, *bits)).collect()
        };
        self.series
            .iter()
            .filter(|(id, _)| conditions.iter().all(|condition| condition.matches(**id)))
            .map(|(id, samples)| (*id, inside(samples)))
            .filter(|(_, samples)| !samples.is_empty())
            .collect()
    }

    /// Distinct label names and, for one name, values of some series.
    pub(super) fn label_names(ids: impl Iterator<Item = u32>) -> BTreeSet<String> {
        ids.flat_map(series::pairs).map(|(name, _)| name.to_owned()).collect()
    }

    pub(super) fn label_values(ids: impl Iterator<Item = u32>, name: &str) -> BTreeSet<String> {
        ids.map(|id| series::label(id, name)).filter(|value| !value.is_empty()).collect()
    }

    pub(super) fn sample_count(&self) -> usize {
        self.series.values().map(Samples::len).sum()
    }
}
