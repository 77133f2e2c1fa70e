//! One message of a `DoPut` stream: from its bytes to columns of the storage. Synchronous; what may block is called here.
//!
//! Input: `FlightData` in order of arrival. Output: an [`Ack`] to come and the [`Commit`] it waits for.
//! Not here: the stream around it (see [`super::put`]), what is answered (see [`super::reply`]).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::FlightData;
use mytsdb_storage::Commit;
use mytsdb_storage::WriteReport;
use mytsdb_storage::model::TenantId;
use serde::Deserialize;
use tonic::Status;

use super::batch::{BatchColumns, Refused};
use super::columns::ColumnError;
use super::decode_tables::{self, MetadataLayout};
use super::ipc::{IpcDecoder, Message};
use super::reply::{Ack, write_status};
use super::schema::{Layout, RowKind, SchemaError};
use super::table::Table;
use super::{decode_long, decode_series, decode_wide};
use crate::core::Core;

/// How the batches of a stream are read, once its schema is known.
#[derive(Debug)]
enum Reading {
    Samples(Layout),
    Exemplars(Layout),
    Metadata(MetadataLayout),
}

impl Reading {
    fn of(schema: &Schema, table: &Table) -> Result<Self, SchemaError> {
        match table {
            Table::Metadata => MetadataLayout::detect(schema).map(Self::Metadata),
            Table::Exemplars => Layout::detect(schema, table).map(Self::Exemplars),
            _ => Layout::detect(schema, table).map(Self::Samples),
        }
    }

    fn decode(
        &self,
        core: &Core,
        tenant: &TenantId,
        batch: &RecordBatch,
    ) -> Result<BatchColumns, ColumnError> {
        match self {
            Self::Metadata(layout) => decode_tables::metadata(layout, batch),
            Self::Exemplars(layout) => decode_tables::exemplars(&core.storage, tenant, layout, batch),
            Self::Samples(layout) => {
                let decode = match layout.kind {
                    RowKind::Long => decode_long::decode,
                    RowKind::Series => decode_series::decode,
                    RowKind::Wide => decode_wide::decode,
                };
                decode(&core.storage, tenant, layout, batch)
            }
        }
    }
}

/// What one stream has said so far.
#[derive(Debug)]
pub(super) struct WriteStream {
    core: Arc<Core>,
    tenant: TenantId,
    table: Table,
    decoder: IpcDecoder,
    reading: Option<Reading>,
    batch_count: i64,
}

impl WriteStream {
    /// A stream into `table` with messages of at most `message_bytes_max` after decompression.
    pub(super) fn new(core: Arc<Core>, tenant: TenantId, table: Table, message_bytes_max: usize) -> Self {
        let decoder = IpcDecoder::new(message_bytes_max);
        Self { core, tenant, table, decoder, reading: None, batch_count: 0 }
    }

    /// Takes the next message; a batch is appended to the storage and gives an acknowledgement to come.
    pub(super) fn take(&mut self, data: &FlightData) -> Result<Option<(Ack, Commit)>, Status> {
        let message =
            self.decoder.decode(data).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match message {
            Message::Schema(schema) => {
                let reading = Reading::of(&schema, &self.table);
                self.reading = Some(reading.map_err(|error| Status::invalid_argument(error.to_string()))?);
                Ok(None)
            }
            Message::Batch(batch) => {
                let reading = self
                    .reading
                    .as_ref()
                    .ok_or_else(|| Status::invalid_argument("a record batch arrived before the schema"))?;
                self.batch_count += 1;
                let request_id = request_id(&data.app_metadata).unwrap_or(self.batch_count);
                let columns = reading
                    .decode(&self.core, &self.tenant, &batch)
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
    columns: &BatchColumns,
) -> Result<(Ack, Commit), Status> {
    let labels = columns.row_labels();
    let (report, commit) = core
        .storage
        .submit(tenant, &columns.write_batch(&labels), core.now_ms())
        .map_err(|error| write_status(&error))?;
    count(core, tenant, &report, &columns.refused);
    let metadata_count = columns.metadata.len().saturating_sub(report.refused_metadata_count);
    let refused = columns.refused_rows(&report);
    let ack = Ack {
        request_id,
        affected_rows: report.accepted_sample_count + report.accepted_exemplar_count + metadata_count,
        elapsed_secs: 0.0,
        rejected_rows: refused.sample_count,
        error: refused.first_reason(),
        rejected: refused.rows,
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
    for rejection in report.rejections.iter().chain(&report.exemplar_rejections) {
        let reason = rejection.reason.label();
        core.metrics.rejected_points("flight", reason, tenant.as_str(), rejection.sample_count);
    }
}
