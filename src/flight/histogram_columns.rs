//! Native histograms as an Arrow struct, in both directions, without loss.
//!
//! | Field | Type | Means |
//! |---|---|---|
//! | `schema` | Int8 | -4 to 8, or -53 for custom bounds |
//! | `is_integer` | Boolean | whether the counts are integers |
//! | `count`, `sum` | Float64 | all observations and their sum; the stale marker is kept in `sum` by its bits |
//! | `zero_threshold`, `zero_count` | Float64 | width and observations of the zero bucket |
//! | `reset_hint` | Utf8 | `unknown`, `reset`, `not_reset` or `gauge` |
//! | `positive_spans`, `negative_spans` | List of Struct(`offset` Int32, `length` UInt32) | runs of buckets |
//! | `positive_counts`, `negative_counts` | List of Float64 | absolute counts, bucket by bucket |
//! | `custom_bounds` | List of Float64 | upper bounds, only with schema -53 |
//!
//! As items of the series layout they have `timestamp` and `start_timestamp` before these. Input may have other types
//! that convert (`LargeList`, `Int32`, dictionaries …). Not here: whether a histogram is one (the write checks that).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int8Array, Int32Array, ListArray, StringArray,
    StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int8Type, Int32Type, UInt32Type};
use arrow::error::ArrowError;
use mytsdb_storage::model::{BucketSpan, Histogram, HistogramLayout, ResetHint};

use super::columns::{self, ColumnError};

/// What a column of histograms may be.
pub(super) const TYPES: &str = "Struct(schema, is_integer, count, sum, zero_threshold, zero_count, reset_hint, positive_spans, positive_counts, negative_spans, negative_counts, custom_bounds); in the series layout a List of it with timestamp and start_timestamp";

/// Names and types of the fields of a histogram.
pub(super) fn fields() -> Vec<Field> {
    let span = Fields::from(vec![
        Field::new("offset", DataType::Int32, false),
        Field::new("length", DataType::UInt32, false),
    ]);
    let spans = || DataType::new_list(DataType::Struct(span.clone()), false);
    let floats = || DataType::new_list(DataType::Float64, false);
    [
        ("schema", DataType::Int8),
        ("is_integer", DataType::Boolean),
        ("count", DataType::Float64),
        ("sum", DataType::Float64),
        ("zero_threshold", DataType::Float64),
        ("zero_count", DataType::Float64),
        ("reset_hint", DataType::Utf8),
        ("positive_spans", spans()),
        ("positive_counts", floats()),
        ("negative_spans", spans()),
        ("negative_counts", floats()),
        ("custom_bounds", floats()),
    ]
    .into_iter()
    .map(|(name, kind)| Field::new(name, kind, false))
    .collect()
}

/// Returns whether a column of this type can hold histograms: a struct, or a list of them if rows are series.
pub(super) fn is_histogram(kind: &DataType, is_series: bool) -> bool {
    let item = if is_series { columns::list_item(kind) } else { Some(kind) };
    let Some(DataType::Struct(found)) = item else { return false };
    let is_there = |wanted: &Field| {
        let field = found.iter().find(|field| field.name() == wanted.name());
        field.is_some_and(|field| can_cast_types(field.data_type(), wanted.data_type()))
    };
    let is_time = |name: &str| {
        let field = found.iter().find(|field| field.name() == name);
        field.is_some_and(|field| columns::is_timestamp(field.data_type()))
    };
    fields().iter().all(is_there) && (!is_series || (is_time("timestamp") && is_time("start_timestamp")))
}

fn word(hint: ResetHint) -> &'static str {
    match hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Reset => "reset",
        ResetHint::NotReset => "not_reset",
        ResetHint::Gauge => "gauge",
    }
}

fn hint_of(given: &str) -> Result<ResetHint, String> {
    let all = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
    let found = all.into_iter().find(|hint| word(*hint) == given);
    found.ok_or_else(|| format!("reset_hint is {given:?}; allowed is unknown, reset, not_reset or gauge"))
}

/// A column of histograms that came in.
#[derive(Debug)]
pub(super) struct HistogramColumn {
    nulls: Option<NullBuffer>,
    schema: Int8Array,
    is_integer: BooleanArray,
    /// Count, sum, zero threshold, zero count.
    numbers: [Float64Array; 4],
    reset_hint: StringArray,
    /// Positive, negative.
    spans: [ListArray; 2],
    counts: [ListArray; 2],
    custom_bounds: ListArray,
    /// The layout of the histogram before: neighbours share one.
    previous: Arc<HistogramLayout>,
}

impl HistogramColumn {
    /// Takes a struct column apart.
    pub(super) fn new(array: &ArrayRef, column: &str) -> Result<Self, ColumnError> {
        let unexpected =
            || ColumnError::Type { column: column.to_owned(), found: array.data_type().to_string() };
        let structs = array.as_struct_opt().ok_or_else(unexpected)?;
        let mut children = Vec::with_capacity(12);
        for field in fields() {
            let child = structs.column_by_name(field.name()).ok_or_else(unexpected)?;
            let cast = cast(child, field.data_type())
                .map_err(|source| ColumnError::Arrow { column: column.to_owned(), source })?;
            children.push(cast);
        }
        let Ok(
            [
                schema,
                is_integer,
                count,
                sum,
                threshold,
                zero_count,
                hint,
                positive_spans,
                positive,
                negative_spans,
                negative,
                bounds,
            ],
        ) = <[ArrayRef; 12]>::try_from(children)
        else {
            return Err(unexpected());
        };
        let floats = |array: ArrayRef| array.as_primitive::<Float64Type>().clone();
        let list = |array: ArrayRef| array.as_list::<i32>().clone();
        Ok(Self {
            nulls: structs.nulls().cloned(),
            schema: schema.as_primitive::<Int8Type>().clone(),
            is_integer: is_integer.as_boolean().clone(),
            numbers: [count, sum, threshold, zero_count].map(floats),
            reset_hint: hint.as_string::<i32>().clone(),
            spans: [positive_spans, negative_spans].map(list),
            counts: [positive, negative].map(list),
            custom_bounds: list(bounds),
            previous: Arc::default(),
        })
    }

    /// Returns whether the row holds none.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The histogram of a row.
    ///
    /// # Errors
    /// Which part of it is missing, in words for the sender.
    pub(super) fn get(&mut self, row: usize, start_ms: Option<i64>) -> Result<Histogram, String> {
        let parts: [(&str, &dyn Array); 7] = [
            ("schema", &self.schema),
            ("is_integer", &self.is_integer),
            ("count", &self.numbers[0]),
            ("sum", &self.numbers[1]),
            ("zero_threshold", &self.numbers[2]),
            ("zero_count", &self.numbers[3]),
            ("reset_hint", &self.reset_hint),
        ];
        if let Some((name, _)) = parts.iter().find(|(_, part)| part.is_null(row)) {
            return Err(format!("{name} of the histogram is null or does not fit its type"));
        }
        let [count, sum, zero_threshold, zero_count] =
            [0, 1, 2, 3].map(|part: usize| self.numbers[part].value(row));
        let layout = HistogramLayout {
            schema: self.schema.value(row),
            is_integer: self.is_integer.value(row),
            zero_threshold,
            positive_spans: spans_of(&self.spans[0], row)?,
            negative_spans: spans_of(&self.spans[1], row)?,
            custom_bounds: floats_of(&self.custom_bounds, row)?,
        };
        if *self.previous != layout {
            self.previous = Arc::new(layout);
        }
        Ok(Histogram {
            layout: Arc::clone(&self.previous),
            reset_hint: hint_of(self.reset_hint.value(row))?,
            start_ms,
            count,
            sum,
            zero_count,
            positive_counts: floats_of(&self.counts[0], row)?,
            negative_counts: floats_of(&self.counts[1], row)?,
        })
    }
}

fn floats_of(lists: &ListArray, row: usize) -> Result<Vec<f64>, String> {
    if lists.is_null(row) {
        return Ok(Vec::new());
    }
    let items = lists.value(row);
    if items.null_count() > 0 {
        return Err("a count or bound of the histogram is null".to_owned());
    }
    Ok(items.as_primitive::<Float64Type>().values().to_vec())
}

fn spans_of(lists: &ListArray, row: usize) -> Result<Vec<BucketSpan>, String> {
    if lists.is_null(row) {
        return Ok(Vec::new());
    }
    let items = lists.value(row);
    let spans = items.as_struct();
    let (offsets, lengths) =
        (spans.column(0).as_primitive::<Int32Type>(), spans.column(1).as_primitive::<UInt32Type>());
    if spans.null_count() + offsets.null_count() + lengths.null_count() > 0 {
        return Err("a span of the histogram is null or does not fit its type".to_owned());
    }
    let pairs = offsets.values().iter().zip(lengths.values());
    Ok(pairs.map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect())
}

/// Lists of numbers that grow.
#[derive(Debug)]
struct Lists<T> {
    ends: Vec<i32>,
    items: Vec<T>,
}

impl<T: Copy> Lists<T> {
    fn new() -> Self {
        Self { ends: vec![0], items: Vec::new() }
    }

    fn push(&mut self, items: &[T]) {
        self.items.extend_from_slice(items);
        self.ends.push(self.items.len() as i32);
    }

    fn finish(self, items: impl FnOnce(Vec<T>) -> ArrayRef) -> Result<ArrayRef, ArrowError> {
        let items = items(self.items);
        let item = Arc::new(Field::new_list_field(items.data_type().clone(), false));
        // The ends ascend from 0: they were pushed that way.
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Ok(Arc::new(ListArray::try_new(item, offsets, items, None)?))
    }
}

/// Builds a column of histograms.
#[derive(Debug)]
pub(super) struct HistogramBuilder {
    is_there: Vec<bool>,
    schema: Vec<i8>,
    is_integer: Vec<bool>,
    numbers: [Vec<f64>; 4],
    reset_hint: Vec<&'static str>,
    spans: [Lists<BucketSpan>; 2],
    counts: [Lists<f64>; 2],
    custom_bounds: Lists<f64>,
    absent: Histogram,
}

impl HistogramBuilder {
    /// A column without rows.
    pub(super) fn new() -> Self {
        Self {
            is_there: Vec::new(),
            schema: Vec::new(),
            is_integer: Vec::new(),
            numbers: [const { Vec::new() }; 4],
            reset_hint: Vec::new(),
            spans: [Lists::new(), Lists::new()],
            counts: [Lists::new(), Lists::new()],
            custom_bounds: Lists::new(),
            absent: Histogram::default(),
        }
    }

    /// Bytes of it, about.
    pub(super) fn bytes(&self) -> usize {
        let items =
            self.counts.iter().map(|lists| lists.items.len()).sum::<usize>() + self.custom_bounds.items.len();
        let spans = self.spans.iter().map(|lists| lists.items.len()).sum::<usize>();
        self.is_there.len() * 72 + (items + spans) * 8
    }

    /// Adds a row; `None` is null.
    pub(super) fn push(&mut self, histogram: Option<&Histogram>) {
        self.is_there.push(histogram.is_some());
        let absent = std::mem::take(&mut self.absent);
        self.push_values(histogram.unwrap_or(&absent));
        self.absent = absent;
    }

    fn push_values(&mut self, histogram: &Histogram) {
        let layout = &histogram.layout;
        self.schema.push(layout.schema);
        self.is_integer.push(layout.is_integer);
        let numbers = [histogram.count, histogram.sum, layout.zero_threshold, histogram.zero_count];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.push(number);
        }
        self.reset_hint.push(word(histogram.reset_hint));
        let [positive_spans, negative_spans] = &mut self.spans;
        positive_spans.push(&layout.positive_spans);
        negative_spans.push(&layout.negative_spans);
        let [positive, negative] = &mut self.counts;
        positive.push(&histogram.positive_counts);
        negative.push(&histogram.negative_counts);
        self.custom_bounds.push(&layout.custom_bounds);
    }

    /// The fields of the struct in order of [`fields`], and which rows are null.
    pub(super) fn finish(self) -> Result<(Vec<ArrayRef>, Option<NullBuffer>), ArrowError> {
        let nulls = NullBuffer::from(self.is_there);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let floats = |items: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(items)) };
        let [count, sum, threshold, zero_count] = self.numbers.map(floats);
        let [positive_spans, negative_spans] = self.spans;
        let [positive, negative] = self.counts;
        let children: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(self.schema)),
            Arc::new(BooleanArray::from(self.is_integer)),
            count,
            sum,
            threshold,
            zero_count,
            Arc::new(StringArray::from(self.reset_hint)),
            positive_spans.finish(spans_array)?,
            positive.finish(floats)?,
            negative_spans.finish(spans_array)?,
            negative.finish(floats)?,
            self.custom_bounds.finish(floats)?,
        ];
        Ok((children, nulls))
    }
}

fn spans_array(spans: Vec<BucketSpan>) -> ArrayRef {
    let offsets: Int32Array = spans.iter().map(|span| Some(span.offset)).collect();
    let lengths: UInt32Array = spans.iter().map(|span| Some(span.length)).collect();
    let column =
        |name: &str, array: ArrayRef| (Arc::new(Field::new(name, array.data_type().clone(), false)), array);
    Arc::new(StructArray::from(vec![
        column("offset", Arc::new(offsets)),
        column("length", Arc::new(lengths)),
    ]))
}

#[cfg(test)]
mod tests {
    use mytsdb_storage::model::CUSTOM_BOUNDS_SCHEMA;

    use super::*;

    fn column(histograms: &[Option<Histogram>]) -> ArrayRef {
        let mut builder = HistogramBuilder::new();
        histograms.iter().for_each(|histogram| builder.push(histogram.as_ref()));
        let (children, nulls) = builder.finish().unwrap();
        Arc::new(StructArray::new(fields().into(), children, nulls))
    }

    fn examples() -> Vec<Option<Histogram>> {
        let exponential = HistogramLayout {
            schema: 3,
            is_integer: true,
            zero_threshold: 1e-128,
            positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }],
            negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
            custom_bounds: Vec::new(),
        };
        let custom = HistogramLayout {
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
            custom_bounds: vec![0.1, 1.0],
            ..HistogramLayout::default()
        };
        vec![
            Some(Histogram {
                layout: Arc::new(exponential),
                reset_hint: ResetHint::Gauge,
                start_ms: Some(7),
                count: 20.0,
                sum: -18.5,
                zero_count: 3.0,
                positive_counts: vec![4.0, 5.0, 6.0],
                negative_counts: vec![2.0],
            }),
            None,
            Some(Histogram::stale()),
            Some(Histogram {
                layout: Arc::new(custom),
                reset_hint: ResetHint::NotReset,
                count: 3.5,
                positive_counts: vec![1.0, 2.0, 0.5],
                ..Histogram::default()
            }),
        ]
    }

    #[test]
    fn histograms_come_back_bit_by_bit() {
        let histograms = examples();
        let mut back = HistogramColumn::new(&column(&histograms), "histogram").unwrap();
        for (row, expected) in histograms.iter().enumerate() {
            assert_eq!(back.is_null(row), expected.is_none());
            if let Some(expected) = expected {
                assert_eq!(back.get(row, expected.start_ms).unwrap(), *expected);
            }
        }
    }

    #[test]
    fn other_types_are_converted_and_what_does_not_fit_is_refused_by_name() {
        let histograms = examples();
        let given = column(&histograms);
        let structs = given.as_struct();
        let mut converted = Vec::new();
        for (field, child) in structs.fields().iter().zip(structs.columns()) {
            let kind = match field.data_type() {
                DataType::Int8 => DataType::Int64,
                DataType::Utf8 => DataType::Utf8View,
                DataType::List(item) => DataType::LargeList(Arc::clone(item)),
                other => other.clone(),
            };
            let array = cast(child, &kind).unwrap();
            converted.push((Arc::new(Field::new(field.name(), kind, true)), array));
        }
        let large: ArrayRef = Arc::new(StructArray::from(converted.clone()));
        assert!(is_histogram(large.data_type(), false) && !is_histogram(large.data_type(), true));
        let mut back = HistogramColumn::new(&large, "histogram").unwrap();
        assert_eq!(Some(back.get(3, None).unwrap()), histograms[3]);
        let schemas: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1_000; 4]));
        converted[0].1 = schemas;
        let wrong: ArrayRef = Arc::new(StructArray::from(converted));
        let reason = HistogramColumn::new(&wrong, "histogram").unwrap().get(0, None).unwrap_err();
        assert!(reason.contains("schema of the histogram"), "{reason}");
        assert!(hint_of("perhaps").unwrap_err().contains("not_reset"));
    }
}
