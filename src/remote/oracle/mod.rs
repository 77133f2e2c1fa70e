//! What `prost` reads of the same bytes: the oracle of both hand-written readers, for their tests and fuzz targets.
//!
//! Differences that are meant, all of them to keep the neighbours of what is wrong. `prost` would refuse the request; here
//! the oracle reads these parts as bytes first:
//! - a malformed or non-UTF-8 label (1.0), or a symbol that is not UTF-8 (2.0), costs the series that have it;
//! - a malformed exemplar or histogram costs itself.
//!
//! Stricter than `prost`: [`DecodeError`](super::refusals::DecodeError) `FirstSymbol` and `TooMany`; histograms with more
//! buckets or spans than any may have, or with observations in no bucket; series and exemplars whose references make no
//! labels; series of 2.0 with both kinds of samples, or none.

pub mod v1;
pub mod v2;

pub use v1::compare as compare_v1;
pub use v2::compare as compare_v2;

use std::sync::Arc;

use mytsdb_storage::model::{
    BUCKET_COUNT_MAX, BucketSpan, Exemplar, Histogram, HistogramLayout, LabelSet, ResetHint, SPAN_COUNT_MAX,
};
use prost::Message;

use super::columns::Columns;

/// `Histogram` of both versions; 1.0 has no start time.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramMessage {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub count: Option<Count>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<SpanMessage>,
    // Written in the other way than the negative ones: readers take both.
    #[prost(sint64, repeated, packed = "false", tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// The field that 2.0 adds to it.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct HistogramStart {
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SpanMessage {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// The histogram that the bytes hold, with its time.
pub fn histogram(bytes: &[u8], has_start: bool) -> Option<(i64, Histogram)> {
    let message = HistogramMessage::decode(bytes).ok()?;
    let start_ms = if has_start { HistogramStart::decode(bytes).ok()?.start_timestamp } else { 0 };
    let (count, is_integer) = match message.count {
        Some(Count::Integer(count)) => (count as f64, true),
        Some(Count::Float(count)) => (count, false),
        None => (0.0, true),
    };
    let zero_count = match message.zero_count {
        Some(ZeroCount::Integer(count)) => count as f64,
        Some(ZeroCount::Float(count)) => count,
        None => 0.0,
    };
    let lengths = [
        message.negative_deltas.len(),
        message.positive_deltas.len(),
        message.negative_counts.len(),
        message.positive_counts.len(),
        message.custom_values.len(),
    ];
    let spans = |spans: &[SpanMessage]| -> Vec<BucketSpan> {
        spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect()
    };
    if lengths.iter().any(|length| *length > BUCKET_COUNT_MAX)
        || message.negative_spans.len().max(message.positive_spans.len()) > SPAN_COUNT_MAX
    {
        return None;
    }
    let counts = |deltas: &[i64], floats: &[f64]| -> Vec<f64> {
        let mut sum = 0_i64;
        let absolute = deltas.iter().map(|delta| {
            sum = sum.wrapping_add(*delta);
            sum as f64
        });
        if is_integer { absolute.collect() } else { floats.to_vec() }
    };
    let histogram = Histogram {
        layout: Arc::new(HistogramLayout {
            schema: i8::try_from(message.schema).unwrap_or(i8::MAX),
            is_integer,
            zero_threshold: message.zero_threshold,
            positive_spans: spans(&message.positive_spans),
            negative_spans: spans(&message.negative_spans),
            custom_bounds: message.custom_values.clone(),
        }),
        reset_hint: u64::try_from(message.reset_hint)
            .ok()
            .and_then(ResetHint::from_number)
            .unwrap_or_default(),
        start_ms: Some(start_ms).filter(|start_ms| *start_ms != 0),
        count,
        sum: message.sum,
        zero_count,
        positive_counts: counts(&message.positive_deltas, &message.positive_counts),
        negative_counts: counts(&message.negative_deltas, &message.negative_counts),
    };
    let observed = histogram.bucket_values().sum::<f64>() + zero_count;
    let is_exact = is_integer && !message.sum.is_nan() && histogram.bucket_values().all(|count| count >= 0.0);
    // NaN is not less: that it is no count is left to the storage, as the reader does.
    let has_lost_some = is_exact && observed < count;
    (!has_lost_some).then_some((message.timestamp, histogram))
}

/// The labels that texts make, if they do.
fn label_set(pairs: &[(&[u8], &[u8])]) -> Option<LabelSet> {
    let texts: Option<Vec<(&str, &str)>> = pairs
        .iter()
        .map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
        .collect();
    LabelSet::from_pairs(texts?).ok()
}

/// Fails unless both are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, prost gives {expected:?}"))
}

/// A sample's time, the bits of its value, its start time.
type Point = (i64, u64, i64);

/// The points of a series of the columns.
fn points(columns: &Columns, series_index: usize) -> Vec<Point> {
    let start = series_index.checked_sub(1).map_or(0, |before| columns.sample_ends[before]);
    (start..columns.sample_ends[series_index])
        .map(|at| (columns.timestamps_ms[at], columns.values[at].to_bits(), columns.starts.at(at)))
        .collect()
}

/// What `prost` makes of the histograms and exemplars of all series.
#[derive(Default)]
struct Sparse {
    histograms: Vec<(usize, i64, Histogram)>,
    exemplars: Vec<(usize, Exemplar)>,
    refused_histograms: Vec<usize>,
    refused_exemplar_count: usize,
}

impl Sparse {
    /// Adds those of the series at `series_index` of the columns and `request_index` of the request.
    fn add(
        &mut self,
        series_index: usize,
        request_index: usize,
        histograms: Vec<Option<(i64, Histogram)>>,
        exemplars: Vec<Option<Exemplar>>,
    ) {
        for histogram in histograms {
            match histogram {
                Some((time_ms, histogram)) => self.histograms.push((series_index, time_ms, histogram)),
                None => self.refused_histograms.push(request_index),
            }
        }
        for exemplar in exemplars {
            match exemplar {
                Some(exemplar) => self.exemplars.push((series_index, exemplar)),
                None => self.refused_exemplar_count += 1,
            }
        }
    }

    /// Compares with the columns.
    fn compare(&self, columns: &Columns) -> Result<(), String> {
        let found: Vec<(usize, i64, Histogram)> = columns
            .histograms
            .iter()
            .map(|sample| (sample.series_index, sample.time_ms, sample.histogram.clone()))
            .collect();
        same("histograms", &found, &self.histograms)?;
        let found: Vec<usize> = columns.refusals.histograms.iter().map(|(index, _)| *index).collect();
        same("refused histograms", &found, &self.refused_histograms)?;
        let found: Vec<(usize, Exemplar)> =
            columns.exemplars.iter().map(|sample| (sample.series_index, sample.exemplar.clone())).collect();
        same("exemplars", &found, &self.exemplars)?;
        same("refused exemplars", &columns.refusals.exemplars.count, &self.refused_exemplar_count)
    }
}

/// Any hash does: keys are only compared.
fn key_of(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}
