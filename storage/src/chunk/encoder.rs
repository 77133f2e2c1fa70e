//! The writing side of the room: holds the contest between encodings.
//!
//! Input: columns of samples. Output: the bytes of a chunk, appended.

use super::constant;
use super::decimal::DecimalColumn;
use super::exceptions;
use super::float_bits;
use super::format::{EXPONENT_SHIFT, HAS_EXCEPTIONS, SAMPLE_COUNT_MAX};
use super::histogram::HistogramScratch;
use super::integers::{IntegerEncoder, IntegerPlan};
use super::timestamps::TimestampEncoder;

/// Encodes columns of values and timestamps; keeps its scratch memory between chunks.
///
/// What it remembers of one chunk only speeds up the next: the bytes are a function of the samples alone.
#[derive(Debug, Default)]
pub struct ChunkEncoder {
    decimal: DecimalColumn,
    decimal_integers: IntegerEncoder,
    bits: BitsColumn,
    bits_integers: IntegerEncoder,
    timestamps: TimestampEncoder,
    pub(super) histogram: HistogramScratch,
}

#[derive(Debug, Default)]
struct BitsColumn {
    integers: Vec<i64>,
    misfits: Vec<u32>,
}

/// Below this many bytes a sample, decimals cannot lose to the bits of the floats.
const DECIMAL_SURE_BYTES: usize = 4;

impl ChunkEncoder {
    /// An encoder without scratch memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the chunk of `values` to `out`; every bit of every float comes back.
    ///
    /// # Panics
    /// If there are no values or more than [`SAMPLE_COUNT_MAX`].
    ///
    /// # Cost
    /// O(samples); allocates only while the scratch memory grows.
    pub fn encode_values(&mut self, values: &[f64], out: &mut Vec<u8>) {
        assert_sample_count(values.len());
        if constant::is_applicable(values) {
            return constant::write(values[0], out);
        }
        let decimal = self.estimate_decimal(values);
        if let Some((plan, bytes)) = decimal
            && bytes <= values.len() * DECIMAL_SURE_BYTES
        {
            return self.write_decimal(values, &plan, out);
        }
        let (bits_plan, bits_bytes) = self.estimate_bits(values);
        match decimal {
            Some((plan, bytes)) if bytes <= bits_bytes => self.write_decimal(values, &plan, out),
            _ => {
                let column = (&self.bits_integers, bits_plan);
                write_column(values, float_bits::EXPONENT_ID, &self.bits.misfits, column, out);
            }
        }
    }

    /// Appends the chunk of `timestamps_ms` to `out`: milliseconds, strictly ascending.
    ///
    /// # Panics
    /// If there are no timestamps or more than [`SAMPLE_COUNT_MAX`], or if they do not ascend.
    pub fn encode_timestamps(&mut self, timestamps_ms: &[i64], out: &mut Vec<u8>) {
        assert_sample_count(timestamps_ms.len());
        self.timestamps.encode(timestamps_ms, out);
    }

    fn estimate_decimal(&mut self, values: &[f64]) -> Option<(IntegerPlan, usize)> {
        if !self.decimal.find(values) {
            return None;
        }
        let plan = self.decimal_integers.plan(&self.decimal.integers);
        Some((plan, plan.bytes + exceptions::estimate(values, &self.decimal.misfits)))
    }

    fn estimate_bits(&mut self, values: &[f64]) -> (IntegerPlan, usize) {
        float_bits::convert(values, &mut self.bits.integers, &mut self.bits.misfits);
        let plan = self.bits_integers.plan(&self.bits.integers);
        (plan, plan.bytes + exceptions::estimate(values, &self.bits.misfits))
    }

    fn write_decimal(&self, values: &[f64], plan: &IntegerPlan, out: &mut Vec<u8>) {
        let column = (&self.decimal_integers, *plan);
        write_column(values, self.decimal.exponent, &self.decimal.misfits, column, out);
    }
}

fn assert_sample_count(count: usize) {
    assert!(
        (1..=SAMPLE_COUNT_MAX).contains(&count),
        "a chunk holds 1 to {SAMPLE_COUNT_MAX} samples, not {count}"
    );
}

fn write_column(
    values: &[f64],
    exponent: u8,
    misfits: &[u32],
    (integers, plan): (&IntegerEncoder, IntegerPlan),
    out: &mut Vec<u8>,
) {
    let exceptions_bit = if misfits.is_empty() { 0 } else { HAS_EXCEPTIONS };
    out.push(exponent << EXPONENT_SHIFT | plan.id_bits() | exceptions_bit);
    if !misfits.is_empty() {
        exceptions::write(values, misfits, out);
    }
    integers.write(&plan, out);
}
