//! `match[]`: series selectors as sets of matchers, and what several of them find together.

use std::collections::BTreeSet;

use mytsdb_promql::parse::ast::{Expr, ExprKind};
use mytsdb_promql::{ParseOptions, parse};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{Matcher, TimeRange};
use mytsdb_storage::read::ReadError;

use super::error::ApiError;

/// The matchers of every `match[]`.
///
/// # Errors
/// `bad_data` for what is no selector, and for selectors that find everything.
pub(super) fn parse_selectors(
    selectors: &[String],
    options: &ParseOptions,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    selectors.iter().map(|selector| parse_selector(selector, options)).collect()
}

fn parse_selector(selector: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ApiError> {
    let expr =
        parse(selector, options).map_err(|error| ApiError::parameter("match[]", without_rule(&error)))?;
    match expr {
        Expr { kind: ExprKind::VectorSelector(selector), .. }
            if selector.at.is_none()
                && selector.offset == mytsdb_promql::parse::ast::Duration::ZERO
                && selector.extension.is_none() =>
        {
            if selector.matchers.iter().all(Matcher::matches_absent) {
                return Err(all_empty());
            }
            Ok(selector.matchers)
        }
        _ => Err(ApiError::parameter("match[]", "1:1: parse error: expected a series selector")),
    }
}

fn all_empty() -> ApiError {
    ApiError::parameter("match[]", "match[] must contain at least one non-empty matcher")
}

/// Queries have the same rule in other words; here Prometheus uses those of the API.
fn without_rule(error: &mytsdb_promql::ParseError) -> String {
    if error.message.contains("at least one non-empty matcher") {
        return "match[] must contain at least one non-empty matcher".to_owned();
    }
    error.to_string()
}

/// Asks for the names or values that each set of matchers finds, and unites them, sorted. No set = everything.
pub(super) fn union(
    snapshot: &Snapshot,
    sets: &[Vec<Matcher>],
    range: TimeRange,
    ask: impl Fn(&Snapshot, &[Matcher], TimeRange) -> Result<Vec<String>, ReadError>,
) -> Result<Vec<String>, ApiError> {
    match sets {
        [] => Ok(ask(snapshot, &[], range)?),
        [matchers] => Ok(ask(snapshot, matchers, range)?),
        sets => {
            let mut all = BTreeSet::new();
            for matchers in sets {
                all.extend(ask(snapshot, matchers, range)?);
            }
            Ok(all.into_iter().collect())
        }
    }
}
