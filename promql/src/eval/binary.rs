//! Binary operators: chains without recursion, numbers with numbers, numbers with series.
//!
//! Series with series are in `matching`, the set operators in `set_operators`.

use std::sync::Arc;

use super::binary_cells::{CellOperator, Outcome};
use super::block::{Block, Operand, Scalars};
use super::cells::{Cell, HistogramRow, Row, RowWriter};
use super::context::{Context, execution};
use super::{matching, set_operators};
use crate::engine::EvalError;
use crate::grid::StepGrid;
use crate::histogram::FloatHistogram;
use crate::kernel::math::{arithmetic, compare};
use crate::kernel::{ABSENT, HISTOGRAM, is_absent};
use crate::parse::ast::{Binary, BinaryOp, Expr, Span};

/// Evaluates a chain of operations, the innermost first: a query may have thousands of them.
pub(crate) fn chain(
    ctx: &Context<'_>,
    binary: &Binary,
    span: Span,
    grid: &StepGrid,
) -> Result<Operand, EvalError> {
    let (operations, first) = binary.chain();
    let mut result = super::eval(ctx, first, grid)?;
    for operation in operations.into_iter().rev() {
        ctx.check_cancelled()?;
        let right = super::eval(ctx, &operation.rhs, grid)?;
        let whole =
            if std::ptr::eq(operation, binary) { span } else { operation.lhs.span.to(operation.rhs.span) };
        result = apply(ctx, operation, whole, result, right, grid)?;
    }
    Ok(result)
}

fn apply(
    ctx: &Context<'_>,
    operation: &Binary,
    span: Span,
    left: Operand,
    right: Operand,
    grid: &StepGrid,
) -> Result<Operand, EvalError> {
    match (left, right) {
        (Operand::Scalar(left), Operand::Scalar(right)) => {
            Ok(Operand::Scalar(numbers(operation.op, left, right, grid.count)))
        }
        (Operand::Vector(block), Operand::Scalar(scalars)) => {
            with_number(ctx, operation, span, block, &scalars, false).map(Operand::Vector)
        }
        (Operand::Scalar(scalars), Operand::Vector(block)) => {
            with_number(ctx, operation, span, block, &scalars, true).map(Operand::Vector)
        }
        (Operand::Vector(left), Operand::Vector(right)) if operation.op.is_set_operator() => {
            set_operators::apply(operation, left, right).map(Operand::Vector)
        }
        (Operand::Vector(left), Operand::Vector(right)) => {
            matching::apply(ctx, operation, span, &left, &right).map(Operand::Vector)
        }
        _ => Err(execution("binary expression must contain only scalar and instant vector types")),
    }
}

fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
    if op.is_comparison() {
        f64::from(u8::from(compare(op, left, right)))
    } else {
        arithmetic(op, left, right)
    }
}

fn numbers(op: BinaryOp, left: Scalars, right: Scalars, step_count: usize) -> Scalars {
    match (left, right) {
        (Scalars::Constant(left), Scalars::Constant(right)) => Scalars::Constant(number(op, left, right)),
        (Scalars::Steps(values), Scalars::Constant(right)) => {
            Scalars::Steps(values).map(|left| number(op, left, right))
        }
        (left, right) => {
            Scalars::Steps((0..step_count).map(|step| number(op, left.at(step), right.at(step))).collect())
        }
    }
}

/// Series with a number. `is_swapped`: the number stands on the left.
fn with_number(
    ctx: &Context<'_>,
    operation: &Binary,
    span: Span,
    mut block: Block,
    scalars: &Scalars,
    is_swapped: bool,
) -> Result<Block, EvalError> {
    let op = operation.op;
    if op.is_trim() || block.has_histograms() {
        return cells_with_number(ctx, operation, span, block, scalars, is_swapped);
    }
    let step_count = block.step_count;
    let map = |block: &mut Block, function: &dyn Fn(f64, f64) -> f64| {
        for row in block.values.chunks_mut(step_count.max(1)) {
            for (step, value) in row.iter_mut().enumerate() {
                if !is_absent(*value) {
                    *value = function(*value, scalars.at(step));
                }
            }
        }
    };
    if !op.is_comparison() {
        map_arithmetic(&mut block, op, scalars, is_swapped);
        block.drop_metadata(ctx)?;
        return Ok(block);
    }
    let holds = |value: f64, number: f64| {
        if is_swapped { compare(op, number, value) } else { compare(op, value, number) }
    };
    if operation.return_bool {
        map(&mut block, &|value, number| f64::from(u8::from(holds(value, number))));
        block.drop_metadata(ctx)?;
    } else {
        // The series' value stays, on whichever side it stands.
        map(&mut block, &|value, number| if holds(value, number) { value } else { ABSENT });
        block.retain_present();
    }
    Ok(block)
}

/// As [`with_number`], for series that may have histograms and operators that only histograms take.
fn cells_with_number(
    ctx: &Context<'_>,
    operation: &Binary,
    span: Span,
    mut block: Block,
    scalars: &Scalars,
    is_swapped: bool,
) -> Result<Block, EvalError> {
    let op = operation.op;
    let operator = CellOperator { ctx, op, span };
    let mut histograms: Vec<HistogramRow> = vec![HistogramRow::new(); block.len()];
    for (index, histograms) in histograms.iter_mut().enumerate() {
        let cells: Vec<Cell> = (0..block.step_count).map(|step| block.cells(index).cell(step)).collect();
        let mut out = RowWriter::new(block.row_mut(index), histograms);
        for (step, cell) in cells.into_iter().enumerate() {
            let number = Cell::Float(scalars.at(step));
            let outcome =
                if is_swapped { operator.apply(&number, &cell) } else { operator.apply(&cell, &number) };
            out.set(
                step,
                match outcome {
                    Outcome::Value(Cell::Absent) | Outcome::Refused => Cell::Absent,
                    Outcome::Value(_) if operation.return_bool => Cell::Float(1.0),
                    // The series' value stays, on whichever side it stands.
                    Outcome::Value(_) if op.is_comparison() => cell,
                    Outcome::Value(value) => value,
                    Outcome::Fails if operation.return_bool => Cell::Float(0.0),
                    Outcome::Fails => Cell::Absent,
                },
            );
        }
    }
    drop(block.take_histograms());
    block.set_histograms(ctx, histograms.into_iter().enumerate())?;
    block.retain_present();
    let keeps_name = op.is_trim() || (op.is_comparison() && !operation.return_bool);
    if !keeps_name {
        block.drop_metadata(ctx)?;
    }
    Ok(block)
}

fn map_arithmetic(block: &mut Block, op: BinaryOp, scalars: &Scalars, is_swapped: bool) {
    let step_count = block.step_count.max(1);
    // One loop per common operator, so that the operator is not chosen per value.
    macro_rules! each {
        ($function:expr) => {
            for row in block.values.chunks_mut(step_count) {
                for (step, value) in row.iter_mut().enumerate() {
                    if !is_absent(*value) {
                        let number = scalars.at(step);
                        *value =
                            if is_swapped { $function(number, *value) } else { $function(*value, number) };
                    }
                }
            }
        };
    }
    match op {
        BinaryOp::Add => each!(|left: f64, right: f64| left + right),
        BinaryOp::Sub => each!(|left: f64, right: f64| left - right),
        BinaryOp::Mul => each!(|left: f64, right: f64| left * right),
        BinaryOp::Div => each!(|left: f64, right: f64| left / right),
        op => each!(|left: f64, right: f64| arithmetic(op, left, right)),
    }
}

/// Changes the sign of all values.
fn negate(ctx: &Context<'_>, block: &mut Block) -> Result<(), EvalError> {
    let histograms = block.take_histograms();
    let mut negated: Vec<HistogramRow> = Vec::with_capacity(histograms.len());
    for (index, row) in histograms.iter().enumerate() {
        let negative = |(step, histogram): (usize, &Arc<FloatHistogram>)| {
            let mut histogram = FloatHistogram::clone(histogram);
            histogram.multiply(-1.0);
            (step as u32, Arc::new(histogram))
        };
        let present = Row { values: block.row(index), histograms: row }.present_histograms();
        negated.push(present.map(negative).collect());
    }
    for value in block.values.iter_mut().filter(|value| !is_absent(**value)) {
        *value = -*value;
    }
    for (index, row) in negated.iter().enumerate() {
        for (step, _) in row {
            block.row_mut(index)[*step as usize] = HISTOGRAM;
        }
    }
    block.set_histograms(ctx, negated.into_iter().enumerate())
}

/// `-expr` and `+expr`.
pub(crate) fn unary(
    ctx: &Context<'_>,
    is_minus: bool,
    expr: &Expr,
    grid: &StepGrid,
) -> Result<Operand, EvalError> {
    let operand = super::eval(ctx, expr, grid)?;
    if !is_minus {
        return Ok(operand);
    }
    match operand {
        Operand::Scalar(scalars) => Ok(Operand::Scalar(scalars.map(|value| -value))),
        Operand::Vector(mut block) => {
            negate(ctx, &mut block)?;
            block.drop_metadata(ctx)?;
            Ok(Operand::Vector(block))
        }
        Operand::String(_) => {
            Err(execution("unary expression only allowed on expressions of type scalar or instant vector"))
        }
    }
}
