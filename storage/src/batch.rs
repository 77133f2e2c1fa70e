//! The write door's argument: distinct label sets plus columns.
//!
//! Input: what a protocol reader at the rim found, as borrowed columns. Output of a write: a [`WriteReport`].
//! Not here: decoding of protocols, resolving of series (see `head`).

use crate::limits::LongLabelCounts;
use crate::model::{Exemplar, Histogram, LabelSet, MetricMetadata, StartRun};

/// What the storage said about a key: valid for this key alone, and no longer than the storage likes. A hint that is out
/// of date costs a search, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesHint {
    table_id: u32,
    series_ref: u32,
}

impl SeriesHint {
    /// Nothing is known. No table has this number.
    pub const NONE: Self = Self { table_id: 0, series_ref: 0 };

    /// As a number, to be kept where only numbers can be.
    #[inline]
    pub fn to_bits(self) -> u64 {
        u64::from(self.table_id) << 32 | u64::from(self.series_ref)
    }

    /// What [`SeriesHint::to_bits`] gave.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self { table_id: (bits >> 32) as u32, series_ref: bits as u32 }
    }

    /// Whether it is as good as `other`: both are of the same table.
    #[inline]
    pub fn is_of_table_of(self, other: Self) -> bool {
        self.table_id == other.table_id
    }

    /// The reference, if it is one of this table.
    #[inline]
    pub(crate) fn series_ref(self, table_id: u32) -> Option<u32> {
        (self.table_id == table_id).then_some(self.series_ref)
    }
}

/// Which series a batch was written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedSeries {
    table_id: u32,
    series_refs: Vec<u32>,
}

impl ResolvedSeries {
    /// In the place of a reference: the series was refused.
    pub(crate) const REJECTED: u32 = u32::MAX;

    pub(crate) fn new(table_id: u32, series_refs: Vec<u32>) -> Self {
        Self { table_id, series_refs }
    }

    /// What may be said the next time about the key at `series_index` of the batch.
    #[inline]
    pub fn hint(&self, series_index: usize) -> SeriesHint {
        let found = self.series_refs.get(series_index).filter(|found| **found != Self::REJECTED);
        found.map_or(SeriesHint::NONE, |found| SeriesHint { table_id: self.table_id, series_ref: *found })
    }
}

/// Gives the labels of a batch's series when the head meets a key for the first time.
///
/// Why: on the hot path labels are never parsed; the key alone finds the series.
pub trait LabelSource: Sync {
    /// What earlier reports said about the keys of the batch: one hint per series, or none at all.
    fn hints(&self) -> &[SeriesHint] {
        &[]
    }

    /// Returns the labels of the series at `series_index` of the batch.
    ///
    /// # Errors
    /// The reason why the series must be refused, in words for the sender.
    fn labels(&self, series_index: usize) -> Result<LabelSet, String>;
}

impl LabelSource for [LabelSet] {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        self.get(series_index).cloned().ok_or_else(|| format!("no label set at index {series_index}"))
    }
}

impl LabelSource for Vec<LabelSet> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        self.as_slice().labels(series_index)
    }
}

/// A histogram of one series of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSample {
    /// Index of the series in the batch.
    pub series_index: usize,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The histogram; it is checked by the write.
    pub histogram: Histogram,
}

/// An exemplar of one series of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExemplarSample {
    /// Index of the series in the batch.
    pub series_index: usize,
    /// The exemplar.
    pub exemplar: Exemplar,
}

/// One write: series by key, samples as columns, grouped by series.
///
/// # Shape
/// `keys`, `sample_ends`: `[series_count]`. Series `i` owns the samples `sample_ends[i-1]..sample_ends[i]` of
/// `timestamps_ms` and `values` (both `[sample_count]`). A key may occur more than once.
///
/// # Units
/// `timestamps_ms`: milliseconds since the Unix epoch, in any order.
#[derive(Clone, Copy)]
pub struct WriteBatch<'a> {
    /// Per series: a key of [`crate::Storage::series_key`] over any bytes that determine the labels.
    pub keys: &'a [u128],
    /// Per series: end of its samples.
    pub sample_ends: &'a [usize],
    /// Sample times.
    pub timestamps_ms: &'a [i64],
    /// Sample values, bit-exact.
    pub values: &'a [f64],
    /// When counting began, by ascending position in the columns above; samples before the first run have no start
    /// time. Kept as given, also if it is not before the sample. Histograms carry their own.
    ///
    /// A sample is its value and its start time: of several at one time the last one wins with both, even if it has no
    /// start time. A repeat changes nothing only if both are the same.
    pub starts: &'a [StartRun],
    /// Samples that are histograms, in any order; a series may have both kinds.
    pub histograms: &'a [HistogramSample],
    /// Exemplars, in any order.
    pub exemplars: &'a [ExemplarSample],
    /// Asked for the labels of keys that are new.
    pub labels: &'a dyn LabelSource,
    /// Facts about metrics that came along.
    pub metadata: &'a [MetricMetadata],
}

impl std::fmt::Debug for WriteBatch<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WriteBatch")
            .field("series_count", &self.keys.len())
            .field("sample_count", &self.values.len())
            .field("histogram_count", &self.histograms.len())
            .field("exemplar_count", &self.exemplars.len())
            .finish_non_exhaustive()
    }
}

/// Why samples were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The labels make no series.
    #[error("invalid labels: {0}")]
    InvalidLabels(String),
    /// A series has too many labels.
    #[error("series {metric} has {given} labels, the limit is {limit}")]
    TooManyLabels {
        /// The metric's name, shortened.
        metric: String,
        /// How many labels.
        given: usize,
        /// Most labels.
        limit: usize,
    },
    /// The name of a label is too long.
    #[error("label name {name} has {given_bytes} bytes, the limit is {limit_bytes}")]
    LabelNameTooLong {
        /// The name, shortened.
        name: String,
        /// Its length.
        given_bytes: usize,
        /// Longest length.
        limit_bytes: usize,
    },
    /// The value of a label is too long.
    #[error("value of label {name} has {given_bytes} bytes, the limit is {limit_bytes}")]
    LabelValueTooLong {
        /// The label's name.
        name: String,
        /// Length of its value.
        given_bytes: usize,
        /// Longest length.
        limit_bytes: usize,
    },
    /// The sample is older than retention allows.
    #[error("sample at {given_ms} ms is older than the retention limit {limit_ms} ms")]
    TooOld {
        /// The sample's time.
        given_ms: i64,
        /// The oldest time accepted.
        limit_ms: i64,
    },
    /// The sample is too far ahead of the clock.
    #[error("sample at {given_ms} ms is ahead of the clock by more than allowed, the limit is {limit_ms} ms")]
    TooFarAhead {
        /// The sample's time.
        given_ms: i64,
        /// The newest time accepted.
        limit_ms: i64,
    },
    /// The histogram is none.
    #[error("invalid histogram: {0}")]
    InvalidHistogram(String),
    /// The exemplar is none.
    #[error("invalid exemplar: {0}")]
    InvalidExemplar(String),
    /// The tenant has as many series as it may.
    #[error("series limit reached: {given} active series, the limit is {limit}")]
    SeriesLimit {
        /// Active series before this one.
        given: usize,
        /// Most active series.
        limit: usize,
    },
}

impl RejectReason {
    /// A short fixed word for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::InvalidLabels(_) => "invalid_labels",
            Self::TooManyLabels { .. } => "too_many_labels",
            Self::LabelNameTooLong { .. } => "label_name_too_long",
            Self::LabelValueTooLong { .. } => "label_value_too_long",
            Self::TooOld { .. } => "too_old",
            Self::TooFarAhead { .. } => "too_far_ahead",
            Self::InvalidHistogram(_) => "invalid_histogram",
            Self::InvalidExemplar(_) => "invalid_exemplar",
            Self::SeriesLimit { .. } => "series_limit",
        }
    }
}

/// Samples of one series of the batch that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Index of the series in the batch.
    pub series_index: usize,
    /// How many of its samples, histograms included.
    pub sample_count: usize,
    /// Why (for several samples: the first one's evidence).
    pub reason: RejectReason,
}

/// What became of a batch: rejected samples are data, not an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Samples accepted (identical repeats and histograms included).
    pub accepted_sample_count: usize,
    /// Of these, histograms.
    pub accepted_histogram_count: usize,
    /// Exemplars accepted (repeats and those that are thinned out later included).
    pub accepted_exemplar_count: usize,
    /// Which series the samples went to.
    pub series: ResolvedSeries,
    /// Samples refused, by series.
    pub rejections: Vec<Rejection>,
    /// Facts about metrics for which there is no room.
    pub refused_metadata_count: usize,
    /// Labels of new series that were too long and so cut or left out, as the tenant's limits say.
    pub long_labels: LongLabelCounts,
    /// Exemplars refused: `sample_count` counts exemplars.
    pub exemplar_rejections: Vec<Rejection>,
}

impl WriteReport {
    /// How many samples were refused.
    pub fn rejected_sample_count(&self) -> usize {
        self.rejections.iter().map(|rejection| rejection.sample_count).sum()
    }
}
