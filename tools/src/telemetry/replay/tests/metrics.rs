//! Points: values, start times, shares of workers, restarts, replacements, detours, counts.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, HistogramDataPoint, metric::Data, number_data_point,
};

use super::*;
use crate::k8s::model::rng::Rng;
use crate::telemetry::replay::{BatchSizes, Detours, Tally};
use crate::telemetry::template::{MetricType, Model};

/// A point, whatever its type.
#[derive(Debug, Clone)]
struct Point {
    metric: String,
    instance: String,
    attributes: String,
    is_delta: bool,
    start_ns: u64,
    time_ns: u64,
    /// Value of a number, number of observations of others.
    value: f64,
    sum: f64,
    buckets: Vec<u64>,
    exemplars: Vec<Exemplar>,
}

impl Point {
    fn series(&self) -> (String, String, String) {
        (self.metric.clone(), self.instance.clone(), self.attributes.clone())
    }
}

fn text_of(attributes: &[KeyValue], wanted: Option<&str>) -> String {
    let texts = attributes.iter().filter(|pair| wanted.is_none_or(|key| pair.key == key)).map(|pair| {
        match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text},", pair.key),
            other => panic!("{other:?}"),
        }
    });
    texts.collect()
}

fn points(request: &Request) -> Vec<Point> {
    let message: ExportMetricsServiceRequest = decode(request);
    let mut points = Vec::new();
    for of_resource in &message.resource_metrics {
        let resource = &of_resource.resource.as_ref().unwrap().attributes;
        assert!(resource.iter().any(|pair| pair.key == "service.name"));
        let instance = text_of(resource, Some("service.instance.id"));
        for metric in of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            let blank = |attributes: &[KeyValue], start_ns, time_ns| Point {
                metric: metric.name.clone(),
                instance: instance.clone(),
                attributes: text_of(attributes, None),
                is_delta: false,
                start_ns,
                time_ns,
                value: 0.0,
                sum: 0.0,
                buckets: Vec::new(),
                exemplars: Vec::new(),
            };
            add_points(metric.data.as_ref().unwrap(), blank, &mut points);
        }
    }
    assert_eq!(points.len() as u64, request.events);
    points
}

fn add_points(data: &Data, blank: impl Fn(&[KeyValue], u64, u64) -> Point, points: &mut Vec<Point>) {
    let is_delta = |temporality: i32| match AggregationTemporality::try_from(temporality) {
        Ok(AggregationTemporality::Delta) => true,
        Ok(AggregationTemporality::Cumulative) => false,
        other => panic!("{other:?}"),
    };
    let (numbers, of_sum) = match data {
        Data::Gauge(gauge) => (&gauge.data_points[..], false),
        Data::Sum(sum) => (&sum.data_points[..], is_delta(sum.aggregation_temporality)),
        _ => (&[][..], false),
    };
    for point in numbers {
        let value = match point.value.unwrap() {
            number_data_point::Value::AsDouble(value) => value,
            number_data_point::Value::AsInt(value) => value as f64,
        };
        let blank = blank(&point.attributes, point.start_time_unix_nano, point.time_unix_nano);
        points.push(Point { value, is_delta: of_sum, exemplars: point.exemplars.clone(), ..blank });
    }
    match data {
        Data::Gauge(_) | Data::Sum(_) => {}
        Data::Histogram(histogram) => {
            for point in &histogram.data_points {
                points.push(Point {
                    value: point.count as f64,
                    sum: point.sum.unwrap(),
                    buckets: buckets_of(point),
                    is_delta: is_delta(histogram.aggregation_temporality),
                    exemplars: point.exemplars.clone(),
                    ..blank(&point.attributes, point.start_time_unix_nano, point.time_unix_nano)
                });
            }
        }
        Data::ExponentialHistogram(histogram) => {
            for point in &histogram.data_points {
                let mut buckets = vec![point.zero_count];
                buckets.extend(&point.positive.as_ref().unwrap().bucket_counts);
                assert_eq!(buckets.iter().sum::<u64>(), point.count);
                points.push(Point {
                    value: point.count as f64,
                    sum: point.sum.unwrap(),
                    buckets,
                    is_delta: is_delta(histogram.aggregation_temporality),
                    exemplars: point.exemplars.clone(),
                    ..blank(&point.attributes, point.start_time_unix_nano, point.time_unix_nano)
                });
            }
        }
        Data::Summary(summary) => {
            for point in &summary.data_points {
                let values: Vec<f64> = point.quantile_values.iter().map(|quantile| quantile.value).collect();
                assert!(values.len() == 3 && values.is_sorted() && values[0] > 0.0, "{values:?}");
                points.push(Point {
                    value: point.count as f64,
                    sum: point.sum,
                    ..blank(&point.attributes, point.start_time_unix_nano, point.time_unix_nano)
                });
            }
        }
    }
}

fn buckets_of(point: &HistogramDataPoint) -> Vec<u64> {
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    point.bucket_counts.clone()
}

fn exact<'a>(more: &[&'a str]) -> Vec<&'a str> {
    EXACT.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn every_series_has_exactly_the_value_of_its_model() {
    let flags = exact(&["--metrics-types-summary=1"]);
    let template = templates(&flags).remove(0);
    let mut replay = replay(&flags, &options());
    let requests = one_cycle(&mut replay, 0);
    let points: Vec<Point> = requests.iter().flat_map(points).collect();
    assert_eq!(points.len(), template.items.len());
    let mut types = BTreeSet::new();
    for (item, point) in template.items.iter().zip(&points) {
        let Model::Series { metric, first, second, .. } = item.model else { panic!() };
        let metric = &template.metrics[metric as usize];
        types.insert(format!("{:?}", metric.metric_type));
        assert_eq!(point.metric, metric.name);
        assert!(point.instance.starts_with("service.instance.id=pod-a-"), "{}", point.instance);
        assert_eq!(point.time_ns, STARTED_NS + 10 * SECOND_NS);
        let expected_start = if metric.metric_type == MetricType::Gauge { 0 } else { STARTED_NS };
        assert_eq!(point.start_ns, expected_start);
        let counted = (first + second) * 10.0;
        match metric.metric_type {
            MetricType::Gauge | MetricType::UpDownCounter => {
                assert!((first..=second).contains(&point.value), "{} of {first} to {second}", point.value);
            }
            MetricType::Counter if metric.is_integer => assert_eq!(point.value, counted.floor()),
            MetricType::Counter => assert!((point.value - counted).abs() < 1e-6),
            MetricType::Summary => assert_eq!(point.value, counted.floor()),
            MetricType::Histogram | MetricType::ExponentialHistogram => {
                let shape = &metric.shape;
                let buckets =
                    shape.fast.iter().zip(&shape.slow).map(|(fast, slow)| fast * first + slow * second);
                let zero =
                    (metric.metric_type == MetricType::ExponentialHistogram).then_some(shape.zero * first);
                let expected: Vec<u64> =
                    zero.into_iter().chain(buckets).map(|rate| (rate * 10.0) as u64).collect();
                let is_near = |(found, expected): (&u64, &u64)| found.abs_diff(*expected) <= 1;
                assert!(point.buckets.iter().zip(&expected).all(is_near), "{:?} {expected:?}", point.buckets);
                assert_eq!(point.buckets.len(), expected.len());
                let sum = 10.0 * (first * shape.fast_mean + second * shape.slow_mean);
                assert!((point.sum / sum - 1.0).abs() < 1e-9);
            }
        }
    }
    assert_eq!(types.len(), MetricType::ALL.len());
}

#[test]
fn rates_are_those_that_were_configured_whatever_the_noise() {
    let flags = ["--metrics-rate-noise=0.5", "--metrics-rate-diurnal=0", "--metrics-rate-min=50"];
    let mut replay = replay(&flags, &options());
    let mut rates: BTreeMap<String, f64> = BTreeMap::new();
    let catalog = replay.catalog().clone();
    let wanted = catalog.metrics.iter().filter_map(|info| Some((info.name.clone(), info.rate_per_second?)));
    let wanted: BTreeMap<String, f64> = wanted.collect();
    // The noise adds up to nothing over its period.
    let (begin_ns, end_ns) = (STARTED_NS + 100 * SECOND_NS, STARTED_NS + 2_660 * SECOND_NS);
    for (time_ns, sign) in [(begin_ns, -1.0), (end_ns, 1.0)] {
        for _ in 0..replay.turns.order.len() {
            let request = replay.next(time_ns).unwrap();
            if request.signal == Signal::Metrics {
                for point in points(&request) {
                    *rates.entry(point.metric).or_default() += sign * point.value / 2_560.0;
                }
            }
        }
    }
    assert!(wanted.len() > 5);
    for (metric, wanted) in &wanted {
        let found = rates[metric];
        assert!((found / wanted - 1.0).abs() < 1e-3, "{metric}: {found}, not {wanted}");
    }
}

#[test]
fn nothing_counts_down_but_after_a_restart_which_has_a_new_start() {
    let flags =
        exact(&["--metrics-rate-noise=0.9", "--metrics-restart-interval=40s", "--metrics-rate-min=20"]);
    let mut replay = replay(&flags, &options());
    let mut last: BTreeMap<_, Point> = BTreeMap::new();
    let mut restart_count = 0;
    for cycle in 0..30 {
        for point in one_cycle(&mut replay, cycle).iter().flat_map(points) {
            if point.start_ns == 0 {
                continue;
            }
            assert!(point.start_ns < point.time_ns && point.start_ns >= STARTED_NS);
            if let Some(last) = last.insert(point.series(), point.clone()) {
                assert!(last.time_ns < point.time_ns);
                let is_walk = ["active", "live", "heap"].iter().any(|word| point.metric.contains(word));
                if last.start_ns == point.start_ns && !is_walk {
                    assert!(last.value <= point.value, "{last:?} {point:?}");
                    assert!(last.buckets.iter().zip(&point.buckets).all(|(last, now)| last <= now));
                }
                if last.start_ns != point.start_ns {
                    assert!(point.start_ns >= last.time_ns);
                    restart_count += 1;
                }
            }
        }
    }
    // Every series restarts each 40 s of 300 s.
    assert!(restart_count >= 6 * last.len(), "{restart_count} of {}", last.len());
}

#[test]
fn deltas_follow_each_other_and_add_up_to_what_cumulative_points_say() {
    let cumulative = exact(&["--metrics-rate-noise=0.4"]);
    let delta = exact(&["--metrics-rate-noise=0.4", "--metrics-delta-fraction=1"]);
    let (mut cumulative, mut delta) = (replay(&cumulative, &options()), replay(&delta, &options()));
    let mut sums: BTreeMap<_, (f64, u64)> = BTreeMap::new();
    for cycle in 0..5 {
        let totals: Vec<Point> = one_cycle(&mut cumulative, cycle).iter().flat_map(points).collect();
        let steps: Vec<Point> = one_cycle(&mut delta, cycle).iter().flat_map(points).collect();
        let mut delta_count = 0;
        for (total, step) in totals.iter().zip(&steps).filter(|(_, step)| step.is_delta) {
            let (sum, end_ns) = sums.entry(step.series()).or_insert((0.0, STARTED_NS));
            *sum += step.value;
            assert_eq!(step.start_ns, *end_ns);
            *end_ns = step.time_ns;
            assert!((*sum - total.value).abs() < 1e-6, "{sum} {total:?}");
            delta_count += 1;
        }
        assert!(delta_count > 10);
    }
}

#[test]
fn workers_share_all_series_and_none_twice() {
    let flags = ["--traces-enabled=false", "--logs-enabled=false"];
    let all: BTreeSet<_> = one_cycle(&mut replay(&flags, &options()), 0)
        .iter()
        .flat_map(points)
        .map(|point| point.series())
        .collect();
    assert_eq!(all.len(), 4 * 12 * 3);
    for workers in [1, 2, 5, 7] {
        let mut seen = BTreeSet::new();
        for worker in 0..workers {
            let batch = BatchSizes { metrics: 10, ..BatchSizes::default() };
            let mut replay = replay(&flags, &ReplayOptions { worker, workers, batch, ..options() });
            for point in one_cycle(&mut replay, 0).iter().flat_map(points) {
                assert!(seen.insert(point.series()), "{point:?}");
            }
        }
        assert_eq!(seen, all, "{workers} workers");
    }
}

#[test]
fn pods_have_series_of_their_own() {
    let of_pod = |instance: &str| -> BTreeSet<_> {
        let mut replay = replay(&EXACT, &ReplayOptions::new(instance, STARTED_NS));
        one_cycle(&mut replay, 0).iter().flat_map(points).map(|point| point.series()).collect()
    };
    assert!(of_pod("pod-a").is_disjoint(&of_pod("a-much-longer-name")));
}

#[test]
fn a_share_of_the_targets_is_replaced_and_begins_anew() {
    let flags =
        exact(&["--metrics-targets=100", "--metrics-churn-fraction=0.1", "--metrics-churn-interval=10s"]);
    let mut replay = replay(&flags, &options());
    let mut last = BTreeSet::new();
    for cycle in 0..20 {
        let points: Vec<Point> = one_cycle(&mut replay, cycle).iter().flat_map(points).collect();
        let instances: BTreeSet<String> = points.iter().map(|point| point.instance.clone()).collect();
        assert_eq!(instances.len(), 100);
        if cycle > 0 {
            let new: Vec<&Point> = points.iter().filter(|point| !last.contains(&point.instance)).collect();
            let replaced = instances.difference(&last).count();
            assert!((1..=25).contains(&replaced), "{replaced}");
            let old_end_ns = STARTED_NS + cycle * 10 * SECOND_NS;
            assert!(new.iter().all(|point| point.start_ns == 0 || point.start_ns >= old_end_ns));
        }
        last = instances;
    }
}

#[test]
fn a_ramp_adds_series_until_all_are_there() {
    let flags = exact(&["--metrics-ramp=100s"]);
    let batch = BatchSizes { metrics: 10, ..BatchSizes::default() };
    let mut replay = replay(&flags, &ReplayOptions { batch, ..options() });
    let batch_count = replay.turns.order.len();
    let mut seen = |seconds: u64| {
        let time_ns = STARTED_NS + seconds * SECOND_NS;
        let requests = (0..2 * batch_count).map(|_| replay.next(time_ns).unwrap());
        requests.map(|request| request.batch).collect::<BTreeSet<_>>().len()
    };
    let (early, middle, late) = (seen(5), seen(50), seen(101));
    assert!(early <= 2 && middle > batch_count / 3 && middle < batch_count * 2 / 3, "{early} {middle}");
    assert_eq!(late, batch_count);
}

#[test]
fn detours_lose_and_change_nothing() {
    let seed = 11;
    let detours = Detours { duplicate: 0.2, out_of_order: 0.2, late: 0.2, late_by_ns: 25 * SECOND_NS };
    let batch = BatchSizes { metrics: 7, ..BatchSizes::default() };
    let straight_options = ReplayOptions { batch, multiplier: 8, ..options() };
    let flags = exact(&["--metrics-restart-interval=30s"]);
    let mut rng = Rng::new(seed);
    let mut run = |options: &ReplayOptions| {
        let mut replay = replay(&flags, options);
        let mut now_ns = STARTED_NS;
        let mut requests = Vec::new();
        let mut tally = Tally::default();
        loop {
            now_ns += SECOND_NS / 2 + rng.bits() % SECOND_NS;
            let Some(request) = replay.next(now_ns) else { break };
            tally.add(&request);
            requests.push(request);
        }
        (requests, tally, replay.catalog().clone())
    };
    let (straight, straight_tally, catalog) = run(&straight_options);
    let (detoured, tally, _) = run(&ReplayOptions { detours, ..straight_options.clone() });
    assert_eq!(tally.points(&catalog), straight_tally.points(&catalog), "seed {seed}");
    let info = &catalog.metrics[0];
    assert_eq!(tally.points(&catalog)[0], 8 * info.series_count);
    let repeats = detoured.iter().filter(|request| request.is_repeat).count();
    assert_eq!(tally.repeat_count as usize, repeats);
    let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
    let mut late_count = 0;
    let mut seen: BTreeMap<(usize, u64), Request> = BTreeMap::new();
    for request in &detoured {
        let newest = newest.entry(request.batch).or_default();
        late_count += usize::from(request.time_ns < *newest);
        *newest = request.time_ns.max(*newest);
        let first = seen.entry((request.batch, request.time_ns)).or_insert_with(|| request.clone());
        assert_eq!(first.body, request.body, "a repeat is equal");
    }
    assert_eq!(seen.len() + repeats, detoured.len(), "times are distinct");
    assert_eq!(seen.len(), straight.len());
    assert!(repeats > 5 && late_count > 10, "{repeats} repeats, {late_count} late");
    // What came late is what would have been sent in time.
    for ((batch, time_ns), request) in &seen {
        let mut replay = replay(&flags, &straight_options);
        let slot = super::super::metrics::Slot { batch: *batch, before_ns: 0, time_ns: *time_ns };
        assert_eq!(replay.metrics_request(&slot).unwrap().body, request.body);
    }
}

#[test]
fn points_of_a_series_never_share_a_millisecond() {
    let mut replay = replay(&EXACT, &options());
    let now_ns = STARTED_NS + SECOND_NS + 123_456;
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    for _ in 0..50 {
        let request = replay.next(now_ns).unwrap();
        if let Some(last) = last.insert(request.batch, request.time_ns) {
            assert!(request.time_ns / 1_000_000 > last / 1_000_000);
        }
    }
}

#[test]
fn without_traces_nothing_points_at_spans() {
    let flags = exact(&["--metrics-exemplar-fraction=1"]);
    let mut replay = replay(&flags, &options());
    let points: Vec<Point> = one_cycle(&mut replay, 0).iter().flat_map(points).collect();
    assert!(points.iter().all(|point| point.exemplars.is_empty()));
    assert!(points.iter().any(|point| !point.buckets.is_empty() && point.value > 0.0));
}

/// Times, values and links of the exemplars of a request.
pub(super) fn exemplars(request: &Request) -> Vec<(u64, u64, Exemplar)> {
    let with_times = |point: Point| {
        let Point { start_ns, time_ns, exemplars, .. } = point;
        exemplars.into_iter().map(move |exemplar| (start_ns, time_ns, exemplar))
    };
    points(request).into_iter().flat_map(with_times).collect()
}
