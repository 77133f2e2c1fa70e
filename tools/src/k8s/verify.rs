//! Counts what the server holds after a run and compares it with what was sent.
//!
//! Input: plan and clock. Output: nothing, or the first metric whose samples are not all there. One query per metric,
//! because `count_over_time` drops the metric's name and two metrics may share their other labels. PromQL's windows
//! are left-open: `[n × interval]` at the time of the last of n steps holds exactly these n steps.

use std::collections::BTreeMap;

use super::model::Clock;
use super::options::{SeedOptions, VerifyVia};
use super::plan::Plan;
use super::topology::Topology;
use crate::flight_client::{FlightClient, FlightClientError};
use crate::http_query::{self, HttpQueryError};

/// Samples that one query counts at most, below the usual limits of servers.
const QUERY_SAMPLE_COUNT_MAX: u64 = 20_000_000;

/// Why the server does not hold what was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A count is wrong.
    #[error(
        "the server holds {found} samples, {expected} were sent; first difference: {metric}, {metric_found} instead of {metric_expected}; {hint}"
    )]
    Mismatch {
        /// Samples found.
        found: u64,
        /// Samples sent.
        expected: u64,
        /// The first metric that differs.
        metric: String,
        /// Its samples found.
        metric_found: u64,
        /// Its samples sent.
        metric_expected: u64,
        /// What it may be.
        hint: &'static str,
    },
    /// The server did not answer over Flight.
    #[error("cannot count the samples: {0}")]
    Flight(#[from] FlightClientError),
    /// The server did not answer over HTTP.
    #[error("cannot count the samples: {0}")]
    Http(#[from] HttpQueryError),
}

/// A question and its right answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CountQuery {
    /// The metric it counts.
    pub metric: String,
    /// The query.
    pub promql: String,
    /// When to ask it.
    pub time_ms: i64,
    /// Samples that must be there.
    pub expected: u64,
}

/// Returns the questions that together count every sample once.
pub fn count_queries(
    topology: &Topology,
    plan: &Plan,
    clock: &Clock,
    seed_run: Option<&str>,
) -> Vec<CountQuery> {
    let clusters: Vec<_> = topology.clusters().iter().map(|name| name.to_string()).collect();
    let mut matchers = format!("cluster=~\"{}\"", clusters.join("|"));
    if let Some(seed_run) = seed_run {
        matchers.push_str(&format!(",seed_run={seed_run:?}"));
    }
    let mut queries = Vec::new();
    for (metric, series_count) in series_counts(plan) {
        let steps_max = (QUERY_SAMPLE_COUNT_MAX / series_count).max(1);
        let mut first_step = 0;
        while first_step < clock.step_count {
            let step_count = steps_max.min(clock.step_count - first_step);
            let range_ms = step_count * clock.interval_ms;
            queries.push(CountQuery {
                metric: metric.to_owned(),
                promql: format!("sum(count_over_time({metric}{{{matchers}}}[{range_ms}ms]))"),
                time_ms: clock.time_ms(first_step + step_count - 1),
                expected: series_count * step_count,
            });
            first_step += step_count;
        }
    }
    queries
}

fn series_counts(plan: &Plan) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for labels in plan.groups.iter().flat_map(|group| &group.labels) {
        if let Some((_, metric)) = labels.iter().find(|(name, _)| *name == "__name__") {
            *counts.entry(&**metric).or_default() += 1;
        }
    }
    counts
}

/// Asks all `queries`; returns how many samples there are.
///
/// # Errors
/// [`VerifyError::Mismatch`] if any count differs, others if the server does not answer.
pub async fn verify(
    options: &SeedOptions,
    client: &mut FlightClient,
    queries: &[CountQuery],
) -> Result<u64, VerifyError> {
    let (mut total, mut first_wrong) = (0, None);
    for query in queries {
        let answer = match options.verify_via {
            VerifyVia::Flight => client.query_sum(&query.promql, query.time_ms).await?,
            VerifyVia::Http => {
                let tenant = options.tenant.as_deref();
                http_query::query_sum(&options.http_endpoint, tenant, &query.promql, query.time_ms).await?
            }
        };
        total += answer as u64;
        if answer as u64 != query.expected {
            first_wrong.get_or_insert((query, answer as u64));
        }
    }
    let Some((query, metric_found)) = first_wrong else {
        return Ok(total);
    };
    Err(VerifyError::Mismatch {
        found: total,
        expected: queries.iter().map(|query| query.expected).sum(),
        metric: query.metric.clone(),
        metric_found,
        metric_expected: query.expected,
        hint: if metric_found > query.expected {
            "the server held other samples of these clusters before: start it empty, or tell runs apart with --seed-run"
        } else {
            "samples were lost, or the server's retention is shorter than the time that was seeded"
        },
    })
}
