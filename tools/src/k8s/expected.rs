//! The answers to the dashboard's queries, computed from the model with plain loops: an oracle for end-to-end tests.
//!
//! Input: a query, the data set, a step grid. Output: what a server that holds the data set must answer. Nothing here
//! uses the project's PromQL code or its storage. Written down from the documentation: windows and lookback are
//! left-open, `rate` and `increase` extrapolate and correct counter resets, `le` buckets are interpolated linearly.
//!
//! # Cost
//! Generates every series of the queried metric over the whole data set; seconds for a day without optimisation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::histogram_quantile::histogram_quantile;
use super::metrics::Labels;
use super::model::{Clock, Run};
use super::plan::{Group, model};
use super::seed::Dataset;

const LOOKBACK_MS: i64 = 300_000;
const RATE_WINDOW_MS: i64 = 300_000;
const RESTART_WINDOW_MS: i64 = 3_600_000;

/// The queries of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DashboardQuery {
    /// Processor cores by pod.
    CpuByPod,
    /// Working set by pod.
    MemoryByPod,
    /// Busy share of the processors by node.
    NodeCpuBusy,
    /// Used share of the memory of each node.
    NodeMemoryUsed,
    /// Requests per second by service.
    HttpRequestsByService,
    /// 99th percentile of the latency by service.
    HttpLatencyP99,
    /// Series of pods' phases by namespace.
    PodPhases,
    /// Restarts in the last hour by namespace.
    Restarts,
}

impl DashboardQuery {
    /// All of them.
    pub const ALL: [DashboardQuery; 8] = [
        Self::CpuByPod,
        Self::MemoryByPod,
        Self::NodeCpuBusy,
        Self::NodeMemoryUsed,
        Self::HttpRequestsByService,
        Self::HttpLatencyP99,
        Self::PodPhases,
        Self::Restarts,
    ];

    /// Returns the query as the dashboard sends it.
    pub fn promql(self) -> &'static str {
        match self {
            Self::CpuByPod => "sum(rate(container_cpu_usage_seconds_total[5m])) by (pod, namespace)",
            Self::MemoryByPod => "sum(container_memory_working_set_bytes) by (pod, namespace)",
            Self::NodeCpuBusy => "1 - avg(rate(node_cpu_seconds_total{mode=\"idle\"}[5m])) by (node)",
            Self::NodeMemoryUsed => "1 - (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
            Self::HttpRequestsByService => "sum(rate(http_requests_total[5m])) by (service, namespace)",
            Self::HttpLatencyP99 => {
                "histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket[5m])) by (le, service))"
            }
            Self::PodPhases => "count(kube_pod_status_phase) by (namespace, phase)",
            Self::Restarts => "sum(increase(kube_pod_container_status_restarts_total[1h])) by (namespace)",
        }
    }
}

/// The times at which a query is evaluated; both ends inclusive, as in the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRange {
    /// First step.
    pub start_ms: i64,
    /// No step after this.
    pub end_ms: i64,
    /// Between steps, > 0.
    pub step_ms: i64,
}

impl StepRange {
    fn times(self) -> impl Iterator<Item = i64> + Clone {
        (self.start_ms..=self.end_ms).step_by(self.step_ms.max(1) as usize)
    }
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSeries {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Time in milliseconds and value, by time; steps without a value are left out.
    pub samples: Vec<(i64, f64)>,
}

/// A series of the data set.
struct Source {
    labels: BTreeMap<&'static str, Arc<str>>,
    values: Vec<f64>,
}

/// A value per step, `None` = nothing.
type Row = Vec<Option<f64>>;
type Rows = BTreeMap<BTreeMap<String, String>, Row>;

/// Returns the answer to `query`, sorted by labels; series without any sample are left out.
pub fn dashboard(query: DashboardQuery, dataset: &Dataset, range: StepRange) -> Vec<ExpectedSeries> {
    let sources = |metric: &str| sources(dataset, metric);
    let clock = &dataset.clock;
    let rate = |source: &Source, time_ms| {
        increase(clock, &source.values, time_ms, RATE_WINDOW_MS)
            .map(|grown| grown / (RATE_WINDOW_MS as f64 / 1e3))
    };
    let last = |source: &Source, time_ms| last(clock, &source.values, time_ms);
    let rows = match query {
        DashboardQuery::CpuByPod => {
            aggregate(&sources("container_cpu_usage_seconds_total"), &["pod", "namespace"], range, rate, sum)
        }
        DashboardQuery::MemoryByPod => {
            aggregate(&sources("container_memory_working_set_bytes"), &["pod", "namespace"], range, last, sum)
        }
        DashboardQuery::NodeCpuBusy => {
            let mut idle = sources("node_cpu_seconds_total");
            idle.retain(|source| source.labels.get("mode").is_some_and(|mode| &**mode == "idle"));
            aggregate(&idle, &["node"], range, rate, |values| {
                1.0 - values.iter().sum::<f64>() / values.len() as f64
            })
        }
        DashboardQuery::NodeMemoryUsed => node_memory_used(
            &sources("node_memory_MemAvailable_bytes"),
            &sources("node_memory_MemTotal_bytes"),
            range,
            last,
        ),
        DashboardQuery::HttpRequestsByService => {
            aggregate(&sources("http_requests_total"), &["service", "namespace"], range, rate, sum)
        }
        DashboardQuery::HttpLatencyP99 => {
            let buckets = sources("http_request_duration_seconds_bucket");
            quantiles(0.99, aggregate(&buckets, &["le", "service"], range, rate, sum))
        }
        DashboardQuery::PodPhases => {
            aggregate(&sources("kube_pod_status_phase"), &["namespace", "phase"], range, last, |values| {
                values.len() as f64
            })
        }
        DashboardQuery::Restarts => {
            let restarts = sources("kube_pod_container_status_restarts_total");
            let grown =
                |source: &Source, time_ms| increase(clock, &source.values, time_ms, RESTART_WINDOW_MS);
            aggregate(&restarts, &["namespace"], range, grown, sum)
        }
    };
    let series = rows.into_iter().map(|(labels, row)| {
        let samples = range.times().zip(row).filter_map(|(time_ms, value)| Some((time_ms, value?))).collect();
        ExpectedSeries { labels, samples }
    });
    series.filter(|series| !series.samples.is_empty()).collect()
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

/// Generates all series of `metric`.
fn sources(dataset: &Dataset, metric: &str) -> Vec<Source> {
    let is_asked =
        |labels: &Labels| labels.iter().any(|(name, value)| *name == "__name__" && &**value == metric);
    let mut sources = Vec::new();
    for group in dataset.plan.groups.iter().filter(|group| group.labels.iter().any(is_asked)) {
        for (labels, values) in group.labels.iter().zip(group_values(dataset, group)) {
            if is_asked(labels) {
                sources.push(Source { labels: labels.iter().cloned().collect(), values });
            }
        }
    }
    sources
}

/// Generates the series of `group` from the first step to the last.
pub fn group_values(dataset: &Dataset, group: &Group) -> Vec<Vec<f64>> {
    let step_count = dataset.clock.step_count as usize;
    let mut model = model(&dataset.topology, &dataset.clock, group.kind);
    let mut values = vec![0.0; model.series_count() * step_count];
    model.fill(&Run { clock: &dataset.clock, first_step: 0, step_count }, &mut values);
    values.chunks_exact(step_count.max(1)).map(<[f64]>::to_vec).collect()
}

/// Evaluates every series at every step and folds those that agree in the labels `by`.
fn aggregate(
    sources: &[Source],
    by: &[&str],
    range: StepRange,
    evaluate: impl Fn(&Source, i64) -> Option<f64>,
    fold: impl Fn(&[f64]) -> f64,
) -> Rows {
    let mut groups: BTreeMap<BTreeMap<String, String>, Vec<Vec<f64>>> = BTreeMap::new();
    for source in sources {
        let labels = source.labels.iter().filter(|(name, _)| by.contains(name));
        let key = labels.map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        let steps = groups.entry(key).or_insert_with(|| vec![Vec::new(); range.times().count()]);
        for (step, time_ms) in steps.iter_mut().zip(range.times()) {
            step.extend(evaluate(source, time_ms));
        }
    }
    let fold = |step: &Vec<f64>| if step.is_empty() { None } else { Some(fold(step)) };
    groups.into_iter().map(|(key, steps)| (key, steps.iter().map(fold).collect())).collect()
}

fn node_memory_used(
    available: &[Source],
    total: &[Source],
    range: StepRange,
    last: impl Fn(&Source, i64) -> Option<f64>,
) -> Rows {
    let key = |source: &Source| -> BTreeMap<String, String> {
        let labels = source.labels.iter().filter(|(name, _)| **name != "__name__");
        labels.map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    };
    let mut rows = Rows::new();
    for available in available {
        let Some(total) = total.iter().find(|total| key(total) == key(available)) else { continue };
        let used = |time_ms| Some(1.0 - last(available, time_ms)? / last(total, time_ms)?);
        rows.insert(key(available), range.times().map(used).collect());
    }
    rows
}

/// Turns rows by `le` into one row of quantiles for each set of the other labels.
fn quantiles(quantile: f64, rows: Rows) -> Rows {
    let mut histograms: BTreeMap<BTreeMap<String, String>, Vec<(f64, Row)>> = BTreeMap::new();
    for (mut labels, row) in rows {
        let bound = labels.remove("le").and_then(|bound| bound.parse().ok());
        if let Some(bound) = bound {
            histograms.entry(labels).or_default().push((bound, row));
        }
    }
    let row = |mut buckets: Vec<(f64, Row)>| -> Row {
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        let step_count = buckets.first().map_or(0, |(_, row)| row.len());
        let step = |step: usize| {
            let counts = buckets.iter().filter_map(|(bound, row)| Some((*bound, row[step]?)));
            let counts: Vec<_> = counts.collect();
            (!counts.is_empty()).then(|| histogram_quantile(quantile, &counts))
        };
        (0..step_count).map(step).collect()
    };
    histograms.into_iter().map(|(labels, buckets)| (labels, row(buckets))).collect()
}

/// Positions of the samples in `(time_ms - window_ms, time_ms]`.
fn window(clock: &Clock, sample_count: usize, time_ms: i64, window_ms: i64) -> std::ops::Range<usize> {
    let interval_ms = clock.interval_ms as i64;
    // Samples at or before a time: one more than the position of the last one.
    let until = |time_ms: i64| {
        ((time_ms - clock.start_ms).div_euclid(interval_ms) + 1).clamp(0, sample_count as i64) as usize
    };
    until(time_ms - window_ms)..until(time_ms)
}

/// The value that an instant selector sees.
fn last(clock: &Clock, values: &[f64], time_ms: i64) -> Option<f64> {
    values[window(clock, values.len(), time_ms, LOOKBACK_MS)].last().copied()
}

/// How much a counter has grown over the window, extrapolated to its ends.
fn increase(clock: &Clock, values: &[f64], time_ms: i64, window_ms: i64) -> Option<f64> {
    let positions = window(clock, values.len(), time_ms, window_ms);
    let samples = &values[positions.clone()];
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut grown = last - first;
    for pair in samples.windows(2) {
        if pair[1] < pair[0] {
            grown += pair[0];
        }
    }
    let seconds = |milliseconds: i64| milliseconds as f64 / 1e3;
    let (first_ms, last_ms) =
        (clock.time_ms(positions.start as u64), clock.time_ms(positions.end as u64 - 1));
    let sampled = seconds(last_ms - first_ms);
    let spacing = sampled / (samples.len() - 1) as f64;
    let reach = |gap: f64| if gap >= spacing * 1.1 { spacing / 2.0 } else { gap };
    let mut before = reach(seconds(first_ms - (time_ms - window_ms)));
    let after = reach(seconds(time_ms - last_ms));
    if grown > 0.0 && *first >= 0.0 {
        // A counter cannot have been below zero.
        before = before.min(sampled * (first / grown));
    }
    Some(grown * ((sampled + before + after) / sampled))
}

#[cfg(test)]
mod tests {
    use super::super::options::SeedOptions;
    use super::*;
    use clap::Parser;

    fn dataset() -> Dataset {
        let flags = ["x", "--days", "0.25", "--services", "2", "--end", "1760000000"];
        Dataset::new(&SeedOptions::parse_from(flags), 0).unwrap()
    }

    fn range(dataset: &Dataset) -> StepRange {
        let clock = &dataset.clock;
        StepRange {
            start_ms: clock.time_ms(300),
            end_ms: clock.time_ms(clock.step_count - 1),
            step_ms: 600_000,
        }
    }

    #[test]
    fn windows_are_left_open() {
        let clock = Clock::ending_at(10_000, 1_000, 11);
        assert_eq!(window(&clock, 11, 5_000, 3_000), 3..6);
        assert_eq!(window(&clock, 11, 5_500, 3_000), 3..6);
        assert_eq!(window(&clock, 11, -1, 3_000), 0..0);
        assert_eq!(window(&clock, 11, 12_000, 3_000), 10..11);
        assert_eq!(window(&clock, 11, 99_000, 3_000), 11..11);
    }

    #[test]
    fn increase_is_that_of_the_documentation() {
        let clock = Clock::ending_at(60_000, 15_000, 5);
        let check = |values: &[f64], expected: f64| {
            let found = increase(&clock, values, 60_000, 60_000).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        };
        // Four samples in (0, 60 s]: 30 in 45 s, extrapolated by 15 s to the left.
        check(&[0.0, 20.0, 30.0, 40.0, 50.0], 40.0);
        // A reset counts from zero.
        check(&[0.0, 100.0, 3.0, 4.0, 5.0], 5.0 * 60.0 / 45.0);
        // Zero is not passed: from 1 to 31 in 45 s, the counter was zero 1.5 s before.
        check(&[0.0, 1.0, 11.0, 21.0, 31.0], 30.0 * (46.5 / 45.0));
        assert_eq!(increase(&clock, &[1.0], 60_000, 60_000), None);
    }

    #[test]
    fn every_query_has_series_and_every_series_every_step() {
        let dataset = dataset();
        let range = range(&dataset);
        let counts = [8, 8, 2, 2, 4, 4, 10, 2];
        for (query, count) in DashboardQuery::ALL.into_iter().zip(counts) {
            let answer = dashboard(query, &dataset, range);
            assert_eq!(answer.len(), count, "{query:?}");
            for series in &answer {
                assert_eq!(series.samples.len(), range.times().count(), "{query:?} {:?}", series.labels);
                assert!(series.samples.iter().all(|(_, value)| value.is_finite()), "{query:?}");
            }
        }
    }

    #[test]
    fn answers_are_plausible() {
        let dataset = dataset();
        let between = |query, low: f64, high: f64| {
            for series in dashboard(query, &dataset, range(&dataset)) {
                for (_, value) in &series.samples {
                    assert!((low..=high).contains(value), "{query:?}: {value} for {:?}", series.labels);
                }
            }
        };
        between(DashboardQuery::CpuByPod, 0.001, 8.0);
        between(DashboardQuery::MemoryByPod, 1e6, 16e9);
        between(DashboardQuery::NodeCpuBusy, 0.01, 0.99);
        between(DashboardQuery::NodeMemoryUsed, 0.05, 0.95);
        between(DashboardQuery::HttpLatencyP99, 0.005, 10.0);
        between(DashboardQuery::PodPhases, 4.0, 4.0);
        between(DashboardQuery::Restarts, 0.0, 8.0);
    }

    #[test]
    fn outside_the_data_there_is_no_answer() {
        let dataset = dataset();
        let after = dataset.clock.time_ms(dataset.clock.step_count - 1) + 3_700_000;
        let range = StepRange { start_ms: after, end_ms: after + 60_000, step_ms: 15_000 };
        for query in DashboardQuery::ALL {
            assert_eq!(dashboard(query, &dataset, range), vec![], "{query:?}");
        }
    }
}
