//! Arrow Flight and Flight SQL: ingest of record batches (`DoPut`) and reads (`DoGet`).
//!
//! Way of a write: gRPC message → [`ipc`] (record batch) → [`schema`] (which column is what) → a decoder (columns of a
//! `WriteBatch`, [`batch`]) → `Storage::submit` ([`write`]) → acknowledgement when durable ([`put`], [`reply`]).
//! Way of a read: ticket ([`ticket`]) → PromQL ([`read`]) or the rows of a table ([`scan`]) → record batches ([`rows`],
//! [`shape`]). Tables: [`table`]. Messages of Flight SQL: [`sql`]. Described for users in `docs/flight.md`.
//!
//! Layouts of `DoPut` (by column names, or field metadata `mytsdb.role` = metric | timestamp |
//! start_timestamp | value | field | label | labels | histogram | exemplar_labels):
//!
//! | Layout | Columns | A row is |
//! |---|---|---|
//! | long | `metric`, `timestamp`, `value`, text columns = labels, optional `labels` map | a sample |
//! | per metric | descriptor path = metric name; as long without `metric` | a sample |
//! | series | `labels` map and/or text columns, `timestamps` list, `values` list | a series with many samples |
//! | wide | descriptor path = table; `timestamp`, labels, several float columns or fields | a sample of each `<table>_<column>` |
//!
//! `start_timestamp` may be left out or null: when counting began. In the series layout it is one time for the row or a
//! list of one for each sample. As text it is a label. `histogram` holds a native histogram instead of a `value`.

mod actions;
mod batch;
mod catalog;
mod columns;
mod decode_histograms;
mod decode_long;
mod decode_series;
mod decode_tables;
#[cfg(test)]
mod decode_test;
mod decode_wide;
mod histogram_columns;
mod ipc;
mod labels;
mod put;
mod read;
mod reply;
mod rows;
mod scan;
mod schema;
#[cfg(test)]
mod schema_test;
mod service;
mod shape;
mod sql;
mod table;
mod ticket;
mod write;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;

use crate::core::Core;

pub use service::MetricsFlight;
pub(crate) use service::TENANT_KEYS;

/// Settings and limits of the Flight service.
#[derive(Debug, Clone)]
pub struct FlightOptions {
    /// Largest gRPC message in bytes, compressed or not.
    pub message_bytes_max: usize,
    /// Acknowledgements that wait for a client which does not read; further ones become one summary at the end.
    pub unread_ack_count_max: usize,
    /// Batches of one stream that are written but not yet durable; the stream is read no further meanwhile.
    pub batch_in_flight_count_max: usize,
    /// Bytes of messages that are being decoded at one time, of all streams together; further ones wait.
    pub decoding_bytes_max: usize,
    /// Messages up to this size are decoded where they arrive, larger ones on a blocking thread.
    pub inline_bytes_max: usize,
    /// Most rows in a record batch of a read.
    pub read_row_count_max: usize,
    /// Longest time of a query, waiting included.
    pub query_timeout: Duration,
    /// Whether actions may do what the admin API does.
    pub is_admin_api_enabled: bool,
}

impl Default for FlightOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            unread_ack_count_max: 1024,
            batch_in_flight_count_max: 8,
            decoding_bytes_max: 256 << 20,
            inline_bytes_max: 64 << 10,
            read_row_count_max: 65_536,
            query_timeout: Duration::from_secs(120),
            is_admin_api_enabled: false,
        }
    }
}

/// Creates the gRPC service over `core`.
pub fn service(core: Arc<Core>, options: FlightOptions) -> FlightServiceServer<MetricsFlight> {
    let message_bytes_max = options.message_bytes_max;
    FlightServiceServer::new(MetricsFlight::new(core, options))
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
}
