//! The series layout: a row is a series with lists of times and values.
//!
//! Input: a record batch and its [`Layout`]. Output: [`BatchColumns`]. If the lists are complete, their item arrays
//! become the columns of the write as they are; otherwise samples without value are skipped, samples without a usable
//! time and rows with lists of different lengths refused.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field};
use mytsdb_storage::Storage;
use mytsdb_storage::model::{StartTimes, TenantId, UNKNOWN_START_MS};

use super::batch::{BatchColumns, Refused};
use super::columns::{self, ColumnError, Numbers};
use super::decode_long::start_ms;
use super::labels::LabelColumns;
use super::schema::Layout;

/// A list column: item array and, per row, where its items begin and end.
pub(super) struct Lists {
    pub(super) items: ArrayRef,
    /// `[row_count + 1]`.
    offsets: Vec<usize>,
    nulls: Option<arrow::buffer::NullBuffer>,
}

impl Lists {
    pub(super) fn new(array: &ArrayRef, field: &Field) -> Result<Self, ColumnError> {
        match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Ok(Self {
                    items: list.values().clone(),
                    offsets: list.value_offsets().iter().map(|offset| *offset as usize).collect(),
                    nulls: list.nulls().cloned(),
                })
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Ok(Self {
                    items: list.values().clone(),
                    offsets: list.value_offsets().iter().map(|offset| *offset as usize).collect(),
                    nulls: list.nulls().cloned(),
                })
            }
            found => Err(ColumnError::Type { column: field.name().clone(), found: found.to_string() }),
        }
    }

    /// The items of a row; none for a null.
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return 0..0;
        }
        self.offsets[row]..self.offsets[row + 1]
    }

    fn has_nulls(&self) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.null_count() > 0)
    }

    /// All items of all rows.
    fn span(&self) -> std::ops::Range<usize> {
        self.offsets.first().copied().unwrap_or(0)..self.offsets.last().copied().unwrap_or(0)
    }

    /// Field of the items, under the name of the column (for messages and its unit).
    fn item_field(field: &Field) -> Field {
        let metadata = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) if !item.metadata().is_empty() => {
                item.metadata().clone()
            }
            _ => field.metadata().clone(),
        };
        Field::new(field.name(), DataType::Null, true).with_metadata(metadata)
    }
}

/// Decodes a batch of the series layout.
pub(super) fn decode(
    storage: &Storage,
    tenant: &TenantId,
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<BatchColumns, ColumnError> {
    let schema = batch.schema_ref();
    // The layout has found lists of values: else rows would be no series.
    let value_column = layout.values.first().copied().unwrap_or(layout.timestamp);
    let (time_field, value_field) = (schema.field(layout.timestamp), schema.field(value_column));
    let time_lists = Lists::new(batch.column(layout.timestamp), time_field)?;
    let value_lists = Lists::new(batch.column(value_column), value_field)?;
    let times = columns::timestamps_ms(&time_lists.items, &Lists::item_field(time_field))?;
    let values = columns::values(&value_lists.items, &Lists::item_field(value_field))?;
    let starts = match layout.start_timestamp {
        Some(column) => Some(Starts::new(batch.column(column), schema.field(column))?),
        None => None,
    };
    let labels = LabelColumns::new(batch, layout)?;
    let keys = labels.keys(storage, tenant, batch.num_rows());
    let is_direct = !time_lists.has_nulls()
        && !value_lists.has_nulls()
        && times.is_complete()
        && values.is_complete()
        && have_equal_shape(&time_lists.offsets, &value_lists.offsets)
        && starts.as_ref().is_none_or(|starts| starts.has_shape_of(&time_lists));
    let mut columns = if is_direct {
        direct(&keys, labels, (&time_lists, &times), (&value_lists, &values), starts.as_ref())
    } else {
        compact(&keys, labels, (&time_lists, &times), (&value_lists, &values), starts.as_ref())
    };
    if layout.histogram.is_some() {
        super::decode_histograms::add_lists(&mut columns, &keys, layout, batch)?;
    }
    Ok(columns)
}

/// Takes the items of complete lists as they are.
fn direct(
    row_keys: &[u128],
    labels: LabelColumns,
    (time_lists, times): (&Lists, &Numbers<i64>),
    (value_lists, values): (&Lists, &Numbers<f64>),
    starts: Option<&Starts>,
) -> BatchColumns {
    let (time_span, value_span) = (time_lists.span(), value_lists.span());
    let sample_ends = time_lists.offsets.iter().skip(1).map(|offset| offset - time_span.start).collect();
    let mut start_times = StartTimes::new();
    if let Some(starts) = starts {
        for row in 0..row_keys.len() {
            for (index, position) in time_lists.range(row).enumerate() {
                start_times.push(position - time_span.start, starts.at(row, index));
            }
        }
    }
    BatchColumns {
        starts: start_times,
        rows: (0..row_keys.len() as u32).collect(),
        keys: row_keys.to_vec(),
        sample_ends,
        timestamps_ms: times.numbers.slice(time_span.start, time_span.len()),
        values: values.numbers.slice(value_span.start, value_span.len()),
        ..BatchColumns::empty(labels)
    }
}

/// When counting began: one time for each row, or a list of one for each sample.
struct Starts {
    numbers: Numbers<i64>,
    lists: Option<Lists>,
}

impl Starts {
    fn new(array: &ArrayRef, field: &Field) -> Result<Self, ColumnError> {
        if columns::list_item(field.data_type()).is_none() {
            return Ok(Self { numbers: columns::timestamps_ms(array, field)?, lists: None });
        }
        let lists = Lists::new(array, field)?;
        let numbers = columns::timestamps_ms(&lists.items, &Lists::item_field(field))?;
        Ok(Self { numbers, lists: Some(lists) })
    }

    /// Returns whether every row has as many as there are samples, or one for all, or none.
    fn has_shape_of(&self, times: &Lists) -> bool {
        (0..times.offsets.len().saturating_sub(1)).all(|row| self.fits(row, times.range(row).len()))
    }

    fn fits(&self, row: usize, sample_count: usize) -> bool {
        let length = self.lists.as_ref().map_or(0, |lists| lists.range(row).len());
        length == 0 || length == sample_count
    }

    /// The start time of a sample, by its position in the row.
    fn at(&self, row: usize, index: usize) -> i64 {
        match &self.lists {
            None => start_ms(&self.numbers, row),
            Some(lists) => {
                let item = lists.range(row).nth(index);
                item.map_or(UNKNOWN_START_MS, |item| start_ms(&self.numbers, item))
            }
        }
    }
}

/// Returns whether all rows have lists of equal, non-zero length.
fn have_equal_shape(times: &[usize], values: &[usize]) -> bool {
    let (time_start, value_start) = (times.first().copied(), values.first().copied());
    let (Some(time_start), Some(value_start)) = (time_start, value_start) else { return false };
    times.len() == values.len()
        && times.iter().zip(values).all(|(time, value)| time - time_start == value - value_start)
        && times.array_windows().all(|[start, end]| start < end)
}

/// Copies what is usable.
fn compact(
    row_keys: &[u128],
    labels: LabelColumns,
    (time_lists, times): (&Lists, &Numbers<i64>),
    (value_lists, values): (&Lists, &Numbers<f64>),
    starts: Option<&Starts>,
) -> BatchColumns {
    let mut start_times = StartTimes::new();
    let mut refused = Refused::default();
    let (mut keys, mut rows, mut sample_ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kept_times, mut kept_values) = (Vec::new(), Vec::new());
    for (row, key) in row_keys.iter().enumerate() {
        let (time_range, value_range) = (time_lists.range(row), value_lists.range(row));
        if time_range.len() != value_range.len() {
            refused.add(time_range.len().max(value_range.len()), || {
                let (times, values) = (time_range.len(), value_range.len());
                (Some(row), format!("{times} timestamps but {values} values"))
            });
            continue;
        }
        if let Some(starts) = starts
            && !starts.fits(row, time_range.len())
        {
            refused.add(time_range.len(), || {
                let times = time_range.len();
                (Some(row), format!("{times} timestamps but another number of start timestamps"))
            });
            continue;
        }
        let before = kept_times.len();
        for (index, (time_index, value_index)) in time_range.zip(value_range).enumerate() {
            if values.is_null(value_index) {
                continue;
            }
            if times.is_null(time_index) {
                refused
                    .add(1, || (Some(row), format!("timestamp {index} of the list is null or out of range")));
                continue;
            }
            if let Some(starts) = starts {
                start_times.push(kept_times.len(), starts.at(row, index));
            }
            kept_times.push(times.numbers[time_index]);
            kept_values.push(values.numbers[value_index]);
        }
        if kept_times.len() > before {
            keys.push(*key);
            rows.push(row as u32);
            sample_ends.push(kept_times.len());
        }
    }
    BatchColumns {
        keys,
        sample_ends,
        rows,
        timestamps_ms: kept_times.into(),
        values: kept_values.into(),
        starts: start_times,
        refused,
        ..BatchColumns::empty(labels)
    }
}
