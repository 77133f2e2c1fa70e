//! The writing side of the room: holds the contest between encodings.
//!
//! Input: columns of samples. Output: the bytes of a chunk, appended.

use super::constant;
use super::decimal::DecimalColumn;
use super::exceptions;
use super::float_bits;
use super::format::{EXPONENT_SHIFT, HAS_EXCEPTIONS, PAGED, SAMPLE_COUNT_MAX};
use super::histogram::HistogramScratch;
use super::integers::{IntegerEncoder, IntegerPlan};
use super::paged::{PAGED_SAMPLE_COUNT_MIN, PagedEncoder};
use super::starts::StartsScratch;
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
    paged: PagedEncoder,
    pub(super) histogram: HistogramScratch,
    pub(super) starts: StartsScratch,
    pub(super) start_integers: IntegerEncoder,
}

#[derive(Debug, Default)]
struct BitsColumn {
    integers: Vec<i64>,
    misfits: Vec<u32>,
}

/// A way to plan a column of integers.
type MakePlan = fn(&mut IntegerEncoder, &[i64]) -> IntegerPlan;

/// Percent of the other encodings' size that a paged chunk must stay below: decoding it takes twice the time.
const PAGED_PERCENT_MAX: usize = 97;
/// Below this size of a column nothing is worth a table.
const PAGED_BYTES_MIN: usize = 96;

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
        self.encode_with(IntegerEncoder::plan, values, out);
    }

    /// As [`ChunkEncoder::encode_values`], for bytes that are soon encoded anew: quicker, and seldom larger.
    ///
    /// # Panics
    /// As [`ChunkEncoder::encode_values`].
    pub(crate) fn encode_micro_values(&mut self, values: &[f64], out: &mut Vec<u8>) {
        self.encode_with(IntegerEncoder::plan_quickly, values, out);
    }

    fn encode_with(&mut self, make_plan: MakePlan, values: &[f64], out: &mut Vec<u8>) {
        assert_sample_count(values.len());
        if constant::is_applicable(values) {
            return constant::write(values[0], out);
        }
        let decimal = self.estimate_decimal(make_plan, values);
        if let Some((plan, bytes)) = decimal
            && bytes <= values.len() * DECIMAL_SURE_BYTES
        {
            return self.write_decimal(values, &plan, out);
        }
        let (bits_plan, bits_bytes) = self.estimate_bits(make_plan, values);
        match decimal {
            Some((plan, bytes)) if bytes <= bits_bytes => self.write_decimal(values, &plan, out),
            _ => {
                let column = (&self.bits_integers, bits_plan);
                write_column(values, float_bits::EXPONENT_ID, &self.bits.misfits, column, out);
            }
        }
    }

    /// As [`ChunkEncoder::encode_values`] for data at rest: takes some three times as long, decoding twice as long, and
    /// gives pages that can be read alone. Returns false, and `out` as it was, unless that is clearly smaller.
    ///
    /// # Panics
    /// As [`ChunkEncoder::encode_values`].
    pub fn encode_values_paged(&mut self, values: &[f64], out: &mut Vec<u8>) -> bool {
        assert_sample_count(values.len());
        if values.len() < PAGED_SAMPLE_COUNT_MIN || constant::is_applicable(values) {
            return false;
        }
        let decimal = self.estimate_decimal(IntegerEncoder::plan, values);
        let bits = match decimal {
            Some((_, bytes)) if bytes <= values.len() * DECIMAL_SURE_BYTES => None,
            _ => Some(self.estimate_bits(IntegerEncoder::plan, values)),
        };
        let (exponent, misfits, integers, plan, other_bytes) = match (decimal, bits) {
            (Some((plan, bytes)), None) => {
                (self.decimal.exponent, &self.decimal.misfits, &self.decimal_integers, plan, bytes)
            }
            (Some((plan, bytes)), Some((_, bits_bytes))) if bytes <= bits_bytes => {
                (self.decimal.exponent, &self.decimal.misfits, &self.decimal_integers, plan, bytes)
            }
            (_, Some((plan, bytes))) => {
                (float_bits::EXPONENT_ID, &self.bits.misfits, &self.bits_integers, plan, bytes)
            }
            (None, None) => return false,
        };
        if plan.bytes < PAGED_BYTES_MIN {
            return false;
        }
        let Some(paged) = self.paged.encode(&integers.column(&plan), values.len()) else { return false };
        let exceptions_bytes = other_bytes.saturating_sub(plan.bytes);
        if (paged.len() + exceptions_bytes) * 100 > other_bytes * PAGED_PERCENT_MAX {
            return false;
        }
        let exceptions_bit = if misfits.is_empty() { 0 } else { HAS_EXCEPTIONS };
        out.push(exponent << EXPONENT_SHIFT | PAGED | exceptions_bit);
        if !misfits.is_empty() {
            exceptions::write(values, misfits, out);
        }
        out.extend_from_slice(paged);
        true
    }

    /// Appends the chunk of `timestamps_ms` to `out`: milliseconds, strictly ascending.
    ///
    /// # Panics
    /// If there are no timestamps or more than [`SAMPLE_COUNT_MAX`], or if they do not ascend.
    pub fn encode_timestamps(&mut self, timestamps_ms: &[i64], out: &mut Vec<u8>) {
        assert_sample_count(timestamps_ms.len());
        self.timestamps.encode(timestamps_ms, out);
    }

    fn estimate_decimal(&mut self, make_plan: MakePlan, values: &[f64]) -> Option<(IntegerPlan, usize)> {
        if !self.decimal.find(values) {
            return None;
        }
        let plan = make_plan(&mut self.decimal_integers, &self.decimal.integers);
        Some((plan, plan.bytes + exceptions::estimate(values, &self.decimal.misfits)))
    }

    fn estimate_bits(&mut self, make_plan: MakePlan, values: &[f64]) -> (IntegerPlan, usize) {
        float_bits::convert(values, &mut self.bits.integers, &mut self.bits.misfits);
        let plan = make_plan(&mut self.bits_integers, &self.bits.integers);
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
