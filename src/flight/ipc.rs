//! Turns the messages of one Flight stream into a schema and record batches, keeping the dictionaries.
//!
//! Input: `FlightData` in order of arrival. Output: [`Message`]. Zero-copy where the body lies aligned in memory.
//! Why not `FlightDataDecoder`: it must own the stream, so that decoding would sit on the async thread.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow::ipc::{MessageHeader, root_as_message};
use arrow_flight::FlightData;

/// Alignment at which the widest numbers of a body can be read in place.
const ALIGNMENT_BYTES: usize = 16;

/// Why a message could not be decoded; always the sender's mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum IpcError {
    /// The header is no Arrow IPC message.
    #[error("data_header is no Arrow IPC message: {0}")]
    Header(String),
    /// Data came before the schema.
    #[error("a {found} arrived before the schema")]
    SchemaMissing {
        /// What arrived.
        found: &'static str,
    },
    /// A second schema.
    #[error("a second schema arrived; start a new stream for another schema")]
    SchemaTwice,
    /// A message that has no meaning here.
    #[error("unexpected Arrow IPC message {0}")]
    Unexpected(String),
    /// The body does not fit the schema, or is damaged.
    #[error("cannot decode {what}: {source}")]
    Body {
        /// What was decoded.
        what: &'static str,
        /// What Arrow says.
        source: ArrowError,
    },
}

/// What one message held.
#[derive(Debug)]
pub(super) enum Message {
    /// The schema of the stream.
    Schema(SchemaRef),
    /// A dictionary; kept for the batches to come.
    Dictionary,
    /// A record batch.
    Batch(RecordBatch),
    /// Only metadata.
    Empty,
}

/// The decoding state of one stream.
#[derive(Debug, Default)]
pub(super) struct IpcDecoder {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl IpcDecoder {
    /// Decodes the next message of the stream.
    pub(super) fn decode(&mut self, data: &FlightData) -> Result<Message, IpcError> {
        if data.data_header.is_empty() {
            return Ok(Message::Empty);
        }
        let message =
            root_as_message(&data.data_header).map_err(|error| IpcError::Header(error.to_string()))?;
        match message.header_type() {
            MessageHeader::NONE => Ok(Message::Empty),
            MessageHeader::Schema => {
                if self.schema.is_some() {
                    return Err(IpcError::SchemaTwice);
                }
                let schema = Schema::try_from(data).map_err(|source| body("the schema", source))?;
                let schema = Arc::new(schema);
                self.schema = Some(Arc::clone(&schema));
                Ok(Message::Schema(schema))
            }
            MessageHeader::DictionaryBatch => {
                self.decode_dictionary(data, &message)?;
                Ok(Message::Dictionary)
            }
            MessageHeader::RecordBatch => self.decode_batch(data, &message).map(Message::Batch),
            other => Err(IpcError::Unexpected(other.variant_name().unwrap_or("of unknown kind").to_owned())),
        }
    }

    fn decode_dictionary(
        &mut self,
        data: &FlightData,
        message: &arrow::ipc::Message<'_>,
    ) -> Result<(), IpcError> {
        let schema = self.schema.as_ref().ok_or(IpcError::SchemaMissing { found: "dictionary" })?;
        let batch = message
            .header_as_dictionary_batch()
            .ok_or_else(|| IpcError::Header("the dictionary batch is missing".to_owned()))?;
        read_dictionary_impl(
            &aligned(data),
            batch,
            schema,
            &mut self.dictionaries,
            &message.version(),
            false,
            Default::default(),
        )
        .map_err(|source| body("a dictionary", source))
    }

    fn decode_batch(
        &self,
        data: &FlightData,
        message: &arrow::ipc::Message<'_>,
    ) -> Result<RecordBatch, IpcError> {
        let schema = self.schema.as_ref().ok_or(IpcError::SchemaMissing { found: "record batch" })?;
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| IpcError::Header("the record batch is missing".to_owned()))?;
        let buffer = aligned(data);
        RecordBatchDecoder::try_new(
            &buffer,
            batch,
            Arc::clone(schema),
            &self.dictionaries,
            &message.version(),
        )
        .and_then(|decoder| decoder.with_require_alignment(false).read_record_batch())
        .map_err(|source| body("a record batch", source))
    }
}

fn body(what: &'static str, source: ArrowError) -> IpcError {
    IpcError::Body { what, source }
}

/// The body as an Arrow buffer: in place if aligned, else copied once as a whole (not column by column).
fn aligned(data: &FlightData) -> Buffer {
    if data.data_body.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES) {
        Buffer::from(data.data_body.clone())
    } else {
        Buffer::from(data.data_body.as_ref())
    }
}
