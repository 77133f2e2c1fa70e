//! What a worker sends, and how much of it: what a server is asked back.
//!
//! A sender keeps one [`Tally`] a worker and adds what was acknowledged; [`Tally::points`] then has the number of distinct
//! points by metric. A point is one sample of [`MetricInfo::stored_name`], so `sum(count_over_time(…))` must be equal.
//! A repeat has time and value of what it repeats and is not counted as a point; a late or disordered request is counted
//! like any other, as its times are distinct.

use std::collections::BTreeMap;

use super::Request;
use super::assemble::metric_of;
use crate::telemetry::template::{Metric, MetricType, Model, Signal, Template};

/// One metric of this worker.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricInfo {
    /// Its OTLP name.
    pub name: String,
    /// The name of stored series that have one sample a point: with unit and suffix as Prometheus names them by default,
    /// `…_count` of a histogram or summary.
    pub stored_name: String,
    /// Its type.
    pub kind: MetricType,
    /// Whether its points are increases.
    pub is_delta: bool,
    /// Series of this worker that are alive at one time.
    pub series_count: u64,
    /// What the rates of this worker's series add up to (observations per second of histograms and summaries), on the mean
    /// over the day and noise; absent for gauges.
    pub rate_per_second: Option<f64>,
}

impl MetricInfo {
    /// Returns the question how many points are stored of the pods whose instance begins so; over `(time - window, time]`.
    pub fn count_query(&self, instance: &str, window_seconds: u64) -> String {
        let selector = self.selector(instance);
        format!("sum(count_over_time({selector}[{window_seconds}s]))")
    }

    /// Returns the question for the summed rate over `window_seconds`.
    pub fn rate_query(&self, instance: &str, window_seconds: u64) -> String {
        let selector = self.selector(instance);
        match self.kind {
            MetricType::ExponentialHistogram => {
                format!("histogram_count(sum(rate({selector}[{window_seconds}s])))")
            }
            _ => format!("sum(rate({selector}[{window_seconds}s]))"),
        }
    }

    fn selector(&self, instance: &str) -> String {
        let escaped: String = instance
            .chars()
            .flat_map(|letter| {
                let is_plain = letter.is_ascii_alphanumeric() || "-_:/".contains(letter);
                (!is_plain).then_some("\\\\").into_iter().flat_map(str::chars).chain([letter])
            })
            .collect();
        format!("{}{{instance=~\"{escaped}-.*\"}}", self.stored_name)
    }
}

/// What the requests of a worker hold.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Metrics of this worker, in the order of the template.
    pub metrics: Vec<MetricInfo>,
    /// By batch of metrics: (position in `metrics`, points).
    pub(super) batches: Vec<Vec<(u32, u32)>>,
}

impl Catalog {
    /// Describes the items of the worker's batches of metrics.
    pub(super) fn new<'i>(template: &Template, batches: impl Iterator<Item = &'i [usize]>) -> Self {
        let mut catalog = Self::default();
        let mut positions: BTreeMap<u32, u32> = BTreeMap::new();
        for items in batches {
            let mut points: BTreeMap<u32, u32> = BTreeMap::new();
            for item in items.iter().filter_map(|at| template.items.get(*at)) {
                let Some((index, metric)) = metric_of(template, item) else { continue };
                let position = *positions.entry(index).or_insert_with(|| {
                    catalog.metrics.push(MetricInfo::new(metric));
                    catalog.metrics.len() as u32 - 1
                });
                *points.entry(position).or_default() += 1;
                if let Some(info) = catalog.metrics.get_mut(position as usize) {
                    info.add(item.model);
                }
            }
            catalog.batches.push(points.into_iter().collect());
        }
        catalog
    }
}

impl MetricInfo {
    fn new(metric: &Metric) -> Self {
        let is_walk = matches!(metric.metric_type, MetricType::Gauge | MetricType::UpDownCounter);
        Self {
            name: metric.name.clone(),
            stored_name: match metric.metric_type {
                MetricType::Histogram | MetricType::Summary => stored_name(metric) + "_count",
                _ => stored_name(metric),
            },
            kind: metric.metric_type,
            is_delta: metric.is_delta,
            series_count: 0,
            rate_per_second: (!is_walk).then_some(0.0),
        }
    }

    fn add(&mut self, model: Model) {
        self.series_count += 1;
        if let (Some(rate), Model::Series { first, second, .. }) = (&mut self.rate_per_second, model) {
            *rate += first + second;
        }
    }
}

/// Returns the name of a metric as Prometheus has it: without dots, with unit, with `_total` if it counts.
///
/// Holds for the names and units that are generated; the general rules are the server's.
pub(super) fn stored_name(metric: &Metric) -> String {
    let mut name = metric.name.replace('.', "_");
    name.push_str(match metric.unit.as_str() {
        "By" => "_bytes",
        "s" => "_seconds",
        "Cel" => "_celsius",
        _ => "",
    });
    if metric.metric_type == MetricType::Counter {
        name.push_str("_total");
    }
    name
}

/// Counts what was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    by_batch: Vec<u64>,
    /// Requests that were repeats.
    pub repeat_count: u64,
    /// Points of repeats.
    pub repeat_points: u64,
    /// Earliest time of a point; absent before the first.
    pub first_ns: Option<u64>,
    /// Latest time of a point; absent before the first.
    pub last_ns: Option<u64>,
}

impl Tally {
    /// Counts a request whose points were all accepted. Traces and logs are not counted.
    pub fn add(&mut self, request: &Request) {
        if request.signal != Signal::Metrics {
            return;
        }
        if request.is_repeat {
            self.repeat_count += 1;
            self.repeat_points += request.events;
            return;
        }
        if self.by_batch.len() <= request.batch {
            self.by_batch.resize(request.batch + 1, 0);
        }
        if let Some(count) = self.by_batch.get_mut(request.batch) {
            *count += 1;
        }
        self.first_ns = Some(self.first_ns.map_or(request.time_ns, |first| first.min(request.time_ns)));
        self.last_ns = Some(self.last_ns.map_or(request.time_ns, |last| last.max(request.time_ns)));
    }

    /// Returns the number of distinct points by metric of `catalog`.
    pub fn points(&self, catalog: &Catalog) -> Vec<u64> {
        let mut points = vec![0; catalog.metrics.len()];
        for (count, metrics) in self.by_batch.iter().zip(&catalog.batches) {
            for (metric, point_count) in metrics {
                if let Some(sum) = points.get_mut(*metric as usize) {
                    *sum += count * u64::from(*point_count);
                }
            }
        }
        points
    }
}
