//! What becomes of a record batch: the columns of a `WriteBatch`, and what had to be left out, by row.
//!
//! Filled by the decoders, written by [`super::put`]. Invariant: `keys`, `sample_ends`, `rows` have one item per series
//! (a series may occur more than once); those of histograms and exemplars may have no samples.

use arrow::buffer::ScalarBuffer;
use mytsdb_storage::model::{MetricMetadata, StartTimes};
use mytsdb_storage::{ExemplarSample, HistogramSample, RejectReason, Rejection, WriteBatch, WriteReport};
use serde::Serialize;

use super::labels::{LabelColumns, RowLabels};

/// Most refused rows that an acknowledgement names; all are counted.
const REFUSED_ROW_COUNT_MAX: usize = 20;

/// The columns of one batch.
#[derive(Debug)]
pub(super) struct BatchColumns {
    /// Per series: its key.
    pub(super) keys: Vec<u128>,
    /// Per series: end of its samples.
    pub(super) sample_ends: Vec<usize>,
    /// Per series: a row that has its labels.
    pub(super) rows: Vec<u32>,
    /// Per series: its metric among those of `labels`; empty = the first one for all.
    pub(super) metric_ids: Vec<u16>,
    /// Sample times.
    pub(super) timestamps_ms: ScalarBuffer<i64>,
    /// Sample values.
    pub(super) values: ScalarBuffer<f64>,
    /// When counting began.
    pub(super) starts: StartTimes,
    /// Which row a sample came from.
    pub(super) sample_rows: SampleRows,
    /// The labels.
    pub(super) labels: LabelColumns,
    /// Samples that are histograms.
    pub(super) histograms: Vec<HistogramSample>,
    /// Exemplars.
    pub(super) exemplars: Vec<ExemplarSample>,
    /// Per histogram, or per exemplar: its row. No batch has both.
    pub(super) sparse_rows: Vec<u32>,
    /// Facts about metrics.
    pub(super) metadata: Vec<MetricMetadata>,
    /// What was refused.
    pub(super) refused: Refused,
}

/// Which row a sample came from, in the form that costs the decoder least.
#[derive(Debug)]
pub(super) enum SampleRows {
    /// The row of its series.
    OfSeries,
    /// The row with its position.
    Same,
    /// `[row_count]`: where the sample of each row is; a number beyond the samples if it has none.
    Slots(Vec<u32>),
    /// `[sample_count]`: the row of each sample.
    Listed(Vec<u32>),
}

impl BatchColumns {
    /// A batch without samples.
    pub(super) fn empty(labels: LabelColumns) -> Self {
        Self {
            keys: Vec::new(),
            sample_ends: Vec::new(),
            rows: Vec::new(),
            metric_ids: Vec::new(),
            timestamps_ms: ScalarBuffer::default(),
            values: ScalarBuffer::default(),
            starts: StartTimes::new(),
            sample_rows: SampleRows::OfSeries,
            labels,
            histograms: Vec::new(),
            exemplars: Vec::new(),
            sparse_rows: Vec::new(),
            metadata: Vec::new(),
            refused: Refused::default(),
        }
    }

    /// Adds a series of a row without samples, for histograms or exemplars, and returns its index.
    pub(super) fn add_series(&mut self, key: u128, row: usize) -> usize {
        self.keys.push(key);
        self.sample_ends.push(self.sample_ends.last().copied().unwrap_or(0));
        self.rows.push(row as u32);
        self.keys.len() - 1
    }

    /// Where its labels are.
    pub(super) fn row_labels(&self) -> RowLabels<'_> {
        RowLabels { columns: &self.labels, rows: &self.rows, metric_ids: &self.metric_ids }
    }

    /// The batch for the storage.
    pub(super) fn write_batch<'a>(&'a self, labels: &'a RowLabels<'a>) -> WriteBatch<'a> {
        WriteBatch {
            keys: &self.keys,
            sample_ends: &self.sample_ends,
            timestamps_ms: &self.timestamps_ms,
            values: &self.values,
            starts: self.starts.runs(),
            labels,
            histograms: &self.histograms,
            exemplars: &self.exemplars,
            metadata: &self.metadata,
        }
    }

    /// What was refused, by decoding and by the storage.
    pub(super) fn refused_rows(&self, report: &WriteReport) -> Refused {
        let mut refused = self.refused.clone();
        for rejection in report.rejections.iter().chain(&report.exemplar_rejections) {
            refused.add(rejection.sample_count, || (self.row_of(rejection), rejection.reason.to_string()));
        }
        if report.refused_metadata_count > 0 {
            let reason = || (None, "there is no room for more metadata".to_owned());
            refused.add(report.refused_metadata_count, reason);
        }
        refused
    }

    /// The row of the first sample that a rejection is about.
    fn row_of(&self, rejection: &Rejection) -> Option<usize> {
        let is_its_time = |time_ms: i64| match &rejection.reason {
            RejectReason::TooOld { given_ms, .. } | RejectReason::TooFarAhead { given_ms, .. } => {
                time_ms == *given_ms
            }
            _ => true,
        };
        let sparse =
            self.histograms.iter().map(|sample| (sample.series_index, sample.time_ms, is_valid(sample)));
        let sparse = sparse
            .chain(self.exemplars.iter().map(|sample| (sample.series_index, sample.exemplar.time_ms, true)));
        let is_about_validity = matches!(rejection.reason, RejectReason::InvalidHistogram(_));
        let of_sparse = sparse.zip(&self.sparse_rows).find(|((series_index, time_ms, is_valid), _)| {
            *series_index == rejection.series_index
                && is_its_time(*time_ms)
                && !(is_about_validity && *is_valid)
        });
        if let Some((_, row)) = of_sparse {
            return Some(*row as usize);
        }
        let samples = self.samples_of(rejection.series_index);
        let times = self.timestamps_ms.get(samples.clone()).unwrap_or_default();
        let sample = times.iter().position(|time_ms| is_its_time(*time_ms));
        let of_sample = sample.and_then(|position| self.row_of_sample(samples.start + position));
        of_sample.or_else(|| self.rows.get(rejection.series_index).map(|row| *row as usize))
    }

    fn samples_of(&self, series_index: usize) -> std::ops::Range<usize> {
        let end_of = |index: usize| self.sample_ends.get(index).copied().unwrap_or(0);
        series_index.checked_sub(1).map_or(0, end_of)..end_of(series_index)
    }

    fn row_of_sample(&self, sample: usize) -> Option<usize> {
        match &self.sample_rows {
            SampleRows::OfSeries => None,
            SampleRows::Same => Some(sample),
            SampleRows::Slots(slots) => slots.iter().position(|slot| *slot as usize == sample),
            SampleRows::Listed(rows) => rows.get(sample).map(|row| *row as usize),
        }
    }
}

fn is_valid(sample: &HistogramSample) -> bool {
    sample.histogram.is_stale() || sample.histogram.validate().is_ok()
}

/// Rows that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RefusedRow {
    /// Position in its batch, of the first one if there are several; absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) row: Option<usize>,
    /// How many samples.
    pub(super) samples: usize,
    /// Why.
    pub(super) reason: String,
}

impl std::fmt::Display for RefusedRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row {
            Some(row) => write!(formatter, "row {row}: {}", self.reason),
            None => formatter.write_str(&self.reason),
        }
    }
}

/// Samples refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// How many.
    pub(super) sample_count: usize,
    /// Which, the first of them.
    pub(super) rows: Vec<RefusedRow>,
}

impl Refused {
    /// Counts refused samples; row and reason are only asked for while there is room.
    pub(super) fn add(&mut self, sample_count: usize, why: impl FnOnce() -> (Option<usize>, String)) {
        // A series without samples can be refused: there is nothing to tell.
        if sample_count == 0 {
            return;
        }
        self.sample_count += sample_count;
        if self.rows.len() < REFUSED_ROW_COUNT_MAX {
            let (row, reason) = why();
            self.rows.push(RefusedRow { row, samples: sample_count, reason });
        }
    }

    /// Counts what another batch refused.
    pub(super) fn absorb(&mut self, other: Self) {
        self.sample_count += other.sample_count;
        let room = REFUSED_ROW_COUNT_MAX.saturating_sub(self.rows.len());
        self.rows.extend(other.rows.into_iter().take(room));
    }

    /// Why the first one was refused.
    pub(super) fn first_reason(&self) -> Option<String> {
        self.rows.first().map(RefusedRow::to_string)
    }
}
