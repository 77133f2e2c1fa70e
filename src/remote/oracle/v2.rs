//! The oracle of remote write 2.0.

use std::collections::HashMap;

use mytsdb_storage::LabelSource as _;
use mytsdb_storage::model::{Exemplar, LabelSet, METRIC_NAME, MetricKind, MetricMetadata};
use prost::Message;

use super::super::columns::LABEL_COUNT_MAX;
use super::super::metadata::{family_name, metric_kind};
use super::super::refusals::{DecodeError, RefusedSeries, SeriesError};
use super::super::write_v2::Request;
use super::{Point, Sparse, histogram, key_of, label_set, points, same};

#[derive(Clone, PartialEq, Message)]
pub struct RequestMessage {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub histograms: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub exemplars: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
    #[prost(int64, tag = "6")]
    pub created_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExemplarMessage {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Metadata {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// Compares the two readers on any bytes; the error says where they differ.
pub fn compare(body: &[u8]) -> Result<(), String> {
    let mut found = Request::default();
    match (found.decode(body, false, key_of), RequestMessage::decode(body)) {
        (Ok(()), Ok(expected)) => compare_messages(&found, body, &expected),
        (Err(DecodeError::FirstSymbol { .. }), Ok(expected))
            if expected.symbols.first().is_some_and(|symbol| !symbol.is_empty()) =>
        {
            Ok(())
        }
        (Err(_), Err(_)) => Ok(()),
        (found, expected) => Err(format!("found {found:?}, prost gives {expected:?}")),
    }
}

fn compare_messages(found: &Request, body: &[u8], expected: &RequestMessage) -> Result<(), String> {
    let columns = &found.columns;
    let symbols = expected.symbols.as_slice();
    let labels = found.labels(body);
    let (mut sparse, mut refused, mut series_index) = (Sparse::default(), Vec::new(), 0);
    let mut metadata = MetadataOfRequest::default();
    for (request_index, series) in expected.timeseries.iter().enumerate() {
        let exemplars: Vec<_> = series.exemplars.iter().map(|bytes| exemplar(bytes, symbols)).collect();
        if let Some(error) = series_error(series, symbols) {
            let sample_count = series.samples.len() + series.histograms.len();
            refused.push(RefusedSeries { column_index: series_index, sample_count, error });
            sparse.refused_exemplar_count += exemplars.len();
            continue;
        }
        if series_index >= columns.keys.len() {
            return Err(format!("series {request_index} is missing"));
        }
        same("labels", &labels.labels(series_index).ok(), &series_labels(series, symbols))?;
        same("points", &points(columns, series_index), &series_points(series))?;
        let with_start = |bytes: &Vec<u8>| {
            let (time_ms, mut histogram) = histogram(bytes, true)?;
            let created_ms = Some(series.created_timestamp).filter(|created_ms| *created_ms != 0);
            histogram.start_ms = histogram.start_ms.or(created_ms);
            Some((time_ms, histogram))
        };
        let histograms = series.histograms.iter().map(with_start).collect();
        sparse.add(series_index, request_index, histograms, exemplars);
        metadata.add(series, symbols);
        series_index += 1;
    }
    same("series", &columns.keys.len(), &series_index)?;
    same("refused series", &columns.refusals.series, &refused)?;
    sparse.compare(columns)?;
    same("metadata", &columns.metadata, &metadata.list)?;
    same("refused metadata", &columns.refusals.metadata.count, &metadata.refused_count)
}

fn series_error(series: &TimeSeries, symbols: &[Vec<u8>]) -> Option<SeriesError> {
    let given = series.labels_refs.len();
    let outside = series.labels_refs.iter().find(|reference| **reference as usize >= symbols.len());
    if given % 2 == 1 {
        Some(SeriesError::OddLabelReferences { given })
    } else if given / 2 > LABEL_COUNT_MAX {
        Some(SeriesError::TooManyLabels { given: given / 2 })
    } else if let Some(reference) = outside {
        Some(SeriesError::LabelReference { reference: *reference, symbol_count: symbols.len() })
    } else {
        match (series.samples.len(), series.histograms.len()) {
            (0, 0) => Some(SeriesError::Empty),
            (_, 0) | (0, _) => None,
            (sample_count, histogram_count) => {
                Some(SeriesError::SamplesAndHistograms { sample_count, histogram_count })
            }
        }
    }
}

/// The texts of references, if there are such symbols.
fn texts<'a>(references: &[u32], symbols: &'a [Vec<u8>]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let text = |reference: u32| symbols.get(reference as usize).map(Vec::as_slice);
    references.chunks(2).map(|pair| Some((text(pair[0])?, text(*pair.get(1)?)?))).collect()
}

fn series_labels(series: &TimeSeries, symbols: &[Vec<u8>]) -> Option<LabelSet> {
    let labels = label_set(&texts(&series.labels_refs, symbols)?)?;
    (!labels.metric_name().is_empty()).then_some(labels)
}

fn series_points(series: &TimeSeries) -> Vec<Point> {
    let start = |sample: &Sample| match sample.start_timestamp {
        0 => series.created_timestamp,
        start_ms => start_ms,
    };
    series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits(), start(sample))).collect()
}

fn exemplar(bytes: &[u8], symbols: &[Vec<u8>]) -> Option<Exemplar> {
    let message = ExemplarMessage::decode(bytes).ok()?;
    let pairs = texts(&message.labels_refs, symbols)?;
    let labels = if pairs.len() > LABEL_COUNT_MAX { None } else { label_set(&pairs) };
    Some(Exemplar { labels: labels?, value: message.value, time_ms: message.timestamp })
}

/// What a request says about its metrics, but for what it has said just before of the same.
#[derive(Default)]
struct MetadataOfRequest {
    seen: HashMap<u32, (MetricKind, u32, u32)>,
    list: Vec<MetricMetadata>,
    refused_count: usize,
}

impl MetadataOfRequest {
    fn add(&mut self, series: &TimeSeries, symbols: &[Vec<u8>]) {
        let Metadata { kind, help_ref, unit_ref } = series.metadata.unwrap_or_default();
        let kind = metric_kind(kind as u64);
        let is_name = |pair: &&[u32]| symbols[pair[0] as usize] == METRIC_NAME.as_bytes();
        let name_ref = series.labels_refs.chunks(2).find(is_name).map(|pair| pair[1]);
        let Some(name_ref) = name_ref.filter(|_| (kind, help_ref, unit_ref) != (MetricKind::Unknown, 0, 0))
        else {
            return;
        };
        let said = (kind, help_ref, unit_ref);
        if self.seen.insert(name_ref, said) == Some(said) {
            return;
        }
        let Ok(name) = String::from_utf8(symbols[name_ref as usize].clone()) else { return };
        let metric = if series.histograms.is_empty() { family_name(name, kind) } else { name };
        let text = |reference: u32| {
            symbols.get(reference as usize).map(|text| String::from_utf8_lossy(text).into_owned())
        };
        match (text(unit_ref), text(help_ref)) {
            (Some(unit), Some(help)) => self.list.push(MetricMetadata { metric, kind, unit, help }),
            _ => self.refused_count += 1,
        }
    }
}
