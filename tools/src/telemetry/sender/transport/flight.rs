//! Arrow Flight: a worker's batches go over one `DoPut` stream, each acknowledged by its number.
//!
//! Input: requests with columns. Output: their acknowledgements. A stream that ended is opened again by the next request.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::record_batch::RecordBatch;
use arrow_flight::{FlightData, FlightDescriptor, SchemaAsIpc};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::flight_client::{Ack, FlightClient, FlightClientError, PutLimits, PutReport};
use crate::telemetry::replay::Request;
use crate::telemetry::sender::answer::{Answer, Code};

/// A worker's way to Arrow Flight.
#[derive(Debug)]
pub struct FlightTransport {
    client: FlightClient,
    ack_timeout: Duration,
    stream: Option<PutStream>,
}

/// An open stream.
#[derive(Debug)]
struct PutStream {
    schema: SchemaRef,
    messages: mpsc::Sender<FlightData>,
    acks: UnboundedReceiver<Ack>,
    put: JoinHandle<Result<PutReport, FlightClientError>>,
    request_id: u64,
}

impl FlightTransport {
    /// Sends over `channel`, with `metadata` on every stream.
    pub fn new(channel: Channel, metadata: MetadataMap, ack_timeout: Duration) -> Self {
        Self { client: FlightClient::over(channel, metadata), ack_timeout, stream: None }
    }

    /// Sends one batch and waits for its acknowledgement.
    pub async fn send(&mut self, request: &Request) -> Answer {
        let Some(batch) = &request.columns else {
            return Answer::unsendable("the request has no columns");
        };
        // While a batch is on its way the stream is not kept: one that is given up takes its stream with it.
        let mut stream = match self.stream.take().filter(|stream| stream.schema == batch.schema()) {
            Some(stream) => stream,
            None => self.open(batch.schema()).await,
        };
        let message = match stream.message(batch) {
            Ok(message) => message,
            Err(error) => return Answer::unsendable(&format!("the batch cannot be encoded: {error}")),
        };
        // If the stream has ended, there is no acknowledgement either.
        let _ended = stream.messages.send(message).await;
        let Some(ack) = stream.acks.recv().await else { return ended(stream.put.await) };
        self.stream = Some(stream);
        Answer::Taken { code: Code::Acknowledged, rejected_count: ack.rejected_rows, message: ack.error }
    }

    async fn open(&self, schema: SchemaRef) -> PutStream {
        let (messages, receiver) = mpsc::channel(2);
        let (ack_sender, acks) = mpsc::unbounded_channel();
        let mut client = self.client.clone();
        let limits = PutLimits { in_flight: 1, ack_timeout: self.ack_timeout };
        let put = tokio::spawn(async move {
            // Nobody may wait any more.
            client.put(receiver, limits, |ack| drop(ack_sender.send(ack.clone()))).await
        });
        let first: FlightData = SchemaAsIpc::new(&schema, &IpcWriteOptions::default()).into();
        let first = first.with_descriptor(FlightDescriptor::new_path(vec!["samples".to_owned()]));
        // If the stream has ended already, its end says why.
        let _ended = messages.send(first).await;
        PutStream { schema, messages, acks, put, request_id: 0 }
    }
}

impl PutStream {
    fn message(&mut self, batch: &RecordBatch) -> Result<FlightData, ArrowError> {
        self.request_id += 1;
        let (_no_dictionaries, encoded) = IpcDataGenerator::default().encode(
            batch,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
            &mut IpcWriteContext::default(),
        )?;
        let message: FlightData = encoded.into();
        Ok(message.with_app_metadata(format!("{{\"request_id\":{}}}", self.request_id)))
    }
}

/// What the end of a stream means for the batch that was on its way.
fn ended(put: Result<Result<PutReport, FlightClientError>, tokio::task::JoinError>) -> Answer {
    match put {
        Ok(Err(FlightClientError::Status(status))) => Answer::of_status(&status),
        Ok(Err(error)) => Answer::broken(&error.to_string()),
        Ok(Ok(_)) => Answer::broken("the server ended the stream"),
        Err(error) => Answer::broken(&error.to_string()),
    }
}
