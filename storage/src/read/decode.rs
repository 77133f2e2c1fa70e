//! Decoding of head pieces, and the merge in which the later half wins.

use std::sync::Arc;

use crate::chunk::{ChunkDecoder, ChunkError};
use crate::head::{HeadPieces, SealedChunk, decode_micro, decode_stream, sort_late};
use crate::model::{Histogram, StartTimes};

/// Decodes everything in `pieces`, appending ascending samples to all columns.
///
/// # Errors
/// [`ChunkError`] if a chunk of the head is damaged.
pub(crate) fn decode_pieces(
    pieces: &mut HeadPieces,
    decoder: &mut ChunkDecoder,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
) -> Result<(), ChunkError> {
    let start = timestamps_ms.len();
    for chunk in &pieces.sealed {
        decode_chunk(chunk, decoder, timestamps_ms, values, starts)?;
    }
    decode_micro(&pieces.micro, decoder, timestamps_ms, values, starts)?;
    decode_stream(&pieces.stream, timestamps_ms, values, starts)?;
    for chunk in &pieces.late_chunks {
        let middle = timestamps_ms.len();
        decode_chunk(chunk, decoder, timestamps_ms, values, starts)?;
        merge_floats(start, middle, timestamps_ms, values, starts);
    }
    if !pieces.late.is_empty() {
        let middle = timestamps_ms.len();
        let (late_timestamps_ms, late_values, late_starts) = sort_late(&mut pieces.late, &pieces.late_starts);
        timestamps_ms.extend_from_slice(&late_timestamps_ms);
        values.extend_from_slice(&late_values);
        starts.append(middle, late_values.len(), late_starts.up_to(late_values.len()));
        merge_floats(start, middle, timestamps_ms, values, starts);
    }
    Ok(())
}

/// As [`merge_halves`], for columns with start times.
fn merge_floats(
    start: usize,
    middle: usize,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
) {
    if starts.is_empty() {
        return merge_halves(start, middle, timestamps_ms, values);
    }
    let Some(second_min_ms) = timestamps_ms.get(middle).copied() else { return };
    // What is older than the second run stays where it is.
    let from = start + timestamps_ms[start..middle].partition_point(|time_ms| *time_ms < second_min_ms);
    let mut times_ms = timestamps_ms.split_off(from);
    let starts_ms = starts.slice(from..values.len()).each(values.len() - from);
    let mut cells: Vec<(f64, i64)> = values.drain(from..).zip(starts_ms).collect();
    merge_halves(0, middle - from, &mut times_ms, &mut cells);
    timestamps_ms.append(&mut times_ms);
    starts.truncate(from);
    for (value, start_ms) in cells {
        starts.push(values.len(), start_ms);
        values.push(value);
    }
}

fn decode_chunk(
    chunk: &SealedChunk,
    decoder: &mut ChunkDecoder,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
) -> Result<(), ChunkError> {
    let sample_count = chunk.sample_count as usize;
    decoder.decode_timestamps(&chunk.timestamps, sample_count, timestamps_ms)?;
    decoder.decode_starts(&chunk.values, sample_count, 0..sample_count, values.len(), starts)?;
    decoder.decode_values(&chunk.values, sample_count, values)
}

/// Merges the ascending runs `start..middle` and `middle..` in place; for equal times the second run wins.
///
/// # Cost
/// Nothing if the second run is newer than the first; else O(both).
pub(crate) fn merge_halves<T: Clone>(
    start: usize,
    middle: usize,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<T>,
) {
    let end = timestamps_ms.len();
    if middle <= start || middle >= end || timestamps_ms[middle - 1] < timestamps_ms[middle] {
        return;
    }
    // What is older than the second run stays where it is.
    let second_min_ms = timestamps_ms[middle];
    let from = start + timestamps_ms[start..middle].partition_point(|time_ms| *time_ms < second_min_ms);
    let mut merged_timestamps_ms = Vec::with_capacity(end - from);
    let mut merged_values = Vec::with_capacity(end - from);
    let (mut first, mut second) = (from, middle);
    while first < middle || second < end {
        let takes_second = first >= middle || (second < end && timestamps_ms[second] <= timestamps_ms[first]);
        let taken = if takes_second { second } else { first };
        if takes_second && first < middle && timestamps_ms[first] == timestamps_ms[second] {
            first += 1;
        }
        merged_timestamps_ms.push(timestamps_ms[taken]);
        merged_values.push(values[taken].clone());
        if takes_second {
            second += 1;
        } else {
            first += 1;
        }
    }
    timestamps_ms.truncate(from);
    values.truncate(from);
    timestamps_ms.extend_from_slice(&merged_timestamps_ms);
    values.extend_from_slice(&merged_values);
}

/// As [`merge_halves`] from the start on, for columns with histograms: those also win over floats of the second run.
pub(crate) fn merge_samples(
    middle: usize,
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
    histograms: &mut Vec<(u32, Arc<Histogram>)>,
) {
    let end = timestamps_ms.len();
    if histograms.is_empty() {
        return merge_floats(0, middle, timestamps_ms, values, starts);
    }
    if middle == 0 || middle >= end || timestamps_ms[middle - 1] < timestamps_ms[middle] {
        return;
    }
    let starts_ms = starts.up_to(end).each(end);
    let mut cells: Vec<(f64, Option<Arc<Histogram>>, i64)> =
        values.iter().zip(starts_ms).map(|(value, start_ms)| (*value, None, start_ms)).collect();
    for (position, histogram) in histograms.drain(..) {
        cells[position as usize].1 = Some(histogram);
    }
    // Where the first run has a histogram and the second a float, the float gives way.
    let mut first = 0;
    for second in middle..end {
        while first < middle && timestamps_ms[first] < timestamps_ms[second] {
            first += 1;
        }
        let is_same_time = first < middle && timestamps_ms[first] == timestamps_ms[second];
        if is_same_time && cells[second].1.is_none() && cells[first].1.is_some() {
            cells[second] = cells[first].clone();
        }
    }
    merge_halves(0, middle, timestamps_ms, &mut cells);
    values.clear();
    starts.clear();
    for (position, (value, histogram, start_ms)) in cells.into_iter().enumerate() {
        starts.push(position, start_ms);
        values.push(value);
        histograms.extend(histogram.map(|histogram| (position as u32, histogram)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_second_run_wins(
            first in proptest::collection::btree_map(-20_i64..20, -9_i64..9, 0..20),
            second in proptest::collection::btree_map(-20_i64..20, 10_i64..19, 0..20),
        ) {
            let mut timestamps_ms = vec![99];
            let mut values = vec![99.0];
            for (time_ms, value) in first.iter().chain(&second) {
                timestamps_ms.push(*time_ms);
                values.push(*value as f64);
            }
            // The start time of a sample goes where its value goes.
            let mut starts: StartTimes = values.iter().map(|value| *value as i64).collect();
            let (mut times_ms, mut with_starts) = (timestamps_ms.clone(), values.clone());
            merge_floats(1, 1 + first.len(), &mut times_ms, &mut with_starts, &mut starts);
            merge_halves(1, 1 + first.len(), &mut timestamps_ms, &mut values);
            prop_assert_eq!(&times_ms, &timestamps_ms);
            prop_assert_eq!(&with_starts, &values);
            prop_assert_eq!(starts, values.iter().map(|value| *value as i64).collect::<StartTimes>());
            let mut expected: BTreeMap<i64, i64> = first;
            expected.extend(second);
            prop_assert_eq!(&timestamps_ms[1..], expected.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(&values[1..], expected.values().map(|v| *v as f64).collect::<Vec<_>>());
        }

        #[test]
        fn a_histogram_wins_over_a_float(
            first in proptest::collection::btree_map(0_i64..20, any::<bool>(), 0..20),
            second in proptest::collection::btree_map(0_i64..20, any::<bool>(), 0..20),
        ) {
            let (mut timestamps_ms, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
            let mut expected: BTreeMap<i64, (bool, f64)> = BTreeMap::new();
            for (run, number) in [(&first, 1.0), (&second, 2.0)] {
                for (time_ms, is_histogram) in run {
                    if *is_histogram {
                        let histogram = Histogram { count: number, ..Histogram::default() };
                        histograms.push((timestamps_ms.len() as u32, Arc::new(histogram)));
                    }
                    timestamps_ms.push(*time_ms);
                    values.push(if *is_histogram { f64::NAN } else { number });
                    let known = expected.entry(*time_ms).or_insert((false, 0.0));
                    if *is_histogram || !known.0 {
                        *known = (*is_histogram, number);
                    }
                }
            }
            let start_of = |value: &f64| if value.is_nan() { 0 } else { *value as i64 };
            let mut starts: StartTimes = values.iter().map(start_of).collect();
            merge_samples(first.len(), &mut timestamps_ms, &mut values, &mut starts, &mut histograms);
            prop_assert_eq!(starts, values.iter().map(start_of).collect::<StartTimes>());
            prop_assert_eq!(&timestamps_ms, &expected.keys().copied().collect::<Vec<_>>());
            let mut found: Vec<(bool, f64)> = values.iter().map(|value| (false, *value)).collect();
            for (position, histogram) in &histograms {
                prop_assert!(found[*position as usize].1.is_nan());
                found[*position as usize] = (true, histogram.count);
            }
            prop_assert_eq!(found, expected.values().copied().collect::<Vec<_>>());
            prop_assert!(histograms.is_sorted_by_key(|(position, _)| *position));
        }
    }
}
