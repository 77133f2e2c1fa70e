//! What the engine should know, as maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mytsdb_storage::model::{Histogram, TimeRange};

use super::query::Condition;
use super::series;

/// What a series has at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sample {
    /// The bits of a value, and its start time.
    Float(u64, i64),
    Histogram(Arc<Histogram>),
}

/// The samples of a series by time.
pub(super) type Samples = BTreeMap<i64, Sample>;

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
    pub(super) fn write(&mut self, id: u32, time_ms: i64, sample: Sample) {
        self.ever.insert(id);
        let samples = self.series.entry(id).or_default();
        // A histogram wins over a float of the same time, whichever came first.
        let is_held = matches!(sample, Sample::Float(..))
            && matches!(samples.get(&time_ms), Some(Sample::Histogram(_)));
        if !is_held {
            samples.insert(time_ms, sample);
        }
    }

    /// Forgets what is older than retention: the engine may have dropped it, or not.
    pub(super) fn forget_before(&mut self, oldest_ms: i64) {
        for samples in self.series.values_mut() {
            *samples = samples.split_off(&oldest_ms);
        }
        self.series.retain(|_, samples| !samples.is_empty());
    }

    /// Forgets the samples inside `range` of the series that match.
    pub(super) fn delete(&mut self, conditions: &[Condition], range: TimeRange) {
        for (id, samples) in &mut self.series {
            if conditions.iter().all(|condition| condition.matches(*id)) {
                samples.retain(|time_ms, _| !range.contains(*time_ms));
            }
        }
        self.series.retain(|_, samples| !samples.is_empty());
    }

    /// The series that match and have samples inside `range`, with these samples.
    pub(super) fn select(
        &self,
        conditions: &[Condition],
        range: TimeRange,
    ) -> BTreeMap<u32, Vec<(i64, Sample)>> {
        if range.is_empty() {
            return BTreeMap::new();
        }
        let inside = |samples: &Samples| -> Vec<(i64, Sample)> {
            samples
                .range(range.start_ms..range.end_ms)
                .map(|(time_ms, sample)| (*time_ms, sample.clone()))
                .collect()
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
