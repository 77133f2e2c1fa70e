//! Metrics that repeat earlier ones are told as the reader would tell them.

use mytsdb_storage::model::SeriesKeys;
use mytsdb_storage::{LabelSource as _, ResolvedSeries};
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use proptest::prelude::*;

use super::*;
use crate::otlp::templates::TemplateUse;

/// What the storage is told, and what the sender.
#[derive(Debug, PartialEq)]
struct Told {
    keys: Vec<u128>,
    sample_ends: Vec<usize>,
    timestamps_ms: Vec<i64>,
    value_bits: Vec<u64>,
    starts_ms: Vec<i64>,
    labels: Vec<Result<String, String>>,
    metric_names: Vec<Option<String>>,
    point_count: usize,
    tallies: String,
}

impl Told {
    fn of(columns: &Columns<'_>, options: &OtlpOptions) -> Self {
        let labels = RequestLabels::new(columns, options);
        let all_series = 0..columns.keys.len();
        let name_of = |series| columns.point_of(series).map(|point| columns.metric_name_of(point).to_owned());
        Self {
            keys: columns.keys.clone(),
            sample_ends: columns.sample_ends.clone(),
            timestamps_ms: columns.timestamps_ms.clone(),
            value_bits: columns.values.iter().map(|value| value.to_bits()).collect(),
            starts_ms: (0..columns.values.len()).map(|position| columns.starts.at(position)).collect(),
            labels: all_series
                .clone()
                .map(|series| labels.labels(series).map(|labels| labels.to_string()))
                .collect(),
            metric_names: all_series.map(name_of).collect(),
            point_count: columns.point_count,
            tallies: format!("{:?} {:?}", columns.refused, columns.losses),
        }
    }
}

/// A sender's memory at the server.
struct Sender {
    known: KnownMetadata,
    keys: SeriesKeys,
    options: OtlpOptions,
}

impl Sender {
    fn new() -> Self {
        let (known, keys) = (KnownMetadata::default(), SeriesKeys::from_seed(1));
        Self { known, keys, options: OtlpOptions::default() }
    }

    fn decode(&self, known: &KnownMetadata, body: &[u8], tenant: &str) -> (Told, TemplateUse) {
        let tenant = TenantId::new(tenant).unwrap();
        let columns = {
            let facts = known.facts();
            let environment =
                Environment { keys: &self.keys, tenant: &tenant, options: &self.options, facts: &facts };
            decode(environment, body).unwrap()
        };
        known.learn(&columns, &ResolvedSeries::default(), &self.keys);
        (Told::of(&columns, &self.options), columns.template_use)
    }

    /// Checks that a request is told as to a server that knows nothing; returns how the templates fared.
    fn send(&self, request: &ExportMetricsServiceRequest) -> TemplateUse {
        self.send_as("a", request)
    }

    fn send_as(&self, tenant: &str, request: &ExportMetricsServiceRequest) -> TemplateUse {
        let body = request.encode_to_vec();
        let (expected, _) = self.decode(&KnownMetadata::default(), &body, tenant);
        let (found, of_request) = self.decode(&self.known, &body, tenant);
        assert_eq!(found, expected);
        of_request
    }
}

fn integer(value: i64) -> NumberDataPoint {
    let value = Some(number_data_point::Value::AsInt(value));
    NumberDataPoint { start_time_unix_nano: NOW_NS - 5_000_000, value, ..number(0.0) }
}

fn usual() -> ExportMetricsServiceRequest {
    let resource = vec![text("service.name", "api"), text("host.name", "a")];
    request(
        resource,
        vec![
            metric("a", "s", gauge(vec![labelled(1, 1.0), labelled(2, 2.0)])),
            metric("b", "By", sum(vec![integer(1), labelled(1, 1.5)], CUMULATIVE, true)),
            metric("c", "", sum(vec![integer(7)], CUMULATIVE, false)),
            metric("h", "", histogram(vec![histogram_point(&[1, 2], &[0.5])], CUMULATIVE)),
            metric("d", "", sum(vec![integer(3)], DELTA, true)),
            metric("e", "", gauge(vec![labelled(1, 0.5)])),
        ],
    )
}

/// All number points of a request.
fn points_of(request: &mut ExportMetricsServiceRequest) -> Vec<&mut NumberDataPoint> {
    let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
    let datas = scopes.flat_map(|scope| &mut scope.metrics).filter_map(|metric| metric.data.as_mut());
    datas
        .flat_map(|data| match data {
            Data::Gauge(gauge) => gauge.data_points.iter_mut(),
            Data::Sum(sum) => sum.data_points.iter_mut(),
            _ => [].iter_mut(),
        })
        .collect()
}

/// Sets the numbers of a request anew.
fn renumber(request: &mut ExportMetricsServiceRequest, round: u64) {
    for (index, point) in points_of(request).into_iter().enumerate() {
        let number = round * 1_000 + index as u64;
        point.time_unix_nano = NOW_NS + number * 1_000_000;
        if point.start_time_unix_nano != 0 {
            point.start_time_unix_nano += number * 1_000_000;
        }
        point.value = point.value.map(|value| match value {
            number_data_point::Value::AsDouble(_) => number_data_point::Value::AsDouble(number as f64 + 0.25),
            // Large enough to be rounded now and then.
            number_data_point::Value::AsInt(_) => number_data_point::Value::AsInt((1 << 53) + number as i64),
        });
    }
}

/// The numbers of a request are all that changes, from the third time on it is known in whole.
#[test]
fn what_is_repeated_is_not_read_again() {
    let sender = Sender::new();
    let mut request = usual();
    let plain_count = 4;
    let mut hits = Vec::new();
    for round in 0..5 {
        renumber(&mut request, round);
        let of_request = sender.send(&request);
        assert_eq!(of_request.hits + of_request.misses, plain_count);
        hits.push(of_request.hits);
    }
    // Met, then brought into their order; the first of a request is found, not expected.
    assert_eq!(hits, [0, 0, 3, 3, 3]);
}

#[test]
fn another_tenant_source_or_option_has_templates_of_its_own() {
    let mut sender = Sender::new();
    let mut request = usual();
    for _ in 0..3 {
        sender.send(&request);
    }
    assert_eq!(sender.send_as("b", &request).hits, 0);
    sender.options.promote_all_resource_attributes = true;
    assert_eq!(sender.send(&request).hits, 0);
    sender.options.promote_all_resource_attributes = false;
    assert_eq!(sender.send(&request).hits, 3);
    request.resource_metrics[0].resource = None;
    assert_eq!(sender.send(&request).hits, 0);
}

/// A template whose message changes for good is made anew, one that changes all the time costs less and less.
#[test]
fn a_template_follows_its_sender() {
    let sender = Sender::new();
    let mut request = usual();
    for _ in 0..3 {
        sender.send(&request);
    }
    let change = |request: &mut ExportMetricsServiceRequest, index: u64| {
        // The second point of the first sum: the message begins with the same series and is as long.
        points_of(request)[3].attributes = vec![text("index", &(index % 10).to_string())];
    };
    change(&mut request, 2);
    let hits: Vec<u64> = (0..3).map(|_| sender.send(&request).hits).collect();
    assert_eq!(hits, [2, 3, 3]);
    let candidates: usize = (0..200)
        .map(|round| {
            change(&mut request, round);
            let body = request.encode_to_vec();
            let candidate_count = {
                let facts = sender.known.facts();
                let (keys, options) = (&sender.keys, &sender.options);
                let tenant = &TenantId::new("a").unwrap();
                decode(Environment { keys, tenant, options, facts: &facts }, &body).unwrap().candidates.len()
            };
            sender.send(&request);
            candidate_count
        })
        .sum();
    assert!((1..20).contains(&candidates), "{candidates} times anew in 200 requests");
}

/// Through flushes, after which series get other numbers, and with another request between.
#[test]
fn repeated_metrics_are_stored_in_their_series() {
    let fixture = Fixture::new(OtlpOptions::default());
    let mut requests = [usual(), request(vec![text("service.name", "other")], vec![])];
    let again = usual().resource_metrics.remove(0).scope_metrics;
    requests[1].resource_metrics[0].scope_metrics = again;
    let mut expected = BTreeMap::<String, Vec<(i64, u64)>>::new();
    for round in 0..8 {
        for request in &mut requests {
            renumber(request, round);
            // Deltas and histograms say the same each time; their own tests look at them.
            let (alone, _) = export(request);
            let reply = fixture.write(request).unwrap();
            assert_eq!(reply.partial_success.map_or(0, |partial| partial.rejected_data_points), 0);
            for (labels, samples) in alone.samples {
                expected.entry(labels).or_default().extend(samples);
            }
        }
        if round % 3 == 2 {
            fixture.storage.flush(NOW_MS).unwrap();
        }
    }
    for samples in expected.values_mut() {
        samples.sort_unstable();
        samples.dedup();
    }
    assert_eq!(fixture.stored().samples, expected);
}

/// One way in which a sender may change what it sends.
fn edit(request: &mut ExportMetricsServiceRequest, (kind, at): (u8, usize)) {
    let sent = &mut request.resource_metrics[0].scope_metrics[0].metrics;
    let metric_at = at % sent.len();
    match kind {
        0 => sent.swap(0, metric_at),
        1 => {
            let again = sent[metric_at].clone();
            sent.push(again);
        }
        2 if sent.len() > 1 => drop(sent.remove(metric_at)),
        3 => sent[metric_at].description.push('x'),
        4 => sent[metric_at].metadata = vec![text("prometheus.type", "info")],
        5 => request.resource_metrics.push(usual().resource_metrics.remove(0)),
        _ => {
            let mut points = points_of(request);
            let point_count = points.len().max(1);
            let Some(point) = points.get_mut(at % point_count) else { return };
            match kind {
                6 => point.attributes = vec![text("index", &at.to_string())],
                7 => point.attributes.clear(),
                8 => point.flags ^= 1,
                9 => point.start_time_unix_nano ^= 1,
                10 => point.value = None,
                11 => point.exemplars = vec![metrics::Exemplar::default()],
                12 => point.value = Some(number_data_point::Value::AsInt(at as i64)),
                // No name for a label.
                _ => point.attributes = vec![text("", "x")],
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_sender_changes_it_is_told_as_without_templates(
        edits in proptest::collection::vec((0_u8..14, 0_usize..100), 0..20)
    ) {
        let sender = Sender::new();
        let mut request = usual();
        let mut round = 0;
        for next in edits {
            for _ in 0..3 {
                renumber(&mut request, round);
                sender.send(&request);
                round += 1;
            }
            edit(&mut request, next);
        }
    }
}
