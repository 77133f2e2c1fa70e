//! Evaluates trees series by series over all steps. This file only dispatches.
//!
//! Input: a checked tree, a [`Context`], a [`StepGrid`]. Output: an [`Operand`].
//! Way: a selector becomes [`Rows`] that are computed on demand; aggregations fold them as they come; everything else
//! works on a [`Block`] of columns. What is the same at every step is evaluated once.
//! Histograms: numbers stay plain columns of `f64` and know nothing of histograms. A cell that is a histogram has the
//! bits of one reserved NaN, the histogram itself stands in a sparse list beside its row (`cells`). A series without
//! histograms has no list and takes the kernels over slices; a series with some takes a path of its own, window by
//! window (`histogram_windows`) or cell by cell (`binary_cells`, `aggregate_histograms`). The decision is made once
//! per series or row, never per sample.
//! Not here: loops over samples (see `kernel`), the grid's arithmetic (see `grid`).

mod aggregate;
mod aggregate_cells;
mod aggregate_histograms;
mod aggregate_k;
pub(crate) mod annotate;
mod binary;
mod binary_cells;
mod block;
mod call;
pub(crate) mod cells;
mod classic_histogram;
mod context;
mod delta;
mod duration;
mod histogram_rate;
mod histogram_windows;
mod info;
mod invariant;
mod label_functions;
mod labels;
mod matching;
mod native_histogram;
mod range_call;
mod range_vector;
mod rows;
mod samples;
mod selector;
mod set_operators;
mod sort;

pub(crate) use aggregate::bench_sum;
pub(crate) use block::{Block, Operand, Scalars};
pub(crate) use context::{Context, execution};
pub(crate) use range_vector::matrix;

use std::sync::Arc;

use self::call::Call;
use self::rows::Rows;
use self::selector::{Wanted, instant_rows};
use crate::engine::EvalError;
use crate::grid::StepGrid;
use crate::kernel::is_absent;
use crate::parse::ast::{Aggregate, AggregateOp, Expr, ExprKind, Span};
use crate::value::MatrixSeries;

/// Evaluates `expr` over `grid`.
pub(crate) fn eval(ctx: &Context<'_>, expr: &Expr, grid: &StepGrid) -> Result<Operand, EvalError> {
    ctx.check_cancelled()?;
    let expr = expr.unwrap_parens();
    if grid.count > 1 && invariant::is_invariant(expr) {
        return repeat(ctx, eval_node(ctx, expr, &grid.first())?, grid.count);
    }
    eval_node(ctx, expr, grid)
}

fn eval_node(ctx: &Context<'_>, expr: &Expr, grid: &StepGrid) -> Result<Operand, EvalError> {
    match &expr.kind {
        ExprKind::Number { value, .. } => Ok(Operand::Scalar(Scalars::Constant(*value))),
        ExprKind::String(text) => Ok(Operand::String(text.clone())),
        ExprKind::VectorSelector(selector) => {
            instant_rows(ctx, selector, expr.span, grid, Wanted::Value)?.into_block(ctx).map(Operand::Vector)
        }
        ExprKind::MatrixSelector { .. } | ExprKind::Subquery { .. } => {
            Err(execution("a range vector is only allowed as argument of a function"))
        }
        ExprKind::Aggregate(aggregate) => {
            eval_aggregate(ctx, aggregate, expr.span, grid).map(Operand::Vector)
        }
        ExprKind::Binary(binary) => binary::chain(ctx, binary, expr.span, grid),
        ExprKind::Unary { is_minus, expr } => binary::unary(ctx, *is_minus, expr, grid),
        ExprKind::Call { function, args } => call::call(&Call { ctx, function, args, grid, expr }),
        ExprKind::Paren(inner) => eval(ctx, inner, grid),
    }
}

/// Copies the result of one step to all steps.
fn repeat(ctx: &Context<'_>, operand: Operand, step_count: usize) -> Result<Operand, EvalError> {
    Ok(match operand {
        Operand::Scalar(Scalars::Steps(values)) => {
            Operand::Scalar(Scalars::Constant(values.first().copied().unwrap_or(f64::NAN)))
        }
        Operand::Vector(block) => {
            let mut repeated = Block::absent(ctx, block.labels.clone(), step_count, String::new)?;
            for index in 0..block.len() {
                repeated.row_mut(index).fill(block.row(index)[0]);
            }
            if block.has_histograms() {
                let histograms = (0..block.len()).filter_map(|index| {
                    let histogram = block.histogram(index, 0)?;
                    let steps = 0..step_count as u32;
                    Some((index, steps.map(|step| (step, Arc::clone(histogram))).collect()))
                });
                repeated.set_histograms(ctx, histograms)?;
            }
            Operand::Vector(repeated)
        }
        other => other,
    })
}

/// The rows of `expr`: computed on demand where that is possible.
fn rows<'a>(ctx: &'a Context<'a>, expr: &'a Expr, grid: &StepGrid) -> Result<Rows<'a>, EvalError> {
    let expr = expr.unwrap_parens();
    let is_repeated = grid.count > 1 && invariant::is_invariant(expr);
    match &expr.kind {
        ExprKind::VectorSelector(selector) if !is_repeated => {
            instant_rows(ctx, selector, expr.span, grid, Wanted::Value)
        }
        ExprKind::Call { function, args }
            if !is_repeated && *function != "absent_over_time" && range_call::has_range_vector(args) =>
        {
            range_call::range_rows(ctx, function, args, grid)
        }
        _ => Ok(Rows::from_block(eval(ctx, expr, grid)?.into_block()?)),
    }
}

fn eval_aggregate(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    whole: Span,
    grid: &StepGrid,
) -> Result<Block, EvalError> {
    let inner_span = aggregate.expr.unwrap_parens().span;
    if !aggregate.op.has_param() {
        let rows = match aggregate.op {
            AggregateOp::Count | AggregateOp::Group => selector::presence_rows(ctx, &aggregate.expr, grid)?,
            _ => rows(ctx, &aggregate.expr, grid)?,
        };
        return aggregate::aggregate(ctx, aggregate.op, &rows, &aggregate.grouping, inner_span);
    }
    let missing = || execution(format!("missing parameter of {}", aggregate.op.as_str()));
    let param_expr = aggregate.param.as_ref().ok_or_else(missing)?.unwrap_parens();
    let param = eval(ctx, param_expr, grid)?;
    let span = param_expr.span;
    if aggregate.op == AggregateOp::CountValues {
        let label = param.into_string()?;
        let block = eval(ctx, &aggregate.expr, grid)?.into_block()?;
        return aggregate_k::count_values(ctx, aggregate, &label, &block);
    }
    let param = param.into_scalars()?;
    let block = eval(ctx, &aggregate.expr, grid)?.into_block()?;
    if aggregate.op == AggregateOp::Quantile {
        return aggregate_k::quantiles(ctx, aggregate, &param, (span, inner_span), block);
    }
    aggregate_k::select(ctx, aggregate, &param, (span, whole), block)
}

/// How many points of a row are there.
pub(crate) fn present_count(row: &[f64]) -> usize {
    row.iter().filter(|value| !is_absent(**value)).count()
}

/// One series of a block as a result: the points that are there.
pub(crate) fn series_of(block: &Block, index: usize, grid: &StepGrid) -> MatrixSeries {
    let cells = block.cells(index);
    let is_float = |step: usize, value: f64| {
        !is_absent(value) && cells::histogram_at(cells.histograms, value, step).is_none()
    };
    let (timestamps_ms, values) = cells
        .values
        .iter()
        .enumerate()
        .filter(|(step, value)| is_float(*step, **value))
        .map(|(step, value)| (grid.time_ms(step), *value))
        .unzip();
    let histograms = cells
        .present_histograms()
        .map(|(step, histogram)| (grid.time_ms(step), Arc::clone(histogram)))
        .collect();
    MatrixSeries { labels: block.labels[index].set.clone(), timestamps_ms, values, histograms }
}
