//! Series whose values are computed when they are asked for, row by row.
//!
//! Why: an aggregation needs every row once and none of them afterwards; series × steps never lie in memory.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::block::{Block, RowLabels};
use super::cells::{HistogramRow, Row, RowWriter, histogram_bytes};
use super::context::Context;
use super::samples::{MixedSamples, ReadSamples, SampleSource};
use crate::budget::Reservation;
use crate::engine::EvalError;
use crate::kernel::{Samples, Scratch};

/// Computes one row from the samples of one series: `(series_index, samples, scratch, row)`.
pub(crate) type RowKernel<'a> = Box<dyn Fn(usize, Samples<'_>, &mut Scratch, &mut [f64]) + Send + Sync + 'a>;

/// As [`RowKernel`], for a series that has histograms among its samples.
pub(crate) type MixedKernel<'a> =
    Box<dyn Fn(usize, MixedSamples<'_>, &mut Scratch, &mut RowWriter<'_>) + Send + Sync + 'a>;

/// As [`RowKernel`], for a series with start times, of which the third argument has one for each sample.
pub(crate) type StartedKernel<'a> =
    Box<dyn Fn(usize, Samples<'_>, &[i64], &mut Scratch, &mut [f64]) + Send + Sync + 'a>;

/// How rows are computed.
pub(crate) struct Kernels<'a> {
    /// Series of numbers.
    pub(crate) floats: RowKernel<'a>,
    /// Series of numbers with start times, if those make a difference.
    pub(crate) started: Option<StartedKernel<'a>>,
    /// Series with histograms.
    pub(crate) mixed: MixedKernel<'a>,
}

impl<'a> Kernels<'a> {
    /// Takes `other` for the rows for which `is_other` says so.
    pub(crate) fn or(self, is_other: Vec<bool>, other: Kernels<'a>) -> Self {
        let Kernels { floats, started, mixed } = self;
        let is_other = Arc::new(is_other);
        let (of_floats, of_started) = (Arc::clone(&is_other), Arc::clone(&is_other));
        let other_floats = Arc::new(other.floats);
        let other_plain = Arc::clone(&other_floats);
        Kernels {
            floats: Box::new(move |index, samples, scratch, out| {
                let kernel = if of_floats[index] { &*other_floats } else { &floats };
                kernel(index, samples, scratch, out);
            }),
            started: started.map(|started| -> StartedKernel<'a> {
                Box::new(move |index, samples, starts_ms, scratch, out| {
                    if of_started[index] {
                        other_plain(index, samples, scratch, out);
                    } else {
                        started(index, samples, starts_ms, scratch, out);
                    }
                })
            }),
            mixed: Box::new(move |index, samples, scratch, out| {
                let kernel = if is_other[index] { &other.mixed } else { &mixed };
                kernel(index, samples, scratch, out);
            }),
        }
    }

    fn compute(
        &self,
        index: usize,
        samples: &ReadSamples,
        scratch: &mut Scratch,
        row: &mut [f64],
        histograms: &mut HistogramRow,
    ) {
        match (samples.floats(), &self.started) {
            (Some(floats), Some(started)) if !samples.starts_ms().is_empty() => {
                started(index, floats, samples.starts_ms(), scratch, row);
            }
            (Some(floats), _) => (self.floats)(index, floats, scratch, row),
            (None, _) => (self.mixed)(index, samples.mixed(), scratch, &mut RowWriter::new(row, histograms)),
        }
    }
}

enum RowsKind<'a> {
    /// The block without its labels.
    Block(Block),
    Stream {
        source: SampleSource,
        kernels: Kernels<'a>,
        selector: Box<dyn Fn() -> String + Send + Sync + 'a>,
    },
}

/// Series with rows that exist or can be computed.
pub(crate) struct Rows<'a> {
    /// Per series.
    pub(crate) labels: Vec<RowLabels>,
    /// Values per row.
    pub(crate) step_count: usize,
    kind: RowsKind<'a>,
}

impl<'a> Rows<'a> {
    /// Rows that exist.
    pub(crate) fn from_block(mut block: Block) -> Self {
        let labels = std::mem::take(&mut block.labels);
        Self { labels, step_count: block.step_count, kind: RowsKind::Block(block) }
    }

    /// Rows that `kernels` compute from `source`; `selector` names the source in errors.
    pub(crate) fn stream(
        labels: Vec<RowLabels>,
        step_count: usize,
        source: SampleSource,
        kernels: Kernels<'a>,
        selector: impl Fn() -> String + Send + Sync + 'a,
    ) -> Self {
        Self { labels, step_count, kind: RowsKind::Stream { source, kernels, selector: Box::new(selector) } }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// How many rows are worth a task of their own.
    pub(crate) fn rows_per_task(&self) -> usize {
        match &self.kind {
            // Of an instant query no row costs much, however many samples there are.
            _ if self.step_count == 1 => ROWS_PER_TASK_MAX,
            RowsKind::Block(_) => rows_per_task(self.step_count),
            RowsKind::Stream { source, .. } => {
                rows_per_task(source.samples_per_series().max(self.step_count))
            }
        }
    }

    /// Calls `visit(series_index, row)` for the rows in `range`, in order. Checks for cancellation on the way.
    pub(crate) fn visit(
        &self,
        ctx: &Context<'_>,
        range: Range<usize>,
        mut visit: impl FnMut(usize, Row<'_>),
    ) -> Result<(), EvalError> {
        match &self.kind {
            RowsKind::Block(block) => {
                for index in range {
                    visit(index, block.cells(index));
                }
            }
            RowsKind::Stream { source, kernels, .. } => {
                let mut samples = ReadSamples::default();
                let mut scratch = Scratch::default();
                let mut histograms = HistogramRow::new();
                let mut values = vec![0.0; self.step_count];
                let _watch = ctx.watch();
                for index in range {
                    ctx.check_cancelled()?;
                    source.read(ctx, index, &mut samples)?;
                    if samples.is_empty() {
                        continue;
                    }
                    histograms.clear();
                    kernels.compute(index, &samples, &mut scratch, &mut values, &mut histograms);
                    visit(index, Row { values: &values, histograms: &histograms });
                }
                ctx.check_cancelled()?;
            }
        }
        Ok(())
    }

    /// Computes all rows, in parallel, and keeps those that have a value.
    pub(crate) fn into_block(self, ctx: &Context<'_>) -> Result<Block, EvalError> {
        match self.kind {
            RowsKind::Block(mut block) => {
                block.labels = self.labels;
                Ok(block)
            }
            RowsKind::Stream { source, kernels, selector } => {
                let mut block = Block::absent(ctx, self.labels, self.step_count, selector)?;
                let filled = fill(ctx, &source, &kernels, &mut block)?;
                // Counted again by the block, row by row: at no time twice as a whole.
                block.set_histograms(ctx, filled.into_iter().map(|(row, _reservation)| row))?;
                block.retain_present();
                Ok(block)
            }
        }
    }
}

/// Most rows that one worker computes before it looks for other work.
const ROWS_PER_TASK_MAX: usize = 64;
/// Fewest.
const ROWS_PER_TASK_MIN: usize = 4;
/// Samples that are worth a task: some 50 µs of work.
const SAMPLES_PER_TASK: usize = 1 << 15;

/// Rows per task for rows that cost `samples_per_row`. Depends on the data only, so that results, which are merged
/// task by task, never depend on the number of threads.
fn rows_per_task(samples_per_row: usize) -> usize {
    (SAMPLES_PER_TASK / samples_per_row.max(1)).clamp(ROWS_PER_TASK_MIN, ROWS_PER_TASK_MAX)
}

/// The histograms of one row, with the memory they take.
type FilledRow = ((usize, HistogramRow), Reservation);

/// Computes the values of all rows; returns the histograms of those that have some.
fn fill(
    ctx: &Context<'_>,
    source: &SampleSource,
    kernels: &Kernels<'_>,
    block: &mut Block,
) -> Result<Vec<FilledRow>, EvalError> {
    let step_count = block.step_count.max(1);
    let rows_per_task = rows_per_task(source.samples_per_series().max(step_count));
    let fill_task = |(task, rows): (usize, &mut [f64])| -> Result<Vec<FilledRow>, EvalError> {
        let mut samples = ReadSamples::default();
        let mut scratch = Scratch::default();
        let mut histograms = HistogramRow::new();
        let mut found = Vec::new();
        let _watch = ctx.watch();
        for (offset, row) in rows.chunks_mut(step_count).enumerate() {
            let index = task * rows_per_task + offset;
            ctx.check_cancelled()?;
            source.read(ctx, index, &mut samples)?;
            if !samples.is_empty() {
                kernels.compute(index, &samples, &mut scratch, row, &mut histograms);
            }
            if !histograms.is_empty() {
                let reservation = ctx.reserve(histogram_bytes(&histograms), String::new)?;
                found.push(((index, std::mem::take(&mut histograms)), reservation));
            }
        }
        ctx.check_cancelled()?;
        Ok(found)
    };
    if block.len() <= rows_per_task {
        return fill_task((0, &mut block.values));
    }
    let tasks = block.values.par_chunks_mut(step_count * rows_per_task).enumerate();
    let found: Vec<Vec<FilledRow>> = tasks.map(fill_task).collect::<Result<_, _>>()?;
    Ok(found.into_iter().flatten().collect())
}
