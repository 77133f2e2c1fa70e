//! Native histograms and exemplars of a series.
//!
//! Messages: `Histogram { count_int = 1, count_float = 2, sum = 3, schema = 4, zero_threshold = 5, zero_count_int = 6,
//! zero_count_float = 7, negative_spans = 8, negative_deltas = 9, negative_counts = 10, positive_spans = 11,
//! positive_deltas = 12, positive_counts = 13, reset_hint = 14, timestamp = 15, custom_values = 16 }`,
//! `BucketSpan { offset = 1, length = 2 }`, `Exemplar { labels = 1, value = 2, timestamp = 3 }`.
//! Not here: whether a histogram makes sense (the storage checks that).
//! Source: Prometheus `prompb/types.proto`.

use std::sync::Arc;

use mytsdb_storage::model::{BucketSpan, Exemplar, Histogram, HistogramLayout, LabelSet, ResetHint};

use super::decode_label;
use crate::remote::wire::{FIXED64, Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Reads a histogram and its time.
pub(super) fn decode_histogram(bytes: &[u8]) -> Result<(i64, Histogram), WireError> {
    let mut reader = Reader::new(bytes);
    let mut layout = HistogramLayout { is_integer: true, ..HistogramLayout::default() };
    let mut histogram = Histogram::default();
    let (mut positive_deltas, mut negative_deltas) = (Vec::new(), Vec::new());
    let mut time_ms = 0;
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                histogram.count = varint(key, &mut reader)? as f64;
                layout.is_integer = true;
            }
            2 => {
                histogram.count = double(key, &mut reader)?;
                layout.is_integer = false;
            }
            3 => histogram.sum = double(key, &mut reader)?,
            // A schema beyond 8 bits is refused as any other that there is not.
            4 => layout.schema = i8::try_from(sint32(key, &mut reader)?).unwrap_or(i8::MAX),
            5 => layout.zero_threshold = double(key, &mut reader)?,
            6 => histogram.zero_count = varint(key, &mut reader)? as f64,
            7 => histogram.zero_count = double(key, &mut reader)?,
            8 => layout.negative_spans.push(span(key, &mut reader)?),
            9 => varints(key, &mut reader, &mut negative_deltas)?,
            10 => doubles(key, &mut reader, &mut histogram.negative_counts)?,
            11 => layout.positive_spans.push(span(key, &mut reader)?),
            12 => varints(key, &mut reader, &mut positive_deltas)?,
            13 => doubles(key, &mut reader, &mut histogram.positive_counts)?,
            14 => {
                let number = varint(key, &mut reader)? & U32_MASK;
                histogram.reset_hint = ResetHint::from_number(number).unwrap_or_default();
            }
            15 => time_ms = varint(key, &mut reader)? as i64,
            16 => doubles(key, &mut reader, &mut layout.custom_bounds)?,
            _ => reader.skip(key)?,
        }
    }
    if layout.is_integer {
        histogram.positive_counts = absolute(&positive_deltas);
        histogram.negative_counts = absolute(&negative_deltas);
    }
    histogram.layout = Arc::new(layout);
    Ok((time_ms, histogram))
}

/// Counts from the differences between neighbouring buckets.
fn absolute(deltas: &[u64]) -> Vec<f64> {
    let mut count = 0_i64;
    let counts = deltas.iter().map(|delta| {
        count = count.wrapping_add(unzigzag(*delta));
        count as f64
    });
    counts.collect()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

fn varint(key: Key, reader: &mut Reader<'_>) -> Result<u64, WireError> {
    key.expect(VARINT)?;
    reader.varint()
}

/// What is above 32 bits is dropped, as every reader of the format does.
const U32_MASK: u64 = u32::MAX as u64;

fn sint32(key: Key, reader: &mut Reader<'_>) -> Result<i32, WireError> {
    Ok(unzigzag(varint(key, reader)? & U32_MASK) as i32)
}

fn double(key: Key, reader: &mut Reader<'_>) -> Result<f64, WireError> {
    key.expect(FIXED64)?;
    reader.double()
}

/// Repeated numbers may be packed or not.
fn varints(key: Key, reader: &mut Reader<'_>, out: &mut Vec<u64>) -> Result<(), WireError> {
    if key.wire_type != LENGTH_DELIMITED {
        out.push(varint(key, reader)?);
        return Ok(());
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        out.push(packed.varint()?);
    }
    Ok(())
}

fn doubles(key: Key, reader: &mut Reader<'_>, out: &mut Vec<f64>) -> Result<(), WireError> {
    if key.wire_type != LENGTH_DELIMITED {
        out.push(double(key, reader)?);
        return Ok(());
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        out.push(packed.double()?);
    }
    Ok(())
}

fn span(key: Key, reader: &mut Reader<'_>) -> Result<BucketSpan, WireError> {
    key.expect(LENGTH_DELIMITED)?;
    let mut reader = Reader::new(reader.payload()?);
    let mut span = BucketSpan::default();
    while let Some(key) = reader.key()? {
        match key.field {
            1 => span.offset = sint32(key, &mut reader)?,
            2 => span.length = varint(key, &mut reader)? as u32,
            _ => reader.skip(key)?,
        }
    }
    Ok(span)
}

/// Reads an exemplar; `None` if its labels make no label set.
pub(super) fn decode_exemplar(bytes: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut pairs = Vec::new();
    let (mut value, mut time_ms) = (0.0, 0);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(LENGTH_DELIMITED)?;
                let (name, value) = decode_label(reader.payload()?)?;
                pairs.push((std::str::from_utf8(name), std::str::from_utf8(value)));
            }
            2 => value = double(key, &mut reader)?,
            3 => time_ms = varint(key, &mut reader)? as i64,
            _ => reader.skip(key)?,
        }
    }
    let texts: Option<Vec<(&str, &str)>> =
        pairs.into_iter().map(|(name, value)| Some((name.ok()?, value.ok()?))).collect();
    let labels = texts.and_then(|pairs| LabelSet::from_pairs(pairs).ok());
    Ok(labels.map(|labels| Exemplar { labels, value, time_ms }))
}
