//! The encoding for chunks of native histograms: one layout, then a column per count.
//!
//! Every column goes through the value codec. Columns are bucket-major: the counts of one bucket follow each other, as
//! they resemble each other. Format: `docs/format/chunk.md`.

use std::borrow::Borrow;

use super::encoder::ChunkEncoder;
use super::format::{HISTOGRAM, HISTOGRAM_CELL_COUNT_MAX, HISTOGRAM_IS_INTEGER, SAMPLE_COUNT_MAX};
use crate::coding::{put_bytes, put_ivarint, put_uvarint};
use crate::model::{BucketSpan, Histogram, HistogramLayout};

/// Columns beside those of the buckets: count, sum and zero count.
pub(super) const FIXED_COLUMN_COUNT: usize = 3;

/// Returns whether the bytes of a value chunk hold histograms.
#[inline]
pub fn is_histogram_chunk(values: &[u8]) -> bool {
    values.first() == Some(&HISTOGRAM)
}

/// Returns how many of the first `rows` fit one chunk: those of one layout, as many as a decoder takes.
pub fn histogram_run_length<R: Borrow<Histogram>>(rows: &[R]) -> usize {
    let Some(first) = rows.first().map(Borrow::borrow) else { return 0 };
    let column_count = FIXED_COLUMN_COUNT + first.positive_counts.len() + first.negative_counts.len();
    let row_count_max = (HISTOGRAM_CELL_COUNT_MAX / column_count).clamp(1, SAMPLE_COUNT_MAX);
    rows.iter().take(row_count_max).take_while(|row| (*row).borrow().has_layout_of(first)).count()
}

/// Memory that encoding reuses.
#[derive(Debug, Default)]
pub(super) struct HistogramScratch {
    column: Vec<f64>,
    bytes: Vec<u8>,
}

impl ChunkEncoder {
    /// Appends the chunk of `rows`, valid histograms of one layout, to `out`; every bit comes back.
    ///
    /// # Panics
    /// If there are no rows, rows of several layouts, or more than [`histogram_run_length`] allows.
    pub fn encode_histograms<R: Borrow<Histogram>>(&mut self, rows: &[R], out: &mut Vec<u8>) {
        assert!(
            !rows.is_empty() && histogram_run_length(rows) == rows.len(),
            "{} histograms are no run of one layout",
            rows.len()
        );
        let first = rows[0].borrow();
        put_layout(self, &first.layout, out);
        put_reset_hints(rows, out);
        put_starts(rows, out);
        self.put_column(rows, |row| row.count, out);
        self.put_column(rows, |row| row.sum, out);
        self.put_column(rows, |row| row.zero_count, out);
        for bucket in 0..first.positive_counts.len() {
            self.put_column(rows, |row| row.positive_counts[bucket], out);
        }
        for bucket in 0..first.negative_counts.len() {
            self.put_column(rows, |row| row.negative_counts[bucket], out);
        }
    }

    fn put_column<R: Borrow<Histogram>>(
        &mut self,
        rows: &[R],
        cell: impl Fn(&Histogram) -> f64,
        out: &mut Vec<u8>,
    ) {
        let mut scratch = std::mem::take(&mut self.histogram);
        scratch.column.clear();
        scratch.column.extend(rows.iter().map(|row| cell(row.borrow())));
        scratch.bytes.clear();
        // Most buckets of most histograms are empty: no bytes stand for zeros.
        if scratch.column.iter().any(|value| value.to_bits() != 0) {
            self.encode_values(&scratch.column, &mut scratch.bytes);
        }
        put_bytes(out, &scratch.bytes);
        self.histogram = scratch;
    }
}

fn put_layout(encoder: &mut ChunkEncoder, layout: &HistogramLayout, out: &mut Vec<u8>) {
    out.push(HISTOGRAM);
    out.push(if layout.is_integer { HISTOGRAM_IS_INTEGER } else { 0 });
    out.push(layout.schema.cast_unsigned());
    out.extend_from_slice(&layout.zero_threshold.to_bits().to_le_bytes());
    put_spans(&layout.positive_spans, out);
    put_spans(&layout.negative_spans, out);
    put_uvarint(out, layout.custom_bounds.len() as u64);
    if !layout.custom_bounds.is_empty() {
        let mut bytes = Vec::new();
        encoder.encode_values(&layout.custom_bounds, &mut bytes);
        put_bytes(out, &bytes);
    }
}

fn put_spans(spans: &[BucketSpan], out: &mut Vec<u8>) {
    put_uvarint(out, spans.len() as u64);
    for span in spans {
        put_ivarint(out, i64::from(span.offset));
        put_uvarint(out, u64::from(span.length));
    }
}

fn put_reset_hints<R: Borrow<Histogram>>(rows: &[R], out: &mut Vec<u8>) {
    for run in rows.chunk_by(|left, right| left.borrow().reset_hint == right.borrow().reset_hint) {
        put_uvarint(out, (run.len() as u64) << 2 | run[0].borrow().reset_hint as u64);
    }
}

fn put_starts<R: Borrow<Histogram>>(rows: &[R], out: &mut Vec<u8>) {
    let mut previous_ms = 0_i64;
    for run in rows.chunk_by(|left, right| left.borrow().start_ms == right.borrow().start_ms) {
        let start_ms = run[0].borrow().start_ms;
        put_uvarint(out, (run.len() as u64) << 1 | u64::from(start_ms.is_some()));
        if let Some(start_ms) = start_ms {
            put_ivarint(out, start_ms.wrapping_sub(previous_ms));
            previous_ms = start_ms;
        }
    }
}
