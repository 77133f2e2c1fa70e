//! The reader's proof: builds prost's messages out of what the reader told, for comparison with prost itself.
//!
//! For tests and fuzzing only. Everything that the reader leaves as bytes is decoded here, so that a request is
//! malformed for both or for none.

use std::ops::Range;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as ProtoBuckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::{DecodeError, Message};

use super::{
    Buckets, DataKind, ExponentialPoint, HistogramPoint, MetricHeader, MetricLayout, Number, NumberPoint,
    ReadError, SummaryPoint, Visitor, payloads, read,
};

/// Compares the reader with prost on the same bytes, with and without schema URLs: these are two ways to walk.
///
/// # Panics
/// If they differ: that is what it is for.
pub fn compare(body: &[u8]) {
    let mut expected = ExportMetricsServiceRequest::decode(body);
    compare_with(&expected, rebuild(body, true));
    if let Ok(request) = &mut expected {
        for resource in &mut request.resource_metrics {
            resource.schema_url.clear();
            resource.scope_metrics.iter_mut().for_each(|scope| scope.schema_url.clear());
        }
    }
    // Who does not want schema URLs does not see whether they are texts.
    if !expected.as_ref().is_err_and(|error| error.to_string().contains("schema_url")) {
        compare_with(&expected, rebuild(body, false));
    }
}

fn compare_with(
    expected: &Result<ExportMetricsServiceRequest, DecodeError>,
    found: Result<ExportMetricsServiceRequest, String>,
) {
    match (expected, found) {
        (Ok(expected), Ok(found)) => {
            // Bytes, as values may be NaN.
            assert!(
                expected.encode_to_vec() == found.encode_to_vec(),
                "prost {expected:?}\nreader {found:?}"
            );
        }
        (Err(_), Err(_)) => {}
        // Decoded on its own, a message may be nested as deeply as the whole request.
        (Err(error), Ok(_)) if error.to_string().contains("recursion limit") => {}
        (Err(error), Ok(found)) => panic!("prost refuses it ({error}), the reader reads {found:?}"),
        (Ok(expected), Err(error)) => panic!("the reader refuses it ({error}), prost reads {expected:?}"),
    }
}

/// Reads a request into prost's messages; a scattered one is merged by prost, as the server does it.
fn rebuild(body: &[u8], wants_schema_urls: bool) -> Result<ExportMetricsServiceRequest, String> {
    let mut rebuilt = Rebuilt { wants_schema_urls, ..Rebuilt::default() };
    match read(body, &mut rebuilt) {
        Ok(()) => {}
        Err(ReadError::Scattered) => {
            let merged = ExportMetricsServiceRequest::decode(body).map_err(|error| error.to_string())?;
            let merged = merged.encode_to_vec();
            let mut rebuilt = Rebuilt { wants_schema_urls, ..Rebuilt::default() };
            read(&merged, &mut rebuilt).map_err(|error| error.to_string())?;
            return rebuilt.finish();
        }
        Err(error) => return Err(error.to_string()),
    }
    rebuilt.finish()
}

#[derive(Debug, Default)]
struct Rebuilt {
    wants_schema_urls: bool,
    request: ExportMetricsServiceRequest,
    failure: Option<String>,
}

impl Rebuilt {
    fn finish(self) -> Result<ExportMetricsServiceRequest, String> {
        self.failure.map_or(Ok(self.request), Err)
    }

    fn note<T: Default>(&mut self, result: Result<T, DecodeError>) -> T {
        result.unwrap_or_else(|error| {
            self.failure = Some(error.to_string());
            T::default()
        })
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap_or_else(|error| {
            self.failure = Some(error.to_string());
            String::new()
        })
    }

    fn messages<T: Message + Default>(&mut self, run: &[u8]) -> Vec<T> {
        let decoded: Result<Vec<T>, DecodeError> =
            payloads(run).map(|payload| T::decode(payload.unwrap_or_default())).collect();
        self.note(decoded)
    }

    fn scopes(&mut self) -> &mut Vec<proto::ScopeMetrics> {
        match self.request.resource_metrics.last_mut() {
            Some(resource) => &mut resource.scope_metrics,
            None => panic!("a scope without a resource"),
        }
    }

    fn metrics(&mut self) -> &mut Vec<proto::Metric> {
        match self.scopes().last_mut() {
            Some(scope) => &mut scope.metrics,
            None => panic!("a metric without a scope"),
        }
    }

    /// Compares the metric at hand with what its layout tells.
    fn check_layout(&mut self, message: &[u8], layout: &MetricLayout) {
        let part = |range: &Range<u32>| &message[range.start as usize..range.end as usize];
        let name = self.text(part(&layout.name));
        let unit = self.text(part(&layout.unit));
        let metadata = self.messages(part(&layout.metadata));
        let (mut rest, mut points) = (message, Vec::new());
        for point in &layout.points {
            let (region, behind) = rest.split_at(usize::from(point.region_bytes));
            points.push(self.number_point(&point.read(region)));
            rest = behind;
        }
        let (temporality, is_monotonic) = (layout.temporality, layout.is_monotonic);
        let Some(metric) = self.metrics().last() else { return };
        let (told, told_temporality, told_is_monotonic) = match &metric.data {
            Some(Data::Gauge(gauge)) => (&gauge.data_points, 0, false),
            Some(Data::Sum(sum)) => (&sum.data_points, sum.aggregation_temporality, sum.is_monotonic),
            other => panic!("a layout of {other:?}"),
        };
        assert_eq!((&name, &unit, &metadata), (&metric.name, &metric.unit, &metric.metadata));
        assert_eq!((temporality, is_monotonic), (told_temporality, told_is_monotonic));
        // Bytes, as values may be NaN.
        let encoded =
            |points: &[proto::NumberDataPoint]| points.iter().map(Message::encode_to_vec).collect::<Vec<_>>();
        assert_eq!(encoded(&points), encoded(told), "{layout:?}");
    }

    fn number_point(&mut self, point: &NumberPoint<'_>) -> proto::NumberDataPoint {
        proto::NumberDataPoint {
            attributes: self.messages(point.attributes),
            start_time_unix_nano: point.start_ns,
            time_unix_nano: point.time_ns,
            exemplars: self.messages(point.exemplars),
            flags: point.flags,
            value: point.value.map(|value| match value {
                Number::Double(value) => Value::AsDouble(value),
                Number::Int(value) => Value::AsInt(value),
            }),
        }
    }

    fn data(&mut self) -> &mut Data {
        match self.metrics().last_mut().and_then(|metric| metric.data.as_mut()) {
            Some(data) => data,
            None => panic!("a point without a metric"),
        }
    }
}

impl<'a> Visitor<'a> for Rebuilt {
    fn wants_schema_urls(&self) -> bool {
        self.wants_schema_urls
    }

    fn resource(&mut self, resource: Option<&'a [u8]>, schema_url: &'a [u8]) {
        let resource = resource.map(|bytes| self.note(Resource::decode(bytes)));
        let schema_url = self.text(schema_url);
        self.request.resource_metrics.push(proto::ResourceMetrics {
            resource,
            scope_metrics: Vec::new(),
            schema_url,
        });
    }

    fn scope(&mut self, scope: Option<&'a [u8]>, schema_url: &'a [u8]) {
        let scope = scope.map(|bytes| self.note(InstrumentationScope::decode(bytes)));
        let schema_url = self.text(schema_url);
        self.scopes().push(proto::ScopeMetrics { scope, metrics: Vec::new(), schema_url });
    }

    fn metric(&mut self, metric: &MetricHeader<'a>) -> bool {
        let aggregation_temporality = metric.temporality;
        let is_monotonic = metric.is_monotonic;
        let data = metric.kind.map(|kind| match kind {
            DataKind::Gauge => Data::Gauge(proto::Gauge::default()),
            DataKind::Sum => {
                Data::Sum(proto::Sum { aggregation_temporality, is_monotonic, ..proto::Sum::default() })
            }
            DataKind::Histogram => {
                Data::Histogram(proto::Histogram { aggregation_temporality, ..proto::Histogram::default() })
            }
            DataKind::ExponentialHistogram => Data::ExponentialHistogram(proto::ExponentialHistogram {
                aggregation_temporality,
                ..proto::ExponentialHistogram::default()
            }),
            DataKind::Summary => Data::Summary(proto::Summary::default()),
        });
        let rebuilt = proto::Metric {
            name: self.text(metric.name),
            description: self.text(metric.description),
            unit: self.text(metric.unit),
            metadata: self.messages(metric.metadata),
            data,
        };
        self.metrics().push(rebuilt);
        true
    }

    fn number(&mut self, point: &NumberPoint<'a>) {
        let rebuilt = self.number_point(point);
        match self.data() {
            Data::Gauge(gauge) => gauge.data_points.push(rebuilt),
            Data::Sum(sum) => sum.data_points.push(rebuilt),
            other => panic!("a number in {other:?}"),
        }
    }

    fn histogram(&mut self, point: &HistogramPoint<'a, '_>) {
        let rebuilt = proto::HistogramDataPoint {
            attributes: self.messages(point.attributes),
            start_time_unix_nano: point.start_ns,
            time_unix_nano: point.time_ns,
            count: point.count,
            sum: point.sum,
            bucket_counts: point.bucket_counts.to_vec(),
            explicit_bounds: point.bounds.to_vec(),
            exemplars: self.messages(point.exemplars),
            flags: point.flags,
            min: point.min,
            max: point.max,
        };
        match self.data() {
            Data::Histogram(histogram) => histogram.data_points.push(rebuilt),
            other => panic!("a histogram in {other:?}"),
        }
    }

    fn exponential(&mut self, point: &ExponentialPoint<'a, '_>) {
        let buckets = |buckets: &Buckets<'_>| {
            buckets
                .is_present
                .then(|| ProtoBuckets { offset: buckets.offset, bucket_counts: buckets.counts.to_vec() })
        };
        let rebuilt = proto::ExponentialHistogramDataPoint {
            attributes: self.messages(point.attributes),
            start_time_unix_nano: point.start_ns,
            time_unix_nano: point.time_ns,
            count: point.count,
            sum: point.sum,
            scale: point.scale,
            zero_count: point.zero_count,
            positive: buckets(&point.positive),
            negative: buckets(&point.negative),
            flags: point.flags,
            exemplars: self.messages(point.exemplars),
            min: point.min,
            max: point.max,
            zero_threshold: point.zero_threshold,
        };
        match self.data() {
            Data::ExponentialHistogram(histogram) => histogram.data_points.push(rebuilt),
            other => panic!("an exponential histogram in {other:?}"),
        }
    }

    fn summary(&mut self, point: &SummaryPoint<'a, '_>) {
        let quantile =
            |(quantile, value): &(f64, f64)| ValueAtQuantile { quantile: *quantile, value: *value };
        let rebuilt = proto::SummaryDataPoint {
            attributes: self.messages(point.attributes),
            start_time_unix_nano: point.start_ns,
            time_unix_nano: point.time_ns,
            count: point.count,
            sum: point.sum,
            quantile_values: point.quantiles.iter().map(quantile).collect(),
            flags: point.flags,
        };
        match self.data() {
            Data::Summary(summary) => summary.data_points.push(rebuilt),
            other => panic!("a summary in {other:?}"),
        }
    }

    fn metric_end(&mut self, message: &'a [u8]) {
        if let Some(layout) = MetricLayout::of(message) {
            self.check_layout(message, &layout);
        }
    }

    fn resource_end(&mut self) {}
}
