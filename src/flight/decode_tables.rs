//! The tables whose rows are no samples: exemplars and metadata.
//!
//! | Table | Columns |
//! |---|---|
//! | `exemplars` | labels of the series as for samples, `timestamp`, `value`, `exemplar_labels` map (may be left out) |
//! | `metadata` | `metric`, `type` (a word of Prometheus' API), `unit`, `help`; the last three may be left out |
//!
//! Input: a record batch. Output: [`BatchColumns`]. A row that is wrong is refused, the others are kept.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use mytsdb_storage::model::{Exemplar, LabelSet, MetricKind, MetricMetadata, TenantId};
use mytsdb_storage::{ExemplarSample, Storage};

use super::batch::BatchColumns;
use super::columns::{self, ColumnError, MapColumn, TextColumn};
use super::decode_long::RowTimes;
use super::labels::LabelColumns;
use super::schema::{self, Layout, SchemaError};

/// Decodes exemplars.
pub(super) fn exemplars(
    storage: &Storage,
    tenant: &TenantId,
    layout: &Layout,
    batch: &RecordBatch,
) -> Result<BatchColumns, ColumnError> {
    let labels = LabelColumns::new(batch, layout)?;
    let row_keys = labels.keys(storage, tenant, batch.num_rows());
    let times = RowTimes::new(layout, batch)?.times;
    let mut columns = BatchColumns::empty(labels);
    let Some(value) = layout.values.first() else { return Ok(columns) };
    let values = columns::values(batch.column(*value), batch.schema_ref().field(*value))?;
    let exemplar_labels = match layout.exemplar_labels {
        Some(position) => {
            Some(MapColumn::new(batch.column(position), batch.schema_ref().field(position).name())?)
        }
        None => None,
    };
    for (row, key) in row_keys.iter().enumerate() {
        if values.is_null(row) {
            continue;
        }
        if times.is_null(row) {
            columns.refused.add(1, || (Some(row), "timestamp is null or out of range".to_owned()));
            continue;
        }
        let labels = exemplar_labels.as_ref().map_or(Ok(LabelSet::empty()), |map| label_set(map, row));
        match labels {
            Ok(labels) => {
                let series_index = columns.add_series(*key, row);
                let exemplar = Exemplar { labels, value: values.numbers[row], time_ms: times.numbers[row] };
                columns.exemplars.push(ExemplarSample { series_index, exemplar });
                columns.sparse_rows.push(row as u32);
            }
            Err(reason) => columns.refused.add(1, || (Some(row), format!("invalid exemplar: {reason}"))),
        }
    }
    Ok(columns)
}

fn label_set(map: &MapColumn, row: usize) -> Result<LabelSet, String> {
    let pairs = map.entries(row).map(|entry| (map.names.get(entry), map.texts.get(entry)));
    LabelSet::from_pairs(pairs).map_err(|error| error.to_string())
}

/// Where the facts about metrics are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetadataLayout {
    metric: usize,
    kind: Option<usize>,
    unit: Option<usize>,
    help: Option<usize>,
}

impl MetadataLayout {
    /// Finds the columns of the table `metadata`.
    pub(super) fn detect(schema: &Schema) -> Result<Self, SchemaError> {
        let find = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let metric = find("metric").ok_or_else(|| schema::missing(schema, "metric", schema::TEXT_TYPES))?;
        let found = Self { metric, kind: find("type"), unit: find("unit"), help: find("help") };
        for position in [Some(metric), found.kind, found.unit, found.help].into_iter().flatten() {
            let field = schema.field(position);
            schema::require(columns::is_text(field.data_type()), field, "text", schema::TEXT_TYPES)?;
        }
        Ok(found)
    }
}

/// Decodes facts about metrics.
pub(super) fn metadata(layout: &MetadataLayout, batch: &RecordBatch) -> Result<BatchColumns, ColumnError> {
    let column =
        |position: usize| TextColumn::new(batch.column(position), batch.schema_ref().field(position).name());
    let metrics = column(layout.metric)?;
    let kinds = layout.kind.map(column).transpose()?;
    let units = layout.unit.map(column).transpose()?;
    let helps = layout.help.map(column).transpose()?;
    let text = |column: &Option<TextColumn>, row: usize| {
        column.as_ref().map_or_else(String::new, |column| column.get(row).to_owned())
    };
    let mut columns = BatchColumns::empty(LabelColumns::none());
    for row in 0..batch.num_rows() {
        let metric = metrics.get(row).to_owned();
        if metric.is_empty() {
            columns.refused.add(1, || (Some(row), "the metric is null or empty".to_owned()));
            continue;
        }
        let word = text(&kinds, row);
        let kind = if word.is_empty() { Some(MetricKind::Unknown) } else { MetricKind::from_word(&word) };
        match kind {
            Some(kind) => {
                let (unit, help) = (text(&units, row), text(&helps, row));
                columns.metadata.push(MetricMetadata { metric, kind, unit, help });
            }
            None => columns.refused.add(1, || {
                let allowed = "counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown";
                (Some(row), format!("type is {word:?}; allowed is {allowed}"))
            }),
        }
    }
    Ok(columns)
}
