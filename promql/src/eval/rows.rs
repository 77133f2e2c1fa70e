//! Series whose values are computed when they are asked for, row by row.
//!
//! Why: an aggregation needs every row once and none of them afterwards; series × steps never lie in memory.

use std::ops::Range;

use mytsdb_storage::model::{TimeRange, is_stale};
use mytsdb_storage::read::{SampleColumns, SeriesSet};
use rayon::prelude::*;

use super::block::{Block, RowLabels};
use super::context::Context;
use crate::engine::EvalError;
use crate::grid::StepGrid;
use crate::kernel::{Samples, Scratch, is_absent};

/// Where a range or instant selector gets its samples.
#[derive(Debug)]
pub(crate) enum SampleSource {
    /// Stored series.
    Stored {
        /// The series.
        set: SeriesSet,
        /// What is read of each.
        range: TimeRange,
        /// Whether stale markers are left out (range vectors) or kept (instant vectors).
        strips_stale: bool,
    },
    /// The result of a subquery's expression over the subquery's grid.
    Subquery {
        /// The result.
        block: Block,
        /// Its times.
        grid: StepGrid,
    },
}

impl SampleSource {
    /// An upper bound of the samples of any one series; cheap.
    fn samples_per_series(&self) -> usize {
        match self {
            Self::Stored { set, .. } => set.series_sample_count_max(),
            Self::Subquery { grid, .. } => grid.count,
        }
    }

    /// Reads the samples of one series into `columns`, cleared first.
    pub(crate) fn read(
        &self,
        ctx: &Context<'_>,
        index: usize,
        columns: &mut SampleColumns,
    ) -> Result<(), EvalError> {
        match self {
            Self::Stored { set, range, strips_stale } => {
                set.read(index, *range, columns)?;
                if !columns.histograms.is_empty() {
                    let series = set.labels(index);
                    return Err(EvalError::Unsupported(format!(
                        "evaluating native histograms (series {series})"
                    )));
                }
                ctx.count_samples(columns.len());
                if *strips_stale && columns.values.iter().fold(false, |any, value| any | is_stale(*value)) {
                    strip_stale(columns);
                }
            }
            Self::Subquery { block, grid } => {
                columns.clear();
                for (step_index, value) in block.row(index).iter().enumerate() {
                    if !is_absent(*value) {
                        columns.timestamps_ms.push(grid.time_ms(step_index));
                        columns.values.push(*value);
                    }
                }
            }
        }
        Ok(())
    }
}

fn strip_stale(columns: &mut SampleColumns) {
    let mut kept = 0;
    for index in 0..columns.values.len() {
        if !is_stale(columns.values[index]) {
            columns.values[kept] = columns.values[index];
            columns.timestamps_ms[kept] = columns.timestamps_ms[index];
            kept += 1;
        }
    }
    columns.values.truncate(kept);
    columns.timestamps_ms.truncate(kept);
}

/// Computes one row from the samples of one series: `(series_index, samples, scratch, row)`.
pub(crate) type RowKernel<'a> = Box<dyn Fn(usize, Samples<'_>, &mut Scratch, &mut [f64]) + Send + Sync + 'a>;

/// Memory of one worker.
#[derive(Debug, Default)]
pub(crate) struct RowScratch {
    columns: SampleColumns,
    kernel: Scratch,
    row: Vec<f64>,
}

enum RowsKind<'a> {
    /// The block without its labels.
    Block(Block),
    Stream {
        source: SampleSource,
        kernel: RowKernel<'a>,
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

    /// Rows that `kernel` computes from `source`; `selector` names the source in errors.
    pub(crate) fn stream(
        labels: Vec<RowLabels>,
        step_count: usize,
        source: SampleSource,
        kernel: RowKernel<'a>,
        selector: impl Fn() -> String + Send + Sync + 'a,
    ) -> Self {
        Self { labels, step_count, kind: RowsKind::Stream { source, kernel, selector: Box::new(selector) } }
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
        mut visit: impl FnMut(usize, &[f64]),
    ) -> Result<(), EvalError> {
        match &self.kind {
            RowsKind::Block(block) => {
                for index in range {
                    visit(index, block.row(index));
                }
            }
            RowsKind::Stream { source, kernel, .. } => {
                let mut scratch = RowScratch::default();
                scratch.row.resize(self.step_count, 0.0);
                for index in range {
                    ctx.check_cancelled()?;
                    let RowScratch { columns, kernel: kernel_scratch, row } = &mut scratch;
                    source.read(ctx, index, columns)?;
                    if columns.is_empty() {
                        continue;
                    }
                    let samples = Samples { times_ms: &columns.timestamps_ms, values: &columns.values };
                    kernel(index, samples, kernel_scratch, row);
                    visit(index, row);
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
            RowsKind::Stream { source, kernel, selector } => {
                let mut block = Block::absent(ctx, self.labels, self.step_count, selector)?;
                fill(ctx, &source, &kernel, &mut block)?;
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

fn fill(
    ctx: &Context<'_>,
    source: &SampleSource,
    kernel: &RowKernel<'_>,
    block: &mut Block,
) -> Result<(), EvalError> {
    let step_count = block.step_count.max(1);
    let rows_per_task = rows_per_task(source.samples_per_series().max(step_count));
    let fill_task = |(task, rows): (usize, &mut [f64])| {
        let mut columns = SampleColumns::default();
        let mut scratch = Scratch::default();
        for (offset, row) in rows.chunks_mut(step_count).enumerate() {
            let index = task * rows_per_task + offset;
            ctx.check_cancelled()?;
            source.read(ctx, index, &mut columns)?;
            if !columns.is_empty() {
                let samples = Samples { times_ms: &columns.timestamps_ms, values: &columns.values };
                kernel(index, samples, &mut scratch, row);
            }
        }
        ctx.check_cancelled()
    };
    if block.len() <= rows_per_task {
        return fill_task((0, &mut block.values));
    }
    block.values.par_chunks_mut(step_count * rows_per_task).enumerate().try_for_each(fill_task)
}
