//! The record batches of reads: series with samples as rows.
//!
//! | Layout | Columns |
//! |---|---|
//! | long | `labels: Map<Utf8, Utf8>` (with `__name__`), `timestamp: Timestamp(ms, UTC)`, `value: Float64` |
//! | series | `labels`, `timestamps: List<Timestamp(ms, UTC)>`, `values: List<Float64>` |
//!
//! Both can be put back as they are. Input: an iterator of series. Output: batches with a bounded number of samples.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use mytsdb_promql::MatrixSeries;
use mytsdb_storage::model::LabelSet;
use serde::Deserialize;
use tonic::Status;

/// What a row of a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowLayout {
    /// One sample.
    #[default]
    Long,
    /// One series with its samples as lists.
    Series,
}

impl RowLayout {
    /// The word of tickets.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Series => "series",
        }
    }

    /// The schema of a read.
    pub(super) fn schema(self) -> SchemaRef {
        let (timestamp, value) = (timestamp_type(), DataType::Float64);
        let columns = match self {
            Self::Long => [Field::new("timestamp", timestamp, false), Field::new("value", value, false)],
            Self::Series => [
                Field::new("timestamps", DataType::new_list(timestamp, false), false),
                Field::new("values", DataType::new_list(value, false), false),
            ],
        };
        let [times, values] = columns;
        Arc::new(Schema::new(vec![Field::new("labels", labels_type(), false), times, values]))
    }
}

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn labels_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// The series of a read, in the order in which they are sent.
pub(super) type SeriesRows = Box<dyn Iterator<Item = Result<MatrixSeries, Status>> + Send>;

/// Cuts series into record batches.
pub(super) struct Batches {
    series: SeriesRows,
    layout: RowLayout,
    sample_count_max: usize,
    /// A series of which the first samples have been sent.
    rest: Option<(MatrixSeries, usize)>,
}

impl Batches {
    /// Batches of at most `sample_count_max` samples.
    pub(super) fn new(series: SeriesRows, layout: RowLayout, sample_count_max: usize) -> Self {
        Self { series, layout, sample_count_max: sample_count_max.max(1), rest: None }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = Rows::new();
        while rows.times.len() < self.sample_count_max {
            let (series, start) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.series.next() {
                    Some(Ok(series)) => (series, 0),
                    Some(Err(status)) => return Some(Err(status)),
                    None => break,
                },
            };
            let free = self.sample_count_max - rows.times.len();
            let end = series.timestamps_ms.len().min(start + free);
            rows.push(self.layout, &series, start..end);
            if end < series.timestamps_ms.len() {
                self.rest = Some((series, end));
            }
        }
        if rows.times.is_empty() {
            return None;
        }
        let batch = rows.finish(self.layout);
        Some(batch.map_err(|error| Status::internal(format!("cannot build a record batch: {error}"))))
    }
}

struct Rows {
    labels: MapBuilder<StringBuilder, StringBuilder>,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Samples per row of the series layout.
    counts: Vec<usize>,
}

impl Rows {
    fn new() -> Self {
        let names =
            MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        let labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_values_field(Field::new("value", DataType::Utf8, false));
        Self { labels, times: Vec::new(), values: Vec::new(), counts: Vec::new() }
    }

    fn push(&mut self, layout: RowLayout, series: &MatrixSeries, samples: std::ops::Range<usize>) {
        let row_count = if layout == RowLayout::Long { samples.len() } else { 1 };
        for _row in 0..row_count {
            self.push_labels(&series.labels);
        }
        self.counts.push(samples.len());
        self.times.extend_from_slice(&series.timestamps_ms[samples.clone()]);
        self.values.extend_from_slice(&series.values[samples]);
    }

    fn push_labels(&mut self, labels: &LabelSet) {
        for (name, text) in labels.iter() {
            self.labels.keys().append_value(name);
            self.labels.values().append_value(text);
        }
        // Keys and values were appended in pairs, so the map cannot be uneven.
        let _even = self.labels.append(true);
    }

    fn finish(mut self, layout: RowLayout) -> Result<RecordBatch, ArrowError> {
        let labels: ArrayRef = Arc::new(self.labels.finish());
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(self.times).with_timezone("UTC"));
        let values: ArrayRef = Arc::new(Float64Array::from(self.values));
        let columns = match layout {
            RowLayout::Long => vec![labels, times, values],
            RowLayout::Series => {
                let offsets = OffsetBuffer::<i32>::from_lengths(self.counts);
                let list = |items: ArrayRef| -> Result<ArrayRef, ArrowError> {
                    let item = Arc::new(Field::new_list_field(items.data_type().clone(), false));
                    Ok(Arc::new(ListArray::try_new(item, offsets.clone(), items, None)?))
                };
                vec![labels, list(times)?, list(values)?]
            }
        };
        RecordBatch::try_new(layout.schema(), columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, count: i64) -> MatrixSeries {
        MatrixSeries {
            labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
            timestamps_ms: (0..count).collect(),
            values: (0..count).map(|time| time as f64).collect(),
            histograms: Vec::new(),
        }
    }

    fn rows(layout: RowLayout) -> Vec<(usize, usize)> {
        let source: SeriesRows = Box::new([Ok(series("a", 5)), Ok(series("b", 2))].into_iter());
        Batches::new(source, layout, 3)
            .map(|batch| batch.unwrap())
            .map(|batch| (batch.num_rows(), batch.num_columns()))
            .collect()
    }

    #[test]
    fn long_rows_are_cut_at_the_limit_and_none_is_lost() {
        assert_eq!(rows(RowLayout::Long), [(3, 3), (3, 3), (1, 3)]);
    }

    #[test]
    fn a_series_longer_than_a_batch_continues_in_the_next() {
        assert_eq!(rows(RowLayout::Series), [(1, 3), (2, 3), (1, 3)]);
    }

    #[test]
    fn nothing_found_makes_no_batch() {
        assert!(Batches::new(Box::new(std::iter::empty()), RowLayout::Long, 3).next().is_none());
    }
}
