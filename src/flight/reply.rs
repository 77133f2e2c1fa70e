//! What a `DoPut` stream answers: one acknowledgement per batch, as JSON in `app_metadata`.
//!
//! The fields are GreptimeDB's (`request_id`, `affected_rows`, `elapsed_secs`) and ours. Rows count samples, also in
//! the series layout where a row holds many. A client that does not read its acknowledgements never blocks the
//! stream: beyond a limit they become one summary at the end. A Flight SQL ingest is answered by its number of rows alone,
//! at the end; what was refused of it is said in the trailers of the call.

use std::sync::{Mutex, PoisonError};

use arrow_flight::PutResult;
use arrow_flight::sql::DoPutUpdateResult;
use mytsdb_storage::WriteError;
use prost::Message;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::batch::RefusedRow;

/// Most refused rows that a summary names.
const SUMMARY_ROW_COUNT_MAX: usize = 20;
/// Most bytes of a reason in the trailers of a call.
const TRAILER_BYTES_MAX: usize = 1_000;

/// The acknowledgement of one batch, or of several as a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ack {
    /// The client's number of the batch, or its position in the stream; in a summary the last one.
    pub(super) request_id: i64,
    /// Samples stored.
    pub(super) affected_rows: usize,
    /// From the arrival of the batch until it was durable; in a summary the sum.
    pub(super) elapsed_secs: f64,
    /// Samples refused.
    pub(super) rejected_rows: usize,
    /// Why the first refused sample was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The first refused rows with their reasons; in a summary positions are those in their batches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rejected: Vec<RefusedRow>,
    /// The samples are on disk, as the server's `--wal-sync` says.
    pub(super) durable: bool,
    /// Batches that a summary stands for; absent for a single batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch_count: Option<usize>,
}

impl Ack {
    fn absorb(&mut self, other: Ack) {
        self.request_id = other.request_id;
        self.affected_rows += other.affected_rows;
        self.elapsed_secs += other.elapsed_secs;
        self.rejected_rows += other.rejected_rows;
        self.error = self.error.take().or(other.error);
        let room = SUMMARY_ROW_COUNT_MAX.saturating_sub(self.rejected.len());
        self.rejected.extend(other.rejected.into_iter().take(room));
        self.batch_count = Some(self.batch_count.unwrap_or(1) + other.batch_count.unwrap_or(1));
    }

    /// The message that carries it.
    pub(super) fn to_put_result(&self) -> Result<PutResult, Status> {
        let json = serde_json::to_vec(self)
            .map_err(|error| Status::internal(format!("cannot encode an acknowledgement: {error}")))?;
        Ok(PutResult { app_metadata: json.into() })
    }
}

/// The answer to a Flight SQL ingest: how many rows were stored.
pub(super) fn update_result(total: Option<&Ack>) -> PutResult {
    let record_count = total.map_or(0, |total| total.affected_rows as i64);
    PutResult { app_metadata: DoPutUpdateResult { record_count }.encode_to_vec().into() }
}

/// What ends the call of a Flight SQL ingest of which something was refused: success with trailers if the rest was
/// stored, an error if nothing was.
pub(super) fn refusal_status(total: &Ack) -> Option<Status> {
    let reason = total.error.as_deref()?;
    let rejected_rows = total.rejected_rows;
    if total.affected_rows == 0 {
        return Some(Status::invalid_argument(format!("all {rejected_rows} rows were refused: {reason}")));
    }
    let mut trailers = MetadataMap::new();
    trailers.insert("mytsdb-rejected-rows", MetadataValue::from(rejected_rows as u64));
    let ascii = reason.chars().filter(|letter| letter.is_ascii() && !letter.is_ascii_control());
    if let Ok(reason) = MetadataValue::try_from(ascii.take(TRAILER_BYTES_MAX).collect::<String>()) {
        trailers.insert("mytsdb-rejected-reason", reason);
    }
    Some(Status::with_metadata(Code::Ok, "", trailers))
}

/// When a stream is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckStyle {
    /// Every batch, as JSON.
    PerBatch,
    /// Once, as Flight SQL wants it.
    Total,
}

/// Where the acknowledgements of one stream go.
#[derive(Debug)]
pub(super) struct Acks {
    style: AckStyle,
    replies: mpsc::Sender<Result<PutResult, Status>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    summary: Option<Ack>,
    failure: Option<WriteError>,
}

impl Acks {
    /// Sends to `replies`; its capacity is the number of acknowledgements that may lie unread.
    pub(super) fn new(style: AckStyle, replies: mpsc::Sender<Result<PutResult, Status>>) -> Self {
        Self { style, replies, kept: Mutex::default() }
    }

    /// Takes the outcome of a batch. Never blocks: the WAL's thread calls it.
    pub(super) fn push(&self, ack: Ack, outcome: Result<(), WriteError>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = outcome {
            kept.failure.get_or_insert(error);
            return;
        }
        match &mut kept.summary {
            Some(summary) => summary.absorb(ack),
            None if self.style == AckStyle::Total => kept.summary = Some(ack),
            None => {
                // A closed channel means a client that is gone: nobody is left to tell.
                if let Err(mpsc::error::TrySendError::Full(_)) = self.replies.try_send(ack.to_put_result()) {
                    kept.summary = Some(ack);
                }
            }
        }
    }

    /// What is left to say when all batches are through: the summary, and the failure of the WAL if there was one.
    pub(super) fn take_rest(&self) -> (Option<Ack>, Option<WriteError>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.summary.take(), kept.failure.take())
    }
}

/// The status of a batch that could not be written at all.
pub(super) fn write_status(error: &WriteError) -> Status {
    if error.is_retryable() {
        Status::unavailable(error.to_string())
    } else {
        Status::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(request_id: i64) -> Ack {
        Ack {
            request_id,
            affected_rows: 10,
            elapsed_secs: 0.5,
            rejected_rows: 1,
            error: (request_id == 3).then(|| "third".to_owned()),
            rejected: Vec::new(),
            durable: true,
            batch_count: None,
        }
    }

    #[test]
    fn the_json_has_greptimes_fields_and_ours() {
        let put = ack(3).to_put_result().unwrap();
        let expected = r#"{"request_id":3,"affected_rows":10,"elapsed_secs":0.5,"rejected_rows":1,"error":"third","durable":true}"#;
        assert_eq!(put.app_metadata, expected);
    }

    #[test]
    fn acknowledgements_nobody_reads_become_one_summary() {
        let (sender, mut receiver) = mpsc::channel(2);
        let acks = Acks::new(AckStyle::PerBatch, sender);
        (1..=5).for_each(|id| acks.push(ack(id), Ok(())));
        let (summary, failure) = acks.take_rest();
        let summary = summary.unwrap();
        assert_eq!((summary.request_id, summary.affected_rows, summary.rejected_rows), (5, 30, 3));
        assert_eq!((summary.batch_count, summary.error.as_deref()), (Some(3), Some("third")));
        assert!(failure.is_none());
        assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_ok() && receiver.try_recv().is_err());
    }

    #[test]
    fn flight_sql_is_told_the_total_and_what_was_refused_in_trailers() {
        let (sender, mut receiver) = mpsc::channel(2);
        let acks = Acks::new(AckStyle::Total, sender);
        (1..=5).for_each(|id| acks.push(ack(id), Ok(())));
        assert!(receiver.try_recv().is_err());
        let mut total = acks.take_rest().0.unwrap();
        let result = DoPutUpdateResult::decode(update_result(Some(&total)).app_metadata).unwrap();
        assert_eq!(result.record_count, 50);
        let status = refusal_status(&total).unwrap();
        assert_eq!(status.code(), Code::Ok);
        assert_eq!(status.metadata().get("mytsdb-rejected-rows").unwrap(), "5");
        assert_eq!(status.metadata().get("mytsdb-rejected-reason").unwrap(), "third");
        total.affected_rows = 0;
        assert_eq!(refusal_status(&total).unwrap().code(), Code::InvalidArgument);
        total.error = None;
        assert!(refusal_status(&total).is_none());
    }

    #[test]
    fn a_failed_commit_is_no_acknowledgement() {
        let (sender, mut receiver) = mpsc::channel(2);
        let acks = Acks::new(AckStyle::PerBatch, sender);
        acks.push(ack(1), Err(WriteError::ReadOnly { reason: "disk".to_owned() }));
        assert!(receiver.try_recv().is_err());
        let failure = acks.take_rest().1.unwrap();
        assert_eq!(write_status(&failure).code(), tonic::Code::Unavailable);
    }
}
