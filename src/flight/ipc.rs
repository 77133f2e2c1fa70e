//! Turns the messages of one Flight stream into a schema and record batches, keeping the dictionaries.
//!
//! Input: `FlightData` in order of arrival. Output: [`Message`]. Zero-copy where the body lies aligned in memory.
//! Why not `FlightDataDecoder`: it must own the stream, so that decoding would sit on the async thread.
//!
//! Arrow trusts the header about where buffers lie and how large they become: [`check_buffers`] does not.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow::ipc::{MessageHeader, root_as_message};
use arrow_flight::FlightData;

/// Alignment at which the widest numbers of a body can be read in place.
const ALIGNMENT_BYTES: usize = 16;

/// What a row takes while it is decoded, if it takes nothing of the body: key, group, time, value.
const RUN_ROW_BYTES: usize = 36;

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
    /// The header places a buffer outside the body.
    #[error("a buffer lies at {offset} with {length} bytes, but the body has {body_bytes}")]
    Outside {
        /// Where the buffer begins.
        offset: i64,
        /// Its bytes.
        length: i64,
        /// Bytes of the body.
        body_bytes: usize,
    },
    /// More than the stream may take.
    #[error("{what} has {given} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        given: usize,
        /// The limit.
        limit: usize,
    },
    /// Arrow panicked; the panic is in the log.
    #[error("cannot decode {what}: it is damaged")]
    Damaged {
        /// What was decoded.
        what: &'static str,
    },
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
#[derive(Debug)]
pub(super) struct IpcDecoder {
    schema: Option<SchemaRef>,
    /// Whether a row may take no bytes of the body, as it does in run-end-encoded columns.
    has_runs: bool,
    dictionaries: HashMap<i64, ArrayRef>,
    bytes_max: usize,
}

impl IpcDecoder {
    /// A decoder for messages and dictionaries that take at most `bytes_max` bytes after decompression.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { schema: None, has_runs: false, dictionaries: HashMap::new(), bytes_max }
    }

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
                self.has_runs = schema.fields().iter().any(|field| has_runs(field.data_type()));
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
        if let Some(values) = batch.data() {
            check_buffers(&values, &data.data_body, self.bytes_max)?;
        }
        let dictionaries = &mut self.dictionaries;
        guarded("a dictionary", || {
            let body = aligned(data);
            let version = message.version();
            read_dictionary_impl(&body, batch, schema, dictionaries, &version, false, Default::default())
        })?;
        let given = self.dictionaries.values().map(|dictionary| dictionary.get_buffer_memory_size()).sum();
        if given > self.bytes_max {
            let what = "the dictionaries of the stream";
            return Err(IpcError::TooLarge { what, given, limit: self.bytes_max });
        }
        Ok(())
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
        check_buffers(&batch, &data.data_body, self.bytes_max)?;
        self.check_lengths(&batch)?;
        guarded("a record batch", || {
            let body = aligned(data);
            let version = message.version();
            RecordBatchDecoder::try_new(&body, batch, Arc::clone(schema), &self.dictionaries, &version)?
                .with_require_alignment(false)
                .read_record_batch()
        })
    }

    /// Checks that the rows of a batch fit the limit although they may take no bytes of its body.
    fn check_lengths(&self, batch: &arrow::ipc::RecordBatch<'_>) -> Result<(), IpcError> {
        let row_bytes = if self.has_runs { RUN_ROW_BYTES } else { 1 };
        let nodes = batch.nodes().into_iter().flatten().map(|node| node.length());
        let longest = nodes.chain([batch.length()]).max().unwrap_or(0);
        let given = usize::try_from(longest).unwrap_or(usize::MAX).saturating_mul(row_bytes);
        if given > self.bytes_max {
            let what = "a message with its rows unrolled";
            return Err(IpcError::TooLarge { what, given, limit: self.bytes_max });
        }
        Ok(())
    }
}

/// Returns whether a row of this type may take no bytes of the body.
fn has_runs(kind: &DataType) -> bool {
    match kind {
        DataType::RunEndEncoded(..) | DataType::Null => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            has_runs(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_runs(field.data_type())),
        _ => false,
    }
}

/// Bytes that a message takes when decompressed, as it says itself; those of its body if it says nonsense.
pub(super) fn unpacked_bytes(data: &FlightData) -> usize {
    let body_bytes = data.data_body.len();
    let Ok(message) = root_as_message(&data.data_header) else { return body_bytes };
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    };
    let is_compressed = |batch: &arrow::ipc::RecordBatch<'_>| batch.compression().is_some();
    match batch.filter(is_compressed).map(|batch| buffer_bytes(&batch, &data.data_body)) {
        Some(Ok(unpacked_bytes)) => unpacked_bytes.max(body_bytes),
        _ => body_bytes,
    }
}

/// Runs a decoder of Arrow's on bytes of a stranger: its error and its panic are the sender's mistake.
fn guarded<T>(what: &'static str, decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, IpcError> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|source| body(what, source)),
        Err(_) => Err(IpcError::Damaged { what }),
    }
}

/// Checks that every buffer lies inside the body and how many bytes they have when decompressed.
fn check_buffers(batch: &arrow::ipc::RecordBatch<'_>, body: &[u8], bytes_max: usize) -> Result<(), IpcError> {
    let given = buffer_bytes(batch, body)?;
    if given > bytes_max {
        return Err(IpcError::TooLarge { what: "a decompressed message", given, limit: bytes_max });
    }
    Ok(())
}

/// Bytes of all buffers of a batch when decompressed.
fn buffer_bytes(batch: &arrow::ipc::RecordBatch<'_>, body: &[u8]) -> Result<usize, IpcError> {
    let is_compressed = batch.compression().is_some();
    let mut given = 0_usize;
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (buffer.offset(), buffer.length());
        let outside = || IpcError::Outside { offset, length, body_bytes: body.len() };
        let start = usize::try_from(offset).map_err(|_| outside())?;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let bytes = end.and_then(|end| body.get(start..end)).ok_or_else(outside)?;
        // A compressed buffer begins with its size; -1 says that it is not compressed after all.
        let unpacked = match bytes.first_chunk::<8>().filter(|_| is_compressed) {
            Some(size) => usize::try_from(i64::from_le_bytes(*size)).unwrap_or(bytes.len()),
            None => bytes.len(),
        };
        given = given.saturating_add(unpacked);
    }
    Ok(given)
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

#[cfg(test)]
mod tests {
    use arrow::array::{Array, DictionaryArray, Float64Array};
    use arrow::datatypes::{Field, Int32Type};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::IpcWriteOptions;
    use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
    use bytes::Bytes;
    use futures::{StreamExt, TryStreamExt};
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn messages(compression: Option<CompressionType>) -> Vec<FlightData> {
        let texts: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let values = Float64Array::from(vec![1.0, 2.0, f64::NAN]);
        let schema = Schema::new(vec![
            Field::new("text", texts.data_type().clone(), true),
            Field::new("value", DataType::Float64, true),
        ]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(texts), Arc::new(values)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let encoder = FlightDataEncoderBuilder::new()
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_options(options)
            .build(futures::stream::iter([Ok(batch)]).boxed());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(encoder.try_collect()).unwrap()
    }

    fn decode(messages: &[FlightData], bytes_max: usize) -> Result<Vec<Message>, IpcError> {
        let mut decoder = IpcDecoder::new(bytes_max);
        messages.iter().map(|message| decoder.decode(message)).collect()
    }

    #[test]
    fn a_body_that_is_not_aligned_is_read_all_the_same() {
        let mut messages = messages(None);
        for shift in 0..9 {
            for message in &mut messages {
                let mut shifted = vec![0; shift];
                shifted.extend_from_slice(&message.data_body);
                message.data_body = Bytes::from(shifted).slice(shift..);
            }
            let decoded = decode(&messages, BYTES_MAX).unwrap();
            assert!(matches!(decoded.last(), Some(Message::Batch(batch)) if batch.num_rows() == 3));
        }
    }

    #[test]
    fn a_size_that_only_the_header_of_a_compressed_buffer_claims_is_refused() {
        let mut messages = messages(Some(CompressionType::ZSTD));
        let mut body = messages[2].data_body.to_vec();
        body[..8].copy_from_slice(&(1_i64 << 40).to_le_bytes());
        messages[2].data_body = body.into();
        let error = decode(&messages, BYTES_MAX).unwrap_err();
        assert!(matches!(error, IpcError::TooLarge { given, .. } if given > 1 << 40), "{error}");
    }

    #[test]
    fn dictionaries_have_a_limit_of_their_own() {
        let error = decode(&messages(None), 8).unwrap_err();
        assert!(matches!(error, IpcError::TooLarge { limit: 8, .. }), "{error}");
    }

    #[test]
    fn rows_that_take_no_bytes_of_the_body_have_a_limit_all_the_same() {
        let ends = arrow::array::Int64Array::from(vec![1 << 40]);
        let runs = arrow::array::RunArray::try_new(&ends, &Float64Array::from(vec![1.0])).unwrap();
        let schema = Schema::new(vec![Field::new("value", runs.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(runs)]).unwrap();
        let encoder = FlightDataEncoderBuilder::new()
            .with_max_flight_data_size(usize::MAX)
            .build(futures::stream::iter([Ok(batch)]).boxed());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let messages: Vec<FlightData> = runtime.block_on(encoder.try_collect()).unwrap();
        let error = decode(&messages, BYTES_MAX).unwrap_err();
        assert!(matches!(error, IpcError::TooLarge { given, .. } if given > 1 << 40), "{error}");
    }

    #[test]
    fn the_bytes_that_a_message_unpacks_to_are_known_before() {
        let plain = messages(None);
        assert_eq!(unpacked_bytes(&plain[2]), plain[2].data_body.len());
        let mut packed = messages(Some(CompressionType::ZSTD)).remove(2);
        let mut body = packed.data_body.to_vec();
        body[..8].copy_from_slice(&(1_i64 << 30).to_le_bytes());
        packed.data_body = body.into();
        assert!(unpacked_bytes(&packed) >= 1 << 30);
        packed.data_header = Bytes::from_static(b"nonsense");
        assert_eq!(unpacked_bytes(&packed), packed.data_body.len());
    }

    #[test]
    fn a_second_schema_is_refused() {
        let mut messages = messages(None);
        messages.push(messages[0].clone());
        assert!(matches!(decode(&messages, BYTES_MAX), Err(IpcError::SchemaTwice)));
    }

    proptest! {
        #[test]
        fn damaged_messages_are_an_error_or_a_batch_and_never_more(
            is_compressed in any::<bool>(),
            message in 0..3_usize,
            in_header in any::<bool>(),
            position in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut messages = messages(is_compressed.then_some(CompressionType::LZ4_FRAME));
            let damaged = &mut messages[message];
            let part = if in_header { &mut damaged.data_header } else { &mut damaged.data_body };
            if !part.is_empty() {
                let mut bytes = part.to_vec();
                let position = position.index(bytes.len());
                bytes[position] = byte;
                *part = bytes.into();
            }
            if let Ok(decoded) = decode(&messages, BYTES_MAX) {
                prop_assert_eq!(decoded.len(), 3);
            }
        }
    }
}
