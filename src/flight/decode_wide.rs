//! The wide layout: a row is a sample of several metrics, each with a value column of its own.
//!
//! Input: a record batch and its [`Layout`]. Output: [`BatchColumns`]: column by column as in the long layout, labels
//! and times looked at once.

use arrow::array::RecordBatch;
use mytsdb_storage::Storage;
use mytsdb_storage::model::{StartTimes, TenantId};

use super::batch::{BatchColumns, Refused, SampleRows};
use super::columns::{self, ColumnError};
use super::decode_long::{self, RowTimes};
use super::labels::LabelColumns;
use super::schema::Layout;

/// Decodes a batch of the wide layout.
pub(super) fn decode(
    storage: &Storage,
    tenant: &TenantId,
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<BatchColumns, ColumnError> {
    let labels = LabelColumns::new(batch, layout)?;
    let first_keys = labels.keys(storage, tenant, batch.num_rows());
    let row_times = RowTimes::new(layout, batch)?;
    let mut all = All::default();
    for (metric_id, column) in layout.values.iter().enumerate() {
        let difference = labels.key_difference(storage, metric_id);
        let keys: Vec<u128> = first_keys.iter().map(|key| key.wrapping_add(difference)).collect();
        let values = columns::values(batch.column(*column), batch.schema_ref().field(*column))?;
        let one = decode_long::samples(LabelColumns::none(), &keys, &row_times, values);
        all.append(one, metric_id as u16, batch.num_rows());
    }
    Ok(BatchColumns {
        keys: all.keys,
        sample_ends: all.sample_ends,
        rows: all.rows,
        metric_ids: all.metric_ids,
        timestamps_ms: all.timestamps_ms.into(),
        values: all.values.into(),
        starts: all.starts,
        sample_rows: SampleRows::Listed(all.sample_rows),
        refused: all.refused,
        ..BatchColumns::empty(labels)
    })
}

/// The samples of all value columns, one column after the other.
#[derive(Debug, Default)]
struct All {
    keys: Vec<u128>,
    sample_ends: Vec<usize>,
    rows: Vec<u32>,
    metric_ids: Vec<u16>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
    sample_rows: Vec<u32>,
    refused: Refused,
}

impl All {
    fn append(&mut self, one: BatchColumns, metric_id: u16, row_count: usize) {
        let start = self.values.len();
        self.sample_ends.extend(one.sample_ends.iter().map(|end| start + end));
        self.metric_ids.extend(std::iter::repeat_n(metric_id, one.keys.len()));
        self.keys.extend(one.keys);
        self.rows.extend(one.rows);
        self.timestamps_ms.extend_from_slice(&one.timestamps_ms);
        self.values.extend_from_slice(&one.values);
        self.starts.append(start, one.values.len(), one.starts.up_to(one.values.len()));
        self.refused.absorb(one.refused);
        match one.sample_rows {
            SampleRows::Listed(rows) => self.sample_rows.extend(rows),
            SampleRows::Slots(slots) => {
                let mut rows = vec![0; one.values.len()];
                for (row, slot) in slots.iter().enumerate() {
                    if let Some(place) = rows.get_mut(*slot as usize) {
                        *place = row as u32;
                    }
                }
                self.sample_rows.extend(rows);
            }
            // A complete column whose rows lie series by series already.
            SampleRows::Same | SampleRows::OfSeries => self.sample_rows.extend(0..row_count as u32),
        }
    }
}
