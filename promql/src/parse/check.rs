//! The type checker: pure, reads the tree, changes only what Prometheus' checker completes.
//!
//! Input: a tree that is right in its syntax. Output: the first error in Prometheus' order and words, or the type.
//! It turns the cardinality of set operators into many-to-many and drops the matching of operations with a scalar.
//! What is called along the recursion is not inlined, so that its frames stay small.
//! Not here: syntax (see `grammar`), what only the evaluator can know (labels, values).
//!
//! Source: Prometheus `promql/parser/parse.go::checkAST`.

use super::ast::{
    AggregateOp, Binary, BinaryOp, Cardinality, Expr, ExprKind, Span, ValueType, VectorMatching,
    VectorSelector,
};
use super::error::ParseError;
use super::literal::quote;
use super::tree::placeholder;
use crate::function::{self, FunctionSignature};

type Checked<T> = Result<T, Box<ParseError>>;

/// Checks the whole tree.
pub(super) fn check(query: &str, expr: &mut Expr) -> Checked<()> {
    Checker { query }.expr(expr).map(|_value_type| ())
}

struct Checker<'q> {
    query: &'q str,
}

impl Checker<'_> {
    fn error<T>(&self, span: Span, message: String) -> Checked<T> {
        Err(Box::new(ParseError::new(self.query, span, message)))
    }

    fn expr(&self, expr: &mut Expr) -> Checked<ValueType> {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number { .. } => Ok(ValueType::Scalar),
            ExprKind::String(_) => Ok(ValueType::String),
            ExprKind::VectorSelector(selector) => {
                self.selector(selector, span, false)?;
                Ok(ValueType::Vector)
            }
            ExprKind::MatrixSelector { selector, selector_span, .. } => {
                let span = *selector_span;
                self.selector(selector, span, false)?;
                Ok(ValueType::Matrix)
            }
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::Unary { expr: inner, .. } => {
                let value_type = self.expr(inner)?;
                self.sign(value_type, span)
            }
            ExprKind::Subquery { expr: inner, .. } => {
                let value_type = self.expr(inner)?;
                self.subquery(value_type, span)
            }
            ExprKind::Aggregate(aggregate) => {
                let value_type = self.expr(&mut aggregate.expr)?;
                self.expect(value_type, ValueType::Vector, aggregate.expr.span, "aggregation expression")?;
                if let Some(param) = &mut aggregate.param {
                    let value_type = self.expr(param)?;
                    let wanted = match aggregate.op {
                        AggregateOp::CountValues => ValueType::String,
                        _ => ValueType::Scalar,
                    };
                    self.expect(value_type, wanted, param.span, "aggregation parameter")?;
                }
                Ok(ValueType::Vector)
            }
            ExprKind::Binary(binary) => self.chain(binary, span),
            ExprKind::Call { function, args } => self.call(function, args, span),
        }
    }

    /// Checks a left-deep chain from the bottom up without recursion along it.
    #[inline(never)]
    fn chain(&self, top: &mut Binary, top_span: Span) -> Checked<ValueType> {
        // Take the chain apart: each link keeps its right side, its left side comes back at the end.
        let mut links: Vec<(Box<Binary>, Span)> = Vec::new();
        let mut bottom = std::mem::replace(&mut top.lhs, placeholder());
        loop {
            let span = bottom.span;
            match bottom.kind {
                ExprKind::Binary(mut binary) => {
                    bottom = std::mem::replace(&mut binary.lhs, placeholder());
                    links.push((binary, span));
                }
                kind => {
                    bottom = Expr { kind, span };
                    break;
                }
            }
        }
        let mut value_type = self.expr(&mut bottom)?;
        let mut lhs = bottom;
        while let Some((mut binary, span)) = links.pop() {
            binary.lhs = lhs;
            value_type = self.link(&mut binary, span, value_type)?;
            lhs = Expr { kind: ExprKind::Binary(binary), span };
        }
        top.lhs = lhs;
        self.link(top, top_span, value_type)
    }

    #[inline(never)]
    fn link(&self, binary: &mut Binary, span: Span, left: ValueType) -> Checked<ValueType> {
        let right = self.expr(&mut binary.rhs)?;
        self.binary(binary, span, left, right)?;
        let is_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
        Ok(if is_scalar { ValueType::Scalar } else { ValueType::Vector })
    }

    #[inline(never)]
    fn binary(&self, binary: &mut Binary, span: Span, left: ValueType, right: ValueType) -> Checked<()> {
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators".to_owned();
            return self.error(binary.op_span, message);
        }
        let are_scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if op.is_comparison() && !binary.return_bool && are_scalars {
            let message = "comparisons between scalars must use BOOL modifier".to_owned();
            return self.error(binary.op_span, message);
        }
        let matching = &mut binary.matching;
        if op.is_set_operator() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let twice = matching.labels.iter().find(|label| matching.is_on && matching.include.contains(label));
        if let Some(label) = twice {
            let shown = quote(label.as_bytes());
            let message = format!("label {shown} must not occur in ON and GROUP clause at once");
            return self.error(binary.op_span, message);
        }
        for (value_type, operand) in [(left, &binary.lhs), (right, &binary.rhs)] {
            if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                let message =
                    "binary expression must contain only scalar and instant vector types".to_owned();
                return self.error(operand.span, message);
            }
        }
        self.matching(op, &mut binary.matching, span, left == ValueType::Vector && right == ValueType::Vector)
    }

    fn matching(
        &self,
        op: BinaryOp,
        matching: &mut VectorMatching,
        span: Span,
        are_vectors: bool,
    ) -> Checked<()> {
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !are_vectors {
            if !matching.labels.is_empty() {
                let message = "vector matching only allowed between instant vectors".to_owned();
                return self.error(span, message);
            }
            if has_fill {
                let message = "filling in missing series only allowed between instant vectors".to_owned();
                return self.error(span, message);
            }
            if op.is_set_operator() {
                let message =
                    format!("set operator \"{}\" not allowed in binary scalar expression", op.as_str());
                return self.error(span, message);
            }
            *matching = VectorMatching::default();
        } else if op.is_set_operator() {
            if matching.cardinality != Cardinality::ManyToMany {
                return self.error(span, format!("no grouping allowed for \"{}\" operation", op.as_str()));
            }
            if has_fill {
                let message = "filling in missing series not allowed for set operators".to_owned();
                return self.error(span, message);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn call(&self, name: &str, args: &mut [Expr], span: Span) -> Checked<ValueType> {
        let Some(signature) = function::lookup(name) else {
            let shown = quote(name.as_bytes());
            return self.error(span, format!("unknown function with name {shown}"));
        };
        self.arg_count(signature, args.len(), span)?;
        for (index, arg) in args.iter_mut().enumerate() {
            let value_type =
                if name == "info" && index == 1 { self.info_selector(arg, span)? } else { self.expr(arg)? };
            if let Some(wanted) = signature.arg_type(index) {
                self.expect_arg(value_type, wanted, arg.span, name)?;
            }
        }
        Ok(signature.return_type)
    }

    #[inline(never)]
    fn arg_count(&self, signature: &FunctionSignature, given: usize, span: Span) -> Checked<()> {
        let name = signature.name;
        let (min, max) = (signature.arg_count_min, signature.arg_count_max);
        let message = if max == Some(min) && given != min {
            format!("expected {min} argument(s) in call to \"{name}\", got {given}")
        } else if given < min {
            format!("expected at least {min} argument(s) in call to \"{name}\", got {given}")
        } else if let Some(max) = max
            && given > max
        {
            format!("expected at most {max} argument(s) in call to \"{name}\", got {given}")
        } else {
            return Ok(());
        };
        self.error(span, message)
    }

    /// The second argument of `info` names conditions on labels only; it may match everything.
    #[inline(never)]
    fn info_selector(&self, arg: &mut Expr, call: Span) -> Checked<ValueType> {
        let span = arg.span;
        let value_type = arg.value_type();
        if value_type != ValueType::Vector {
            self.expect_arg(value_type, ValueType::Vector, call, "info")?;
        }
        match &arg.kind {
            ExprKind::VectorSelector(selector) if selector.name.is_some() => {
                self.error(span, "expected label selectors only, got vector selector instead".to_owned())
            }
            ExprKind::VectorSelector(selector) => {
                self.selector(selector, span, true)?;
                Ok(ValueType::Vector)
            }
            _ => self.error(span, "expected label selectors only".to_owned()),
        }
    }

    #[inline(never)]
    fn selector(&self, selector: &VectorSelector, span: Span, may_match_all: bool) -> Checked<()> {
        if let Some(name) = &selector.name {
            // The name before the braces is the last matcher.
            let others = selector.matchers.split_last().map_or(&[][..], |(_, others)| others);
            if let Some(second) = others.iter().find(|matcher| matcher.name() == "__name__") {
                let (first, second) = (quote(name.as_bytes()), quote(second.value().as_bytes()));
                let message = format!("metric name must not be set twice: {first} or {second}");
                return self.error(span, message);
            }
            return Ok(());
        }
        if may_match_all || selector.matchers.iter().any(|matcher| !matcher.matches_absent()) {
            return Ok(());
        }
        self.error(span, "vector selector must contain at least one non-empty matcher".to_owned())
    }

    #[inline(never)]
    fn sign(&self, value_type: ValueType, span: Span) -> Checked<ValueType> {
        if matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Ok(value_type);
        }
        let shown = value_type.describe();
        let message = format!(
            "unary expression only allowed on expressions of type scalar or instant vector, got \"{shown}\""
        );
        self.error(span, message)
    }

    #[inline(never)]
    fn subquery(&self, value_type: ValueType, span: Span) -> Checked<ValueType> {
        // Prometheus uses the short words of types here.
        let shown = match value_type {
            ValueType::Vector => return Ok(ValueType::Matrix),
            ValueType::Scalar => "scalar",
            ValueType::String => "string",
            ValueType::Matrix => "matrix",
        };
        self.error(span, format!("subquery is only allowed on instant vector, got {shown} instead"))
    }

    #[inline(never)]
    fn expect(&self, given: ValueType, wanted: ValueType, span: Span, context: &str) -> Checked<()> {
        if given == wanted {
            return Ok(());
        }
        let (wanted, given) = (wanted.describe(), given.describe());
        self.error(span, format!("expected type {wanted} in {context}, got {given}"))
    }

    #[inline(never)]
    fn expect_arg(&self, given: ValueType, wanted: ValueType, span: Span, name: &str) -> Checked<()> {
        if given == wanted {
            return Ok(());
        }
        let (wanted, given) = (wanted.describe(), given.describe());
        self.error(span, format!("expected type {wanted} in call to function \"{name}\", got {given}"))
    }
}
