//! `match[]`: series selectors as sets of matchers, and what several of them find together.

use std::collections::BTreeSet;

use mytsdb_promql::ParseOptions;
use mytsdb_promql::parse::parse_selector;
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
    selectors.iter().map(|text| parse_one(text, options)).collect()
}

fn parse_one(text: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ApiError> {
    let matchers = parse_selector(text, options).map_err(|error| ApiError::parameter("match[]", error))?;
    if matchers.iter().all(Matcher::matches_absent) {
        let reason = "match[] must contain at least one non-empty matcher";
        return Err(ApiError::parameter("match[]", reason));
    }
    Ok(matchers)
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
