//! The door of the fuzz target: foreign bytes as the messages of a `DoPut` stream.
//!
//! Input: messages one after the other, each as two lengths (`u32`, little endian) and its header and body. What decodes
//! must be readable to its last row, and take no more than the limit.

use arrow_flight::FlightData;
use bytes::Bytes;

use super::columns::{self, TextColumn};
use super::histogram_columns::{self, HistogramColumn};
use super::ipc::{IpcDecoder, Message, unpacked_bytes};
use super::schema::Layout;
use super::table::{Table, VIRTUAL};

const BYTES_MAX: usize = 1 << 20;

/// Decodes `input` as a stream.
///
/// # Panics
/// If what decodes cannot be read.
pub fn messages(input: &[u8]) {
    let mut decoder = IpcDecoder::new(BYTES_MAX);
    let mut rest = input;
    while let Some((message, behind)) = next_message(rest) {
        rest = behind;
        let unpacked = unpacked_bytes(&message);
        match decoder.decode(&message) {
            Ok(Message::Schema(schema)) => {
                for (table, _) in VIRTUAL {
                    // Refused or not: it must come back.
                    let _layout = Layout::detect(&schema, &table);
                }
                let _layout = Layout::detect(&schema, &Table::Metric("m".to_owned()));
            }
            Ok(Message::Batch(batch)) => {
                assert!(unpacked <= BYTES_MAX, "{unpacked} bytes were decoded");
                for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                    read(field, array, batch.num_rows());
                }
            }
            Ok(Message::Dictionary | Message::Empty) => {}
            Err(_) => return,
        }
    }
}

fn next_message(input: &[u8]) -> Option<(FlightData, &[u8])> {
    let (header_bytes, rest) = input.split_first_chunk::<4>()?;
    let (body_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (header_bytes, body_bytes) = (u32::from_le_bytes(*header_bytes), u32::from_le_bytes(*body_bytes));
    let (header, rest) = rest.split_at_checked(header_bytes as usize)?;
    let (body, rest) = rest.split_at_checked(body_bytes as usize)?;
    let data_header = Bytes::copy_from_slice(header);
    let data_body = Bytes::copy_from_slice(body);
    Some((FlightData { data_header, data_body, ..FlightData::default() }, rest))
}

fn read(field: &arrow::datatypes::Field, array: &arrow::array::ArrayRef, row_count: usize) {
    if columns::is_text(field.data_type()) {
        if let Ok(texts) = TextColumn::new(array, field.name()) {
            (0..row_count).for_each(|row| drop(texts.get(row).to_owned()));
        }
    } else if histogram_columns::is_histogram(field.data_type(), false) {
        if let Ok(mut histograms) = HistogramColumn::new(array, field.name()) {
            (0..row_count).for_each(|row| drop(histograms.get(row, None)));
        }
    } else if columns::is_timestamp(field.data_type()) {
        let times = columns::timestamps_ms(array, field);
        assert!(times.is_err() || times.is_ok_and(|times| times.numbers.len() == row_count));
    }
}
