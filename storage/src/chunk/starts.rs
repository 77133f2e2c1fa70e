//! Start times of the samples of a value chunk: a prefix to it, absent where none is known.
//!
//! One start time for all samples, the common case, takes eight bytes. Format: `docs/format/chunk.md`.

use std::ops::Range;

use super::decoder::{ChunkDecoder, check_end, check_sample_count};
use super::encoder::ChunkEncoder;
use super::error::ChunkError;
use super::format::{INTEGER_ID_BITS, STARTS};
use super::integers::{IntegerEncoder, IntegerReader};
use super::miniblock::BlockScratch;
use crate::coding::{Cursor, put_bytes, put_ivarint, put_uvarint};
use crate::model::{StartSlice, StartTimes, UNKNOWN_START_MS};

/// Memory that both sides reuse.
#[derive(Debug, Default)]
pub(super) struct StartsScratch {
    starts: StartTimes,
    section: Vec<u8>,
    lengths: Vec<i64>,
    starts_ms: Vec<i64>,
}

impl ChunkEncoder {
    /// Appends what stands before the value chunk of `sample_count` floats with these start times: nothing if none is
    /// known.
    pub fn encode_starts(&mut self, starts: StartSlice<'_>, sample_count: usize, out: &mut Vec<u8>) {
        if starts.is_empty() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.starts);
        scratch.starts.clear();
        scratch.starts.append(0, sample_count, starts);
        let mut section = std::mem::take(&mut scratch.section);
        section.clear();
        let mut runs = scratch.starts.runs();
        // Samples without one before the first run are a run, too.
        let first_ms = scratch.starts.at(0);
        if let [first, rest @ ..] = runs
            && first.position == 0
        {
            runs = rest;
        }
        put_ivarint(&mut section, first_ms);
        if !runs.is_empty() {
            scratch.lengths.clear();
            scratch.starts_ms.clear();
            let mut previous = 0;
            for run in runs {
                scratch.lengths.push((run.position - previous) as i64);
                scratch.starts_ms.push(run.start_ms);
                previous = run.position;
            }
            put_uvarint(&mut section, runs.len() as u64);
            put_column(&mut self.start_integers, &scratch.lengths, &mut section);
            put_column(&mut self.start_integers, &scratch.starts_ms, &mut section);
        }
        out.push(STARTS);
        put_bytes(out, &section);
        scratch.section = section;
        self.starts = scratch;
    }

    /// Appends what stands before a micro-chunk of the head all of whose samples have the start time of the sample
    /// before.
    pub(crate) fn encode_same_starts(&mut self, out: &mut Vec<u8>) {
        out.push(STARTS);
        put_bytes(out, &[]);
    }
}

fn put_column(encoder: &mut IntegerEncoder, integers: &[i64], out: &mut Vec<u8>) {
    let plan = encoder.plan(integers);
    out.push(plan.id_bits());
    encoder.write(&plan, out);
}

/// Splits a value chunk into the section of start times, if it has one, and the value chunk proper.
///
/// # Errors
/// [`ChunkError`] if the bytes end early.
#[inline]
pub(super) fn split(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), ChunkError> {
    if bytes.first() == Some(&STARTS) { split_section(bytes) } else { Ok((None, bytes)) }
}

fn split_section(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), ChunkError> {
    let mut cursor = Cursor::new(bytes);
    cursor.u8()?;
    let section = cursor.bytes()?;
    let values = cursor.take(cursor.remaining())?;
    Ok((Some(section), values))
}

impl ChunkDecoder {
    /// Gives the samples `range` of the chunk of `count` floats, which are at `position` of a column, their start times
    /// in `out`, which has those of all samples before.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such chunk; `out` is then as before.
    ///
    /// # Cost
    /// A comparison where no start time is known.
    #[inline]
    pub fn decode_starts(
        &mut self,
        bytes: &[u8],
        count: usize,
        range: Range<usize>,
        position: usize,
        out: &mut StartTimes,
    ) -> Result<(), ChunkError> {
        match split(bytes)? {
            _ if range.is_empty() => Ok(()),
            (None, _) => {
                out.push(position, UNKNOWN_START_MS);
                Ok(())
            }
            (Some(section), _) => self.read_starts(section, count, range, position, out),
        }
    }

    /// As [`ChunkDecoder::decode_starts`] for all samples of a micro-chunk of the head, which may say that they have that
    /// of the sample before.
    pub(crate) fn decode_micro_starts(
        &mut self,
        bytes: &[u8],
        count: usize,
        position: usize,
        out: &mut StartTimes,
    ) -> Result<(), ChunkError> {
        match split(bytes)? {
            (Some([]), _) => Ok(()),
            _ => self.decode_starts(bytes, count, 0..count, position, out),
        }
    }

    fn read_starts(
        &mut self,
        section: &[u8],
        count: usize,
        range: Range<usize>,
        position: usize,
        out: &mut StartTimes,
    ) -> Result<(), ChunkError> {
        check_sample_count(count)?;
        let mut cursor = Cursor::new(section);
        let scratch = &mut self.starts;
        scratch.starts.clear();
        scratch.starts.push(0, cursor.ivarint()?);
        if !cursor.is_at_end() {
            let run_count = usize::try_from(cursor.uvarint()?).unwrap_or(usize::MAX);
            if run_count == 0 || run_count >= count {
                return Err(cursor.error("impossible number of runs of start times").into());
            }
            read_column(&mut cursor, &mut self.scratch, run_count, &mut scratch.lengths)?;
            read_column(&mut cursor, &mut self.scratch, run_count, &mut scratch.starts_ms)?;
            let mut at = 0_usize;
            for (length, start_ms) in scratch.lengths.iter().zip(&scratch.starts_ms) {
                let length = usize::try_from(*length).ok().filter(|length| *length > 0);
                at = length
                    .and_then(|length| at.checked_add(length))
                    .filter(|at| *at < count)
                    .ok_or_else(|| cursor.error("a run of start times has an impossible length"))?;
                scratch.starts.push(at, *start_ms);
            }
            check_end(&cursor)?;
        }
        out.append(position, range.len(), scratch.starts.slice(range));
        Ok(())
    }
}

fn read_column(
    cursor: &mut Cursor<'_>,
    scratch: &mut BlockScratch,
    count: usize,
    out: &mut Vec<i64>,
) -> Result<(), ChunkError> {
    let id_bits = cursor.u8()?;
    if id_bits & !INTEGER_ID_BITS != 0 {
        return Err(ChunkError::UnknownEncoding { id: id_bits });
    }
    out.clear();
    IntegerReader::new(cursor, scratch, id_bits, count)?.read_to_end(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(starts: &StartTimes, values: &[f64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = ChunkEncoder::new();
        encoder.encode_starts(starts.up_to(values.len()), values.len(), &mut bytes);
        encoder.encode_values(values, &mut bytes);
        bytes
    }

    fn column() -> impl Strategy<Value = Vec<i64>> {
        let any_run = (prop_oneof![Just(0), Just(1_700_000_000_000), any::<i64>(), 1..9_i64], 1..60_usize);
        let runs = proptest::collection::vec(any_run, 1..40);
        let long = runs.prop_map(|runs| {
            runs.iter().flat_map(|(start_ms, length)| std::iter::repeat_n(*start_ms, *length)).collect()
        });
        prop_oneof![2 => long, 1 => proptest::collection::vec(0..3_i64, 1..300)]
    }

    proptest! {
        #[test]
        fn start_times_and_values_come_back(column in column(), cut in any::<(u16, u16)>()) {
            let count = column.len();
            let starts: StartTimes = column.iter().copied().collect();
            let values: Vec<f64> = (0..count).map(|at| at as f64).collect();
            let bytes = encoded(&starts, &values);
            let mut decoder = ChunkDecoder::new();
            let mut found_values = Vec::new();
            decoder.decode_values(&bytes, count, &mut found_values).unwrap();
            prop_assert_eq!(&found_values, &values);
            let mut found: StartTimes = [7].into_iter().collect();
            decoder.decode_starts(&bytes, count, 0..count, 1, &mut found).unwrap();
            let mut expected = vec![7];
            expected.extend(&column);
            prop_assert_eq!(found, expected.into_iter().collect::<StartTimes>());
            let (from, to) = (usize::from(cut.0) % count, usize::from(cut.1) % count);
            let range = from.min(to)..from.max(to);
            let mut part = StartTimes::new();
            decoder.decode_starts(&bytes, count, range.clone(), 0, &mut part).unwrap();
            prop_assert_eq!(part, column[range].iter().copied().collect::<StartTimes>());
            // Cut anywhere: an error, never other start times.
            let shorter = &bytes[..1 + usize::from(cut.0) % (bytes.len() - 1)];
            let mut part = StartTimes::new();
            if !starts.is_empty() && decoder.decode_starts(shorter, count, 0..count, 0, &mut part).is_ok() {
                prop_assert_eq!(&part, &starts);
            }
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0..600_usize) {
            let mut prefixed = vec![STARTS];
            put_bytes(&mut prefixed, &bytes);
            let mut starts = StartTimes::new();
            let _outcome = ChunkDecoder::new().decode_starts(&prefixed, count, 0..count, 0, &mut starts);
        }
    }

    #[test]
    fn what_hardly_changes_is_small() {
        let values = vec![1.0; 480];
        let bytes_of = |column: &mut dyn Iterator<Item = i64>| {
            encoded(&column.take(480).collect(), &values).len() - encoded(&StartTimes::new(), &values).len()
        };
        let start_ms = 1_700_000_000_000;
        assert_eq!(bytes_of(&mut std::iter::repeat(0)), 0, "none");
        assert_eq!(bytes_of(&mut std::iter::repeat(start_ms)), 8, "one for all");
        let mut late = (0..).map(|at| if at < 300 { start_ms } else { start_ms + 4_500_000 });
        assert!(bytes_of(&mut late) <= 24, "one restart");
        let mut deltas = (0..).map(|at| start_ms + at * 15_000);
        assert!(bytes_of(&mut deltas) <= 40, "intervals of 15 s");
    }
}
