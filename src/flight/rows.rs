//! The record batches of reads: series with samples as rows.
//!
//! | Layout | Columns |
//! |---|---|
//! | long | `labels: Map<Utf8, Utf8>` (with `__name__`), `timestamp: Timestamp(ms, UTC)`, `value: Float64` |
//! | series | `labels`, `timestamps: List<Timestamp(ms, UTC)>`, `values: List<Float64>` |
//!
//! A read of a table that asks for start times has one column more: `start_timestamp: Timestamp(ms, UTC)`, null where none
//! is known, or `start_timestamps: List<…>` of them.
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
use mytsdb_storage::model::{LabelSet, StartTimes, UNKNOWN_START_MS};
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
}

/// The columns of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RowColumns {
    /// What a row is.
    pub(super) layout: RowLayout,
    /// Whether there is a column of start times.
    pub(super) has_starts: bool,
}

impl RowColumns {
    /// The schema of a read.
    pub(super) fn schema(self) -> SchemaRef {
        let (timestamp, value) = (timestamp_type(), DataType::Float64);
        let mut columns = vec![Field::new("labels", labels_type(), false)];
        let starts = match self.layout {
            RowLayout::Long => {
                columns.push(Field::new("timestamp", timestamp.clone(), false));
                columns.push(Field::new("value", value, false));
                Field::new("start_timestamp", timestamp, true)
            }
            RowLayout::Series => {
                let starts = DataType::new_list(timestamp.clone(), true);
                columns.push(Field::new("timestamps", DataType::new_list(timestamp, false), false));
                columns.push(Field::new("values", DataType::new_list(value, false), false));
                Field::new("start_timestamps", starts, false)
            }
        };
        if self.has_starts {
            columns.push(starts);
        }
        Arc::new(Schema::new(columns))
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
pub(super) type SeriesRows = Box<dyn Iterator<Item = Result<ReadSeries, Status>> + Send>;

/// A series of a read.
#[derive(Debug, Clone)]
pub(super) struct ReadSeries {
    /// Labels and numbers.
    pub(super) series: MatrixSeries,
    /// Start times of the numbers; none are known of what a query computed.
    pub(super) starts: StartTimes,
}

impl From<MatrixSeries> for ReadSeries {
    fn from(series: MatrixSeries) -> Self {
        Self { series, starts: StartTimes::new() }
    }
}

/// Cuts series into record batches.
pub(super) struct Batches {
    series: SeriesRows,
    columns: RowColumns,
    sample_count_max: usize,
    /// A series of which the first samples have been sent.
    rest: Option<(ReadSeries, usize)>,
}

impl Batches {
    /// Batches of at most `sample_count_max` samples.
    pub(super) fn new(series: SeriesRows, columns: RowColumns, sample_count_max: usize) -> Self {
        Self { series, columns, sample_count_max: sample_count_max.max(1), rest: None }
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
            let sample_count = series.series.timestamps_ms.len();
            let end = sample_count.min(start + free);
            rows.push(self.columns, &series, start..end);
            if end < sample_count {
                self.rest = Some((series, end));
            }
        }
        if rows.times.is_empty() {
            return None;
        }
        let batch = rows.finish(self.columns);
        Some(batch.map_err(|error| Status::internal(format!("cannot build a record batch: {error}"))))
    }
}

struct Rows {
    labels: MapBuilder<StringBuilder, StringBuilder>,
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<Option<i64>>,
    /// Samples per row of the series layout.
    counts: Vec<usize>,
}

impl Rows {
    fn new() -> Self {
        let names =
            MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        let labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_values_field(Field::new("value", DataType::Utf8, false));
        Self { labels, times: Vec::new(), values: Vec::new(), starts: Vec::new(), counts: Vec::new() }
    }

    fn push(&mut self, columns: RowColumns, read: &ReadSeries, samples: std::ops::Range<usize>) {
        let ReadSeries { series, starts } = read;
        let row_count = if columns.layout == RowLayout::Long { samples.len() } else { 1 };
        for _row in 0..row_count {
            self.push_labels(&series.labels);
        }
        self.counts.push(samples.len());
        if columns.has_starts {
            let starts_ms = starts.slice(samples.clone()).each(samples.len());
            let known = |start_ms: i64| (start_ms != UNKNOWN_START_MS).then_some(start_ms);
            self.starts.extend(starts_ms.map(known));
        }
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

    fn finish(mut self, shape: RowColumns) -> Result<RecordBatch, ArrowError> {
        let labels: ArrayRef = Arc::new(self.labels.finish());
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(self.times).with_timezone("UTC"));
        let values: ArrayRef = Arc::new(Float64Array::from(self.values));
        let starts: Option<ArrayRef> = match shape.has_starts {
            true => Some(Arc::new(TimestampMillisecondArray::from(self.starts).with_timezone("UTC"))),
            false => None,
        };
        let mut columns = vec![labels];
        match shape.layout {
            RowLayout::Long => {
                columns.extend([times, values]);
                columns.extend(starts);
            }
            RowLayout::Series => {
                let offsets = OffsetBuffer::<i32>::from_lengths(self.counts);
                let list = |items: ArrayRef, is_nullable| -> Result<ArrayRef, ArrowError> {
                    let item = Arc::new(Field::new_list_field(items.data_type().clone(), is_nullable));
                    Ok(Arc::new(ListArray::try_new(item, offsets.clone(), items, None)?))
                };
                columns.extend([list(times, false)?, list(values, false)?]);
                columns.extend(starts.map(|starts| list(starts, true)).transpose()?);
            }
        }
        RecordBatch::try_new(shape.schema(), columns)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMillisecondType;

    use super::*;

    fn series(name: &str, count: i64) -> ReadSeries {
        let starts = (0..count).map(|time| if time < 2 { 0 } else { -time }).collect();
        let series = MatrixSeries {
            labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
            timestamps_ms: (0..count).collect(),
            values: (0..count).map(|time| time as f64).collect(),
            histograms: Vec::new(),
        };
        ReadSeries { series, starts }
    }

    fn rows(layout: RowLayout) -> Vec<(usize, usize)> {
        let source: SeriesRows = Box::new([Ok(series("a", 5)), Ok(series("b", 2))].into_iter());
        Batches::new(source, RowColumns { layout, has_starts: false }, 3)
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
        assert!(Batches::new(Box::new(std::iter::empty()), RowColumns::default(), 3).next().is_none());
    }

    #[test]
    fn start_times_are_a_column_if_asked_for_and_null_where_unknown() {
        for layout in [RowLayout::Long, RowLayout::Series] {
            let source: SeriesRows = Box::new([Ok(series("a", 5))].into_iter());
            let found: Vec<Option<i64>> = Batches::new(source, RowColumns { layout, has_starts: true }, 3)
                .flat_map(|batch| {
                    let batch = batch.unwrap();
                    let column = batch.column(3);
                    let starts = match column.as_list_opt::<i32>() {
                        Some(lists) => lists.values().clone(),
                        None => column.clone(),
                    };
                    starts.as_primitive::<TimestampMillisecondType>().iter().collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(found, [None, None, Some(-2), Some(-3), Some(-4)], "{layout:?}");
        }
    }
}
