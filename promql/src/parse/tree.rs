//! Walking trees without deep recursion: clone, compare, drop, visit, ask.
//!
//! A chain such as `1+1+1…` is a left-deep tree whose depth only the token limit bounds; everything here follows
//! [`Binary::lhs`] in a loop and recurses into other children only, which `ParseOptions::depth_max` bounds.
//! Evaluators should do the same, with the help of [`Binary::chain`].

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

fn placeholder() -> Expr {
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

impl Clone for Binary {
    fn clone(&self) -> Self {
        let (links, bottom) = self.chain();
        let mut lhs = bottom.clone();
        // The span of a link stands in the link above it.
        for index in (1..links.len()).rev() {
            let span = links[index - 1].lhs.span;
            lhs = Expr { kind: ExprKind::Binary(Box::new(links[index].clone_with(lhs))), span };
        }
        self.clone_with(lhs)
    }
}

impl Binary {
    fn clone_with(&self, lhs: Expr) -> Self {
        Self {
            op: self.op,
            lhs,
            rhs: self.rhs.clone(),
            op_span: self.op_span,
            return_bool: self.return_bool,
            matching: self.matching.clone(),
        }
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self, other);
        loop {
            let is_equal = left.op == right.op
                && left.op_span == right.op_span
                && left.return_bool == right.return_bool
                && left.matching == right.matching
                && left.rhs == right.rhs;
            if !is_equal || left.lhs.span != right.lhs.span {
                return false;
            }
            match (&left.lhs.kind, &right.lhs.kind) {
                (ExprKind::Binary(left_next), ExprKind::Binary(right_next)) => {
                    (left, right) = (left_next, right_next);
                }
                (left_kind, right_kind) => return left_kind == right_kind,
            }
        }
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
