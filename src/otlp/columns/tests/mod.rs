//! Tests of the translation against a real storage: which series a request becomes, and what is refused.

mod delta;
mod exemplars;
mod histograms;
mod points;
mod templates;

use std::collections::BTreeMap;

use mytsdb_storage::model::{Exemplar, Histogram as Native, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{Storage, StorageOptions};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::*;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tonic::Status;

use super::{Columns, Environment, RequestLabels, decode};
use crate::otlp::OtlpOptions;
use crate::otlp::ingest::batch;
use crate::otlp::known::KnownMetadata;
use crate::otlp::outcome::Outcome;
use crate::otlp::reply::reply;

const NOW_MS: i64 = 1_800_000_000_000;
const NOW_NS: u64 = NOW_MS as u64 * 1_000_000;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

type Reply = Result<ExportMetricsServiceResponse, Status>;

/// Everything that is stored, by labels.
#[derive(Debug, Default)]
struct Stored {
    /// Time after [`NOW_MS`] and bits of the value.
    samples: BTreeMap<String, Vec<(i64, u64)>>,
    /// When counting began, of the first sample of each series; 0 = nobody said.
    starts: BTreeMap<String, i64>,
    histograms: BTreeMap<String, Vec<(i64, Native)>>,
    exemplars: BTreeMap<String, Vec<Exemplar>>,
}

impl Stored {
    /// The first value of each series.
    fn values(&self) -> BTreeMap<&str, f64> {
        let first = |samples: &Vec<(i64, u64)>| samples.first().map(|(_, bits)| f64::from_bits(*bits));
        self.samples.iter().filter_map(|(labels, samples)| Some((labels.as_str(), first(samples)?))).collect()
    }
}

/// A storage and a memory of its own.
struct Fixture {
    storage: Storage,
    options: OtlpOptions,
    known: KnownMetadata,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new(options: OtlpOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(StorageOptions::new(dir.path()), NOW_MS).unwrap();
        Self { storage, options, known: KnownMetadata::default(), _dir: dir }
    }

    fn decode<'a>(&self, body: &'a [u8]) -> Columns<'a> {
        let facts = self.known.facts();
        let (keys, tenant) = (self.storage.series_keys(), &TenantId::anonymous());
        decode(Environment { keys, tenant, options: &self.options, facts: &facts }, body).unwrap()
    }

    fn write(&self, request: &ExportMetricsServiceRequest) -> Reply {
        self.write_bytes(&request.encode_to_vec())
    }

    fn write_bytes(&self, body: &[u8]) -> Reply {
        let mut columns = self.decode(body);
        let report = {
            let labels = RequestLabels::new(&columns, &self.options);
            self.storage.write(&TenantId::anonymous(), &batch(&columns, &labels), NOW_MS).unwrap()
        };
        self.known.learn(&columns, &report.series, self.storage.series_keys());
        reply(&Outcome::new(&mut columns, &report))
    }

    fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        let reader = self.storage.reader(&TenantId::anonymous());
        let set = reader.select(&[], TimeRange::ALL).unwrap();
        let mut columns = SampleColumns::default();
        for index in 0..set.len() {
            set.read(index, TimeRange::ALL, &mut columns).unwrap();
            let labels = set.labels(index).to_string();
            stored.starts.insert(labels.clone(), columns.starts.at(0));
            for (position, histogram) in &columns.histograms {
                let time_ms = columns.timestamps_ms[*position as usize] - NOW_MS;
                let found = stored.histograms.entry(labels.clone()).or_default();
                found.push((time_ms, (**histogram).clone()));
            }
            if columns.histograms.is_empty() {
                let pairs = columns.timestamps_ms.iter().zip(&columns.values);
                let samples = pairs.map(|(time, value)| (time - NOW_MS, value.to_bits())).collect();
                stored.samples.insert(labels, samples);
            }
        }
        for (labels, exemplars) in reader.exemplars(&[], TimeRange::ALL, usize::MAX).unwrap() {
            stored.exemplars.insert(labels.to_string(), exemplars);
        }
        stored
    }
}

/// Writes the request twice (new series, then known ones); returns what is stored and the second reply.
fn export_with(options: OtlpOptions, request: &ExportMetricsServiceRequest) -> (Stored, Reply) {
    let fixture = Fixture::new(options);
    let _first = fixture.write(request);
    let reply = fixture.write(request);
    (fixture.stored(), reply)
}

fn export(request: &ExportMetricsServiceRequest) -> (Stored, Reply) {
    export_with(OtlpOptions::default(), request)
}

/// Writes requests one after the other that must all be stored whole.
fn export_all(requests: &[ExportMetricsServiceRequest]) -> Stored {
    let fixture = Fixture::new(OtlpOptions::default());
    for request in requests {
        assert_eq!(fixture.write(request).unwrap(), ExportMetricsServiceResponse::default());
    }
    fixture.stored()
}

fn text(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn request(resource: Vec<KeyValue>, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn number(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: NOW_NS + 999_999,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// A point with a label of its own.
fn labelled(index: i32, value: f64) -> NumberDataPoint {
    NumberDataPoint { attributes: vec![text("index", &index.to_string())], ..number(value) }
}

fn gauge(points: Vec<NumberDataPoint>) -> Data {
    Data::Gauge(Gauge { data_points: points })
}

fn sum(points: Vec<NumberDataPoint>, temporality: i32, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points: points, aggregation_temporality: temporality, is_monotonic })
}

fn histogram_point(counts: &[u64], bounds: &[f64]) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano: NOW_NS,
        count: counts.iter().sum(),
        sum: Some(7.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn histogram(points: Vec<HistogramDataPoint>, temporality: i32) -> Data {
    Data::Histogram(Histogram { data_points: points, aggregation_temporality: temporality })
}

fn exponential(points: Vec<ExponentialHistogramDataPoint>, temporality: i32) -> Data {
    Data::ExponentialHistogram(ExponentialHistogram {
        data_points: points,
        aggregation_temporality: temporality,
    })
}
