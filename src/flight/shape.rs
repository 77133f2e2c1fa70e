//! What the rows of a read are: the columns of every table, and the batches of those whose rows are no samples.
//!
//! | Table | Columns |
//! |---|---|
//! | `series`, `resources` | `labels` |
//! | `exemplars` | `labels` (of the series), `timestamp`, `value`, `exemplar_labels` |
//! | `metadata` | `metric`, `type`, `unit`, `help` |
//!
//! Those of samples are in [`super::rows`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use mytsdb_storage::model::{Exemplar, LabelSet, MetricMetadata};

use super::rows::{Content, LabelsBuilder, RowColumns, RowLayout, labels_type, timestamp_type, timestamps};
use super::table::Table;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A sample, or a series with its samples.
    Samples(RowColumns),
    /// A label set.
    Series,
    /// An exemplar.
    Exemplars,
    /// Facts about a metric.
    Metadata,
}

impl Shape {
    /// That of a table; the last three matter for samples only.
    pub(super) fn of(table: &Table, layout: RowLayout, has_starts: bool, content: Content) -> Self {
        match table {
            Table::Samples | Table::Metric(_) => Self::Samples(RowColumns { layout, has_starts, content }),
            Table::Histograms => {
                Self::Samples(RowColumns { layout, has_starts: true, content: Content::Histograms })
            }
            Table::Series | Table::Resources => Self::Series,
            Table::Exemplars => Self::Exemplars,
            Table::Metadata => Self::Metadata,
        }
    }

    /// Its columns.
    pub(super) fn schema(self) -> SchemaRef {
        let fields = match self {
            Self::Samples(columns) => return columns.schema(),
            Self::Series => vec![Field::new("labels", labels_type(), false)],
            Self::Exemplars => vec![
                Field::new("labels", labels_type(), false),
                Field::new("timestamp", timestamp_type(), false),
                Field::new("value", DataType::Float64, false),
                Field::new("exemplar_labels", labels_type(), false),
            ],
            Self::Metadata => {
                let text = |name: &str| Field::new(name, DataType::Utf8, false);
                vec![text("metric"), text("type"), text("unit"), text("help")]
            }
        };
        Arc::new(Schema::new(fields))
    }
}

/// A batch of label sets.
pub(super) fn series_batch<'a>(
    labels: impl Iterator<Item = &'a LabelSet>,
) -> Result<RecordBatch, ArrowError> {
    let mut column = LabelsBuilder::new();
    labels.for_each(|labels| column.push(labels));
    RecordBatch::try_new(Shape::Series.schema(), vec![column.finish()])
}

/// A batch of exemplars with the labels of their series.
pub(super) fn exemplar_batch(exemplars: &[(Arc<LabelSet>, Exemplar)]) -> Result<RecordBatch, ArrowError> {
    let (mut labels, mut exemplar_labels) = (LabelsBuilder::new(), LabelsBuilder::new());
    for (of_series, exemplar) in exemplars {
        labels.push(of_series);
        exemplar_labels.push(&exemplar.labels);
    }
    let times = timestamps(exemplars.iter().map(|(_, exemplar)| exemplar.time_ms).collect());
    let values = Float64Array::from_iter_values(exemplars.iter().map(|(_, exemplar)| exemplar.value));
    let columns = vec![labels.finish(), times, Arc::new(values) as ArrayRef, exemplar_labels.finish()];
    RecordBatch::try_new(Shape::Exemplars.schema(), columns)
}

/// A batch of facts about metrics.
pub(super) fn metadata_batch(metadata: &[MetricMetadata]) -> Result<RecordBatch, ArrowError> {
    fn column<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(texts))
    }
    let columns = vec![
        column(metadata.iter().map(|metric| metric.metric.as_str())),
        column(metadata.iter().map(|metric| metric.kind.as_str())),
        column(metadata.iter().map(|metric| metric.unit.as_str())),
        column(metadata.iter().map(|metric| metric.help.as_str())),
    ];
    RecordBatch::try_new(Shape::Metadata.schema(), columns)
}
