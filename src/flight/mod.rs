//! Arrow Flight: ingest of record batches (`DoPut`) and reads (`DoGet`).
//!
//! Way of a write: gRPC message → [`ipc`] (record batch) → [`schema`] (which column is what) → [`decode_long`] or
//! [`decode_series`] (columns of a `WriteBatch`) → `Storage::submit` → acknowledgement when durable ([`put`], [`reply`]).
//! Way of a read: ticket ([`ticket`]) → PromQL or a table scan → record batches ([`read`], [`rows`]).
//! Tables: `samples` (every series) and one per metric name. Not here: Flight SQL.
//!
//! Layouts of `DoPut` (by column names, or field metadata `mytsdb.role` = metric | timestamp |
//! start_timestamp | value | label | labels):
//!
//! | Layout | Columns | A row is |
//! |---|---|---|
//! | long | `metric`, `timestamp`, `value`, text columns = labels, optional `labels` map | a sample |
//! | per metric | descriptor path = metric name; as long without `metric` | a sample |
//! | series | `labels` map and/or text columns, `timestamps` list, `values` list | a series with many samples |
//!
//! `start_timestamp` may be left out or null: when counting began. In the series layout it is one time for the row or a
//! list of one for each sample. As text it is a label.

mod actions;
mod catalog;
mod columns;
mod decode_long;
mod decode_series;
#[cfg(test)]
mod decode_test;
mod ipc;
mod labels;
mod put;
mod read;
mod reply;
mod rows;
mod schema;
mod service;
mod ticket;

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
    /// Messages up to this size are decoded where they arrive, larger ones on a blocking thread.
    pub inline_bytes_max: usize,
    /// Most rows in a record batch of a read.
    pub read_row_count_max: usize,
    /// Longest time of a query, waiting included.
    pub query_timeout: Duration,
}

impl Default for FlightOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            unread_ack_count_max: 1024,
            batch_in_flight_count_max: 8,
            inline_bytes_max: 64 << 10,
            read_row_count_max: 65_536,
            query_timeout: Duration::from_secs(120),
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
