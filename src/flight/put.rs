//! `DoPut`: reads one stream of batches, writes them in order, acknowledges each when it is durable.
//!
//! Three things overlap: receiving batch n+2 (a task), decoding and appending n+1 (a blocking thread, or here if it is
//! small), and the `fdatasync` of n (the WAL's thread, which then calls back). Each has a bound.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use arrow_flight::{FlightData, PutResult};
use futures::FutureExt;
use mytsdb_storage::model::TenantId;
use mytsdb_storage::{Commit, WriteBatch, WriteReport};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use super::decode_long::{self, Refused, SeriesColumns};
use super::ipc::{IpcDecoder, Message};
use super::labels::RowLabels;
use super::reply::{Ack, Acks};
use super::schema::{Layout, Table};
use super::{FlightOptions, decode_series, ticket};
use crate::core::Core;
use crate::grpc::{Hold, write_status};
use crate::inflight::Reservation;
use crate::rejections::RejectedPoints;

/// Messages received but not yet decoded, per stream.
const MESSAGE_QUEUE_COUNT_MAX: usize = 2;

/// Replies of a stream.
pub(super) type Replies = mpsc::Receiver<Result<PutResult, Status>>;

/// Starts to ingest `input`; returns the replies.
pub(super) fn start(
    core: Arc<Core>,
    options: &FlightOptions,
    tenant: TenantId,
    input: Streaming<FlightData>,
    hold: Option<Hold>,
) -> Replies {
    let (sender, receiver) = mpsc::channel(options.unread_ack_count_max.max(1));
    let put = Put {
        core,
        tenant,
        acks: Arc::new(Acks::new(sender.clone())),
        in_flight: Arc::new(Semaphore::new(options.batch_in_flight_count_max.max(1))),
        inline_bytes_max: options.inline_bytes_max,
        message_bytes_max: options.message_bytes_max,
    };
    let batch_count_max = options.batch_in_flight_count_max.max(1) as u32;
    tokio::spawn(async move {
        let ingested = AssertUnwindSafe(put.ingest(receive(input, hold))).catch_unwind().await;
        // Without a status the client would take the end of the stream for success; the panic is in the log.
        let outcome = ingested.unwrap_or_else(|_| Err(Status::internal("the stream could not be ingested")));
        // All permits back = every batch has its outcome. The semaphore is never closed.
        let _all = put.in_flight.acquire_many(batch_count_max).await;
        let (summary, failure) = put.acks.take_rest();
        if let Some(summary) = summary {
            let _gone = sender.send(summary.to_put_result()).await;
        }
        let failed = failure.map(|error| write_status(&error)).or(outcome.err());
        if let Some(status) = failed {
            let _gone = sender.send(Err(status)).await;
        }
    });
    receiver
}

/// A message, and its bytes in flight.
type Received = (FlightData, Option<Reservation>);

/// Receives ahead, so that the network and the decoder work at the same time.
fn receive(mut input: Streaming<FlightData>, hold: Option<Hold>) -> mpsc::Receiver<Result<Received, Status>> {
    let (sender, receiver) = mpsc::channel(MESSAGE_QUEUE_COUNT_MAX);
    tokio::spawn(async move {
        while let Some(message) = input.message().await.transpose() {
            let is_last = message.is_err();
            let message = message.map(|message| (message, hold.as_ref().map(Hold::take)));
            if sender.send(message).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

struct Put {
    core: Arc<Core>,
    tenant: TenantId,
    acks: Arc<Acks>,
    in_flight: Arc<Semaphore>,
    inline_bytes_max: usize,
    message_bytes_max: usize,
}

impl Put {
    async fn ingest(&self, mut messages: mpsc::Receiver<Result<Received, Status>>) -> Result<(), Status> {
        let mut stream = PutStream {
            core: Arc::clone(&self.core),
            tenant: self.tenant.clone(),
            decoder: IpcDecoder::new(self.message_bytes_max),
            table: None,
            layout: None,
            batch_count: 0,
        };
        while let Some(message) = messages.recv().await {
            let (message, reservation) = message?;
            let arrived = Instant::now();
            let permit = Arc::clone(&self.in_flight)
                .acquire_owned()
                .await
                .map_err(|_| Status::unavailable("server is shutting down"))?;
            let is_small = message.data_body.len() <= self.inline_bytes_max;
            let work = move || {
                let written = stream.take(&message);
                (stream, written)
            };
            let (returned, written) = if is_small {
                work()
            } else {
                self.core.blocking.run(work).await.map_err(|error| Status::unavailable(error.to_string()))?
            };
            stream = returned;
            if let Some((mut ack, commit)) = written? {
                let acks = Arc::clone(&self.acks);
                commit.on_durable(move |outcome| {
                    ack.elapsed_secs = arrived.elapsed().as_secs_f64();
                    acks.push(ack, outcome);
                    drop((permit, reservation));
                });
            }
        }
        Ok(())
    }
}

/// What one stream has said so far.
struct PutStream {
    core: Arc<Core>,
    tenant: TenantId,
    decoder: IpcDecoder,
    table: Option<Table>,
    layout: Option<Layout>,
    batch_count: i64,
}

impl PutStream {
    /// Takes the next message; a batch is appended to the storage and gives an acknowledgement to come.
    fn take(&mut self, data: &FlightData) -> Result<Option<(Ack, Commit)>, Status> {
        if self.table.is_none() {
            let descriptor = data.flight_descriptor.as_ref().ok_or_else(|| {
                Status::invalid_argument(
                    "the first message of DoPut has no descriptor; allowed is a path or a command",
                )
            })?;
            self.table = Some(ticket::put_table(descriptor)?);
        }
        let message =
            self.decoder.decode(data).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match message {
            Message::Schema(schema) => {
                let table = self.table.as_ref().unwrap_or(&Table::Samples);
                let layout = Layout::detect(&schema, table)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                self.layout = Some(layout);
                Ok(None)
            }
            Message::Batch(batch) => {
                let layout = self
                    .layout
                    .as_ref()
                    .ok_or_else(|| Status::invalid_argument("a record batch arrived before the schema"))?;
                self.batch_count += 1;
                let request_id = request_id(&data.app_metadata).unwrap_or(self.batch_count);
                let decode = if layout.is_series { decode_series::decode } else { decode_long::decode };
                let columns = decode(&self.core.storage, &self.tenant, layout, &batch)
                    .map_err(|error| Status::invalid_argument(format!("batch {request_id}: {error}")))?;
                submit(&self.core, &self.tenant, request_id, &columns).map(Some)
            }
            Message::Dictionary | Message::Empty => Ok(None),
        }
    }
}

/// The number that the client gave its batch, if it did.
fn request_id(app_metadata: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct AppMetadata {
        request_id: Option<i64>,
    }
    serde_json::from_slice::<AppMetadata>(app_metadata).ok()?.request_id
}

fn submit(
    core: &Core,
    tenant: &TenantId,
    request_id: i64,
    columns: &SeriesColumns,
) -> Result<(Ack, Commit), Status> {
    let batch = WriteBatch {
        keys: &columns.keys,
        sample_ends: &columns.sample_ends,
        timestamps_ms: &columns.timestamps_ms,
        values: &columns.values,
        starts: columns.starts.runs(),
        labels: &RowLabels { columns: &columns.labels, rows: &columns.rows },
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    let (report, commit) =
        core.storage.submit(tenant, &batch, core.now_ms()).map_err(|error| write_status(&error))?;
    count(core, tenant, &report, &columns.refused);
    remember(core, tenant, &report, &batch, &columns.refused);
    let ack = Ack {
        request_id,
        affected_rows: report.accepted_sample_count,
        elapsed_secs: 0.0,
        rejected_rows: report.rejected_sample_count() + columns.refused.sample_count,
        error: first_reason(&report, columns),
        durable: true,
        batch_count: None,
    };
    Ok((ack, commit))
}

fn count(core: &Core, tenant: &TenantId, report: &WriteReport, refused: &Refused) {
    core.metrics.accepted_samples("flight", report.accepted_sample_count);
    if refused.sample_count > 0 {
        core.metrics.rejected_points("flight", "invalid_sample", tenant.as_str(), refused.sample_count);
    }
    for rejection in &report.rejections {
        let reason = rejection.reason.label();
        core.metrics.rejected_points("flight", reason, tenant.as_str(), rejection.sample_count);
    }
}

/// Keeps what was refused for whoever looks for it.
fn remember(core: &Core, tenant: &TenantId, report: &WriteReport, batch: &WriteBatch<'_>, refused: &Refused) {
    let time_ms = core.now_ms();
    core.rejections.add_batch(tenant, ("flight", time_ms), &report.rejections, batch.labels);
    if let Some(reason) = &refused.first_reason {
        let entry = RejectedPoints {
            time_ms,
            protocol: "flight",
            reason: "invalid_sample",
            metric: String::new(),
            message: reason.clone(),
            point_count: refused.sample_count,
        };
        core.rejections.add(tenant, entry);
    }
}

fn first_reason(report: &WriteReport, columns: &SeriesColumns) -> Option<String> {
    let refused = columns.refused.first_reason.clone();
    refused.or_else(|| {
        let first = report.rejections.first()?;
        let row = columns.rows.get(first.series_index).copied().unwrap_or(0);
        Some(format!("row {row}: {}", first.reason))
    })
}
