//! The samples of one series as kernels see them, read from storage or from the result of a subquery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mytsdb_storage::model::{ResetHint, TimeRange, is_stale};
use mytsdb_storage::read::{SampleColumns, SeriesSet, TimesId};

use super::block::Block;
use super::cells::{Cell, HistogramRow, Row, histogram_bytes, without_reset};
use super::context::Context;
use crate::engine::EvalError;
use crate::grid::{StepGrid, constant_spacing_ms};
use crate::histogram::{FloatHistogram, LayoutCache};
use crate::kernel::{ABSENT, HISTOGRAM, Samples, is_absent};

/// Where a range or instant selector gets its samples.
#[derive(Debug)]
pub(crate) enum SampleSource {
    /// Stored series.
    Stored(StoredSource),
    /// The result of a subquery's expression over the subquery's grid.
    Subquery {
        /// The result.
        block: Block,
        /// Its times.
        grid: StepGrid,
    },
}

/// Stored series and what is read of them.
#[derive(Debug)]
pub(crate) struct StoredSource {
    set: SeriesSet,
    range: TimeRange,
    /// Whether stale markers are left out (range vectors) or kept (instant vectors).
    strips_stale: bool,
    /// Whether a reset that is found is written into the hint (see `Context::finds_resets`).
    finds_resets: bool,
    /// Whether start times are read, too.
    reads_starts: bool,
    /// Whether only times and stale markers are wanted.
    reads_presence: bool,
    /// Whether any series had histograms: their samples before the range are read then, too.
    has_histograms: AtomicBool,
}

/// Memory for the samples of one series.
#[derive(Debug, Default)]
pub(crate) struct ReadSamples {
    columns: SampleColumns,
    /// Position among the samples and histogram.
    histograms: HistogramRow,
    /// One for each sample; empty if none is known or wanted.
    starts_ms: Vec<i64>,
    layouts: LayoutCache,
    /// Distance of the times, as [`Samples::spacing_ms`].
    spacing_ms: Option<i64>,
    /// The same of the stored times that were looked at last: those of a target's series are one column.
    last_spacing: Option<(TimesId, Option<i64>)>,
}

/// The samples of a series with histograms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MixedSamples<'a> {
    /// Ascending.
    pub(crate) times_ms: &'a [i64],
    /// `HISTOGRAM` where there is one.
    pub(crate) values: &'a [f64],
    /// Position and histogram, ascending.
    pub(crate) histograms: &'a [(u32, Arc<FloatHistogram>)],
    /// Start time of each sample; empty if none is known or wanted.
    pub(crate) starts_ms: &'a [i64],
}

impl MixedSamples<'_> {
    /// The sample at `position`.
    #[inline]
    pub(crate) fn cell(&self, position: usize) -> Cell {
        Row { values: self.values, histograms: self.histograms }.cell(position)
    }
}

impl ReadSamples {
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The samples, if there are no histograms among them.
    #[inline]
    pub(crate) fn floats(&self) -> Option<Samples<'_>> {
        self.histograms.is_empty().then_some(Samples {
            times_ms: &self.columns.timestamps_ms,
            values: &self.columns.values,
            spacing_ms: self.spacing_ms,
        })
    }

    /// Looks at the distance of the times, unless it is known from another series. To be called when they are final;
    /// `is_as_read`: since they were read from storage.
    fn find_spacing(&mut self, is_as_read: bool) {
        let times_id = self.columns.times_id().filter(|_| is_as_read);
        self.spacing_ms = match (times_id, self.last_spacing) {
            (Some(times_id), Some((known, spacing_ms))) if known == times_id => spacing_ms,
            _ => constant_spacing_ms(&self.columns.timestamps_ms),
        };
        if let Some(times_id) = times_id {
            self.last_spacing = Some((times_id, self.spacing_ms));
        }
    }

    /// The samples with histograms among them.
    pub(crate) fn mixed(&self) -> MixedSamples<'_> {
        MixedSamples {
            times_ms: &self.columns.timestamps_ms,
            values: &self.columns.values,
            histograms: &self.histograms,
            starts_ms: &self.starts_ms,
        }
    }

    /// The start time of each sample, 0 where it is unknown; empty if none is known or wanted.
    #[inline]
    pub(crate) fn starts_ms(&self) -> &[i64] {
        &self.starts_ms
    }

    /// Takes the start times of what was read, before histograms are converted.
    fn take_starts(&mut self) {
        let columns = &self.columns;
        let of_histograms = || columns.histograms.iter().filter_map(|(at, row)| Some((*at, row.start_ms?)));
        if columns.starts.is_empty() && of_histograms().next().is_none() {
            return;
        }
        self.starts_ms.extend(columns.starts.up_to(columns.len()).each(columns.len()));
        for (position, start_ms) in of_histograms() {
            self.starts_ms[position as usize] = start_ms;
        }
    }

    /// Turns stored histograms into PromQL's, stale ones into the stale marker.
    fn convert(&mut self, finds_resets: bool) {
        let mut previous: Option<(u32, Arc<FloatHistogram>)> = None;
        for (position, stored) in self.columns.histograms.drain(..) {
            if stored.is_stale() {
                self.columns.values[position as usize] = ABSENT;
                previous = None;
                continue;
            }
            let mut histogram = FloatHistogram::from_stored_with(&stored, &mut self.layouts);
            if histogram.reset_hint == ResetHint::Unknown
                && let Some((before, previous)) = &previous
                && before + 1 == position
            {
                histogram.reset_hint = hint_after(&histogram, previous, finds_resets);
            }
            let histogram = Arc::new(histogram);
            self.columns.values[position as usize] = HISTOGRAM;
            previous = Some((position, Arc::clone(&histogram)));
            self.histograms.push((position, histogram));
        }
    }

    /// Keeps the samples for which `keeps(time, value)` holds.
    fn retain(&mut self, keeps: impl Fn(i64, f64) -> bool) {
        let Self { columns, histograms, starts_ms, .. } = self;
        let mut kept = 0;
        let mut next = 0;
        let mut kept_histograms = 0;
        for index in 0..columns.values.len() {
            let is_kept = keeps(columns.timestamps_ms[index], columns.values[index]);
            if histograms.get(next).is_some_and(|(position, _)| *position as usize == index) {
                if is_kept {
                    histograms.swap(kept_histograms, next);
                    histograms[kept_histograms].0 = kept as u32;
                    kept_histograms += 1;
                }
                next += 1;
            }
            if is_kept {
                columns.values[kept] = columns.values[index];
                columns.timestamps_ms[kept] = columns.timestamps_ms[index];
                if !starts_ms.is_empty() {
                    starts_ms[kept] = starts_ms[index];
                }
                kept += 1;
            }
        }
        columns.values.truncate(kept);
        columns.timestamps_ms.truncate(kept);
        starts_ms.truncate(kept);
        histograms.truncate(kept_histograms);
    }
}

/// What is known about a reset between two neighbouring samples of a stored series, neither of which says anything.
///
/// As in Prometheus' chunks: no reset is known wherever the buckets and counts allow it. That a counter was reset is
/// only found (and then found anew by each function that asks), unless `finds_resets`.
fn hint_after(histogram: &FloatHistogram, previous: &FloatHistogram, finds_resets: bool) -> ResetHint {
    let has_same_layout = histogram.schema == previous.schema
        && histogram.zero_threshold == previous.zero_threshold
        && histogram.has_bounds_of(previous)
        && previous.reset_hint != ResetHint::Gauge;
    match (has_same_layout, histogram.is_reset_after(previous)) {
        (_, true) if finds_resets => ResetHint::Reset,
        (true, false) => ResetHint::NotReset,
        (false, false) if finds_resets => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    }
}

impl SampleSource {
    /// Reads when there are samples, but not their values: those that are no stale markers may be zero.
    pub(crate) fn read_presence(&mut self) {
        if let Self::Stored(source) = self {
            source.reads_presence = true;
        }
    }

    /// An upper bound of the samples of any one series; cheap.
    pub(crate) fn samples_per_series(&self) -> usize {
        match self {
            Self::Stored(source) => source.set.series_sample_count_max(),
            Self::Subquery { grid, .. } => grid.count,
        }
    }

    /// The samples of `set` inside of `range`.
    pub(crate) fn stored(set: SeriesSet, range: TimeRange, strips_stale: bool, finds_resets: bool) -> Self {
        let has_histograms = AtomicBool::new(false);
        Self::Stored(StoredSource {
            set,
            range,
            strips_stale,
            finds_resets,
            reads_starts: false,
            reads_presence: false,
            has_histograms,
        })
    }

    /// Reads start times as well, where there are any: not in subqueries.
    pub(crate) fn read_starts(&mut self) {
        if let Self::Stored(source) = self {
            source.reads_starts = true;
        }
    }

    /// Reads the samples of one series into `samples`, cleared first.
    pub(crate) fn read(
        &self,
        ctx: &Context<'_>,
        index: usize,
        samples: &mut ReadSamples,
    ) -> Result<(), EvalError> {
        samples.histograms.clear();
        samples.starts_ms.clear();
        match self {
            Self::Stored(source) => source.read(ctx, index, samples),
            Self::Subquery { block, grid } => {
                let columns = &mut samples.columns;
                columns.clear();
                for (step_index, value) in block.row(index).iter().enumerate() {
                    if !is_absent(*value) {
                        columns.timestamps_ms.push(grid.time_ms(step_index));
                        columns.values.push(*value);
                    }
                }
                if block.has_histograms() {
                    let mut position = 0;
                    for (step_index, value) in block.row(index).iter().enumerate() {
                        if let Some(histogram) = block.histogram(index, step_index) {
                            samples.histograms.push((position, without_reset(histogram)));
                        }
                        position += u32::from(!is_absent(*value));
                    }
                }
                samples.find_spacing(false);
                Ok(())
            }
        }
    }
}

impl StoredSource {
    /// The range with one lookback before it, where the histogram before the first one may be found.
    fn wide_range(&self, ctx: &Context<'_>) -> TimeRange {
        TimeRange { start_ms: self.range.start_ms.saturating_sub(ctx.options.lookback_ms), ..self.range }
    }

    fn read(&self, ctx: &Context<'_>, index: usize, samples: &mut ReadSamples) -> Result<(), EvalError> {
        let mut is_wide = self.has_histograms.load(Ordering::Relaxed);
        let range = if is_wide { self.wide_range(ctx) } else { self.range };
        if self.reads_presence {
            self.set.read_presence(index, range, &mut samples.columns)?;
        } else {
            self.set.read(index, range, &mut samples.columns)?;
        }
        if !is_wide && !samples.columns.histograms.is_empty() {
            is_wide = true;
            self.has_histograms.store(true, Ordering::Relaxed);
            self.set.read(index, self.wide_range(ctx), &mut samples.columns)?;
        }
        if self.reads_starts {
            samples.take_starts();
            // The caller has reserved what times and values take.
            let bytes = size_of_val(samples.starts_ms()) + size_of_val(samples.columns.starts.runs());
            drop(ctx.reserve(bytes, || format!("{}", self.set.labels(index)))?);
        }
        if !samples.columns.histograms.is_empty() {
            samples.convert(self.finds_resets);
            let bytes = histogram_bytes(&samples.histograms);
            drop(ctx.reserve(bytes, || format!("{}", self.set.labels(index)))?);
            ctx.count_samples(bytes / 16);
        }
        let start_ms = self.range.start_ms;
        let read_count = samples.columns.len();
        if is_wide && samples.columns.timestamps_ms.first().is_some_and(|first| *first < start_ms) {
            samples.retain(|time_ms, _| time_ms >= start_ms);
        }
        ctx.count_samples(samples.columns.len() - samples.histograms.len());
        if self.strips_stale && samples.columns.values.iter().fold(false, |any, value| any | is_stale(*value))
        {
            samples.retain(|_, value| !is_stale(value));
        }
        samples.find_spacing(samples.columns.len() == read_count);
        Ok(())
    }
}
