//! The client's side of Arrow Flight: connects with patience, puts batches, reads acknowledgements, asks PromQL.
//!
//! Input: encoded messages. Output: what the server acknowledged. At most a fixed number of batches is on the way;
//! acknowledgements are read while batches are sent.
//! Not here: what the batches hold (see [`crate::k8s::batch`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Array, Float64Array};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult, Ticket};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Header that names the tenant.
const TENANT_HEADER: &str = "x-scope-orgid";
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why talking to the server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlightClientError {
    /// The address is no URL.
    #[error("{endpoint:?} is no address: {reason}; write http://host:port")]
    Address {
        /// What was given.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The tenant cannot be a header.
    #[error("{tenant:?} is no tenant: only visible ASCII is allowed")]
    Tenant {
        /// What was given.
        tenant: String,
    },
    /// Nobody answered in time.
    #[error("cannot connect to {endpoint} after {waited:?}: {reason}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
    /// The server refused a call or broke it off.
    #[error("the server answered {:?}: {}", .0.code(), .0.message())]
    Status(#[from] Box<Status>),
    /// No acknowledgement came for a long time.
    #[error("no acknowledgement for {waited:?} with {batch_count} batches on the way")]
    AckTimeout {
        /// How long.
        waited: Duration,
        /// Batches sent but not acknowledged.
        batch_count: u64,
    },
    /// The server ended the stream before all was sent.
    #[error("the server ended the stream after {acknowledged} batches, before all were sent")]
    EndedEarly {
        /// Batches acknowledged.
        acknowledged: u64,
    },
    /// The stream ended without an acknowledgement for every batch.
    #[error("the server acknowledged {acknowledged} of {sent} batches")]
    Unacknowledged {
        /// Batches sent.
        sent: u64,
        /// Batches acknowledged.
        acknowledged: u64,
    },
    /// An acknowledgement or answer that the contract does not know.
    #[error("cannot read the server's answer: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

impl FlightClientError {
    /// Whether another try may work: nobody was there, or the server broke off or says that it is busy.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Tenant { .. } | Self::Answer { .. } => false,
            Self::Status(status) => !matches!(
                status.code(),
                Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented
            ),
            _ => true,
        }
    }
}

impl From<Status> for FlightClientError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Whom to talk to and how.
#[derive(Debug, Clone)]
pub struct FlightTarget {
    /// `http://host:port`.
    pub endpoint: String,
    /// Sent with every call, if given.
    pub tenant: Option<String>,
    /// How long to try to connect.
    pub connect_timeout: Duration,
}

/// A connection.
#[derive(Debug, Clone)]
pub struct FlightClient {
    inner: FlightServiceClient<Channel>,
    /// Sent with every call.
    metadata: MetadataMap,
}

/// Limits of a `DoPut`.
#[derive(Debug, Clone, Copy)]
pub struct PutLimits {
    /// Batches on the way.
    pub in_flight: usize,
    /// How long to wait for an acknowledgement.
    pub ack_timeout: Duration,
}

/// The acknowledgement of one batch, or of several as a summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// Number of the batch; 0 = the stream was accepted.
    pub request_id: u64,
    /// Samples stored.
    pub affected_rows: u64,
    /// Samples refused.
    pub rejected_rows: u64,
    /// Why the first one was refused.
    pub error: Option<String>,
    /// Batches it stands for.
    pub batch_count: u64,
}

/// What became of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PutReport {
    /// Batches acknowledged.
    pub batch_count: u64,
    /// Samples stored.
    pub affected_rows: u64,
    /// Samples refused.
    pub rejected_rows: u64,
    /// The first reason given.
    pub first_error: Option<String>,
}

impl PutReport {
    /// Adds what became of another stream or batch.
    pub fn add(&mut self, other: PutReport) {
        self.batch_count += other.batch_count;
        self.affected_rows += other.affected_rows;
        self.rejected_rows += other.rejected_rows;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

impl FlightClient {
    /// Connects, trying again until `target.connect_timeout` is over; `on_retry` hears the first reason.
    ///
    /// # Errors
    /// [`FlightClientError`] for an address or tenant that cannot be, or if nobody answers in time.
    pub async fn connect(
        target: &FlightTarget,
        on_retry: impl FnOnce(&str) + Send,
    ) -> Result<Self, FlightClientError> {
        let endpoint = endpoint(&target.endpoint)?;
        let mut metadata = MetadataMap::new();
        if let Some(tenant) = &target.tenant {
            let value = tenant.parse().map_err(|_| FlightClientError::Tenant { tenant: tenant.clone() })?;
            metadata.insert(TENANT_HEADER, value);
        }
        let (started, mut pause, mut on_retry) = (Instant::now(), Duration::from_millis(50), Some(on_retry));
        loop {
            let reason = match endpoint.connect().await {
                Ok(channel) => return Ok(Self::over(channel, metadata)),
                Err(error) => reason(&error),
            };
            if started.elapsed() + pause > target.connect_timeout {
                let (endpoint, waited) = (target.endpoint.clone(), target.connect_timeout);
                return Err(FlightClientError::Connect { endpoint, waited, reason });
            }
            if let Some(tell) = on_retry.take() {
                tell(&reason);
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Uses a connection that is there already; `metadata` goes with every call.
    pub fn over(channel: Channel, metadata: MetadataMap) -> Self {
        let inner = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { inner, metadata }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), tonic::Extensions::default(), message)
    }

    /// Sends `messages` (the first one holds schema and descriptor, every other one a batch); `on_ack` hears every
    /// acknowledgement.
    ///
    /// # Errors
    /// [`FlightClientError`] if the server breaks off, stays silent or acknowledges less than was sent. Refused samples
    /// are no error here; the report counts them.
    pub async fn put(
        &mut self,
        messages: mpsc::Receiver<FlightData>,
        limits: PutLimits,
        mut on_ack: impl FnMut(&Ack),
    ) -> Result<PutReport, FlightClientError> {
        // One more for the message with the schema, which nobody acknowledges.
        let permits = Arc::new(Semaphore::new(limits.in_flight + 1));
        let sent = Arc::new(Sent::default());
        let request = self.request(bounded(messages, Arc::clone(&permits), Arc::clone(&sent)));
        let call = self.inner.do_put(request);
        let mut answers = timeout(limits.ack_timeout, call)
            .await
            .map_err(|_| FlightClientError::AckTimeout { waited: limits.ack_timeout, batch_count: 0 })??
            .into_inner();
        let batches_sent = || sent.message_count.load(Ordering::Relaxed).saturating_sub(1);
        let mut report = PutReport::default();
        loop {
            let answer = match timeout(limits.ack_timeout, answers.next()).await {
                Ok(Some(answer)) => answer?,
                Ok(None) => break,
                Err(_) if batches_sent() == report.batch_count => continue,
                Err(_) => {
                    let batch_count = batches_sent() - report.batch_count;
                    return Err(FlightClientError::AckTimeout { waited: limits.ack_timeout, batch_count });
                }
            };
            let ack = Ack::read(&answer)?;
            if ack.request_id > 0 {
                permits.add_permits(ack.batch_count as usize);
                on_ack(&ack);
                report.add(ack.into());
            }
        }
        let (sent_count, acknowledged) = (batches_sent(), report.batch_count);
        if acknowledged != sent_count {
            return Err(FlightClientError::Unacknowledged { sent: sent_count, acknowledged });
        }
        if !sent.is_all.load(Ordering::Relaxed) {
            return Err(FlightClientError::EndedEarly { acknowledged });
        }
        Ok(report)
    }

    /// Asks for the sum of the values of an instant query, nothing = 0.
    ///
    /// # Errors
    /// [`FlightClientError`] if the server refuses, or its answer has no `value` column of `Float64`.
    pub async fn query_sum(&mut self, promql: &str, time_ms: i64) -> Result<f64, FlightClientError> {
        let time_s = time_ms as f64 / 1e3;
        let ticket = json!({"promql": promql, "start": time_s, "end": time_s, "step": 1});
        let request = self.request(Ticket::new(ticket.to_string()));
        let data = self.inner.do_get(request).await?.into_inner();
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data.map_err(FlightError::from));
        let mut sum = 0.0;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| answer_error(error.to_string()))?;
            let values = batch.column_by_name("value").and_then(|column| column.as_any().downcast_ref());
            let values: &Float64Array =
                values.ok_or_else(|| answer_error("there is no column \"value\" of Float64".to_owned()))?;
            sum += values.iter().flatten().sum::<f64>();
        }
        Ok(sum)
    }
}

fn answer_error(reason: String) -> FlightClientError {
    FlightClientError::Answer { reason }
}

fn endpoint(address: &str) -> Result<Endpoint, FlightClientError> {
    let wrong = |reason: String| FlightClientError::Address { endpoint: address.to_owned(), reason };
    if !address.starts_with("http://") {
        return Err(wrong("it does not start with http://".to_owned()));
    }
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(reason(&error)))?;
    Ok(endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .connect_timeout(Duration::from_secs(5)))
}

/// An error with all its causes; the outermost one of a transport says little.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// How far the sending side of a stream is.
#[derive(Debug, Default)]
struct Sent {
    message_count: AtomicU64,
    is_all: AtomicBool,
}

/// Passes `messages` on, each when there is a permit.
fn bounded(
    messages: mpsc::Receiver<FlightData>,
    permits: Arc<Semaphore>,
    sent: Arc<Sent>,
) -> impl Stream<Item = FlightData> + Send + 'static {
    stream::unfold((messages, permits, sent), |(mut messages, permits, sent)| async move {
        let Some(message) = messages.recv().await else {
            sent.is_all.store(true, Ordering::Relaxed);
            return None;
        };
        // The semaphore is never closed; the permit comes back with the acknowledgement.
        permits.acquire().await.ok()?.forget();
        sent.message_count.fetch_add(1, Ordering::Relaxed);
        Some((message, (messages, permits, sent)))
    })
}

impl Ack {
    /// Reads `{"request_id":7,"affected_rows":…,"rejected_rows":…,"error":…}`.
    fn read(answer: &PutResult) -> Result<Self, FlightClientError> {
        let json: Value = serde_json::from_slice(&answer.app_metadata)
            .map_err(|error| answer_error(format!("an acknowledgement is no JSON: {error}")))?;
        let number = |name: &str| json.get(name).and_then(Value::as_u64);
        let request_id = number("request_id")
            .ok_or_else(|| answer_error(format!("an acknowledgement has no request_id: {json}")))?;
        Ok(Self {
            request_id,
            affected_rows: number("affected_rows").unwrap_or(0),
            rejected_rows: number("rejected_rows").unwrap_or(0),
            error: json.get("error").and_then(Value::as_str).map(str::to_owned),
            batch_count: number("batch_count").unwrap_or(1),
        })
    }
}

impl From<Ack> for PutReport {
    fn from(ack: Ack) -> Self {
        Self {
            batch_count: ack.batch_count,
            affected_rows: ack.affected_rows,
            rejected_rows: ack.rejected_rows,
            first_error: ack.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(json: &str) -> Result<Ack, FlightClientError> {
        Ack::read(&PutResult { app_metadata: json.to_owned().into() })
    }

    #[test]
    fn acknowledgements_are_greptimes_with_more() {
        let plain = ack(r#"{"request_id":3,"affected_rows":5,"elapsed_secs":0.1}"#).unwrap();
        assert_eq!((plain.request_id, plain.affected_rows, plain.batch_count), (3, 5, 1));
        let full =
            ack(r#"{"request_id":9,"affected_rows":5,"rejected_rows":2,"error":"late","batch_count":4}"#);
        let full = full.unwrap();
        assert_eq!((full.rejected_rows, full.error.as_deref(), full.batch_count), (2, Some("late"), 4));
    }

    #[test]
    fn answers_without_a_number_are_refused() {
        for json in ["", "{}", r#"{"request_id":"x"}"#] {
            assert!(matches!(ack(json), Err(FlightClientError::Answer { .. })), "{json}");
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_is_refused_at_once() {
        for address in ["localhost:8815", "http://", "https://localhost:8815"] {
            let connect_timeout = Duration::from_secs(30);
            let target = FlightTarget { endpoint: address.to_owned(), tenant: None, connect_timeout };
            let error = FlightClient::connect(&target, |_| {}).await.unwrap_err();
            assert!(matches!(error, FlightClientError::Address { .. }), "{address}: {error}");
        }
    }

    #[tokio::test]
    async fn nobody_at_home_is_said_with_address_and_reason() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let connect_timeout = Duration::from_millis(120);
        let target = FlightTarget { endpoint: endpoint.clone(), tenant: None, connect_timeout };
        let mut retry = None;
        let error =
            FlightClient::connect(&target, |reason| retry = Some(reason.to_owned())).await.unwrap_err();
        assert!(error.to_string().contains(&endpoint), "{error}");
        assert!(retry.is_some());
    }
}
