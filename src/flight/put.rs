//! `DoPut`: reads one stream of batches, writes them in order, acknowledges each when it is durable.
//!
//! Three things overlap: receiving batch n+2 (a task), decoding and appending n+1 (a blocking thread, or here if it is
//! small), and the `fdatasync` of n (the WAL's thread, which then calls back). Each has a bound; so have the bytes that
//! all streams together hold decompressed. Not here: what becomes of a message (see [`super::write`]).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use arrow_flight::{FlightData, PutResult};
use futures::FutureExt;
use mytsdb_storage::model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Status, Streaming};

use super::FlightOptions;
use super::ipc;
use super::reply::{Ack, AckStyle, Acks, refusal_status, update_result, write_status};
use super::sql::ingest;
use super::ticket::{self, PutTarget};
use super::write::WriteStream;
use crate::core::Core;

/// Messages received but not yet decoded, per stream.
const MESSAGE_QUEUE_COUNT_MAX: usize = 2;

/// Replies of a stream.
pub(super) type Replies = mpsc::Receiver<Result<PutResult, Status>>;

/// What the streams of one service share.
#[derive(Debug)]
pub(super) struct PutRoom {
    core: Arc<Core>,
    options: FlightOptions,
    /// KiB of messages that are being decoded.
    decoding_kib: Arc<Semaphore>,
    decoding_kib_max: u32,
}

impl PutRoom {
    /// Room for `options.decoding_bytes_max` bytes.
    pub(super) fn new(core: Arc<Core>, options: FlightOptions) -> Self {
        let kib = options.decoding_bytes_max.div_ceil(1024).clamp(1, Semaphore::MAX_PERMITS);
        let decoding_kib_max = u32::try_from(kib).unwrap_or(u32::MAX);
        let decoding_kib = Arc::new(Semaphore::new(decoding_kib_max as usize));
        Self { core, options, decoding_kib, decoding_kib_max }
    }

    /// Waits for room to decode a message. One that is larger than all the room gets all of it.
    async fn reserve(&self, message: &FlightData) -> Result<OwnedSemaphorePermit, Status> {
        let kib = u32::try_from(ipc::unpacked_bytes(message).div_ceil(1024)).unwrap_or(u32::MAX);
        let wanted = kib.min(self.decoding_kib_max);
        let permit = Arc::clone(&self.decoding_kib).acquire_many_owned(wanted).await;
        permit.map_err(|_| Status::unavailable("server is shutting down"))
    }
}

/// Starts to ingest `input`; returns the replies. `tenant` is the one that the call names, if it names one.
pub(super) fn start(room: Arc<PutRoom>, tenant: Option<TenantId>, input: Streaming<FlightData>) -> Replies {
    let (sender, receiver) = mpsc::channel(room.options.unread_ack_count_max.max(1));
    tokio::spawn(async move {
        let put = Put { room, replies: sender.clone() };
        let ingested = AssertUnwindSafe(put.ingest(tenant, receive(input))).catch_unwind().await;
        // Without a status the client would take the end of the stream for success; the panic is in the log.
        let outcome = ingested.unwrap_or_else(|_| Err(Status::internal("the stream could not be ingested")));
        if let Err(status) = outcome {
            let _gone = sender.send(Err(status)).await;
        }
    });
    receiver
}

/// Receives ahead, so that the network and the decoder work at the same time.
fn receive(mut input: Streaming<FlightData>) -> Messages {
    let (sender, receiver) = mpsc::channel(MESSAGE_QUEUE_COUNT_MAX);
    tokio::spawn(async move {
        while let Some(message) = input.message().await.transpose() {
            let is_last = message.is_err();
            if sender.send(message).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

type Messages = mpsc::Receiver<Result<FlightData, Status>>;

struct Put {
    room: Arc<PutRoom>,
    replies: mpsc::Sender<Result<PutResult, Status>>,
}

impl Put {
    async fn ingest(&self, tenant: Option<TenantId>, mut messages: Messages) -> Result<(), Status> {
        let Some(first) = messages.recv().await else { return Ok(()) };
        let first = first?;
        let descriptor = first.flight_descriptor.as_ref().ok_or_else(|| {
            Status::invalid_argument(
                "the first message of DoPut has no descriptor; allowed is a path or a command",
            )
        })?;
        let (tenant, table, style) = match ticket::put_target(descriptor)? {
            PutTarget::Table(table) => {
                (tenant.unwrap_or_else(TenantId::anonymous), table, AckStyle::PerBatch)
            }
            PutTarget::Sql(command) => {
                let tenant = ingest::tenant(&command, tenant)?;
                let core = Arc::clone(&self.room.core);
                let of = tenant.clone();
                let checked = self.room.core.blocking.run(move || ingest::table(&core, &of, &command)).await;
                let table = checked.map_err(|error| Status::unavailable(error.to_string()))??;
                (tenant, table, AckStyle::Total)
            }
        };
        table.check_writable()?;
        let options = &self.room.options;
        let stream = WriteStream::new(Arc::clone(&self.room.core), tenant, table, options.message_bytes_max);
        let batch_count_max = options.batch_in_flight_count_max.max(1) as u32;
        let in_flight = Arc::new(Semaphore::new(batch_count_max as usize));
        let acks = Arc::new(Acks::new(style, self.replies.clone()));
        let outcome = self.write(stream, first, messages, &acks, &in_flight).await;
        // All permits back = every batch has its outcome. The semaphore is never closed.
        let _all = in_flight.acquire_many(batch_count_max).await;
        let (summary, failure) = acks.take_rest();
        let failed = failure.map(|error| write_status(&error));
        self.finish(style, summary, failed.map_or(outcome, Err)).await
    }

    async fn write(
        &self,
        mut stream: WriteStream,
        first: FlightData,
        mut messages: Messages,
        acks: &Arc<Acks>,
        in_flight: &Arc<Semaphore>,
    ) -> Result<(), Status> {
        let mut next = Some(Ok(first));
        while let Some(message) = next {
            let message = message?;
            let arrived = Instant::now();
            let permit = Arc::clone(in_flight)
                .acquire_owned()
                .await
                .map_err(|_| Status::unavailable("server is shutting down"))?;
            let room = self.room.reserve(&message).await?;
            let is_small = message.data_body.len() <= self.room.options.inline_bytes_max;
            let work = move || {
                let written = stream.take(&message);
                drop((message, room));
                (stream, written)
            };
            let (returned, written) = if is_small {
                work()
            } else {
                let blocking = &self.room.core.blocking;
                blocking.run(work).await.map_err(|error| Status::unavailable(error.to_string()))?
            };
            stream = returned;
            if let Some((mut ack, commit)) = written? {
                let acks = Arc::clone(acks);
                commit.on_durable(move |outcome| {
                    ack.elapsed_secs = arrived.elapsed().as_secs_f64();
                    acks.push(ack, outcome);
                    drop(permit);
                });
            }
            next = messages.recv().await;
        }
        Ok(())
    }

    /// Says what is left to say when all batches are through.
    async fn finish(
        &self,
        style: AckStyle,
        summary: Option<Ack>,
        outcome: Result<(), Status>,
    ) -> Result<(), Status> {
        match style {
            AckStyle::PerBatch => {
                if let Some(summary) = summary {
                    let _gone = self.replies.send(summary.to_put_result()).await;
                }
                outcome
            }
            AckStyle::Total => {
                let stored = summary.as_ref().map_or(0, |summary| summary.affected_rows);
                outcome.map_err(|status| {
                    let message = format!("{} ({stored} rows before it were stored)", status.message());
                    Status::new(status.code(), message)
                })?;
                match summary.as_ref().and_then(refusal_status) {
                    Some(status) if status.code() != tonic::Code::Ok => Err(status),
                    trailers => {
                        let _gone = self.replies.send(Ok(update_result(summary.as_ref()))).await;
                        trailers.map_or(Ok(()), Err)
                    }
                }
            }
        }
    }
}
