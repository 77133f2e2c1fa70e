//! Long queries on several lines, as Prometheus' `promtool promql format` writes them.
//!
//! What fits on [`LINE_BYTES_MAX`] stays on one line; of what does not, every part goes to lines of its own, two spaces
//! deeper. Source: Prometheus `promql/parser/prettier.go`.

use std::fmt::{self, Write};

use super::ast::{Aggregate, Binary, Expr, ExprKind};
use super::printer::{aggregate_head, operator, subquery_suffix};

/// Longest line of what is not split; deeper nodes may stick out.
const LINE_BYTES_MAX: usize = 100;

const INDENT: &str = "  ";

/// The text is longer than its reader wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the formatted query would be longer than {bytes_max} bytes")]
pub struct PrettyTooLong {
    /// Most bytes allowed.
    pub bytes_max: usize,
}

impl Expr {
    /// The query on as many lines as Prometheus writes it.
    ///
    /// # Errors
    /// [`PrettyTooLong`]: every level is indented, so that the text of a deep query grows with its square.
    pub fn pretty(&self, bytes_max: usize) -> Result<String, PrettyTooLong> {
        let mut out = Bounded { text: String::new(), bytes_max };
        write_pretty(&mut out, self, 0, true).map_err(|_| PrettyTooLong { bytes_max })?;
        Ok(out.text)
    }
}

/// A text that must not grow above its limit.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > self.bytes_max {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// Counts what is written up to a limit.
struct Room {
    left_bytes: usize,
}

impl Write for Room {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.left_bytes = self.left_bytes.checked_sub(part.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn fits(expr: &Expr) -> bool {
    write!(Room { left_bytes: LINE_BYTES_MAX }, "{expr}").is_ok()
}

fn indent(out: &mut Bounded, level: usize) -> fmt::Result {
    (0..level).try_for_each(|_| out.write_str(INDENT))
}

/// Writes a node at its level; `leads` says whether the line begins here.
fn write_pretty(out: &mut Bounded, expr: &Expr, level: usize, leads: bool) -> fmt::Result {
    if let ExprKind::Binary(binary) = &expr.kind {
        return write_chain(out, expr, binary, level, leads);
    }
    let lead = if leads { level } else { 0 };
    match &expr.kind {
        // The sign belongs to the first line of what it changes.
        ExprKind::Unary { is_minus, expr } => {
            indent(out, lead)?;
            out.write_str(if *is_minus { "-" } else { "+" })?;
            write_pretty(out, expr, level, false)
        }
        // Prometheus begins a subquery at the margin, whatever its level.
        ExprKind::Subquery { .. } if fits(expr) => write!(out, "{expr}"),
        ExprKind::Subquery { expr: inner, .. } => {
            write_pretty(out, inner, level, leads)?;
            write!(out, "{}", subquery_suffix(expr))
        }
        ExprKind::Aggregate(_) | ExprKind::Call { .. } | ExprKind::Paren(_) if !fits(expr) => {
            indent(out, lead)?;
            write_split(out, expr, level)
        }
        _ => {
            indent(out, lead)?;
            write!(out, "{expr}")
        }
    }
}

/// Writes what stands between parentheses on lines of its own.
fn write_split(out: &mut Bounded, expr: &Expr, level: usize) -> fmt::Result {
    let parts: Vec<&Expr> = match &expr.kind {
        ExprKind::Aggregate(aggregate) => {
            let Aggregate { expr, param, .. } = &**aggregate;
            write!(out, "{}", aggregate_head(aggregate))?;
            param.iter().chain([expr]).collect()
        }
        ExprKind::Call { function, args } => {
            out.write_str(function)?;
            args.iter().collect()
        }
        ExprKind::Paren(inner) => vec![inner],
        _ => Vec::new(),
    };
    out.write_str("(\n")?;
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            out.write_str(",\n")?;
        }
        write_pretty(out, part, level + 1, true)?;
    }
    out.write_str("\n")?;
    indent(out, level)?;
    out.write_str(")")
}

/// Writes a left-deep chain: each operand that does not fit pushes what is left of it one level deeper.
fn write_chain(out: &mut Bounded, expr: &Expr, binary: &Binary, level: usize, leads: bool) -> fmt::Result {
    let (links, bottom) = binary.chain();
    let mut room = Room { left_bytes: LINE_BYTES_MAX };
    let mut fitting = 0;
    if write!(room, "{bottom}").is_ok() {
        for link in links.iter().rev() {
            if write!(room, " {} {}", operator(link), link.rhs).is_err() {
                break;
            }
            fitting += 1;
        }
    }
    let split = &links[..links.len() - fitting];
    let Some(innermost) = split.last() else {
        indent(out, if leads { level } else { 0 })?;
        return write!(out, "{expr}");
    };
    let deepest = level + split.len();
    match &innermost.lhs.kind {
        // It fits: what does not was split off above.
        ExprKind::Binary(_) => {
            indent(out, if leads { deepest } else { 0 })?;
            write!(out, "{}", innermost.lhs)?;
        }
        _ => write_pretty(out, &innermost.lhs, deepest, leads)?,
    }
    for (depth, link) in split.iter().enumerate().rev() {
        out.write_str("\n")?;
        indent(out, level + depth)?;
        write!(out, "{}", operator(link))?;
        out.write_str("\n")?;
        write_pretty(out, &link.rhs, level + depth + 1, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{ParseOptions, parse};

    fn check(query: &str, expected: &str) {
        let expr = parse(query, &ParseOptions::default()).unwrap_or_else(|error| panic!("{query}: {error}"));
        let pretty = expr.pretty(1 << 20).unwrap();
        assert_eq!(pretty, expected, "{query}");
        let again = parse(&pretty, &ParseOptions::default()).unwrap();
        assert_eq!(again.to_string(), expr.to_string());
    }

    #[test]
    fn what_fits_stays_on_one_line() {
        check("sum  by(job)(rate(up[ 5m ]))", "sum by (job) (rate(up[5m]))");
        check("a  +  -b", "a + -b");
    }

    #[test]
    fn aggregations_calls_and_parentheses_are_split() {
        let name = "x".repeat(90);
        check(
            &format!("topk by (job) (3, label_replace(({name}), \"a\", \"b\", \"c\", \"d\"))"),
            &format!(
                "topk by (job) (\n  3,\n  label_replace(\n    ({name}),\n    \"a\",\n    \"b\",\n    \"c\",\n    \"d\"\n  )\n)"
            ),
        );
        check(
            &format!("sum without (job, instance) (({name} + {name}))"),
            &format!("sum without (job, instance) (\n  (\n      {name}\n    +\n      {name}\n  )\n)"),
        );
        check(&format!("-({name} + {name})"), &format!("-(\n    {name}\n  +\n    {name}\n)"));
    }

    #[test]
    fn chains_lean_to_the_left() {
        let (a, b, c) = ("a".repeat(60), "b".repeat(60), "c".repeat(60));
        check(
            &format!("1 + {a} / on(x) group_left(y) {b} > bool {c}"),
            &format!("    1\n  +\n      {a}\n    / on (x) group_left (y)\n      {b}\n> bool\n  {c}"),
        );
        check(&format!("x + y - {a} * {b}"), &format!("  x + y\n-\n    {a}\n  *\n    {b}"));
        check(&format!("{a} + {b} + {c}"), &format!("    {a}\n  +\n    {b}\n+\n  {c}"));
    }

    #[test]
    fn subqueries_begin_where_prometheus_begins_them() {
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        check(
            &format!("max_over_time((rate({a}[5m]) + {b})[1h:1m] offset 5m)"),
            &format!("max_over_time(\n  (\n      rate({a}[5m])\n    +\n      {b}\n  )[1h:1m] offset 5m\n)"),
        );
        check(
            &format!("label_replace(max_over_time(up[1h:1m]), \"{a}\", \"b\", \"c\", \"d\")"),
            &format!(
                "label_replace(\n  max_over_time(up[1h:1m]),\n  \"{a}\",\n  \"b\",\n  \"c\",\n  \"d\"\n)"
            )
            .replace("label_replace(\n", "label_replace(\n"),
        );
    }

    #[test]
    fn long_chains_end_at_the_limit_instead_of_taking_all_memory() {
        let query = format!("1{}", " + 1".repeat(50_000));
        let expr = parse(&query, &ParseOptions::default()).unwrap();
        assert_eq!(expr.pretty(1 << 20), Err(PrettyTooLong { bytes_max: 1 << 20 }));
    }
}
