//! Walking trees without deep recursion: clone, compare, drop, visit, ask.
//!
//! A chain such as `1+1+1…` is a left-deep tree whose depth only the token limit bounds. Clone, comparison and visits
//! do not recurse at all; drop, formatting and the type checker follow [`Binary::lhs`] in a loop and recurse into other
//! children only, which `ParseOptions::depth_max` bounds. Evaluators should do the same, with [`Binary::chain`].

use std::fmt;

use super::ast::{Aggregate, Binary, Expr, ExprKind, Span, ValueType, VectorSelector};
use crate::function;

impl Binary {
    /// The operations along the left side, outermost first, and the operand at the bottom, which is no operation.
    ///
    /// `a + b - c` gives `[… - c, … + b]` and `a`.
    pub fn chain(&self) -> (Vec<&Binary>, &Expr) {
        let mut links = vec![self];
        let mut bottom = &self.lhs;
        while let ExprKind::Binary(binary) = &bottom.kind {
            links.push(binary);
            bottom = &binary.lhs;
        }
        (links, bottom)
    }
}

/// Stands where an expression was taken from, until another one comes.
pub(super) fn placeholder() -> Expr {
    Expr { kind: ExprKind::Number { value: 0.0, is_duration: false }, span: Span::default() }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // A long chain would overflow the stack link by link.
        let mut next = std::mem::replace(&mut self.lhs, placeholder());
        while let ExprKind::Binary(binary) = &mut next.kind {
            next = std::mem::replace(&mut binary.lhs, placeholder());
        }
    }
}

impl Clone for Expr {
    fn clone(&self) -> Self {
        let mut nodes = Vec::new();
        self.walk(|expr| nodes.push(expr));
        // Parents stand before their children in `nodes`: backwards, children are ready when their parent comes, the
        // leftmost on top.
        let mut ready: Vec<Expr> = Vec::new();
        for node in nodes.into_iter().rev() {
            let mut next = || ready.pop().unwrap_or_else(placeholder);
            let kind = node.kind.clone_with(&mut next);
            ready.push(Expr { kind, span: node.span });
        }
        ready.pop().unwrap_or_else(placeholder)
    }
}

impl ExprKind {
    /// A copy of this node alone; `next` gives its children from left to right.
    fn clone_with(&self, next: &mut impl FnMut() -> Expr) -> Self {
        match self {
            Self::Number { value, is_duration } => Self::Number { value: *value, is_duration: *is_duration },
            Self::String(bytes) => Self::String(bytes.clone()),
            Self::VectorSelector(selector) => Self::VectorSelector(selector.clone()),
            Self::MatrixSelector { selector, selector_span, range } => Self::MatrixSelector {
                selector: selector.clone(),
                selector_span: *selector_span,
                range: range.clone(),
            },
            Self::Subquery { expr: _, range, step, offset, at } => Self::Subquery {
                expr: Box::new(next()),
                range: range.clone(),
                step: step.clone(),
                offset: offset.clone(),
                at: *at,
            },
            Self::Aggregate(aggregate) => {
                let param = aggregate.param.is_some().then(&mut *next);
                let grouping = aggregate.grouping.clone();
                Self::Aggregate(Box::new(Aggregate { op: aggregate.op, expr: next(), param, grouping }))
            }
            Self::Binary(binary) => Self::Binary(Box::new(Binary {
                op: binary.op,
                lhs: next(),
                rhs: next(),
                op_span: binary.op_span,
                return_bool: binary.return_bool,
                matching: binary.matching.clone(),
            })),
            Self::Unary { is_minus, .. } => Self::Unary { is_minus: *is_minus, expr: Box::new(next()) },
            Self::Call { function, args } => {
                Self::Call { function, args: std::iter::repeat_with(next).take(args.len()).collect() }
            }
            Self::Paren(_) => Self::Paren(Box::new(next())),
        }
    }

    /// Whether the nodes are equal but for their children.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Subquery { expr: _, range, step, offset, at },
                Self::Subquery {
                    expr: _,
                    range: other_range,
                    step: other_step,
                    offset: other_offset,
                    at: other_at,
                },
            ) => (range, step, offset, at) == (other_range, other_step, other_offset, other_at),
            (Self::Aggregate(left), Self::Aggregate(right)) => {
                left.op == right.op
                    && left.grouping == right.grouping
                    && left.param.is_some() == right.param.is_some()
            }
            (Self::Binary(left), Self::Binary(right)) => {
                left.op == right.op
                    && left.op_span == right.op_span
                    && left.return_bool == right.return_bool
                    && left.matching == right.matching
            }
            (Self::Unary { is_minus, .. }, Self::Unary { is_minus: other, .. }) => is_minus == other,
            (Self::Call { function, args }, Self::Call { function: other, args: other_args }) => {
                function == other && args.len() == other_args.len()
            }
            (Self::Paren(_), Self::Paren(_)) => true,
            // What is left has no children.
            (
                Self::Number { .. } | Self::String(_) | Self::VectorSelector(_) | Self::MatrixSelector { .. },
                _,
            ) => self == other,
            _ => false,
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        let mut pending = vec![(self, other)];
        while let Some((left, right)) = pending.pop() {
            if left.span != right.span || !left.kind.is_like(&right.kind) {
                return false;
            }
            pending.extend(left.children().into_iter().zip(right.children()));
        }
        true
    }
}

impl fmt::Debug for Binary {
    /// Writes the chain as a list, innermost first: `Binary { first: …, links: [+ …, - …] }`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut links, bottom) = self.chain();
        links.reverse();
        let links: Vec<Link<'_>> = links.into_iter().map(Link).collect();
        formatter.debug_struct("Binary").field("first", bottom).field("links", &links).finish()
    }
}

struct Link<'b>(&'b Binary);

impl fmt::Debug for Link<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct(self.0.op.as_str())
            .field("op_span", &self.0.op_span)
            .field("return_bool", &self.0.return_bool)
            .field("matching", &self.0.matching)
            .field("rhs", &self.0.rhs)
            .finish()
    }
}

impl Expr {
    /// The type of the value, without checking anything below.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            match &expr.kind {
                ExprKind::Number { .. } => return ValueType::Scalar,
                ExprKind::String(_) => return ValueType::String,
                ExprKind::VectorSelector(_) | ExprKind::Aggregate(_) => return ValueType::Vector,
                ExprKind::MatrixSelector { .. } | ExprKind::Subquery { .. } => return ValueType::Matrix,
                ExprKind::Call { function, .. } => {
                    return function::lookup(function).map_or(ValueType::Vector, |found| found.return_type);
                }
                ExprKind::Binary(binary) => {
                    let (links, bottom) = binary.chain();
                    let is_scalar = bottom.value_type() == ValueType::Scalar
                        && links.iter().all(|link| link.rhs.value_type() == ValueType::Scalar);
                    return if is_scalar { ValueType::Scalar } else { ValueType::Vector };
                }
                ExprKind::Unary { expr: inner, .. } | ExprKind::Paren(inner) => expr = inner,
            }
        }
    }

    /// The direct children, left to right as they stand in the text.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number { .. }
            | ExprKind::String(_)
            | ExprKind::VectorSelector(_)
            | ExprKind::MatrixSelector { .. } => Vec::new(),
            ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
                vec![expr]
            }
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().chain(std::iter::once(&aggregate.expr)).collect()
            }
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Call { args, .. } => args.iter().collect(),
        }
    }

    /// Calls `visitor` for every node, parents before children, left to right; no recursion.
    pub fn walk<'e>(&'e self, mut visitor: impl FnMut(&'e Expr)) {
        let mut pending = vec![self];
        while let Some(expr) = pending.pop() {
            visitor(expr);
            let mut children = expr.children();
            children.reverse();
            pending.append(&mut children);
        }
    }

    /// Calls `visitor` for every node, parents before children; no recursion. Children are looked up after the call.
    pub fn walk_mut(&mut self, mut visitor: impl FnMut(&mut Expr)) {
        let mut pending = vec![self];
        while let Some(expr) = pending.pop() {
            visitor(expr);
            match &mut expr.kind {
                ExprKind::Number { .. }
                | ExprKind::String(_)
                | ExprKind::VectorSelector(_)
                | ExprKind::MatrixSelector { .. } => {}
                ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
                    pending.push(expr);
                }
                ExprKind::Aggregate(aggregate) => {
                    let Aggregate { expr, param, .. } = aggregate.as_mut();
                    pending.extend(param.as_mut());
                    pending.push(expr);
                }
                ExprKind::Binary(binary) => {
                    let Binary { lhs, rhs, .. } = binary.as_mut();
                    pending.push(lhs);
                    pending.push(rhs);
                }
                ExprKind::Call { args, .. } => pending.extend(args.iter_mut()),
            }
        }
    }

    /// All selectors, left to right, those of range selectors included.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.walk(|expr| match &expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                found.push(selector);
            }
            _ => {}
        });
        found
    }

    /// Whether any node satisfies `predicate`.
    pub fn contains(&self, mut predicate: impl FnMut(&Expr) -> bool) -> bool {
        let mut is_found = false;
        self.walk(|expr| is_found = is_found || predicate(expr));
        is_found
    }

    /// Whether `function` is called anywhere.
    pub fn contains_call(&self, function: &str) -> bool {
        self.contains(|expr| matches!(&expr.kind, ExprKind::Call { function: name, .. } if *name == function))
    }

    /// Whether any selector or subquery has an `@` modifier.
    pub fn contains_at(&self) -> bool {
        self.contains(|expr| match &expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                selector.at.is_some()
            }
            ExprKind::Subquery { at, .. } => at.is_some(),
            _ => false,
        })
    }

    /// Nodes on the longest way from here to a leaf, this one included; a chain `1+1+1…` counts every operator.
    pub fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut pending = vec![(self, 1)];
        while let Some((expr, depth)) = pending.pop() {
            deepest = deepest.max(depth);
            pending.extend(expr.children().into_iter().map(|child| (child, depth + 1)));
        }
        deepest
    }

    /// The expression inside all parentheses around it.
    pub fn unwrap_parens(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Sets every span to zero, to compare trees of different texts.
    pub fn clear_spans(&mut self) {
        self.walk_mut(|expr| {
            expr.span = Span::default();
            match &mut expr.kind {
                ExprKind::Binary(binary) => binary.op_span = Span::default(),
                ExprKind::VectorSelector(selector) => selector.offset.clear_spans(),
                ExprKind::MatrixSelector { selector, selector_span, range } => {
                    *selector_span = Span::default();
                    selector.offset.clear_spans();
                    range.clear_spans();
                }
                ExprKind::Subquery { range, step, offset, .. } => {
                    range.clear_spans();
                    offset.clear_spans();
                    if let Some(step) = step {
                        step.clear_spans();
                    }
                }
                _ => {}
            }
        });
    }
}
