//! `match[]`: series selectors as sets of matchers, and what several of them find together.

use std::collections::BTreeSet;

use mytsdb_promql::ParseOptions;
use mytsdb_promql::parse::parse_selector;
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{Matcher, TimeRange};
use mytsdb_storage::read::ReadError;

use super::error::ApiError;

/// The matchers of every `match[]`. Errors name `parameter` unless it is empty, as some of Prometheus' do.
///
/// # Errors
/// `bad_data` for what is no selector, and for selectors that find everything.
pub(super) fn parse_selectors(
    selectors: &[String],
    options: &ParseOptions,
    parameter: &str,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let refused = |reason: String| match parameter {
        "" => ApiError::bad_data(reason),
        parameter => ApiError::parameter(parameter, reason),
    };
    let sets = selectors
        .iter()
        .map(|text| parse_selector(text, options).map_err(|error| refused(error.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    if sets.iter().any(|matchers| matchers.iter().all(Matcher::matches_absent)) {
        return Err(refused("match[] must contain at least one non-empty matcher".to_owned()));
    }
    Ok(sets)
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
