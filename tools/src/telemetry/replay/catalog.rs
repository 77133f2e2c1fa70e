//! What a worker sends, and how much of it: what a server is asked back.
//!
//! A sender keeps one [`Tally`] a worker and adds what was acknowledged; [`Tally::points`] then has the number of distinct
//! points by metric. A point is one sample of [`MetricInfo::stored_name`], so `sum(count_over_time(…))` must be equal.
//! A repeat has time and value of what it repeats and is not counted as a point; a late or disordered request is counted
//! like any other, as its times are distinct.

use super::Request;
use crate::telemetry::template::Signal;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// A value that goes up and down.
    Gauge,
    /// A monotonic sum.
    Counter,
    /// Counts of buckets with explicit bounds.
    Histogram,
    /// Counts of exponential buckets.
    ExponentialHistogram,
    /// Quantiles computed by the sender.
    Summary,
}

/// One metric of this worker.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricInfo {
    /// Its OTLP name.
    pub name: String,
    /// The name of stored series that have one sample a point: with unit and suffix as Prometheus names them by default,
    /// `…_count` of a histogram or summary.
    pub stored_name: String,
    /// Its type.
    pub kind: MetricKind,
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
            MetricKind::ExponentialHistogram => {
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
