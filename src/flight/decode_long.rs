//! The long layout: a row is a sample. Groups the rows of a batch by series.
//!
//! Input: a record batch and its [`Layout`]. Output: [`BatchColumns`]. Rows without a value are skipped, rows without
//! a usable time refused; the others are kept.

use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::RecordBatch;
use hashbrown::HashMap;
use mytsdb_storage::Storage;
use mytsdb_storage::model::{StartTimes, TenantId, UNKNOWN_START_MS};

use super::batch::{BatchColumns, Refused, SampleRows};
use super::columns::{self, ColumnError, Numbers};
use super::labels::LabelColumns;
use super::schema::Layout;

/// The times of the rows of a batch, and when counting began.
#[derive(Debug)]
pub(super) struct RowTimes {
    /// One per row.
    pub(super) times: Numbers<i64>,
    /// One per row, if there is a column of them.
    pub(super) starts: Option<Numbers<i64>>,
}

impl RowTimes {
    /// Takes the time columns of `batch`.
    pub(super) fn new(layout: &Layout, batch: &RecordBatch) -> Result<Self, ColumnError> {
        let schema = batch.schema_ref();
        let column = |position: usize| columns::timestamps_ms(batch.column(position), schema.field(position));
        Ok(Self { times: column(layout.timestamp)?, starts: layout.start_timestamp.map(column).transpose()? })
    }

    /// The start time of a row, if it is known.
    pub(super) fn start_ms(&self, row: usize) -> Option<i64> {
        let starts = self.starts.as_ref()?;
        (!starts.is_null(row)).then(|| starts.numbers[row])
    }
}

/// Decodes a batch of the long layout.
pub(super) fn decode(
    storage: &Storage,
    tenant: &TenantId,
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<BatchColumns, ColumnError> {
    let labels = LabelColumns::new(batch, layout)?;
    let row_keys = labels.keys(storage, tenant, batch.num_rows());
    let row_times = RowTimes::new(layout, batch)?;
    let mut columns = match layout.values.first() {
        Some(value) => {
            let values = columns::values(batch.column(*value), batch.schema_ref().field(*value))?;
            samples(labels, &row_keys, &row_times, values)
        }
        None => BatchColumns::empty(labels),
    };
    if layout.histogram.is_some() {
        super::decode_histograms::add_rows(&mut columns, &row_keys, &row_times, layout, batch)?;
    }
    Ok(columns)
}

/// The samples of one value column.
pub(super) fn samples(
    labels: LabelColumns,
    row_keys: &[u128],
    row_times: &RowTimes,
    values: Numbers<f64>,
) -> BatchColumns {
    let RowTimes { times, starts } = row_times;
    let row_count = row_keys.len();
    let mut refused = Refused::default();
    let is_complete = times.is_complete() && values.is_complete();
    let groups = group(row_keys, |row| is_complete || is_usable(times, &values, row, &mut refused));
    let SeriesOrder { keys, rows, sample_ends, slots } = order(groups);
    let sample_count = sample_ends.last().copied().unwrap_or(0);
    let is_kept = |row: &usize| !times.is_null(*row) && !values.is_null(*row);
    let starts = starts.as_ref().map_or_else(StartTimes::new, |starts| match &slots {
        None => (0..row_count).filter(is_kept).map(|row| start_ms(starts, row)).collect(),
        Some(slots) => {
            let mut sorted = vec![UNKNOWN_START_MS; sample_count];
            for (row, slot) in slots.iter().enumerate() {
                if let Some(sorted) = sorted.get_mut(*slot as usize) {
                    *sorted = start_ms(starts, row);
                }
            }
            sorted.into_iter().collect()
        }
    });
    let (timestamps_ms, values, sample_rows) = match slots {
        None if is_complete => (times.numbers.clone(), values.numbers, SampleRows::Same),
        None => {
            let kept: Vec<u32> = (0..row_count).filter(is_kept).map(|row| row as u32).collect();
            let times: Vec<i64> = kept.iter().map(|row| times.numbers[*row as usize]).collect();
            let values: Vec<f64> = kept.iter().map(|row| values.numbers[*row as usize]).collect();
            (times.into(), values.into(), SampleRows::Listed(kept))
        }
        Some(slots) => {
            let (times, values) = scatter(&slots, sample_count, times, &values);
            (times, values, SampleRows::Slots(slots))
        }
    };
    BatchColumns {
        keys,
        sample_ends,
        rows,
        timestamps_ms,
        values,
        starts,
        sample_rows,
        refused,
        ..BatchColumns::empty(labels)
    }
}

/// The start time of a row; null is [`UNKNOWN_START_MS`].
pub(super) fn start_ms(starts: &Numbers<i64>, row: usize) -> i64 {
    if starts.is_null(row) { UNKNOWN_START_MS } else { starts.numbers[row] }
}

fn is_usable(times: &Numbers<i64>, values: &Numbers<f64>, row: usize, refused: &mut Refused) -> bool {
    if values.is_null(row) {
        return false;
    }
    if times.is_null(row) {
        refused.add(1, || (Some(row), "timestamp is null or out of range".to_owned()));
        return false;
    }
    true
}

/// No series: the row was left out.
const NO_GROUP: u32 = u32::MAX;

struct Groups {
    keys: Vec<u128>,
    rows: Vec<u32>,
    counts: Vec<usize>,
    group_of_row: Vec<u32>,
    is_grouped: bool,
}

/// Numbers the distinct keys in order of appearance.
///
/// Why the guess: samples come series by series or round after round in the same order of series, so the series of a
/// row is nearly always that of the row before, or the one that followed it last time.
fn group(row_keys: &[u128], mut is_usable: impl FnMut(usize) -> bool) -> Groups {
    let mut group_by_key: HashMap<u128, u32, BuildHasherDefault<KeyBits>> = HashMap::default();
    let mut groups = Groups {
        keys: Vec::new(),
        rows: Vec::new(),
        counts: Vec::new(),
        group_of_row: Vec::with_capacity(row_keys.len()),
        is_grouped: true,
    };
    let mut following: Vec<u32> = Vec::new();
    let mut current = 0_u32;
    for (row, key) in row_keys.iter().enumerate() {
        if !is_usable(row) {
            groups.group_of_row.push(NO_GROUP);
            continue;
        }
        let is_key = |group: u32| groups.keys.get(group as usize) == Some(key);
        let next = following.get(current as usize).copied().unwrap_or(0);
        let group = if is_key(current) {
            current
        } else if is_key(next) {
            next
        } else {
            let new = groups.keys.len() as u32;
            let group = *group_by_key.entry(*key).or_insert(new);
            if group == new {
                groups.keys.push(*key);
                groups.rows.push(row as u32);
                groups.counts.push(0);
                following.push(new);
            }
            following[current as usize] = group;
            group
        };
        groups.is_grouped &= group == current || group as usize + 1 == groups.keys.len();
        groups.counts[group as usize] += 1;
        groups.group_of_row.push(group);
        current = group;
    }
    groups
}

struct SeriesOrder {
    keys: Vec<u128>,
    rows: Vec<u32>,
    sample_ends: Vec<usize>,
    /// Where each row's sample goes; `None` = the rows already lie series by series.
    slots: Option<Vec<u32>>,
}

fn order(groups: Groups) -> SeriesOrder {
    let mut starts = Vec::with_capacity(groups.counts.len());
    let mut end = 0;
    let mut sample_ends = Vec::with_capacity(groups.counts.len());
    for count in &groups.counts {
        starts.push(end as u32);
        end += count;
        sample_ends.push(end);
    }
    let slots = (!groups.is_grouped).then(|| {
        let mut slots = groups.group_of_row;
        for slot in &mut slots {
            if let Some(start) = starts.get_mut(*slot as usize) {
                *slot = *start;
                *start += 1;
            }
        }
        slots
    });
    SeriesOrder { keys: groups.keys, rows: groups.rows, sample_ends, slots }
}

type Scattered = (arrow::buffer::ScalarBuffer<i64>, arrow::buffer::ScalarBuffer<f64>);

fn scatter(slots: &[u32], sample_count: usize, times: &Numbers<i64>, values: &Numbers<f64>) -> Scattered {
    let mut sorted_times = vec![0_i64; sample_count];
    let mut sorted_values = vec![0_f64; sample_count];
    for ((slot, time), value) in slots.iter().zip(times.numbers.iter()).zip(values.numbers.iter()) {
        let slot = *slot as usize;
        if let (Some(time_slot), Some(value_slot)) = (sorted_times.get_mut(slot), sorted_values.get_mut(slot))
        {
            *time_slot = *time;
            *value_slot = *value;
        }
    }
    (sorted_times.into(), sorted_values.into())
}

/// The low bits of a key are already a good hash.
#[derive(Debug, Default)]
struct KeyBits(u64);

impl Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
