//! The native histograms of a batch: a struct in the long layout, a list of structs in the series layout.
//!
//! Input: a record batch and its [`Layout`]. Output: the histograms of [`BatchColumns`], by series. Not here: the struct
//! itself (see [`super::histogram_columns`]); whether the buckets make sense (the write checks that).

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Field;
use hashbrown::HashMap;
use mytsdb_storage::HistogramSample;
use mytsdb_storage::model::Histogram;

use super::batch::BatchColumns;
use super::columns::{self, ColumnError, Numbers};
use super::decode_long::RowTimes;
use super::decode_series::Lists;
use super::histogram_columns::HistogramColumn;
use super::schema::Layout;

/// Adds the histograms of the long layout.
pub(super) fn add_rows(
    columns: &mut BatchColumns,
    row_keys: &[u128],
    row_times: &RowTimes,
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<(), ColumnError> {
    let Some(position) = layout.histogram else { return Ok(()) };
    let name = batch.schema_ref().field(position).name();
    let mut histograms = HistogramColumn::new(batch.column(position), name)?;
    let mut found = Found::default();
    for (row, key) in row_keys.iter().enumerate() {
        if histograms.is_null(row) {
            continue;
        }
        // Where there is a value too, it was taken already: two samples of one time.
        let read = time_of(&row_times.times, row)
            .and_then(|time_ms| Ok((time_ms, histograms.get(row, row_times.start_ms(row))?)));
        found.add(columns, *key, row, read);
    }
    found.finish(columns);
    Ok(())
}

/// Adds the histograms of the series layout.
pub(super) fn add_lists(
    columns: &mut BatchColumns,
    row_keys: &[u128],
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<(), ColumnError> {
    let Some(position) = layout.histogram else { return Ok(()) };
    let field = batch.schema_ref().field(position);
    let lists = Lists::new(batch.column(position), field)?;
    let unexpected =
        || ColumnError::Type { column: field.name().clone(), found: field.data_type().to_string() };
    let items = lists.items.as_struct_opt().ok_or_else(unexpected)?;
    let column_of_times = |name: &str| -> Result<Numbers<i64>, ColumnError> {
        let (index, item) = items.fields().find(name).ok_or_else(unexpected)?;
        let named = Field::new(format!("{}.{name}", field.name()), item.data_type().clone(), true);
        columns::timestamps_ms(items.column(index), &named.with_metadata(item.metadata().clone()))
    };
    let (times, starts) = (column_of_times("timestamp")?, column_of_times("start_timestamp")?);
    let mut histograms = HistogramColumn::new(&lists.items, field.name())?;
    let mut found = Found::default();
    for (row, key) in row_keys.iter().enumerate() {
        for item in lists.range(row) {
            if histograms.is_null(item) {
                continue;
            }
            let start_ms = (!starts.is_null(item)).then(|| starts.numbers[item]);
            let read =
                time_of(&times, item).and_then(|time_ms| Ok((time_ms, histograms.get(item, start_ms)?)));
            found.add(columns, *key, row, read);
        }
    }
    found.finish(columns);
    Ok(())
}

fn time_of(times: &Numbers<i64>, row: usize) -> Result<i64, String> {
    if times.is_null(row) {
        return Err("timestamp is null or out of range".to_owned());
    }
    Ok(times.numbers[row])
}

/// The histograms found so far.
#[derive(Debug, Default)]
struct Found {
    series_by_key: HashMap<u128, usize>,
    samples: Vec<(HistogramSample, u32)>,
}

impl Found {
    fn add(
        &mut self,
        columns: &mut BatchColumns,
        key: u128,
        row: usize,
        read: Result<(i64, Histogram), String>,
    ) {
        let (time_ms, histogram) = match read {
            Ok(read) => read,
            Err(reason) => return columns.refused.add(1, || (Some(row), reason)),
        };
        let series_index = *self.series_by_key.entry(key).or_insert_with(|| columns.add_series(key, row));
        self.samples.push((HistogramSample { series_index, time_ms, histogram }, row as u32));
    }

    /// Histograms of a series are stored together if they come together.
    fn finish(mut self, columns: &mut BatchColumns) {
        self.samples.sort_by_key(|(sample, _)| (sample.series_index, sample.time_ms));
        (columns.histograms, columns.sparse_rows) = self.samples.into_iter().unzip();
    }
}
