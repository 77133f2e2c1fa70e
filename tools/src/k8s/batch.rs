//! Turns a plan into Arrow Flight messages: one row per series with a run of samples.
//!
//! Input: a [`Plan`] and its clock. Output: `DoPut` messages, window after window over all series of a stream, so that
//! time moves forward for the server as it does in life.
//!
//! # Shape
//! `labels: Map<Utf8, Utf8>`, `timestamps: List<Timestamp(ms, UTC)>`, `values: List<Float64>`, no nulls. The labels of a
//! batch are built once and used again for every window; all rows of a window share one run of timestamps.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, FlightDescriptor, SchemaAsIpc};

use super::model::{Clock, Model, Run};
use super::plan::{Group, Plan, model};
use super::topology::Topology;

/// Bytes of labels that a row has, about.
const LABEL_BYTES: usize = 400;
/// Bytes of a timestamp and a value.
const SAMPLE_BYTES: usize = 16;

/// How samples are cut into messages.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Streams to spread the series over.
    pub stream_count: usize,
    /// Samples of a row.
    pub run_length: usize,
    /// Size of a message, about.
    pub batch_bytes: usize,
}

/// Returns the schema of all batches.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("labels", labels_type(), false),
        Field::new("timestamps", DataType::new_list(timestamp_type(), false), false),
        Field::new("values", DataType::new_list(DataType::Float64, false), false),
    ]))
}

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn entry_fields() -> Fields {
    vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, false)].into()
}

fn entries_field() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

fn labels_type() -> DataType {
    DataType::Map(entries_field(), true)
}

/// Builds the labels column of `rows`.
///
/// # Errors
/// [`ArrowError`] if the labels have more than 2 GiB.
pub fn labels_column<'a, N: AsRef<str> + 'a, V: AsRef<str> + 'a>(
    rows: impl Iterator<Item = &'a Vec<(N, V)>> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let names = StringArray::from_iter_values(rows.clone().flatten().map(|(name, _)| name));
    let values = StringArray::from_iter_values(rows.clone().flatten().map(|(_, value)| value));
    let entries = StructArray::try_new(entry_fields(), vec![Arc::new(names), Arc::new(values)], None)?;
    let offsets = OffsetBuffer::from_lengths(rows.map(Vec::len));
    Ok(Arc::new(MapArray::try_new(entries_field(), offsets, entries, None, true)?))
}

/// A model and how many of its series are sent.
#[derive(Debug)]
struct Source {
    model: Box<dyn Model>,
    sent_count: usize,
}

impl Source {
    fn fill(&mut self, run: &Run<'_>, out: &mut [f64], scratch: &mut Vec<f64>) {
        if self.sent_count == self.model.series_count() {
            return self.model.fill(run, out);
        }
        scratch.resize(self.model.series_count() * run.step_count, 0.0);
        self.model.fill(run, scratch);
        out.copy_from_slice(&scratch[..out.len()]);
    }
}

/// Series that always travel together.
#[derive(Debug)]
struct SeriesBatch {
    labels: ArrayRef,
    sources: Vec<Source>,
    row_count: usize,
}

impl SeriesBatch {
    fn new(topology: &Topology, clock: &Clock, groups: &[Group]) -> Result<Self, ArrowError> {
        let labels = labels_column(groups.iter().flat_map(|group| &group.labels))?;
        let source = |group: &Group| Source {
            model: model(topology, clock, group.kind),
            sent_count: group.labels.len(),
        };
        Ok(Self { row_count: labels.len(), labels, sources: groups.iter().map(source).collect() })
    }

    fn values(&mut self, run: &Run<'_>, scratch: &mut Vec<f64>) -> Vec<f64> {
        let mut values = vec![0.0; self.row_count * run.step_count];
        let mut rest = values.as_mut_slice();
        for source in &mut self.sources {
            let (own, others) = rest.split_at_mut(source.sent_count * run.step_count);
            source.fill(run, own, scratch);
            rest = others;
        }
        values
    }
}

/// The messages of one stream, in order.
#[derive(Debug)]
pub struct StreamBatches {
    clock: Clock,
    run_length: usize,
    batches: Vec<SeriesBatch>,
    /// Next batch of the window.
    position: usize,
    first_step: u64,
    /// The window's timestamps, as often as the largest batch has rows.
    timestamps: ScalarBuffer<i64>,
    scratch: Vec<f64>,
    schema: SchemaRef,
}

impl StreamBatches {
    fn new(clock: &Clock, run_length: usize, batches: Vec<SeriesBatch>) -> Self {
        let mut stream = Self {
            clock: clock.clone(),
            run_length,
            batches,
            position: 0,
            first_step: 0,
            timestamps: Vec::new().into(),
            scratch: Vec::new(),
            schema: schema(),
        };
        stream.fill_timestamps();
        stream
    }

    fn step_count(&self) -> usize {
        (self.clock.step_count - self.first_step).min(self.run_length as u64) as usize
    }

    fn fill_timestamps(&mut self) {
        let row_count = self.batches.iter().map(|batch| batch.row_count).max().unwrap_or(0);
        let steps = self.first_step..self.first_step + self.step_count() as u64;
        let run: Vec<i64> = steps.map(|step| self.clock.time_ms(step)).collect();
        self.timestamps = run.repeat(row_count).into();
    }

    /// Makes the stream go on until `step_count`: after the last batch come those of the new steps.
    pub fn prolong(&mut self, step_count: u64) {
        self.clock.step_count = self.clock.step_count.max(step_count);
        self.fill_timestamps();
    }

    /// Returns the next batch, `None` after the last one.
    ///
    /// # Errors
    /// [`ArrowError`] if a batch does not fit the schema, which would be a defect.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.position == self.batches.len() {
            self.position = 0;
            self.first_step += self.step_count() as u64;
            self.fill_timestamps();
        }
        let step_count = self.step_count();
        if step_count == 0 || self.batches.is_empty() {
            return Ok(None);
        }
        let batch = &mut self.batches[self.position];
        self.position += 1;
        let run = Run { clock: &self.clock, first_step: self.first_step, step_count };
        let values = batch.values(&run, &mut self.scratch);
        let sample_count = batch.row_count * step_count;
        let timestamps = TimestampMillisecondArray::new(self.timestamps.slice(0, sample_count), None);
        let timestamps = lists(timestamps.with_timezone("UTC"), step_count)?;
        let values = lists(Float64Array::new(values.into(), None), step_count)?;
        let columns = vec![Arc::clone(&batch.labels), timestamps, values];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some)
    }
}

/// Cuts `flat` into lists of `length`.
fn lists<T: ArrowPrimitiveType>(flat: PrimitiveArray<T>, length: usize) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new_list_field(arrow::array::Array::data_type(&flat).clone(), false));
    let row_count = arrow::array::Array::len(&flat) / length;
    let offsets = OffsetBuffer::from_repeated_length(length, row_count);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(flat), None)?))
}

/// Spreads the series of `plan` over streams and batches. `horizon` is the grid that models know: that of `clock`, or a
/// longer one if the streams will be prolonged.
///
/// # Errors
/// [`ArrowError`] if the labels of a batch have more than 2 GiB.
pub fn streams(
    topology: &Topology,
    plan: &Plan,
    clock: &Clock,
    horizon: &Clock,
    cut: Cut,
) -> Result<Vec<StreamBatches>, ArrowError> {
    let row_bytes = (cut.run_length as u64).min(clock.step_count) as usize * SAMPLE_BYTES + LABEL_BYTES;
    let row_count_max = (cut.batch_bytes / row_bytes).max(1);
    let mut of_stream: BTreeMap<usize, Vec<SeriesBatch>> = BTreeMap::new();
    for (index, groups) in cut_groups(&plan.groups, row_count_max).into_iter().enumerate() {
        let batch = SeriesBatch::new(topology, horizon, groups)?;
        of_stream.entry(index % cut.stream_count.max(1)).or_default().push(batch);
    }
    Ok(of_stream.into_values().map(|batches| StreamBatches::new(clock, cut.run_length, batches)).collect())
}

/// Cuts `groups` into runs of at most `row_count_max` series; a larger group stays alone.
fn cut_groups(groups: &[Group], row_count_max: usize) -> Vec<&[Group]> {
    let (mut cuts, mut first, mut row_count) = (Vec::new(), 0, 0);
    for (index, group) in groups.iter().enumerate() {
        if index > first && row_count + group.labels.len() > row_count_max {
            cuts.push(&groups[first..index]);
            (first, row_count) = (index, 0);
        }
        row_count += group.labels.len();
    }
    cuts.push(&groups[first..]);
    cuts
}

/// Encodes batches as `DoPut` messages, numbered from 1 in `app_metadata`.
#[derive(Debug)]
pub struct MessageEncoder {
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
    options: IpcWriteOptions,
    request_id: u64,
}

impl Default for MessageEncoder {
    fn default() -> Self {
        Self {
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
            options: IpcWriteOptions::default(),
            request_id: 0,
        }
    }
}

impl MessageEncoder {
    /// Returns the first message: the schema and where the samples go.
    pub fn schema_message(&self) -> FlightData {
        let message: FlightData = SchemaAsIpc::new(&schema(), &self.options).into();
        message.with_descriptor(FlightDescriptor::new_path(vec!["samples".to_owned()]))
    }

    /// Returns the message of `batch`.
    ///
    /// # Errors
    /// [`ArrowError`] as the IPC writer gives it.
    pub fn message(&mut self, batch: &RecordBatch) -> Result<FlightData, ArrowError> {
        self.request_id += 1;
        let (_no_dictionaries, encoded) =
            self.generator.encode(batch, &mut self.dictionaries, &self.options, &mut self.context)?;
        let message: FlightData = encoded.into();
        Ok(message.with_app_metadata(format!("{{\"request_id\":{}}}", self.request_id)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;

    use super::*;
    use crate::k8s::topology::Scale;

    /// All values of a stream, batch after batch.
    fn values(stream: &mut StreamBatches) -> Vec<(i64, u64)> {
        let mut found = Vec::new();
        while let Some(batch) = stream.next_batch().unwrap() {
            let list = |column: usize| {
                batch.column(column).as_any().downcast_ref::<ListArray>().unwrap().values().clone()
            };
            let (times, values) = (list(1), list(2));
            let times = times.as_any().downcast_ref::<TimestampMillisecondArray>().unwrap();
            let values = values.as_any().downcast_ref::<Float64Array>().unwrap();
            found.extend(
                times.values().iter().zip(values.values()).map(|(time, value)| (*time, value.to_bits())),
            );
        }
        found
    }

    #[test]
    fn a_stream_that_is_prolonged_gives_what_a_long_one_gives() {
        let scale = Scale {
            namespaces: 1,
            services: 2,
            pods_per_service: 1,
            containers_per_pod: 2,
            metrics_per_container: 90,
        };
        let topology = Topology::new(scale, 5);
        let plan = Plan::new(&topology, None);
        // A day and more, so that containers restart; the grid begins at the same time.
        let long = Clock::ending_at(600_000 * 200, 600_000, 200);
        let mut short = long.clone();
        short.step_count = 130;
        let cut = Cut { stream_count: 1, run_length: 48, batch_bytes: 1 << 20 };
        let mut whole = streams(&topology, &plan, &long, &long, cut).unwrap();
        let mut prolonged = streams(&topology, &plan, &short, &long, cut).unwrap();
        let mut found = values(&mut prolonged[0]);
        for step_count in [131, 131, 135, 200] {
            prolonged[0].prolong(step_count);
            found.extend(values(&mut prolonged[0]));
        }
        let mut expected = values(&mut whole[0]);
        // Windows are cut differently, the samples are the same ones.
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found.len(), plan.series_count() * 200);
        assert!(found == expected, "values differ");
    }
}
