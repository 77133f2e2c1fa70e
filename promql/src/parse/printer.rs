//! From tree to text: Prometheus' canonical form.
//!
//! Parsing the text gives the same tree again but for spans and the order of matchers, which are written sorted.
//! Not here: breaking long queries into lines.
//!
//! Source: Prometheus `promql/parser/printer.go`.

use std::fmt;

use mytsdb_storage::model::{MatchOp, Matcher};

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Duration, DurationExpr, DurationExprKind, Expr, ExprKind,
    Grouping, RangeExtension, VectorMatching, VectorSelector,
};
use super::lexer::is_plain_label;
use super::literal::{quote, write_duration, write_number};

type Out<'o, 'f> = &'o mut fmt::Formatter<'f>;

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, is_duration } => write_literal(out, *value, *is_duration),
            ExprKind::String(bytes) => out.write_str(&quote(bytes)),
            ExprKind::VectorSelector(selector) => {
                write_metric(out, selector)?;
                write_at(out, selector.at)?;
                write_extension(out, selector.extension)?;
                write_offset(out, &selector.offset)
            }
            ExprKind::MatrixSelector { selector, range, .. } => {
                write_metric(out, selector)?;
                write!(out, "[{range}]")?;
                write_extension(out, selector.extension)?;
                write_at(out, selector.at)?;
                write_offset(out, &selector.offset)
            }
            ExprKind::Subquery { expr, .. } => write!(out, "{expr}{}", subquery_suffix(self)),
            ExprKind::Aggregate(aggregate) => write_aggregate(out, aggregate),
            ExprKind::Binary(binary) => write_chain(out, binary),
            ExprKind::Unary { is_minus, expr } => write!(out, "{}{expr}", if *is_minus { "-" } else { "+" }),
            ExprKind::Call { function, args } => {
                write!(out, "{function}(")?;
                for (index, arg) in args.iter().enumerate() {
                    write!(out, "{}{arg}", if index > 0 { ", " } else { "" })?;
                }
                out.write_str(")")
            }
            ExprKind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}

fn write_literal(out: Out<'_, '_>, value: f64, is_duration: bool) -> fmt::Result {
    if is_duration { write_duration(out, (value * 1000.0).round() as i64) } else { write_number(out, value) }
}

/// What follows the expression of a subquery: brackets and modifiers.
pub(super) fn subquery_suffix(subquery: &Expr) -> impl fmt::Display {
    fmt::from_fn(move |out| {
        let ExprKind::Subquery { range, step, offset, at, .. } = &subquery.kind else { return Ok(()) };
        write!(out, "[{range}:")?;
        if let Some(step) = step {
            write!(out, "{step}")?;
        }
        out.write_str("]")?;
        write_at(out, *at)?;
        write_offset(out, offset)
    })
}

/// The operator with its grouping: what stands before the parenthesis.
pub(super) fn aggregate_head(aggregate: &Aggregate) -> impl fmt::Display {
    fmt::from_fn(move |out| {
        out.write_str(aggregate.op.as_str())?;
        match &aggregate.grouping {
            Grouping::By(labels) if labels.is_empty() => Ok(()),
            Grouping::By(labels) => write_labels(out, " by (", labels, ") "),
            Grouping::Without(labels) => write_labels(out, " without (", labels, ") "),
        }
    })
}

fn write_aggregate(out: Out<'_, '_>, aggregate: &Aggregate) -> fmt::Result {
    write!(out, "{}(", aggregate_head(aggregate))?;
    if let Some(param) = &aggregate.param {
        write!(out, "{param}, ")?;
    }
    write!(out, "{})", aggregate.expr)
}

fn write_labels(out: Out<'_, '_>, open: &str, labels: &[String], close: &str) -> fmt::Result {
    out.write_str(open)?;
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write_label(out, label)?;
    }
    out.write_str(close)
}

fn write_label(out: Out<'_, '_>, label: &str) -> fmt::Result {
    if is_plain_label(label) { out.write_str(label) } else { out.write_str(&quote(label.as_bytes())) }
}

/// Writes a left-deep chain link by link; recursion would follow its whole length.
fn write_chain(out: Out<'_, '_>, top: &Binary) -> fmt::Result {
    let (links, bottom) = top.chain();
    match (&bottom.kind, links.last().map(|link| link.op)) {
        // `+Inf ^ 2` would be `+(Inf ^ 2)` when read again.
        (ExprKind::Number { value, is_duration: false }, Some(BinaryOp::Pow)) if *value == f64::INFINITY => {
            out.write_str("Inf")?;
        }
        _ => write!(out, "{bottom}")?,
    }
    for link in links.into_iter().rev() {
        write!(out, " {} {}", operator(link), link.rhs)?;
    }
    Ok(())
}

/// An operator with `bool` and its matching.
pub(super) fn operator(link: &Binary) -> impl fmt::Display {
    fmt::from_fn(move |out| {
        out.write_str(link.op.as_str())?;
        if link.return_bool {
            out.write_str(" bool")?;
        }
        write_matching(out, &link.matching)
    })
}

fn write_matching(out: Out<'_, '_>, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some(" group_left ("),
        Cardinality::OneToMany => Some(" group_right ("),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.is_on || group.is_some() {
        let open = if matching.is_on { " on (" } else { " ignoring (" };
        write_labels(out, open, &matching.labels, ")")?;
    }
    if let Some(open) = group {
        write_labels(out, open, &matching.include, ")")?;
    }
    let write_fill = |out: Out<'_, '_>, word: &str, value: f64| {
        write!(out, " {word} (")?;
        write_number(out, value)?;
        out.write_str(")")
    };
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => write_fill(out, "fill", left),
        (left, right) => {
            if let Some(value) = left {
                write_fill(out, "fill_left", value)?;
            }
            if let Some(value) = right {
                write_fill(out, "fill_right", value)?;
            }
            Ok(())
        }
    }
}

fn write_metric(out: Out<'_, '_>, selector: &VectorSelector) -> fmt::Result {
    if let Some(name) = &selector.name {
        out.write_str(name)?;
    }
    let is_name = |matcher: &Matcher| {
        matcher.name() == "__name__"
            && matcher.op() == MatchOp::Equal
            && selector.name.as_deref() == Some(matcher.value())
    };
    let mut shown: Vec<String> =
        selector.matchers.iter().filter(|matcher| !is_name(matcher)).map(show_matcher).collect();
    if shown.is_empty() && selector.name.is_some() {
        return Ok(());
    }
    shown.sort_unstable();
    write!(out, "{{{}}}", shown.join(","))
}

fn show_matcher(matcher: &Matcher) -> String {
    let name = matcher.name();
    let name = if is_braces_label(name) { name.to_owned() } else { quote(name.as_bytes()) };
    format!("{name}{}{}", matcher.op().as_str(), quote(matcher.value().as_bytes()))
}

/// Inside braces there are no keywords, so that `inf` and `nan` need no quotes.
fn is_braces_label(name: &str) -> bool {
    is_plain_label(name) || name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("nan")
}

fn write_at(out: Out<'_, '_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => out.write_str(" @ start()"),
        Some(At::End) => out.write_str(" @ end()"),
        Some(At::Time(time_ms)) => {
            let sign = if time_ms < 0 { "-" } else { "" };
            let magnitude = time_ms.unsigned_abs();
            write!(out, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
        }
    }
}

fn write_extension(out: Out<'_, '_>, extension: Option<RangeExtension>) -> fmt::Result {
    out.write_str(match extension {
        None => "",
        Some(RangeExtension::Anchored) => " anchored",
        Some(RangeExtension::Smoothed) => " smoothed",
    })
}

fn write_offset(out: Out<'_, '_>, offset: &Duration) -> fmt::Result {
    if *offset == Duration::ZERO { Ok(()) } else { write!(out, " offset {offset}") }
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(duration_ms) => write_duration(out, *duration_ms),
            Self::Expression(expr) => write!(out, "{expr}"),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationExprKind::Seconds { value, is_duration } => write_literal(out, *value, *is_duration),
            DurationExprKind::Step => out.write_str("step()"),
            DurationExprKind::Range => out.write_str("range()"),
            DurationExprKind::MinOf(lhs, rhs) => write!(out, "min_of({lhs}, {rhs})"),
            DurationExprKind::MaxOf(lhs, rhs) => write!(out, "max_of({lhs}, {rhs})"),
            DurationExprKind::Unary { is_minus, expr } => {
                write!(out, "{}{expr}", if *is_minus { "-" } else { "" })
            }
            DurationExprKind::Binary { op, lhs, rhs } => write!(out, "{lhs} {} {rhs}", op.as_str()),
            DurationExprKind::Paren(inner) => write!(out, "({inner})"),
        }
    }
}
