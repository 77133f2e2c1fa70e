//! Duration expressions, folded when step and range of the query are known.

use super::context::{Context, execution};
use crate::engine::EvalError;
use crate::kernel::math;
use crate::parse::ast::{BinaryOp, Duration, DurationExpr, DurationExprKind};

impl Context<'_> {
    /// A duration in milliseconds; may be negative.
    pub(crate) fn offset_ms(&self, duration: &Duration) -> Result<i64, EvalError> {
        match duration {
            Duration::Literal(milliseconds) => Ok(*milliseconds),
            Duration::Expression(expr) => to_milliseconds(self.seconds(expr)?),
        }
    }

    /// A duration in milliseconds that must be positive if it is computed.
    pub(crate) fn range_ms(&self, duration: &Duration) -> Result<i64, EvalError> {
        match duration {
            Duration::Literal(milliseconds) => Ok(*milliseconds),
            Duration::Expression(expr) => {
                let seconds = self.seconds(expr)?;
                if seconds <= 0.0 || seconds.is_nan() {
                    return Err(execution("duration must be greater than 0"));
                }
                to_milliseconds(seconds)
            }
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, EvalError> {
        // The left spine may be as long as the query; only the other operands recurse.
        let mut spine = Vec::new();
        let mut leftmost = expr;
        while let DurationExprKind::Binary { op, lhs, rhs } = &leftmost.kind {
            spine.push((*op, rhs));
            leftmost = lhs;
        }
        let mut value = self.seconds_of_leaf(leftmost)?;
        for (op, rhs) in spine.into_iter().rev() {
            let right = self.seconds(rhs)?;
            value = match op {
                BinaryOp::Div if right == 0.0 => return Err(execution("division by zero")),
                BinaryOp::Mod if right == 0.0 => return Err(execution("modulo by zero")),
                op => math::arithmetic(op, value, right),
            };
        }
        Ok(value)
    }

    fn seconds_of_leaf(&self, expr: &DurationExpr) -> Result<f64, EvalError> {
        Ok(match &expr.kind {
            DurationExprKind::Seconds { value, .. } => *value,
            DurationExprKind::Step => self.step_ms as f64 / 1000.0,
            DurationExprKind::Range => (self.end_ms - self.start_ms) as f64 / 1000.0,
            DurationExprKind::MinOf(left, right) => self.seconds(left)?.min(self.seconds(right)?),
            DurationExprKind::MaxOf(left, right) => self.seconds(left)?.max(self.seconds(right)?),
            DurationExprKind::Unary { is_minus: true, expr } => -self.seconds(expr)?,
            DurationExprKind::Unary { is_minus: false, expr } | DurationExprKind::Paren(expr) => {
                self.seconds(expr)?
            }
            DurationExprKind::Binary { .. } => self.seconds(expr)?,
        })
    }
}

fn to_milliseconds(seconds: f64) -> Result<i64, EvalError> {
    // Prometheus counts durations in nanoseconds of 64 bits.
    const SECONDS_MAX: f64 = (i64::MAX / 1_000_000_000) as f64;
    if !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) {
        return Err(execution("duration is out of range"));
    }
    Ok((seconds * 1000.0) as i64)
}
