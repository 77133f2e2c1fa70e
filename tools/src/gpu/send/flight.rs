//! Arrow Flight: a `DoPut` per request, acknowledged when it is durable.
//!
//! Rows are those of the layout `series`: labels as a map, lists of times and values, here of one sample each.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{FlightData, FlightDescriptor};
use tokio::sync::mpsc;

use super::{Outcome, REQUEST_TIMEOUT, SendError, Target, with_name};
use crate::flight_client::{FlightClient, FlightClientError, FlightTarget, PutLimits, PutReport};
use crate::gpu::player::Sample;
use crate::gpu::recording::{Labels, Recording};
use crate::k8s::batch::{labels_column, schema};

/// One attempt; trying again is not done here.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
const LIMITS: PutLimits = PutLimits { in_flight: 2, ack_timeout: REQUEST_TIMEOUT };

/// Sends over one connection.
#[derive(Debug)]
pub struct FlightSender {
    target: FlightTarget,
    recording: Arc<Recording>,
    /// By series: all its labels.
    labels: Vec<Labels>,
    client: Option<FlightClient>,
}

impl FlightSender {
    /// Prepares sending.
    ///
    /// # Errors
    /// None yet: the address is checked when it is connected to.
    pub fn new(target: &Target, recording: Arc<Recording>) -> Result<Self, SendError> {
        let labels = recording.series.iter().map(with_name).collect();
        let target = FlightTarget {
            endpoint: target.endpoint.clone(),
            tenant: target.tenant.clone(),
            connect_timeout: CONNECT_TIMEOUT,
        };
        Ok(Self { target, recording, labels, client: None })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, samples: &[Sample]) -> Result<Outcome, SendError> {
        let batch = self.batch(samples).map_err(SendError::never)?;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut client = FlightClient::connect(&self.target, |_| {}).await.map_err(failure)?;
                let batch = metadata(&self.recording).map_err(SendError::never)?;
                put(&mut client, "metadata", batch).await?;
                client
            }
        };
        let report = put(&mut client, "samples", batch).await?;
        // Kept only while it works.
        self.client = Some(client);
        Ok(Outcome {
            accepted: report.affected_rows,
            rejected: report.rejected_rows,
            reason: report.first_error,
        })
    }

    fn batch(&self, samples: &[Sample]) -> Result<RecordBatch, ArrowError> {
        let rows = samples.iter().filter_map(|sample| self.labels.get(sample.series as usize));
        let times = TimestampMillisecondArray::from_iter_values(samples.iter().map(|sample| sample.time_ms));
        let values = Float64Array::from_iter_values(samples.iter().map(|sample| sample.value));
        let offsets = OffsetBuffer::from_repeated_length(1, samples.len());
        let times = times.with_timezone("UTC");
        let list = |kind: DataType| Arc::new(Field::new_list_field(kind, false));
        let time_lists = ListArray::try_new(
            list(arrow::array::Array::data_type(&times).clone()),
            offsets.clone(),
            Arc::new(times),
            None,
        )?;
        let value_lists = ListArray::try_new(list(DataType::Float64), offsets, Arc::new(values), None)?;
        RecordBatch::try_new(
            schema(),
            vec![labels_column(rows)?, Arc::new(time_lists), Arc::new(value_lists)],
        )
    }
}

/// Rows of the table `metadata`.
fn metadata(recording: &Recording) -> Result<RecordBatch, ArrowError> {
    let metrics = recording.metrics();
    let field = |name: &str| Field::new(name, DataType::Utf8, false);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field("metric"), field("type"), field("help")]));
    let names = StringArray::from_iter_values(metrics.keys());
    let kinds = StringArray::from_iter_values(metrics.values().map(|known| known.kind.as_str()));
    let helps = StringArray::from_iter_values(metrics.values().map(|known| known.help));
    RecordBatch::try_new(schema, vec![Arc::new(names), Arc::new(kinds), Arc::new(helps)])
}

/// Sends one batch into a table.
async fn put(client: &mut FlightClient, table: &str, batch: RecordBatch) -> Result<PutReport, SendError> {
    let mut messages: Vec<FlightData> =
        batches_to_flight_data(&batch.schema(), [&batch]).map_err(SendError::never)?;
    for (at, message) in messages.iter_mut().enumerate() {
        let descriptor = || FlightDescriptor::new_path(vec![table.to_owned()]);
        match at {
            0 => message.flight_descriptor = Some(descriptor()),
            at => message.app_metadata = format!("{{\"request_id\":{at}}}").into(),
        }
    }
    let (sender, receiver) = mpsc::channel(messages.len());
    for message in messages {
        // There is room for all of them.
        sender.send(message).await.map_err(SendError::later)?;
    }
    drop(sender);
    client.put(receiver, LIMITS, |_| {}).await.map_err(failure)
}

fn failure(error: FlightClientError) -> SendError {
    if error.is_temporary() { SendError::later(error) } else { SendError::never(error) }
}
