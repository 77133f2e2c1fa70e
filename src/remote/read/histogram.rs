//! Native histograms as Prometheus' histogram chunks, one sample to a chunk.
//!
//! Why one: the first sample of a chunk is written as it is, which every reader takes; what follows would need the same
//! buckets and changes of changes. Source: Prometheus `tsdb/chunkenc/{histogram,float_histogram,histogram_meta}.go`.

use mytsdb_storage::model::{BucketSpan, Histogram, ResetHint};

use super::bits::BitWriter;

/// Largest custom bound, in thousandths, that is written as an integer.
const BOUND_THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Encodes one sample; integer and float histograms have chunks of different kinds.
pub(super) fn encode(time_ms: i64, histogram: &Histogram) -> Vec<u8> {
    // A stale marker has neither buckets nor layout.
    let stale;
    let histogram = if histogram.is_stale() {
        stale = Histogram::stale();
        &stale
    } else {
        histogram
    };
    let flags = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Gauge => 0b1100_0000,
    };
    let mut out = BitWriter::after(vec![0, 1, flags]);
    let layout = &histogram.layout;
    push_zero_threshold(&mut out, layout.zero_threshold);
    out.push_varbit_int(i64::from(layout.schema));
    push_spans(&mut out, &layout.positive_spans);
    push_spans(&mut out, &layout.negative_spans);
    if layout.schema == mytsdb_storage::model::CUSTOM_BOUNDS_SCHEMA {
        out.push_varbit_uint(layout.custom_bounds.len() as u64);
        layout.custom_bounds.iter().for_each(|bound| push_bound(&mut out, *bound));
    }
    out.push_varbit_int(time_ms);
    let counts = [&histogram.positive_counts, &histogram.negative_counts];
    if layout.is_integer {
        out.push_varbit_uint(histogram.count as u64);
        out.push_varbit_uint(histogram.zero_count as u64);
        out.push(histogram.sum.to_bits(), 64);
        for counts in counts {
            deltas(counts).for_each(|delta| out.push_varbit_int(delta));
        }
    } else {
        for number in [histogram.count, histogram.zero_count, histogram.sum] {
            out.push(number.to_bits(), 64);
        }
        counts.into_iter().flatten().for_each(|count| out.push(count.to_bits(), 64));
    }
    out.into_bytes()
}

/// Counts as differences, each to the one before.
pub(super) fn deltas(counts: &[f64]) -> impl Iterator<Item = i64> + '_ {
    counts.iter().scan(0, |before, count| {
        let delta = *count as i64 - *before;
        *before = *count as i64;
        Some(delta)
    })
}

/// Powers of two around 1 in a byte, everything else as 64 bits.
fn push_zero_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let is_power = bits & ((1 << 52) - 1) == 0;
    // `0.5 * 2^exponent`, as Go's `Frexp` has it.
    let exponent = (bits >> 52) as i64 - 1022;
    match threshold {
        0.0 => out.push(0, 8),
        _ if is_power && (-242..=11).contains(&exponent) => out.push((exponent + 243) as u64, 8),
        _ => {
            out.push(255, 8);
            out.push(bits, 64);
        }
    }
}

fn push_spans(out: &mut BitWriter, spans: &[BucketSpan]) {
    out.push_varbit_uint(spans.len() as u64);
    for span in spans {
        out.push_varbit_uint(u64::from(span.length));
        out.push_varbit_int(i64::from(span.offset));
    }
}

fn push_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let is_whole =
        (0.0..=BOUND_THOUSANDTHS_MAX).contains(&thousandths) && bound == thousandths.round() / 1000.0;
    if is_whole {
        out.push_varbit_uint(thousandths.round() as u64 + 1);
    } else {
        out.push(0, 1);
        out.push(bound.to_bits(), 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mytsdb_storage::model::HistogramLayout;
    use std::sync::Arc;

    #[test]
    fn zero_thresholds_take_a_byte_if_they_are_powers_of_two() {
        for (threshold, expected) in [
            (0.0, vec![0]),
            (0.5, vec![243]),
            (2_f64.powi(-128), vec![116]),
            (1024.0, vec![254]),
            (2048.0, [&[255][..], &2048_f64.to_bits().swap_bytes().to_le_bytes()[..]].concat()),
            (0.1, [&[255][..], &0.1_f64.to_bits().swap_bytes().to_le_bytes()[..]].concat()),
        ] {
            let mut out = BitWriter::default();
            push_zero_threshold(&mut out, threshold);
            assert_eq!(out.into_bytes(), expected, "{threshold}");
        }
    }

    #[test]
    fn a_histogram_is_written_as_the_first_of_its_chunk() {
        let layout = HistogramLayout {
            schema: 0,
            is_integer: true,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            ..HistogramLayout::default()
        };
        let histogram = Histogram {
            layout: Arc::new(layout),
            reset_hint: ResetHint::Gauge,
            count: 3.0,
            positive_counts: vec![2.0, 1.0],
            ..Histogram::default()
        };
        let mut expected = BitWriter::after(vec![0, 1, 0b1100_0000, 0]);
        expected.push(0, 1);
        // One positive span of two buckets from 0, no negative one.
        [(0b10001, 5), (0b10010, 5), (0, 1), (0, 1)]
            .into_iter()
            .for_each(|(bits, width)| expected.push(bits, width));
        // Time 4, count 3, zero count 0, sum 0.0, deltas 2 and -1.
        [(0b10100, 5), (0b10011, 5), (0, 1), (0, 64), (0b10010, 5), (0b10111, 5)]
            .into_iter()
            .for_each(|(bits, width)| expected.push(bits, width));
        assert_eq!(encode(4, &histogram), expected.into_bytes());
    }
}
