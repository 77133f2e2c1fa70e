//! Which expressions give the same at every step, so that one evaluation is enough.
//!
//! Source: Prometheus `promql/engine.go` (`preprocessExprHelper`).

use crate::parse::ast::{Expr, ExprKind};

/// Functions whose result depends on the evaluation time even if their arguments do not.
fn depends_on_time(function: &str) -> bool {
    matches!(
        function,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "time"
            | "timestamp"
            | "start_timestamp"
    )
}

/// Whether `expr` has the same value at every step.
pub(crate) fn is_invariant(mut expr: &Expr) -> bool {
    loop {
        expr = match &expr.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => return true,
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                return selector.at.is_some();
            }
            ExprKind::Subquery { at, .. } => return at.is_some(),
            // The parameter may vary with time although the vector does not.
            ExprKind::Aggregate(aggregate) => {
                if !aggregate.param.as_ref().is_none_or(is_invariant) {
                    return false;
                }
                &aggregate.expr
            }
            // Long chains lean to the left: walk down there, recurse to the right.
            ExprKind::Binary(binary) => {
                if !is_invariant(&binary.rhs) {
                    return false;
                }
                &binary.lhs
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr,
            ExprKind::Call { function, args } => {
                return !depends_on_time(function) && args.iter().all(is_invariant);
            }
        };
    }
}
