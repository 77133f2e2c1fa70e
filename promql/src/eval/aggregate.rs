//! Aggregations that need each value once: `sum avg count min max group stddev stdvar`.
//!
//! Rows are pushed into accumulators `[group][step]`, a fixed number of them whatever the number of threads, and
//! merged in order, so that results do not depend on scheduling. `topk` and the like are in `aggregate_k`.

use mytsdb_storage::model::LabelSet;
use rayon::prelude::*;

use super::aggregate_cells::{AvgCell, Cell, CountCell, ExtremeCell, GroupCell, SumCell, VarianceCell};
use super::aggregate_histograms::{HistogramAggregation, HistogramPart};
use super::annotate;
use super::block::{Block, RowLabels};
use super::context::{Context, execution};
use super::labels::{KeyIndex, KeyRule};
use super::rows::Rows;
use crate::engine::EvalError;
use crate::kernel::is_absent;
use crate::kernel::kahan::Mean;
use crate::parse::ast::{AggregateOp, Grouping, Span};

/// Which group each series belongs to.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Group of each series.
    pub(crate) of_series: Vec<u32>,
    /// Labels of each group.
    pub(crate) labels: Vec<RowLabels>,
}

/// The rule that `by` or `without` gives.
pub(crate) fn key_rule(grouping: &Grouping) -> KeyRule {
    match grouping {
        Grouping::By(names) => KeyRule::only(names),
        Grouping::Without(names) => KeyRule::without(names),
    }
}

impl Groups {
    /// Groups series by their labels.
    pub(crate) fn new(series: &[RowLabels], grouping: &Grouping) -> Self {
        if matches!(grouping, Grouping::By(names) if names.is_empty()) {
            // Nothing to look at: all series are one group.
            let drop_name = series.iter().any(|labels| labels.drop_name);
            let labels = if series.is_empty() {
                vec![]
            } else {
                vec![RowLabels { set: LabelSet::empty(), drop_name }]
            };
            return Self { of_series: vec![0; series.len()], labels };
        }
        let mut keys = KeyIndex::new(key_rule(grouping));
        let mut labels: Vec<RowLabels> = Vec::new();
        let mut of_series = Vec::with_capacity(series.len());
        for one in series {
            let (number, is_new) = keys.number(&one.set);
            if is_new {
                labels.push(RowLabels::kept(keys.rule().apply(&one.set)));
            }
            labels[number].drop_name |= one.drop_name;
            of_series.push(number as u32);
        }
        Self { of_series, labels }
    }
}

/// Most parts the series are split into; fixed so that results never depend on the number of threads.
const PART_COUNT_MAX: usize = 16;

/// Accumulators of the groups that one part of the series met.
struct Part<C> {
    /// Slot of each group, or `u32::MAX`.
    slots: Vec<u32>,
    /// `[slot][step]`.
    cells: Vec<C>,
    /// Histograms, if they are added up.
    histograms: HistogramPart,
    /// Whether histograms were passed over.
    has_ignored: bool,
}

/// What an aggregation does with histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HistogramUse {
    /// They count as any value.
    Counted,
    /// They are added up, apart from numbers.
    Added,
    /// They are passed over, and the user is told.
    Ignored,
}

/// What all parts of an aggregation share.
struct Run<'a> {
    ctx: &'a Context<'a>,
    rows: &'a Rows<'a>,
    op: AggregateOp,
    /// The aggregated expression.
    span: Span,
}

impl Run<'_> {
    fn histogram_use(&self) -> HistogramUse {
        match self.op {
            AggregateOp::Count | AggregateOp::Group => HistogramUse::Counted,
            AggregateOp::Sum | AggregateOp::Avg => HistogramUse::Added,
            _ => HistogramUse::Ignored,
        }
    }
}

/// Adds the values of a series that are present.
#[inline]
fn add_row<C: Cell>(cells: &mut [C], row: &[f64]) {
    for (cell, value) in cells.iter_mut().zip(row) {
        if !is_absent(*value) {
            cell.add(*value);
        }
    }
}

fn accumulate<C: Cell>(
    run: &Run<'_>,
    groups: &Groups,
    range: std::ops::Range<usize>,
) -> Result<Part<C>, EvalError> {
    let step_count = run.rows.step_count;
    let histogram_use = run.histogram_use();
    let mut part = Part {
        slots: vec![u32::MAX; groups.labels.len()],
        cells: Vec::new(),
        histograms: HistogramPart::default(),
        has_ignored: false,
    };
    let mut numbers = Vec::new();
    run.rows.visit(run.ctx, range, |index, row| {
        let group = groups.of_series[index];
        let slot = &mut part.slots[group as usize];
        if *slot == u32::MAX {
            *slot = (part.cells.len() / step_count) as u32;
            part.cells.resize(part.cells.len() + step_count, C::EMPTY);
        }
        let start = *slot as usize * step_count;
        let cells = &mut part.cells[start..start + step_count];
        if row.histograms.is_empty() || histogram_use == HistogramUse::Counted {
            return add_row(cells, row.values);
        }
        add_row(cells, row.without_histograms(&mut numbers));
        if histogram_use == HistogramUse::Added {
            part.histograms.add_row(run.ctx, group, index, &row);
        } else {
            part.has_ignored |= row.present_histograms().next().is_some();
        }
    })?;
    part.histograms = part.histograms.checked()?;
    Ok(part)
}

/// Cells of all parts from which on groups are merged side by side.
const PARALLEL_MERGE_CELL_COUNT: usize = 1 << 14;

/// Merges the parts of one group, in order, into its row. `merged`: memory for the cells of a row.
fn merge_group<C: Cell>(parts: &[Part<C>], group: usize, merged: &mut [C], row: &mut [f64]) {
    merged.fill(C::EMPTY);
    for part in parts {
        let slot = part.slots[group];
        if slot == u32::MAX {
            continue;
        }
        let start = slot as usize * merged.len();
        let later = &part.cells[start..start + merged.len()];
        for (cell, later) in merged.iter_mut().zip(later) {
            cell.merge(later);
        }
    }
    for (value, cell) in row.iter_mut().zip(merged) {
        *value = cell.finish();
    }
}

/// Aggregates; returns the histograms that are still to be put in.
fn run<C: Cell>(run: &Run<'_>, groups: Groups) -> Result<(Block, Vec<HistogramPart>), EvalError> {
    let (series_count, step_count) = (run.rows.len(), run.rows.step_count);
    let part_count = series_count.div_ceil(run.rows.rows_per_task()).clamp(1, PART_COUNT_MAX);
    let part_length = series_count.div_ceil(part_count).max(1);
    let slots_max = series_count.min(groups.labels.len().saturating_mul(part_count));
    let numbers_per_cell = size_of::<C>().div_ceil(size_of::<f64>());
    let reservation =
        run.ctx.reserve_numbers(slots_max.saturating_mul(numbers_per_cell), step_count, String::new)?;
    let ranges = (0..part_count)
        .map(|part| (part * part_length).min(series_count)..((part + 1) * part_length).min(series_count));
    let parts: Vec<Part<C>> = if part_count == 1 {
        ranges.map(|range| accumulate(run, &groups, range)).collect::<Result<_, _>>()?
    } else {
        let ranges: Vec<_> = ranges.collect();
        ranges.into_par_iter().map(|range| accumulate(run, &groups, range)).collect::<Result<_, _>>()?
    };
    let mut result = Block::absent(run.ctx, groups.labels, step_count, String::new)?;
    let cell_count: usize = parts.iter().map(|part| part.cells.len()).sum();
    if cell_count < PARALLEL_MERGE_CELL_COUNT {
        let mut merged = vec![C::EMPTY; step_count];
        for (group, row) in result.values.chunks_mut(step_count).enumerate() {
            merge_group(&parts, group, &mut merged, row);
        }
    } else {
        result.values.par_chunks_mut(step_count).enumerate().for_each_init(
            || vec![C::EMPTY; step_count],
            |merged, (group, row)| merge_group(&parts, group, merged, row),
        );
    }
    if parts.iter().any(|part| part.has_ignored) {
        run.ctx.info(run.span, annotate::ignored_in_aggregation(run.op.as_str()));
    }
    drop(reservation);
    Ok((result, parts.into_iter().map(|part| part.histograms).collect()))
}

/// Averages whose sum is not finite are taken again, as an incremental mean that does not overflow.
fn repair_averages(
    ctx: &Context<'_>,
    rows: &Rows<'_>,
    of_series: &[u32],
    result: &mut Block,
) -> Result<(), EvalError> {
    let broken: Vec<bool> = (0..result.len())
        .map(|group| result.row(group).iter().any(|value| !is_absent(*value) && !value.is_finite()))
        .collect();
    if !broken.contains(&true) {
        return Ok(());
    }
    let broken_count = broken.iter().filter(|is_broken| **is_broken).count();
    let _reservation = ctx.reserve_numbers(broken_count.saturating_mul(6), rows.step_count, String::new)?;
    let mut means: Vec<Vec<Option<Mean>>> = broken
        .iter()
        .map(|is_broken| if *is_broken { vec![None; rows.step_count] } else { vec![] })
        .collect();
    let mut numbers = Vec::new();
    rows.visit(ctx, 0..rows.len(), |index, row| {
        let values = row.without_histograms(&mut numbers);
        for (mean, value) in means[of_series[index] as usize].iter_mut().zip(values) {
            match mean {
                _ if is_absent(*value) => {}
                Some(mean) => mean.add(*value),
                None => *mean = Some(Mean::new(*value)),
            }
        }
    })?;
    for (group, means) in means.iter().enumerate() {
        for (value, mean) in result.row_mut(group).iter_mut().zip(means) {
            if let Some(mean) = mean {
                *value = mean.finish();
            }
        }
    }
    Ok(())
}

/// Aggregates rows into one series per group. `span`: the aggregated expression.
pub(crate) fn aggregate(
    ctx: &Context<'_>,
    op: AggregateOp,
    rows: &Rows<'_>,
    grouping: &Grouping,
    span: Span,
) -> Result<Block, EvalError> {
    if rows.len() == 0 || rows.step_count == 0 {
        return Ok(Block::empty(rows.step_count));
    }
    let groups = Groups::new(&rows.labels, grouping);
    let of_series = match op {
        AggregateOp::Sum | AggregateOp::Avg => groups.of_series.clone(),
        _ => Vec::new(),
    };
    let call = Run { ctx, rows, op, span };
    let (mut result, histograms) = match op {
        AggregateOp::Sum => run::<SumCell>(&call, groups)?,
        AggregateOp::Avg => {
            let (mut result, histograms) = run::<AvgCell>(&call, groups)?;
            repair_averages(ctx, rows, &of_series, &mut result)?;
            (result, histograms)
        }
        AggregateOp::Count => run::<CountCell>(&call, groups)?,
        AggregateOp::Group => run::<GroupCell>(&call, groups)?,
        AggregateOp::Min => run::<ExtremeCell<false>>(&call, groups)?,
        AggregateOp::Max => run::<ExtremeCell<true>>(&call, groups)?,
        AggregateOp::Stddev => run::<VarianceCell<true>>(&call, groups)?,
        AggregateOp::Stdvar => run::<VarianceCell<false>>(&call, groups)?,
        other => return Err(execution(format!("expected aggregation operator but got {}", other.as_str()))),
    };
    let is_mean = op == AggregateOp::Avg;
    HistogramAggregation { ctx, span, is_mean, rows, of_series: &of_series }
        .finish(histograms, &mut result)?;
    result.retain_present();
    Ok(result)
}

/// A closure that adds rows to one group, for benches.
pub(crate) fn bench_sum(step_count: usize) -> impl FnMut(&[f64]) {
    let mut cells = vec![SumCell::EMPTY; step_count];
    move |row| add_row(&mut cells, row)
}
