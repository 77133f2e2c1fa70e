//! Intermediate results: numbers per step, and series as one matrix of columns.

use std::sync::Arc;

use hashbrown::HashMap;
use mytsdb_storage::model::LabelSet;

use super::cells::{HistogramRow, Row, histogram_at, histogram_bytes};
use super::context::{Context, execution};
use super::labels::without_metadata;
use crate::budget::Reservation;
use crate::engine::EvalError;
use crate::histogram::FloatHistogram;
use crate::kernel::{ABSENT, is_absent, is_histogram};

/// A number per step.
#[derive(Debug)]
pub(crate) enum Scalars {
    /// The same number at every step.
    Constant(f64),
    /// One number per step.
    Steps(Vec<f64>),
}

impl Scalars {
    /// The number at one step.
    #[inline]
    pub(crate) fn at(&self, step_index: usize) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Steps(values) => values[step_index],
        }
    }

    /// Applies `function` to every number.
    pub(crate) fn map(self, function: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(function(value)),
            Self::Steps(mut values) => {
                values.iter_mut().for_each(|value| *value = function(*value));
                Self::Steps(values)
            }
        }
    }

    /// The numbers of some steps.
    pub(crate) fn tile(&self, steps: std::ops::Range<usize>) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(*value),
            Self::Steps(values) => Self::Steps(values[steps].to_vec()),
        }
    }

    /// All numbers that differ from step to step, or the one.
    pub(crate) fn distinct(&self) -> &[f64] {
        match self {
            Self::Constant(value) => std::slice::from_ref(value),
            Self::Steps(values) => values,
        }
    }
}

/// The identity of one series in a result.
#[derive(Debug, Clone)]
pub(crate) struct RowLabels {
    /// The labels.
    pub(crate) set: LabelSet,
    /// Whether metadata labels must vanish at the end (delayed name removal only).
    pub(crate) drop_name: bool,
}

impl RowLabels {
    /// Labels that stay as they are.
    pub(crate) fn kept(set: LabelSet) -> Self {
        Self { set, drop_name: false }
    }

    /// Drops the metadata labels: at once, or at the end if that is delayed.
    pub(crate) fn drop_metadata(&mut self, is_delayed: bool) {
        if is_delayed {
            self.drop_name = true;
        } else {
            self.set = without_metadata(&self.set);
        }
    }
}

/// Series over all steps of a grid.
///
/// # Shape
/// `values`: `[series_count][step_count]`, series-major. A step without value is [`ABSENT`], one with a histogram
/// `HISTOGRAM` (see `cells`). `histograms`: `[series_count]`, or empty if there are none.
#[derive(Debug)]
pub(crate) struct Block {
    /// Per series.
    pub(crate) labels: Vec<RowLabels>,
    /// All values.
    pub(crate) values: Vec<f64>,
    /// Values per series.
    pub(crate) step_count: usize,
    /// Histograms among the values.
    histograms: Vec<HistogramRow>,
    /// The memory that values and histograms take.
    reservations: Vec<Reservation>,
}

impl Block {
    /// A block without series.
    pub(crate) fn empty(step_count: usize) -> Self {
        Self {
            labels: Vec::new(),
            values: Vec::new(),
            step_count,
            histograms: Vec::new(),
            reservations: Vec::new(),
        }
    }

    /// A block with these labels and no values yet.
    pub(crate) fn absent(
        ctx: &Context<'_>,
        labels: Vec<RowLabels>,
        step_count: usize,
        selector: impl FnOnce() -> String,
    ) -> Result<Self, EvalError> {
        let reservation = ctx.reserve_numbers(labels.len(), step_count, selector)?;
        let values = vec![ABSENT; labels.len() * step_count];
        Ok(Self { labels, values, step_count, histograms: Vec::new(), reservations: vec![reservation] })
    }

    /// One series with these values.
    pub(crate) fn one(ctx: &Context<'_>, labels: LabelSet, values: Vec<f64>) -> Result<Self, EvalError> {
        let reservation = ctx.reserve_numbers(1, values.len(), String::new)?;
        let step_count = values.len();
        let labels = vec![RowLabels::kept(labels)];
        Ok(Self { labels, values, step_count, histograms: Vec::new(), reservations: vec![reservation] })
    }

    /// A block of rows whose memory is reserved already.
    pub(crate) fn from_rows(
        labels: Vec<RowLabels>,
        values: Vec<f64>,
        step_count: usize,
        reservations: Vec<Reservation>,
    ) -> Self {
        assert!(values.len() == labels.len() * step_count, "rows of a block have one value per step");
        Self { labels, values, step_count, histograms: Vec::new(), reservations }
    }

    /// Keeps memory that belongs to this block, such as that of new labels, reserved as long as it lives.
    pub(crate) fn hold(&mut self, reservations: impl IntoIterator<Item = Reservation>) {
        self.reservations.extend(reservations);
    }

    /// Adds the series of another block over the same steps.
    pub(crate) fn append(&mut self, mut other: Self) {
        if self.has_histograms() || other.has_histograms() {
            self.histograms.resize_with(self.labels.len(), Vec::new);
            other.histograms.resize_with(other.labels.len(), Vec::new);
            self.histograms.append(&mut other.histograms);
        }
        self.labels.extend(other.labels);
        self.values.extend_from_slice(&other.values);
        self.reservations.extend(other.reservations);
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The values of one series.
    #[inline]
    pub(crate) fn row(&self, series_index: usize) -> &[f64] {
        &self.values[series_index * self.step_count..(series_index + 1) * self.step_count]
    }

    /// The values of one series, to change.
    #[inline]
    pub(crate) fn row_mut(&mut self, series_index: usize) -> &mut [f64] {
        &mut self.values[series_index * self.step_count..(series_index + 1) * self.step_count]
    }

    /// Whether there may be histograms among the values.
    #[inline]
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Bytes of all histograms, about; results share them with the block.
    pub(crate) fn histogram_bytes(&self) -> usize {
        self.histograms.iter().map(|row| histogram_bytes(row)).sum()
    }

    /// The values of one series with the histograms among them.
    #[inline]
    pub(crate) fn cells(&self, series_index: usize) -> Row<'_> {
        let histograms = self.histograms.get(series_index).map_or(&[][..], Vec::as_slice);
        Row { values: self.row(series_index), histograms }
    }

    /// The histogram of one series at one step, if there is one.
    pub(crate) fn histogram(&self, series_index: usize, step: usize) -> Option<&Arc<FloatHistogram>> {
        let histograms = self.histograms.get(series_index)?;
        histogram_at(histograms, self.values[series_index * self.step_count + step], step)
    }

    /// Sets the histograms of some series, whose values say where they are, and counts their memory.
    pub(crate) fn set_histograms(
        &mut self,
        ctx: &Context<'_>,
        rows: impl IntoIterator<Item = (usize, HistogramRow)>,
    ) -> Result<(), EvalError> {
        let mut bytes = 0;
        for (series_index, row) in rows {
            if row.is_empty() {
                continue;
            }
            self.histograms.resize_with(self.labels.len(), Vec::new);
            bytes += histogram_bytes(&row);
            self.histograms[series_index] = row;
        }
        if bytes > 0 {
            self.reservations.push(ctx.reserve(bytes, String::new)?);
        }
        Ok(())
    }

    /// Takes the histograms away, to be set anew.
    pub(crate) fn take_histograms(&mut self) -> Vec<HistogramRow> {
        std::mem::take(&mut self.histograms)
    }

    /// Removes all histograms, and series that had nothing else.
    pub(crate) fn drop_histograms(&mut self) {
        if !self.has_histograms() {
            return;
        }
        for (series_index, row) in self.take_histograms().iter().enumerate() {
            let start = series_index * self.step_count;
            for (step, _) in row {
                let value = &mut self.values[start + *step as usize];
                if is_histogram(*value) {
                    *value = ABSENT;
                }
            }
        }
        self.retain_present();
    }

    /// Keeps the series at `order`, in that order. Only for blocks of one step.
    pub(crate) fn reordered(mut self, order: &[usize]) -> Self {
        let histograms = self.take_histograms();
        if !histograms.is_empty() {
            self.histograms = order.iter().map(|index| histograms[*index].clone()).collect();
        }
        self.labels = order.iter().map(|index| self.labels[*index].clone()).collect();
        self.values = order.iter().map(|index| self.values[*index]).collect();
        self
    }

    /// Every series with its values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&RowLabels, &[f64])> {
        self.labels.iter().enumerate().map(|(index, labels)| (labels, self.row(index)))
    }

    /// Keeps only series that have a value somewhere, in order.
    pub(crate) fn retain_present(&mut self) {
        let steps = self.step_count;
        let mut kept = 0;
        for index in 0..self.labels.len() {
            if self.row(index).iter().all(|value| is_absent(*value)) {
                continue;
            }
            if kept != index {
                self.labels.swap(kept, index);
                if !self.histograms.is_empty() {
                    self.histograms.swap(kept, index);
                }
                self.values.copy_within(index * steps..(index + 1) * steps, kept * steps);
            }
            kept += 1;
        }
        self.labels.truncate(kept);
        self.values.truncate(kept * steps);
        self.histograms.truncate(kept);
    }

    /// Drops metadata labels of every series, at once or at the end.
    pub(crate) fn drop_metadata(&mut self, ctx: &Context<'_>) -> Result<(), EvalError> {
        let is_delayed = ctx.options.delayed_name_removal;
        for labels in &mut self.labels {
            labels.drop_metadata(is_delayed);
        }
        if is_delayed { Ok(()) } else { self.merge_duplicates() }
    }

    /// Drops what was delayed. Called once, at the end of an evaluation.
    pub(crate) fn finish_names(&mut self) -> Result<(), EvalError> {
        let mut has_dropped = false;
        for labels in &mut self.labels {
            if labels.drop_name {
                has_dropped = true;
                labels.set = without_metadata(&labels.set);
                labels.drop_name = false;
            }
        }
        if has_dropped { self.merge_duplicates() } else { Ok(()) }
    }

    /// Joins series with equal labels whose values do not meet at any step.
    ///
    /// # Errors
    /// Prometheus' text if they do meet.
    pub(crate) fn merge_duplicates(&mut self) -> Result<(), EvalError> {
        let mut first_by_labels: HashMap<&LabelSet, usize> = HashMap::with_capacity(self.labels.len());
        let mut target: Vec<usize> = Vec::with_capacity(self.labels.len());
        for (index, labels) in self.labels.iter().enumerate() {
            target.push(*first_by_labels.entry(&labels.set).or_insert(index));
        }
        if first_by_labels.len() == self.labels.len() {
            return Ok(());
        }
        drop(first_by_labels);
        let steps = self.step_count;
        for (index, first) in target.iter().copied().enumerate().filter(|(index, first)| index != first) {
            let mut moved_steps = Vec::new();
            for step in 0..steps {
                let value = std::mem::replace(&mut self.values[index * steps + step], ABSENT);
                let cell = &mut self.values[first * steps + step];
                if is_absent(value) {
                    continue;
                }
                if !is_absent(*cell) {
                    return Err(duplicate_labels());
                }
                *cell = value;
                if is_histogram(value) && !self.histograms.is_empty() {
                    moved_steps.push(step as u32);
                }
            }
            if !moved_steps.is_empty() {
                let moved = std::mem::take(&mut self.histograms[index]);
                join(&mut self.histograms[first], &moved, &moved_steps);
            }
        }
        self.retain_present();
        Ok(())
    }
}

/// Adds the histograms at `steps` of a row that was joined with another.
fn join(into: &mut HistogramRow, moved: &[(u32, Arc<FloatHistogram>)], steps: &[u32]) {
    for wanted in steps {
        let Ok(found) = moved.binary_search_by_key(wanted, |(step, _)| *step) else { continue };
        let entry = moved[found].clone();
        match into.binary_search_by_key(wanted, |(step, _)| *step) {
            // What stood there was removed before.
            Ok(position) => into[position] = entry,
            Err(position) => into.insert(position, entry),
        }
    }
}

/// Two series with the same labels at the same step.
pub(crate) fn duplicate_labels() -> EvalError {
    execution("vector cannot contain metrics with the same labelset")
}

/// What an expression evaluates to over a grid.
#[derive(Debug)]
pub(crate) enum Operand {
    /// Numbers.
    Scalar(Scalars),
    /// A text (bytes, as in Go).
    String(Vec<u8>),
    /// Series.
    Vector(Block),
}

impl Operand {
    /// The numbers.
    pub(crate) fn into_scalars(self) -> Result<Scalars, EvalError> {
        match self {
            Self::Scalar(scalars) => Ok(scalars),
            other => Err(other.mismatch("scalar")),
        }
    }

    /// The series.
    pub(crate) fn into_block(self) -> Result<Block, EvalError> {
        match self {
            Self::Vector(block) => Ok(block),
            other => Err(other.mismatch("instant vector")),
        }
    }

    /// The text.
    pub(crate) fn into_string(self) -> Result<Vec<u8>, EvalError> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(other.mismatch("string")),
        }
    }

    /// A tree that the parser's type check would have refused.
    fn mismatch(&self, expected: &str) -> EvalError {
        let found = match self {
            Self::Scalar(_) => "scalar",
            Self::String(_) => "string",
            Self::Vector(_) => "instant vector",
        };
        execution(format!("expected type {expected}, got {found}"))
    }
}
