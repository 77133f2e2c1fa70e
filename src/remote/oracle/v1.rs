//! The oracle of remote write 1.0.

use mytsdb_storage::LabelSource as _;
use mytsdb_storage::model::{Exemplar, LabelSet, MetricMetadata};
use prost::Message;

use super::super::columns::LABEL_COUNT_MAX;
use super::super::metadata::metric_kind;
use super::super::write_v1::Request;
use super::{Point, Sparse, histogram, key_of, label_set, points, same};

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub labels: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub histograms: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub metric_family_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub unit: Vec<u8>,
}

/// Compares the two readers on any bytes; the error says where they differ.
pub fn compare(body: &[u8]) -> Result<(), String> {
    let mut found = Request::default();
    match (found.decode(body, key_of), WriteRequest::decode(body)) {
        (Ok(()), Ok(expected)) => compare_messages(&found, body, &expected),
        (Err(_), Err(_)) => Ok(()),
        (found, expected) => Err(format!("found {found:?}, prost gives {expected:?}")),
    }
}

fn compare_messages(found: &Request, body: &[u8], expected: &WriteRequest) -> Result<(), String> {
    let columns = &found.columns;
    same("series", &columns.keys.len(), &expected.timeseries.len())?;
    same("refused series", &columns.refusals.series.len(), &0)?;
    let labels = found.labels(body);
    let mut sparse = Sparse::default();
    for (index, series) in expected.timeseries.iter().enumerate() {
        same("labels", &labels.labels(index).ok(), &series_labels(series))?;
        let expected: Vec<Point> =
            series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits(), 0)).collect();
        same("points", &points(columns, index), &expected)?;
        let histograms = series.histograms.iter().map(|bytes| histogram(bytes, false)).collect();
        let exemplars = series.exemplars.iter().map(|bytes| exemplar(bytes)).collect();
        sparse.add(index, index, histograms, exemplars);
    }
    sparse.compare(columns)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let metadata = expected.metadata.iter().map(|metadata| MetricMetadata {
        metric: text(&metadata.metric_family_name),
        kind: metric_kind(metadata.kind as u64),
        unit: text(&metadata.unit),
        help: text(&metadata.help),
    });
    same("metadata", &columns.metadata, &metadata.collect())
}

fn series_labels(series: &TimeSeries) -> Option<LabelSet> {
    let labels: Result<Vec<Label>, _> =
        series.labels.iter().map(|label| Label::decode(label.as_slice())).collect();
    let labels = pairs(&labels.ok()?)?;
    (!labels.metric_name().is_empty()).then_some(labels)
}

fn pairs(labels: &[Label]) -> Option<LabelSet> {
    let pairs: Vec<_> = labels.iter().map(|label| (label.name.as_slice(), label.value.as_slice())).collect();
    if pairs.len() > LABEL_COUNT_MAX { None } else { label_set(&pairs) }
}

fn exemplar(bytes: &[u8]) -> Option<Exemplar> {
    let message = ExemplarMessage::decode(bytes).ok()?;
    Some(Exemplar { labels: pairs(&message.labels)?, value: message.value, time_ms: message.timestamp })
}
