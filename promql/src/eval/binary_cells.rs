//! Operators between two values of which at least one may be a histogram.
//!
//! Source: Prometheus `promql/engine.go` (`vectorElemBinop`).

use std::sync::Arc;

use mytsdb_storage::model::ResetHint;

use super::cells::Cell;
use super::context::Context;
use crate::histogram::{FloatHistogram, Kept};
use crate::kernel::math::{arithmetic, compare};
use crate::parse::ast::{BinaryOp, Span};

/// What an operator makes of two values.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A value; of a comparison that holds, the left one.
    Value(Cell),
    /// A comparison does not hold.
    Fails,
    /// The operator does not take such values: there is no result, and the user has been told.
    Refused,
}

/// One binary operation of the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellOperator<'a> {
    pub(crate) ctx: &'a Context<'a>,
    pub(crate) op: BinaryOp,
    /// The whole operation.
    pub(crate) span: Span,
}

fn kind(cell: &Cell) -> &'static str {
    if matches!(cell, Cell::Histogram(_)) { "histogram" } else { "float" }
}

/// The value without empty buckets.
fn compacted(mut histogram: FloatHistogram) -> Outcome {
    histogram.compact();
    Outcome::Value(Cell::from(histogram))
}

impl CellOperator<'_> {
    /// Applies the operator. Where one side is absent there is no result.
    pub(crate) fn apply(&self, left: &Cell, right: &Cell) -> Outcome {
        match (left, right) {
            (Cell::Absent, _) | (_, Cell::Absent) => Outcome::Value(Cell::Absent),
            (Cell::Float(left_value), Cell::Float(right_value)) => {
                if self.op.is_comparison() {
                    let holds = compare(self.op, *left_value, *right_value);
                    return if holds { Outcome::Value(left.clone()) } else { Outcome::Fails };
                }
                if self.op.is_trim() {
                    return self.refuse(left, right);
                }
                Outcome::Value(Cell::Float(arithmetic(self.op, *left_value, *right_value)))
            }
            (Cell::Float(factor), Cell::Histogram(histogram)) => match self.op {
                BinaryOp::Mul => scaled(histogram, |histogram| histogram.multiply(*factor)),
                _ => self.refuse(left, right),
            },
            (Cell::Histogram(histogram), Cell::Float(number)) => match self.op {
                BinaryOp::Mul => scaled(histogram, |histogram| histogram.multiply(*number)),
                BinaryOp::Div => scaled(histogram, |histogram| histogram.divide(*number)),
                BinaryOp::TrimUpper => Outcome::Value(Cell::from(histogram.trimmed(*number, Kept::Below))),
                BinaryOp::TrimLower => Outcome::Value(Cell::from(histogram.trimmed(*number, Kept::Above))),
                _ => self.refuse(left, right),
            },
            (Cell::Histogram(one), Cell::Histogram(other)) => match self.op {
                BinaryOp::Add | BinaryOp::Sub => self.combine(one, other),
                BinaryOp::Equal | BinaryOp::NotEqual => {
                    let holds = (one == other) == (self.op == BinaryOp::Equal);
                    if holds { Outcome::Value(left.clone()) } else { Outcome::Fails }
                }
                _ => self.refuse(left, right),
            },
        }
    }

    /// Adds or subtracts two histograms.
    fn combine(&self, left: &Arc<FloatHistogram>, right: &FloatHistogram) -> Outcome {
        let mut result = FloatHistogram::clone(left);
        let is_sum = self.op == BinaryOp::Add;
        let combined = if is_sum { result.add(right) } else { result.subtract(right) };
        let Ok(combined) = combined else {
            let op = self.op.as_str();
            self.ctx
                .warn(self.span, format!("incompatible bucket layout encountered for binary operator {op}"));
            return Outcome::Refused;
        };
        let operation = if is_sum { "addition" } else { "subtraction" };
        if combined.has_reset_conflict {
            let text = format!("conflicting counter resets during histogram {operation}");
            self.ctx.warn(self.span, text);
            return Outcome::Refused;
        }
        if combined.has_reconciled_bounds {
            let text = format!("mismatched custom buckets were reconciled during {operation}");
            self.ctx.info(self.span, text);
        }
        compacted(if is_sum { result } else { result.with_hint(ResetHint::Gauge) })
    }

    fn refuse(&self, left: &Cell, right: &Cell) -> Outcome {
        let op = self.op.as_str();
        self.ctx.info(
            self.span,
            format!(
                "incompatible sample types encountered for binary operator \"{op}\": {} {op} {}",
                kind(left),
                kind(right)
            ),
        );
        Outcome::Refused
    }
}

fn scaled(histogram: &Arc<FloatHistogram>, scale: impl FnOnce(&mut FloatHistogram)) -> Outcome {
    let mut result = FloatHistogram::clone(histogram);
    scale(&mut result);
    compacted(result)
}
