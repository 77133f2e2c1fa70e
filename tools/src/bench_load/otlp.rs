//! OTLP bytes of the same data, as the OpenTelemetry Collector's Prometheus receiver sends what it scraped.
//!
//! A container is a target: one resource with `service.name` (the label `job`), `service.instance.id` (`instance`) and
//! three more attributes of the scrape; one scope, the receiver's; neighbouring series of one name are points of one
//! metric; all other labels are attributes of the point. Names that end in `_total` are cumulative monotonic sums with a
//! start time, everything else is a gauge, buckets included: so a point is a sample, and every server has the same series.
//! Written by hand because most bytes never change and are encoded once.
//! Source: opentelemetry-proto; contrib `receiver/prometheusreceiver`.

use super::wire::{put_field, put_varint};

const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver";
const SCOPE_VERSION: &str = "0.140.0";
const CUMULATIVE: u8 = 2;

/// What never changes of a target.
#[derive(Debug)]
pub struct Target {
    /// Field `resource` of `ResourceMetrics`.
    resource: Vec<u8>,
    series: Vec<Series>,
    start_ns: u64,
}

#[derive(Debug)]
struct Series {
    metric: String,
    /// Fields `attributes` of the point.
    attributes: Vec<u8>,
}

impl Series {
    fn is_sum(&self) -> bool {
        self.metric.ends_with("_total")
    }
}

impl Target {
    /// Encodes the labels of the target's series; they share `job` and `instance`.
    pub fn new(label_sets: &[Vec<(String, String)>], start_ms: i64) -> Self {
        let text_of = |name: &str| {
            let labels = label_sets.first().into_iter().flatten();
            labels.into_iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
        };
        let (host, port) = text_of("instance").split_once(':').unwrap_or_default();
        let mut attributes = Vec::new();
        for (key, value) in [
            ("service.name", text_of("job")),
            ("service.instance.id", text_of("instance")),
            ("server.address", host),
            ("server.port", port),
            ("url.scheme", "https"),
        ] {
            put_attribute(&mut attributes, 1, key, value);
        }
        let mut resource = Vec::new();
        put_field(&mut resource, 1, &attributes);
        let series = label_sets.iter().map(|labels| series_of(labels)).collect();
        Self { resource, series, start_ns: nanoseconds(start_ms) }
    }

    /// Appends a `ResourceMetrics` with the values of the series from `first` on.
    pub fn put(&self, request: &mut Vec<u8>, first: usize, values: &[f64], timestamp_ms: i64) {
        let time_ns = nanoseconds(timestamp_ms);
        let series = self.series.get(first..first + values.len()).unwrap_or_default();
        let mut scope = Vec::new();
        put_field(&mut scope, 1, SCOPE.as_bytes());
        put_field(&mut scope, 2, SCOPE_VERSION.as_bytes());
        let mut scope_metrics = Vec::new();
        put_field(&mut scope_metrics, 1, &scope);
        let mut values = values.iter();
        for of_metric in series.chunk_by(|left, right| left.metric == right.metric) {
            let metric = self.metric(of_metric, values.by_ref().take(of_metric.len()), time_ns);
            put_field(&mut scope_metrics, 2, &metric);
        }
        let mut resource_metrics = self.resource.clone();
        put_field(&mut resource_metrics, 2, &scope_metrics);
        put_field(request, 1, &resource_metrics);
    }

    fn metric<'v>(&self, series: &[Series], values: impl Iterator<Item = &'v f64>, time_ns: u64) -> Vec<u8> {
        let mut metric = Vec::new();
        let Some(Series { metric: name, .. }) = series.first() else { return metric };
        put_field(&mut metric, 1, name.as_bytes());
        put_field(&mut metric, 2, format!("Help text of {name}.").as_bytes());
        let is_sum = series.iter().all(Series::is_sum);
        let mut data = Vec::new();
        for (one, value) in series.iter().zip(values) {
            let mut point = Vec::with_capacity(one.attributes.len() + 27);
            if is_sum {
                put_fixed64(&mut point, 2, self.start_ns);
            }
            put_fixed64(&mut point, 3, time_ns);
            put_fixed64(&mut point, 4, value.to_bits());
            point.extend_from_slice(&one.attributes);
            put_field(&mut data, 1, &point);
        }
        if is_sum {
            data.extend_from_slice(&[2 << 3, CUMULATIVE, 3 << 3, 1]);
        }
        put_field(&mut metric, if is_sum { 7 } else { 5 }, &data);
        metric
    }
}

fn series_of(labels: &[(String, String)]) -> Series {
    let mut metric = String::new();
    let mut attributes = Vec::new();
    for (name, value) in labels {
        match name.as_str() {
            "__name__" => metric.clone_from(value),
            "job" | "instance" => {}
            _ => put_attribute(&mut attributes, 7, name, value),
        }
    }
    Series { metric, attributes }
}

fn nanoseconds(time_ms: i64) -> u64 {
    time_ms.unsigned_abs() * 1_000_000
}

pub(crate) fn put_attribute(out: &mut Vec<u8>, number: u8, key: &str, value: &str) {
    let mut any = Vec::with_capacity(value.len() + 3);
    put_field(&mut any, 1, value.as_bytes());
    let mut attribute = Vec::with_capacity(key.len() + any.len() + 6);
    put_field(&mut attribute, 1, key.as_bytes());
    put_field(&mut attribute, 2, &any);
    put_field(out, number, &attribute);
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, number: u8, bits: u64) {
    put_varint(out, u64::from(number << 3 | 1));
    out.extend_from_slice(&bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_one_counter_is_the_bytes_of_the_specification() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels =
            vec![pair("__name__", "a_total"), pair("instance", "h:1"), pair("job", "j"), pair("z", "9")];
        let mut request = Vec::new();
        Target::new(&[labels], 1).put(&mut request, 0, &[1.0], 2);
        let mut expected = vec![0x0a, 9 + 9 + 9 + 10, 0x11];
        expected.extend_from_slice(&1_000_000_u64.to_le_bytes());
        expected.push(0x19);
        expected.extend_from_slice(&2_000_000_u64.to_le_bytes());
        expected.push(0x21);
        expected.extend_from_slice(&1.0_f64.to_le_bytes());
        expected.extend_from_slice(b"\x3a\x08\x0a\x01z\x12\x03\x0a\x019");
        expected.extend_from_slice(&[0x10, 2, 0x18, 1]);
        assert!(request.ends_with(&expected), "{request:02x?} does not end in {expected:02x?}");
    }
}
