//! Arrow columns of a batch, for Arrow Flight: labels are built once and used again, values are new for each request.
//!
//! # Shape
//! The long layout: `labels: Map<Utf8, Utf8>` with the name, `timestamp: Timestamp(ms, UTC)`, `value: Float64`; a row is a
//! sample. Columns without nulls.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, MapArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::assemble::GENERATION_DIGITS;
use super::samples::{Sample, generation};

const MS_NS: u64 = 1_000_000;

/// The columns of a batch.
#[derive(Debug, Default)]
pub(super) struct ColumnsBatch {
    /// With the generations that its labels were built for.
    labels: Option<(ArrayRef, Vec<[u8; GENERATION_DIGITS]>)>,
}

/// Returns the schema of the columns of [`Wire::Flight`](super::Wire::Flight).
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("labels", DataType::Map(entries_field(), true), false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, false),
    ]))
}

fn entry_fields() -> Fields {
    vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, false)].into()
}

fn entries_field() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

impl ColumnsBatch {
    /// Returns the rows of a batch at a time.
    ///
    /// # Errors
    /// [`ArrowError`] if the labels have more than 2 GiB.
    pub(super) fn rows(
        &mut self,
        schema: &SchemaRef,
        samples: &[Sample],
        otlp: &[u8],
        values: Vec<f64>,
        time_ns: u64,
    ) -> Result<RecordBatch, ArrowError> {
        let mut generations: Vec<_> = samples.iter().map(|sample| sample.generation_at).collect();
        generations.dedup();
        let generations: Vec<_> = generations.into_iter().map(|at| generation(otlp, at)).collect();
        let labels = match &self.labels {
            Some((labels, known)) if *known == generations => Arc::clone(labels),
            _ => {
                let labels = labels_column(samples, otlp)?;
                self.labels = Some((Arc::clone(&labels), generations));
                labels
            }
        };
        let times = TimestampMillisecondArray::from_value((time_ns / MS_NS) as i64, samples.len());
        let values = Float64Array::new(values.into(), None);
        let columns: Vec<ArrayRef> = vec![labels, Arc::new(times.with_timezone("UTC")), Arc::new(values)];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

fn labels_column(samples: &[Sample], otlp: &[u8]) -> Result<ArrayRef, ArrowError> {
    let names = samples.iter().flat_map(|sample| &sample.labels).map(|(name, _)| name);
    let names = StringArray::from_iter_values(names);
    let values = samples.iter().flat_map(|sample| {
        let digits = generation(otlp, sample.generation_at);
        sample.labels.iter().map(move |(name, value)| match name.as_str() {
            "instance" => with_generation(value, digits),
            _ => value.clone(),
        })
    });
    let values = StringArray::from_iter_values(values);
    let entries = StructArray::try_new(entry_fields(), vec![Arc::new(names), Arc::new(values)], None)?;
    let offsets = OffsetBuffer::from_lengths(samples.iter().map(|sample| sample.labels.len()));
    Ok(Arc::new(MapArray::try_new(entries_field(), offsets, entries, None, true)?))
}

fn with_generation(instance: &str, digits: [u8; GENERATION_DIGITS]) -> String {
    let front = instance.get(..instance.len().saturating_sub(GENERATION_DIGITS)).unwrap_or_default();
    front.chars().chain(digits.map(char::from)).collect()
}
