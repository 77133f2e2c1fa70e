//! A remote write request as columns, whatever its version: what goes to the storage, and what was refused before.
//!
//! Input: what the readers of [`super::write_v1`] and [`super::write_v2`] find. Output: a `WriteBatch` and [`Refusals`].
//! Not here: reading of messages, labels (each version has its own way to them).
//!
//! Limits: messages of two bytes each may fill a body; every kind of thing that takes more memory than it takes
//! bytes is counted.

use mytsdb_storage::model::{Exemplar, MetricMetadata, StartTimes, UNKNOWN_START_MS};
use mytsdb_storage::{ExemplarSample, HistogramSample, LabelSource, WriteBatch};

use super::refusals::{DecodeError, Refusals, RefusedSeries, SeriesError};
use super::sample::Sample;
use super::sparse::{ExemplarError, decode_histogram};

/// Most names and values of labels in one series; more makes no sense and costs memory.
pub(super) const LABEL_COUNT_MAX: usize = 1024;
/// Most series of one request.
const SERIES_COUNT_MAX: usize = 1 << 20;
/// Most symbols of one request.
pub(super) const SYMBOL_COUNT_MAX: usize = 1 << 20;
/// Most float samples of one request.
const SAMPLE_COUNT_MAX: usize = 1 << 21;
/// Most histograms of one request.
const HISTOGRAM_COUNT_MAX: usize = 1 << 17;
/// Most buckets of all histograms of one request.
const BUCKET_COUNT_MAX: usize = 1 << 22;
/// Most exemplars of one request.
const EXEMPLAR_COUNT_MAX: usize = 1 << 18;
/// Most facts about metrics in one request.
const METADATA_COUNT_MAX: usize = 1 << 17;

/// Checks that one more is allowed.
#[inline]
pub(super) fn check_room(given: usize, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if given < limit { Ok(()) } else { Err(DecodeError::TooMany { what, limit }) }
}

/// A write request as columns. Reuse it between requests.
///
/// # Shape
/// `keys`, `sample_ends`: `[series_count]`; `timestamps_ms`, `values`: `[sample_count]`, grouped by series.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Per series: its key.
    pub keys: Vec<u128>,
    /// Per series: end of its samples.
    pub sample_ends: Vec<usize>,
    /// Sample times in milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// Sample values, bit-exact.
    pub values: Vec<f64>,
    /// When the counting of samples began, if the sender said.
    pub starts: StartTimes,
    /// Facts about metrics.
    pub metadata: Vec<MetricMetadata>,
    /// Native histograms, by series.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars, by series.
    pub exemplars: Vec<ExemplarSample>,
    /// What is not in the columns.
    pub refusals: Refusals,
    bucket_count: usize,
}

/// Where the columns of one series begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesStart {
    sample: usize,
    histogram: usize,
    exemplar: usize,
    refused_histogram: usize,
}

impl Columns {
    /// Empties the columns, keeping their memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.sample_ends.clear();
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts.clear();
        self.metadata.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.refusals.clear();
        self.bucket_count = 0;
    }

    /// Bytes of memory held, roughly.
    pub fn capacity_bytes(&self) -> usize {
        self.keys.capacity() * (16 + 8)
            + self.values.capacity() * 16
            + self.histograms.capacity() * size_of::<HistogramSample>()
            + self.exemplars.capacity() * size_of::<ExemplarSample>()
            + self.metadata.capacity() * size_of::<MetricMetadata>()
            + self.refusals.series.capacity() * size_of::<RefusedSeries>()
    }

    /// The columns as the storage's argument.
    pub fn batch<'a>(&'a self, labels: &'a dyn LabelSource) -> WriteBatch<'a> {
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

    /// Position in the request of the series that is being read.
    fn request_index(&self) -> usize {
        self.keys.len() + self.refusals.series.len()
    }

    /// Begins a series.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`].
    #[inline]
    pub(super) fn begin_series(&self) -> Result<SeriesStart, DecodeError> {
        check_room(self.request_index(), SERIES_COUNT_MAX, "series")?;
        Ok(SeriesStart {
            sample: self.values.len(),
            histogram: self.histograms.len(),
            exemplar: self.exemplars.len(),
            refused_histogram: self.refusals.histograms.len(),
        })
    }

    /// Ends the series that is being read.
    #[inline]
    pub(super) fn end_series(&mut self, key: u128) {
        self.keys.push(key);
        self.sample_ends.push(self.values.len());
    }

    /// Float samples, and histograms (refused ones included) of the series that is being read.
    #[inline]
    pub(super) fn series_counts(&self, start: SeriesStart) -> (usize, usize) {
        let refused_count = self.refusals.histograms.len() - start.refused_histogram;
        (self.values.len() - start.sample, self.histograms.len() - start.histogram + refused_count)
    }

    /// Takes the series that is being read out again.
    pub(super) fn refuse_series(&mut self, start: SeriesStart, error: SeriesError) {
        let (float_count, histogram_count) = self.series_counts(start);
        let sample_count = float_count + histogram_count;
        let (column_index, request_index) = (self.keys.len(), self.request_index());
        for _ in self.exemplars.drain(start.exemplar..) {
            self.refusals.exemplars.add(request_index, || "its series was refused".to_owned());
        }
        self.values.truncate(start.sample);
        self.timestamps_ms.truncate(start.sample);
        self.starts.truncate(start.sample);
        self.histograms.truncate(start.histogram);
        self.refusals.histograms.truncate(start.refused_histogram);
        self.refusals.series.push(RefusedSeries { column_index, sample_count, error });
    }

    /// Adds a sample to the series that is being read.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`].
    #[inline]
    pub(super) fn push_sample(&mut self, sample: Sample) -> Result<(), DecodeError> {
        check_room(self.values.len(), SAMPLE_COUNT_MAX, "samples")?;
        self.starts.push(self.values.len(), sample.start_ms);
        self.values.push(sample.value);
        self.timestamps_ms.push(sample.time_ms);
        Ok(())
    }

    /// Reads a histogram of the series that is being read; one that is malformed costs its neighbours nothing.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`].
    pub(super) fn push_histogram(&mut self, bytes: &[u8], has_start: bool) -> Result<(), DecodeError> {
        let given = self.histograms.len() + self.refusals.histograms.len();
        check_room(given, HISTOGRAM_COUNT_MAX, "histograms")?;
        let series_index = self.keys.len();
        match decode_histogram(bytes, has_start) {
            Ok((time_ms, histogram)) => {
                let given = histogram.positive_counts.len() + histogram.negative_counts.len();
                check_room(self.bucket_count + given, BUCKET_COUNT_MAX, "buckets of histograms")?;
                self.bucket_count += given;
                self.histograms.push(HistogramSample { series_index, time_ms, histogram });
            }
            Err(error) => self.refusals.histograms.push((self.request_index(), error)),
        }
        Ok(())
    }

    /// Adds an exemplar to the series that is being read; one that was malformed is counted.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`].
    pub(super) fn push_exemplar(
        &mut self,
        exemplar: Result<Exemplar, ExemplarError>,
    ) -> Result<(), DecodeError> {
        check_room(self.exemplars.len(), EXEMPLAR_COUNT_MAX, "exemplars")?;
        let (series_index, request_index) = (self.keys.len(), self.request_index());
        match exemplar {
            Ok(exemplar) => self.exemplars.push(ExemplarSample { series_index, exemplar }),
            Err(error) => self.refusals.exemplars.add(request_index, || error.to_string()),
        }
        Ok(())
    }

    /// Adds facts about a metric.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`].
    pub(super) fn push_metadata(&mut self, metadata: MetricMetadata) -> Result<(), DecodeError> {
        check_room(self.metadata.len(), METADATA_COUNT_MAX, "facts about metrics")?;
        self.metadata.push(metadata);
        Ok(())
    }

    /// Counts facts about the metric of the series that is being read as refused.
    pub(super) fn refuse_metadata(&mut self, reason: impl FnOnce() -> String) {
        let request_index = self.request_index();
        self.refusals.metadata.add(request_index, reason);
    }

    /// Says when the counting of those samples of the series that is being read began that say nothing themselves.
    pub(super) fn set_unknown_starts(&mut self, start: SeriesStart, start_ms: i64) {
        let sample_count = self.values.len() - start.sample;
        let given: Vec<i64> = self.starts.slice(start.sample..self.values.len()).each(sample_count).collect();
        self.starts.truncate(start.sample);
        for (index, given_ms) in given.into_iter().enumerate() {
            let start_ms = if given_ms == UNKNOWN_START_MS { start_ms } else { given_ms };
            self.starts.push(start.sample + index, start_ms);
        }
        for sample in &mut self.histograms[start.histogram..] {
            sample.histogram.start_ms = sample.histogram.start_ms.or(Some(start_ms));
        }
    }
}
