//! Native histograms and exemplars of a series, in both versions of remote write.
//!
//! Messages: `Histogram { count_int = 1, count_float = 2, sum = 3, schema = 4, zero_threshold = 5, zero_count_int = 6,
//! zero_count_float = 7, negative_spans = 8, negative_deltas = 9, negative_counts = 10, positive_spans = 11,
//! positive_deltas = 12, positive_counts = 13, reset_hint = 14, timestamp = 15, custom_values = 16,
//! start_timestamp = 17 }` (the last in 2.0 only), `BucketSpan { offset = 1, length = 2 }`,
//! `Exemplar { labels = 1, value = 2, timestamp = 3 }` (2.0: `labels_refs = 1`).
//! Not here: whether a histogram makes sense (the storage checks that), but for its count: there senders of remote
//! write are held to what Prometheus holds them to.
//! Source: Prometheus `prompb/types.proto`, `prompb/io/prometheus/write/v2/types.proto`.

use std::sync::Arc;

use mytsdb_storage::model::{
    BUCKET_COUNT_MAX, BucketSpan, Histogram, HistogramLayout, LabelSet, LabelSetError, ResetHint,
    SPAN_COUNT_MAX, UNKNOWN_START_MS,
};

use super::wire::{FIXED64, Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Why bytes are no histogram that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// They are no such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is more of something than a histogram may have.
    #[error("more than {limit} {what}, the limit of a histogram")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Most of them.
        limit: usize,
    },
    /// Something was observed in no bucket, and it was not NaN.
    #[error("buckets hold {in_buckets} observations, the count is {count}, and the sum is not NaN")]
    CountMismatch {
        /// Sum of all buckets.
        in_buckets: f64,
        /// The count.
        count: f64,
    },
}

impl Eq for HistogramError {}

/// Why an exemplar was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExemplarError {
    /// The bytes are no such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its labels make no label set.
    #[error(transparent)]
    Labels(#[from] LabelSetError),
    /// A name or value is not UTF-8.
    #[error("label text {text:?} is not UTF-8")]
    Text {
        /// The text with replacements.
        text: String,
    },
    /// There are too many labels to look at.
    #[error("more than {limit} labels")]
    TooManyLabels {
        /// Most of them.
        limit: usize,
    },
    /// References come in pairs of name and value.
    #[error("{given} label references, an even number is needed")]
    OddLabelReferences {
        /// How many.
        given: usize,
    },
    /// There is no such symbol.
    #[error("label reference {reference} is outside of the {symbol_count} symbols")]
    LabelReference {
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbol_count: usize,
    },
}

/// Reads a histogram and its time. `has_start`: whether field 17 is its start time.
pub(super) fn decode_histogram(bytes: &[u8], has_start: bool) -> Result<(i64, Histogram), HistogramError> {
    let (time_ms, histogram) = decode_fields(bytes, has_start)?;
    check_count(&histogram)?;
    Ok((time_ms, histogram))
}

fn decode_fields(bytes: &[u8], has_start: bool) -> Result<(i64, Histogram), HistogramError> {
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
            8 => push_span(key, &mut reader, &mut layout.negative_spans)?,
            9 => varints(key, &mut reader, &mut negative_deltas)?,
            10 => doubles(key, &mut reader, &mut histogram.negative_counts)?,
            11 => push_span(key, &mut reader, &mut layout.positive_spans)?,
            12 => varints(key, &mut reader, &mut positive_deltas)?,
            13 => doubles(key, &mut reader, &mut histogram.positive_counts)?,
            14 => {
                let number = varint(key, &mut reader)? & U32_MASK;
                histogram.reset_hint = ResetHint::from_number(number).unwrap_or_default();
            }
            15 => time_ms = varint(key, &mut reader)? as i64,
            16 => doubles(key, &mut reader, &mut layout.custom_bounds)?,
            17 if has_start => {
                let start_ms = varint(key, &mut reader)? as i64;
                histogram.start_ms = Some(start_ms).filter(|start_ms| *start_ms != UNKNOWN_START_MS);
            }
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

/// Checks that what was observed lies in a bucket, unless it may have been NaN. Of float histograms it may not: they
/// may be results of arithmetic, and are rounded. What is no count is left to the storage.
fn check_count(histogram: &Histogram) -> Result<(), HistogramError> {
    let is_checked = histogram.layout.is_integer && !histogram.sum.is_nan();
    if !is_checked || histogram.bucket_values().any(|count| count < 0.0) {
        return Ok(());
    }
    let in_buckets = histogram.bucket_values().sum::<f64>() + histogram.zero_count;
    // More than the count is named by the storage.
    if in_buckets < histogram.count {
        return Err(HistogramError::CountMismatch { in_buckets, count: histogram.count });
    }
    Ok(())
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
fn varints(key: Key, reader: &mut Reader<'_>, out: &mut Vec<u64>) -> Result<(), HistogramError> {
    if key.wire_type != LENGTH_DELIMITED {
        return push(out, varint(key, reader)?, BUCKET_COUNT_MAX, "buckets");
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        push(out, packed.varint()?, BUCKET_COUNT_MAX, "buckets")?;
    }
    Ok(())
}

fn doubles(key: Key, reader: &mut Reader<'_>, out: &mut Vec<f64>) -> Result<(), HistogramError> {
    if key.wire_type != LENGTH_DELIMITED {
        return push(out, double(key, reader)?, BUCKET_COUNT_MAX, "buckets or bounds");
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        push(out, packed.double()?, BUCKET_COUNT_MAX, "buckets or bounds")?;
    }
    Ok(())
}

/// What the storage would refuse anyway must not take memory first.
fn push<T>(out: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), HistogramError> {
    if out.len() >= limit {
        return Err(HistogramError::TooMany { what, limit });
    }
    out.push(item);
    Ok(())
}

fn push_span(key: Key, reader: &mut Reader<'_>, out: &mut Vec<BucketSpan>) -> Result<(), HistogramError> {
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
    push(out, span, SPAN_COUNT_MAX, "spans")
}

/// Reads value and time of an exemplar; `read_label` is given its fields 1 as they come.
pub(super) fn decode_exemplar<'a>(
    bytes: &'a [u8],
    mut read_label: impl FnMut(Key, &mut Reader<'a>) -> Result<(), ExemplarError>,
) -> Result<(f64, i64), ExemplarError> {
    let mut reader = Reader::new(bytes);
    let (mut value, mut time_ms) = (0.0, 0);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => read_label(key, &mut reader)?,
            2 => value = double(key, &mut reader)?,
            3 => time_ms = varint(key, &mut reader)? as i64,
            _ => reader.skip(key)?,
        }
    }
    Ok((value, time_ms))
}

/// The labels of an exemplar; they may be none.
pub(super) fn exemplar_labels(pairs: &[(&[u8], &[u8])]) -> Result<LabelSet, ExemplarError> {
    let mut texts = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        texts.push((text(name)?, text(value)?));
    }
    Ok(LabelSet::from_pairs(texts)?)
}

fn text(bytes: &[u8]) -> Result<&str, ExemplarError> {
    std::str::from_utf8(bytes)
        .map_err(|_| ExemplarError::Text { text: String::from_utf8_lossy(bytes).into_owned() })
}
