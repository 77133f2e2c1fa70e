//! Asks the server back: has it every point that it acknowledged, and none twice?
//!
//! Input: what each worker's requests held that were acknowledged, and those of which nobody knows. Output: points lost and
//! points too many. One count per tenant and metric, of all series of the run, over exactly its time; metrics with more
//! points than a query should touch are counted in several windows. A repeat has the time of what it repeats, and is no point
//! of its own; a request that failed may be there or not, so that many points more are no duplicates.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::asker::{AskError, Asker};
use super::config::Config;
use super::endpoint::Endpoint;
use super::worker::WorkerEnd;
use crate::telemetry::replay::MetricInfo;

/// Points that one query counts at most, below the usual limits of servers.
const QUERY_POINTS_MAX: u64 = 10_000_000;
/// How long the server has to show what it acknowledged.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN_PAUSE: Duration = Duration::from_millis(250);
/// Metrics that the report names.
const DIFFERENCES_MAX: usize = 20;

/// What the server has of one metric of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricCount {
    /// The tenant, if there are any.
    pub tenant: Option<String>,
    /// The stored name.
    pub metric: String,
    /// Points acknowledged.
    pub acknowledged: u64,
    /// Points that may be there or not.
    pub uncertain: u64,
    /// Points found.
    pub found: u64,
}

impl MetricCount {
    fn lost(&self) -> u64 {
        self.acknowledged.saturating_sub(self.found)
    }

    fn surplus(&self) -> u64 {
        self.found.saturating_sub(self.acknowledged + self.uncertain)
    }
}

/// What the server has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verification {
    /// By tenant and metric.
    pub counts: Vec<MetricCount>,
    /// Queries asked.
    pub query_count: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Verification {
    fn sum(&self, of: impl Fn(&MetricCount) -> u64) -> u64 {
        self.counts.iter().map(of).sum()
    }

    fn ppm(&self, count: u64) -> f64 {
        count as f64 * 1e6 / self.sum(|one| one.acknowledged).max(1) as f64
    }

    /// Returns points that were acknowledged and are not there, of a million acknowledged.
    pub fn loss_ppm(&self) -> f64 {
        self.ppm(self.sum(MetricCount::lost))
    }

    /// Returns points that are there and cannot be explained, of a million acknowledged.
    pub fn duplicate_ppm(&self) -> f64 {
        self.ppm(self.sum(MetricCount::surplus))
    }

    /// Returns the part of the report.
    pub fn document(&self) -> Value {
        let differing = self.counts.iter().filter(|one| one.lost() + one.surplus() > 0);
        let differences: Vec<_> = differing
            .take(DIFFERENCES_MAX)
            .map(|one| {
                json!({"tenant": one.tenant, "metric": one.metric, "acknowledged": one.acknowledged,
                    "uncertain": one.uncertain, "found": one.found})
            })
            .collect();
        json!({
            "metrics": self.counts.len(),
            "points_acknowledged": self.sum(|one| one.acknowledged),
            "points_uncertain": self.sum(|one| one.uncertain),
            "points_found": self.sum(|one| one.found),
            "lost": self.sum(MetricCount::lost),
            "duplicates": self.sum(MetricCount::surplus),
            "loss_ppm": self.loss_ppm(),
            "duplicate_ppm": self.duplicate_ppm(),
            "queries": self.query_count,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "differences": differences,
        })
    }
}

/// What was sent of one metric by all workers of one tenant.
#[derive(Debug, Clone)]
struct Expected {
    metric: MetricInfo,
    acknowledged: u64,
    uncertain: u64,
}

/// Whole seconds that hold all points: the first is not in them, the last is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    after_s: u64,
    until_s: u64,
}

/// Asks `endpoint` what it has of what `ends` say.
///
/// # Errors
/// [`AskError`] if the server does not answer a question.
pub async fn verify(
    config: &Config,
    endpoint: &Endpoint,
    ends: &[WorkerEnd],
) -> Result<Verification, AskError> {
    let started = Instant::now();
    let mut verification = Verification::default();
    let tenant_count = config.flags.tenants.len().max(1);
    for first_worker in 0..tenant_count.min(config.flags.concurrency) {
        let of_tenant: Vec<_> = ends.iter().filter(|end| end.index % tenant_count == first_worker).collect();
        let Some(range) = range(&of_tenant) else { continue };
        let mut asker = Asker::new(config, endpoint, first_worker)?;
        for expected in expected(&of_tenant) {
            let found = loop {
                let found =
                    found(&mut asker, &config.instance, &expected, range, &mut verification.query_count)
                        .await?;
                if found >= expected.acknowledged || started.elapsed() > VISIBLE_WITHIN {
                    break found;
                }
                sleep(ASK_AGAIN_PAUSE).await;
            };
            verification.counts.push(MetricCount {
                tenant: config.tenant_of(first_worker).map(str::to_owned),
                metric: expected.metric.stored_name,
                acknowledged: expected.acknowledged,
                uncertain: expected.uncertain,
                found,
            });
        }
    }
    verification.elapsed = started.elapsed();
    Ok(verification)
}

async fn found(
    asker: &mut Asker,
    instance: &str,
    expected: &Expected,
    range: Range,
    query_count: &mut u64,
) -> Result<u64, AskError> {
    let mut found = 0;
    for window in windows(range, expected.acknowledged + expected.uncertain) {
        let promql = expected.metric.count_query(instance, window.until_s - window.after_s);
        *query_count += 1;
        found += asker.sum(&promql, i64::try_from(window.until_s).ok()).await? as u64;
    }
    Ok(found)
}

/// Adds up what workers sent, by stored name.
fn expected(ends: &[&WorkerEnd]) -> Vec<Expected> {
    let mut by_name: BTreeMap<&str, Expected> = BTreeMap::new();
    for end in ends {
        let acknowledged = end.acknowledged.points(&end.catalog);
        let uncertain = end.uncertain.points(&end.catalog);
        for ((metric, acknowledged), uncertain) in end.catalog.metrics.iter().zip(acknowledged).zip(uncertain)
        {
            let sum = by_name.entry(&metric.stored_name).or_insert_with(|| Expected {
                metric: metric.clone(),
                acknowledged: 0,
                uncertain: 0,
            });
            sum.acknowledged += acknowledged;
            sum.uncertain += uncertain;
        }
    }
    by_name.into_values().filter(|one| one.acknowledged + one.uncertain > 0).collect()
}

/// The time of all points; `None` if there are none.
fn range(ends: &[&WorkerEnd]) -> Option<Range> {
    let tallies = || ends.iter().flat_map(|end| [&end.acknowledged, &end.uncertain]);
    let first_ns = tallies().filter_map(|tally| tally.first_ns).min()?;
    let last_ns = tallies().filter_map(|tally| tally.last_ns).max()?;
    // A window is left-open: the second before the first point is not in it.
    Some(Range {
        after_s: (first_ns / 1_000_000_000).saturating_sub(1),
        until_s: last_ns.div_ceil(1_000_000_000),
    })
}

/// Cuts a range so that each part has about as many points as one query may count.
fn windows(range: Range, point_count: u64) -> Vec<Range> {
    let window_count = point_count.div_ceil(QUERY_POINTS_MAX).max(1);
    let length_s = (range.until_s - range.after_s).div_ceil(window_count).max(1);
    let mut windows = Vec::new();
    let mut after_s = range.after_s;
    while after_s < range.until_s {
        let until_s = (after_s + length_s).min(range.until_s);
        windows.push(Range { after_s, until_s });
        after_s = until_s;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_range_once() {
        let range = Range { after_s: 100, until_s: 161 };
        assert_eq!(windows(range, 5), [range]);
        for point_count in [QUERY_POINTS_MAX * 3, QUERY_POINTS_MAX * 1_000] {
            let windows = windows(range, point_count);
            assert!(windows.len() >= 3);
            assert_eq!((windows[0].after_s, windows.last().unwrap().until_s), (100, 161));
            assert!(windows.windows(2).all(|pair| pair[0].until_s == pair[1].after_s));
        }
    }

    fn count(acknowledged: u64, uncertain: u64, found: u64) -> MetricCount {
        MetricCount { tenant: None, metric: "m".to_owned(), acknowledged, uncertain, found }
    }

    #[test]
    fn loss_and_surplus_are_counted_apart() {
        let counts = vec![count(100, 0, 90), count(100, 0, 130), count(100, 50, 120), count(700, 0, 700)];
        let verification = Verification { counts, ..Verification::default() };
        assert_eq!((verification.loss_ppm(), verification.duplicate_ppm()), (10_000.0, 30_000.0));
        let document = verification.document();
        assert_eq!((document["lost"].as_u64(), document["duplicates"].as_u64()), (Some(10), Some(30)));
        assert_eq!(document["differences"].as_array().map(Vec::len), Some(2));
    }
}
