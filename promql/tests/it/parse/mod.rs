//! The parser: language, messages, printing, limits; against Prometheus' corpus and another parser.

mod corpus;
mod differential;
mod errors;
mod generate;
mod limits;
mod printing;
mod syntax;

use mytsdb_promql::parse::ast::{Expr, ExprKind};
use mytsdb_promql::{ParseOptions, parse};
use proptest::prelude::ProptestConfig;

/// Settings of property tests: 2,000 cases or as many as `PROPTEST_CASES` says.
fn many_cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(2_000), failure_persistence: None, ..config }
}

/// Parses what must parse.
fn parsed(query: &str) -> Expr {
    parse(query, &ParseOptions::default()).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The tree without places and with sorted matchers, as printing keeps neither.
fn normalized(mut expr: Expr) -> Expr {
    expr.clear_spans();
    expr.walk_mut(|node| {
        if let ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } = &mut node.kind
        {
            selector.matchers.sort_by_key(ToString::to_string);
        }
    });
    expr
}

/// Parses, prints, parses again and compares; a printed form prints to itself.
fn assert_prints_to_itself(query: &str) {
    let expr = parsed(query);
    let printed = expr.to_string();
    let again = parse(&printed, &ParseOptions::default())
        .unwrap_or_else(|error| panic!("{query}\nprinted as {printed}\nfails with {error}"));
    assert_eq!(again.to_string(), printed, "of {query}");
    // NaN is not equal to itself.
    if !printed.contains("NaN") {
        assert_eq!(normalized(again), normalized(expr), "{query}\nprinted as {printed}");
    }
}
