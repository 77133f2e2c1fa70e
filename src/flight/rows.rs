//! The record batches of reads: series with samples as rows.
//!
//! | Layout | Columns |
//! |---|---|
//! | long | `labels: Map<Utf8, Utf8>` (with `__name__`), `timestamp: Timestamp(ms, UTC)`, `value: Float64` |
//! | series | `labels`, `timestamps: List<Timestamp(ms, UTC)>`, `values: List<Float64>` |
//!
//! With start times there is one column more: `start_timestamp: Timestamp(ms, UTC)`, null where none is known, or
//! `start_timestamps: List<…>` of them. With histograms there is `histogram`, a struct ([`super::histogram_columns`]): a
//! row has it or a `value`, the other is null; in the series layout `histograms` is a list of them beside the floats.
//! All of it can be put back as it is. Input: an iterator of series. Output: batches with a bounded number of samples and
//! bytes.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use mytsdb_promql::MatrixSeries;
use mytsdb_storage::model::{Histogram, LabelSet, StartTimes, UNKNOWN_START_MS};
use serde::Deserialize;
use tonic::Status;

use super::histogram_columns::{self, HistogramBuilder};

/// Bytes at which a batch is closed.
const BATCH_BYTES: usize = 8 << 20;

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

/// Which samples a read gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Content {
    /// Floats; histograms are an error, as they have no column.
    #[default]
    Floats,
    /// Floats and histograms.
    All,
    /// Histograms.
    Histograms,
}

/// The columns of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RowColumns {
    /// What a row is.
    pub(super) layout: RowLayout,
    /// Whether there is a column of start times.
    pub(super) has_starts: bool,
    /// Which samples there are.
    pub(super) content: Content,
}

impl RowColumns {
    /// The schema of a read.
    pub(super) fn schema(self) -> SchemaRef {
        let time = timestamp_type();
        let mut columns = vec![Field::new("labels", labels_type(), false)];
        match self.layout {
            RowLayout::Long => {
                columns.push(Field::new("timestamp", time.clone(), false));
                if self.content != Content::Histograms {
                    columns.push(Field::new("value", DataType::Float64, self.content == Content::All));
                }
                if self.has_starts {
                    columns.push(Field::new("start_timestamp", time, true));
                }
                if self.content != Content::Floats {
                    let fields = Fields::from(histogram_columns::fields());
                    let is_nullable = self.content == Content::All;
                    columns.push(Field::new("histogram", DataType::Struct(fields), is_nullable));
                }
            }
            RowLayout::Series => {
                columns.push(Field::new("timestamps", DataType::new_list(time.clone(), false), false));
                columns.push(Field::new("values", DataType::new_list(DataType::Float64, false), false));
                if self.has_starts {
                    columns.push(Field::new("start_timestamps", DataType::new_list(time, true), false));
                }
                if self.content != Content::Floats {
                    let item = DataType::Struct(listed_histogram_fields());
                    columns.push(Field::new("histograms", DataType::new_list(item, false), false));
                }
            }
        }
        Arc::new(Schema::new(columns))
    }
}

/// The type of times.
pub(super) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The type of labels.
pub(super) fn labels_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// The fields of a histogram in a list: its times, then what it is.
fn listed_histogram_fields() -> Fields {
    let times = [
        Field::new("timestamp", timestamp_type(), false),
        Field::new("start_timestamp", timestamp_type(), true),
    ];
    times.into_iter().chain(histogram_columns::fields()).collect()
}

/// The series of a read, in the order in which they are sent.
pub(super) type SeriesRows = Box<dyn Iterator<Item = Result<ReadSeries, Status>> + Send>;

/// A series of a read.
#[derive(Debug, Clone)]
pub(super) struct ReadSeries {
    /// Its labels.
    pub(super) labels: LabelSet,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamps_ms: Vec<i64>,
    /// A value per time; meaningless where there is a histogram.
    pub(super) values: Vec<f64>,
    /// Start times of the values; none are known of what a query computed.
    pub(super) starts: StartTimes,
    /// Samples that are histograms, by ascending position.
    pub(super) histograms: Vec<(u32, Arc<Histogram>)>,
}

/// No samples of the series without labels.
impl Default for ReadSeries {
    fn default() -> Self {
        Self {
            labels: LabelSet::empty(),
            timestamps_ms: Vec::new(),
            values: Vec::new(),
            starts: StartTimes::new(),
            histograms: Vec::new(),
        }
    }
}

impl From<MatrixSeries> for ReadSeries {
    fn from(series: MatrixSeries) -> Self {
        let MatrixSeries { labels, timestamps_ms, values, .. } = series;
        Self { labels, timestamps_ms, values, ..Self::default() }
    }
}

impl ReadSeries {
    /// Those of its histograms that lie at these positions.
    fn histograms_in(&self, samples: &Range<usize>) -> &[(u32, Arc<Histogram>)] {
        let before =
            |limit: usize| self.histograms.partition_point(|(position, _)| (*position as usize) < limit);
        self.histograms.get(before(samples.start)..before(samples.end)).unwrap_or_default()
    }

    /// Where a batch ends that has room for `sample_count` samples and `bytes`; at least one sample goes in.
    fn end(&self, columns: RowColumns, start: usize, sample_count: usize, bytes: usize) -> usize {
        let row_bytes = match columns.layout {
            RowLayout::Long => self.labels.encoded().len() + 8 * self.labels.label_count() + 24,
            RowLayout::Series => 24,
        };
        let fitting = sample_count.min(bytes / row_bytes).max(1);
        let end = self.timestamps_ms.len().min(start.saturating_add(fitting));
        let mut histogram_bytes = 0;
        for (position, histogram) in self.histograms_in(&(start..end)) {
            histogram_bytes += histogram.memory_bytes() + histogram.layout.custom_bounds.len() * 8;
            if histogram_bytes > bytes {
                return (*position as usize).max(start + 1);
            }
        }
        end
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
        let mut rows = Rows::new(self.columns);
        while rows.sample_count < self.sample_count_max && rows.bytes() < BATCH_BYTES {
            let (series, start) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.series.next() {
                    Some(Ok(series)) => (series, 0),
                    Some(Err(status)) => return Some(Err(status)),
                    None => break,
                },
            };
            let sample_free = self.sample_count_max - rows.sample_count;
            let end = series.end(self.columns, start, sample_free, BATCH_BYTES.saturating_sub(rows.bytes()));
            rows.push(&series, start..end);
            if end < series.timestamps_ms.len() {
                self.rest = Some((series, end));
            }
        }
        if rows.sample_count == 0 {
            return None;
        }
        Some(rows.finish().map_err(batch_status))
    }
}

/// The status of a batch that could not be built.
pub(super) fn batch_status(error: ArrowError) -> Status {
    Status::internal(format!("cannot build a record batch: {error}"))
}

/// A column of label sets.
pub(super) struct LabelsBuilder {
    map: MapBuilder<StringBuilder, StringBuilder>,
    bytes: usize,
}

impl LabelsBuilder {
    /// A column without rows.
    pub(super) fn new() -> Self {
        let names =
            MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        let map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_values_field(Field::new("value", DataType::Utf8, false));
        Self { map, bytes: 0 }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, labels: &LabelSet) {
        for (name, text) in labels.iter() {
            self.map.keys().append_value(name);
            self.map.values().append_value(text);
        }
        self.bytes += labels.encoded().len() + 8 * labels.label_count();
        // Keys and values were appended in pairs, so the map cannot be uneven.
        let _even = self.map.append(true);
    }

    /// Bytes of it, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The column.
    pub(super) fn finish(mut self) -> ArrayRef {
        Arc::new(self.map.finish())
    }
}

struct Rows {
    columns: RowColumns,
    labels: LabelsBuilder,
    times: Vec<i64>,
    /// Null where there is a histogram; in the series layout there are only floats.
    values: Vec<Option<f64>>,
    starts: Vec<Option<i64>>,
    histograms: HistogramBuilder,
    /// Times and start times of the histograms of the series layout.
    histogram_times: (Vec<i64>, Vec<Option<i64>>),
    /// Per row of the series layout: floats and histograms.
    counts: (Vec<usize>, Vec<usize>),
    sample_count: usize,
}

impl Rows {
    fn new(columns: RowColumns) -> Self {
        Self {
            columns,
            labels: LabelsBuilder::new(),
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: HistogramBuilder::new(),
            histogram_times: (Vec::new(), Vec::new()),
            counts: (Vec::new(), Vec::new()),
            sample_count: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.labels.bytes() + self.times.len() * 24 + self.histograms.bytes()
    }

    fn push(&mut self, read: &ReadSeries, samples: Range<usize>) {
        match self.columns.layout {
            RowLayout::Long => self.push_long(read, samples),
            RowLayout::Series => self.push_series(read, samples),
        }
    }

    /// A row per sample.
    fn push_long(&mut self, read: &ReadSeries, samples: Range<usize>) {
        let mut histograms = read.histograms_in(&samples).iter().peekable();
        for position in samples {
            let histogram = histograms.next_if(|(at, _)| *at as usize == position).map(|(_, one)| &**one);
            if histogram.is_none() && self.columns.content == Content::Histograms {
                continue;
            }
            self.labels.push(&read.labels);
            self.times.push(read.timestamps_ms[position]);
            self.values.push(histogram.is_none().then(|| read.values[position]));
            if self.columns.has_starts {
                let start_ms = match histogram {
                    Some(histogram) => histogram.start_ms,
                    None => known(read.starts.at(position)),
                };
                self.starts.push(start_ms);
            }
            if self.columns.content != Content::Floats {
                self.histograms.push(histogram);
            }
            self.sample_count += 1;
        }
    }

    /// A row for all samples.
    fn push_series(&mut self, read: &ReadSeries, samples: Range<usize>) {
        self.labels.push(&read.labels);
        self.sample_count += samples.len();
        let histograms = read.histograms_in(&samples);
        for (position, histogram) in histograms {
            self.histogram_times.0.push(read.timestamps_ms[*position as usize]);
            self.histogram_times.1.push(histogram.start_ms);
            self.histograms.push(Some(histogram));
        }
        self.counts.0.push(samples.len() - histograms.len());
        self.counts.1.push(histograms.len());
        let mut positions = histograms.iter().map(|(position, _)| *position as usize);
        let mut start = samples.start;
        // The floats between two histograms, and behind the last one.
        loop {
            let next = positions.next();
            self.push_floats(read, start..next.unwrap_or(samples.end));
            let Some(position) = next else { return };
            start = position + 1;
        }
    }

    fn push_floats(&mut self, read: &ReadSeries, samples: Range<usize>) {
        if self.columns.has_starts {
            self.starts.extend(read.starts.slice(samples.clone()).each(samples.len()).map(known));
        }
        self.times.extend_from_slice(&read.timestamps_ms[samples.clone()]);
        self.values.extend(read.values[samples].iter().copied().map(Some));
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let schema = self.columns.schema();
        let Self { columns: shape, labels, times, values, starts, histograms, .. } = self;
        let times = timestamps(times);
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        let starts = shape.has_starts.then(|| timestamps_or_null(starts));
        let mut columns = vec![labels.finish()];
        match shape.layout {
            RowLayout::Long => {
                columns.push(times);
                columns.extend((shape.content != Content::Histograms).then_some(values));
                columns.extend(starts);
                if shape.content != Content::Floats {
                    let (children, nulls) = histograms.finish()?;
                    let fields = Fields::from(histogram_columns::fields());
                    columns.push(Arc::new(StructArray::try_new(fields, children, nulls)?));
                }
            }
            RowLayout::Series => {
                let (float_counts, histogram_counts) = self.counts;
                columns.push(list(times, false, &float_counts)?);
                columns.push(list(values, false, &float_counts)?);
                columns.extend(starts.map(|starts| list(starts, true, &float_counts)).transpose()?);
                if shape.content != Content::Floats {
                    let (times, starts) = self.histogram_times;
                    let (children, nulls) = histograms.finish()?;
                    let fields = listed_histogram_fields();
                    let all = [timestamps(times), timestamps_or_null(starts)].into_iter().chain(children);
                    let structs: ArrayRef = Arc::new(StructArray::try_new(fields, all.collect(), nulls)?);
                    columns.push(list(structs, false, &histogram_counts)?);
                }
            }
        }
        RecordBatch::try_new(schema, columns)
    }
}

fn known(start_ms: i64) -> Option<i64> {
    (start_ms != UNKNOWN_START_MS).then_some(start_ms)
}

/// A column of times.
pub(super) fn timestamps(times_ms: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(times_ms).with_timezone("UTC"))
}

fn timestamps_or_null(times_ms: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(times_ms).with_timezone("UTC"))
}

fn list(items: ArrayRef, is_nullable: bool, counts: &[usize]) -> Result<ArrayRef, ArrowError> {
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), is_nullable));
    let offsets = OffsetBuffer::<i32>::from_lengths(counts.iter().copied());
    Ok(Arc::new(ListArray::try_new(item, offsets, items, None)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMillisecondType;

    use super::*;

    fn series(name: &str, count: i64) -> ReadSeries {
        let starts = (0..count).map(|time| if time < 2 { 0 } else { -time }).collect();
        ReadSeries {
            labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
            timestamps_ms: (0..count).collect(),
            values: (0..count).map(|time| time as f64).collect(),
            starts,
            histograms: Vec::new(),
        }
    }

    fn rows(layout: RowLayout) -> Vec<(usize, usize)> {
        let source: SeriesRows = Box::new([Ok(series("a", 5)), Ok(series("b", 2))].into_iter());
        Batches::new(source, RowColumns { layout, ..RowColumns::default() }, 3)
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
            let found: Vec<Option<i64>> =
                Batches::new(source, RowColumns { layout, has_starts: true, content: Content::Floats }, 3)
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

    #[test]
    fn histograms_have_a_column_of_their_own_and_floats_keep_theirs() {
        let mixed = || {
            let mut mixed = series("a", 5);
            mixed.histograms = vec![(1, Arc::default()), (4, Arc::new(Histogram::stale()))];
            let source: SeriesRows = Box::new([Ok(mixed)].into_iter());
            source
        };
        let read = |layout, content| -> RecordBatch {
            let columns = RowColumns { layout, has_starts: true, content };
            let mut batches = Batches::new(mixed(), columns, 100);
            let batch = batches.next().unwrap().unwrap();
            assert!(batches.next().is_none());
            assert_eq!(batch.schema(), columns.schema());
            batch
        };
        let long = read(RowLayout::Long, Content::All);
        let has = |name: &str| -> Vec<bool> {
            let column = long.column_by_name(name).unwrap();
            (0..5).map(|row| column.is_valid(row)).collect()
        };
        assert_eq!(has("value"), [true, false, true, true, false]);
        assert_eq!(has("histogram"), [false, true, false, false, true]);
        assert_eq!(read(RowLayout::Long, Content::Histograms).num_rows(), 2);
        let row = read(RowLayout::Series, Content::All);
        let lengths = |name: &str| row.column_by_name(name).unwrap().as_list::<i32>().value_length(0);
        assert_eq!((lengths("values"), lengths("start_timestamps"), lengths("histograms")), (3, 3, 2));
    }

    #[test]
    fn a_batch_is_closed_before_its_labels_take_too_much_room() {
        let mut wide = series("a", 3_000);
        let text = "x".repeat(8 << 10);
        wide.labels = LabelSet::from_pairs([("__name__", "a"), ("text", text.as_str())]).unwrap();
        let source: SeriesRows = Box::new([Ok(wide)].into_iter());
        let counts: Vec<usize> = Batches::new(source, RowColumns::default(), 65_536)
            .map(|batch| batch.unwrap().num_rows())
            .collect();
        assert!(counts.len() == 3 && counts.iter().all(|count| *count <= 1_024), "{counts:?}");
    }
}
