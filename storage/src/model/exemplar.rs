//! The exemplar: one observation with the labels (a trace, above all) that lead from a series to its cause.

use super::LabelSet;

/// Most characters in the names and values of an exemplar's labels together.
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 1_024;

/// One observation that stands for others of its series.
#[derive(Debug, Clone)]
pub struct Exemplar {
    /// Labels of the observation, such as `trace_id`; they are not the labels of the series.
    pub labels: LabelSet,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
}

/// Equal if all bits are.
impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.time_ms == other.time_ms
            && self.value.to_bits() == other.value.to_bits()
            && self.labels == other.labels
    }
}

impl Eq for Exemplar {}

impl Exemplar {
    /// Order of exemplars of one series: by time, then by what makes them different.
    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let bits = |exemplar: &Self| exemplar.value.to_bits();
        self.time_ms
            .cmp(&other.time_ms)
            .then_with(|| self.labels.cmp(&other.labels))
            .then_with(|| bits(self).cmp(&bits(other)))
    }

    /// Sorts the exemplars of one series from several sources; what several have stays once.
    pub(crate) fn merge(exemplars: &mut Vec<Self>) {
        exemplars.sort_by(Self::order);
        exemplars.dedup();
    }

    /// Bytes of memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.labels.encoded().len() + 2 * size_of::<usize>()
    }
}
