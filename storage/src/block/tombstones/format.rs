//! The bytes of a tombstone file `<block id>.<generation>.tomb`.
//!
//! Format: docs/format/tombstones.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::Tombstones;
use crate::coding::{CodingError, Cursor, crc32c, put_ivarint, put_uvarint};
use crate::model::TimeRange;

/// First bytes of a tombstone file.
const MAGIC: &[u8; 4] = b"MTST";
/// Readers refuse files with another version.
pub(crate) const VERSION: u16 = 1;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 4;
/// Least bytes of a series: id, count, and one interval of two numbers.
const SERIES_BYTES_MIN: usize = 4;
/// Least bytes of an interval.
const INTERVAL_BYTES_MIN: usize = 2;

/// Why bytes are no tombstone file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// The file is of another time.
    Version(u16),
    /// The bytes are not what was written.
    Damage(CodingError),
}

impl From<CodingError> for Problem {
    fn from(error: CodingError) -> Self {
        Self::Damage(error)
    }
}

/// Encodes a whole file.
pub(super) fn encode(tombstones: &Tombstones) -> Vec<u8> {
    let mut out = Vec::from(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&tombstones.block_id.to_le_bytes());
    out.extend_from_slice(&tombstones.generation.to_le_bytes());
    let base_ms = tombstones.intervals.iter().map(|interval| interval.start_ms).min().unwrap_or(0);
    put_ivarint(&mut out, base_ms);
    put_uvarint(&mut out, tombstones.series_ids.len() as u64);
    let mut expected_id = 0_u32;
    for (series_id, intervals) in tombstones.iter() {
        put_uvarint(&mut out, u64::from(series_id.wrapping_sub(expected_id)));
        expected_id = series_id.wrapping_add(1);
        put_uvarint(&mut out, intervals.len() as u64);
        let mut from_ms = base_ms;
        for interval in intervals {
            put_uvarint(&mut out, interval.start_ms.wrapping_sub(from_ms).cast_unsigned());
            put_uvarint(&mut out, interval.end_ms.wrapping_sub(interval.start_ms).cast_unsigned());
            from_ms = interval.end_ms;
        }
    }
    let checksum = crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Decodes and checks a whole file.
///
/// # Errors
/// [`Problem`].
pub(super) fn decode(bytes: &[u8]) -> Result<Tombstones, Problem> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err(Problem::Damage(CodingError { offset: 0, problem: "file does not begin with MTST" }));
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Err(Problem::Version(version));
    }
    let checked = bytes.get(..bytes.len().saturating_sub(CHECKSUM_BYTES)).unwrap_or_default();
    let stored = Cursor::new(bytes.get(checked.len()..).unwrap_or_default()).u32()?;
    if stored != crc32c(checked) {
        return Err(cursor.error("checksum of the file differs").into());
    }
    let mut cursor = Cursor::new(checked);
    cursor.take(MAGIC.len().saturating_add(4))?;
    Ok(decode_body(&mut cursor)?)
}

fn decode_body(cursor: &mut Cursor<'_>) -> Result<Tombstones, CodingError> {
    let mut tombstones = Tombstones::empty(cursor.u64()?, cursor.u64()?);
    let base_ms = cursor.ivarint()?;
    let series_count = cursor.count(SERIES_BYTES_MIN)?;
    let mut expected_id = 0_u64;
    for _ in 0..series_count {
        let series_id = expected_id
            .checked_add(cursor.uvarint()?)
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| cursor.error("series id has more than 32 bits"))?;
        expected_id = u64::from(series_id).saturating_add(1);
        let intervals = decode_intervals(cursor, base_ms)?;
        tombstones.push(series_id, &intervals);
    }
    if !cursor.is_at_end() {
        return Err(cursor.error("file has bytes left over"));
    }
    Ok(tombstones)
}

fn decode_intervals(cursor: &mut Cursor<'_>, base_ms: i64) -> Result<Vec<TimeRange>, CodingError> {
    let count = cursor.count(INTERVAL_BYTES_MIN)?;
    let mut intervals: Vec<TimeRange> = Vec::with_capacity(count);
    let mut from_ms = base_ms;
    for position in 0..count {
        let (gap_ms, length_ms) = (cursor.uvarint()?, cursor.uvarint()?);
        let bounds = from_ms
            .checked_add_unsigned(gap_ms)
            .and_then(|start_ms| Some(TimeRange::new(start_ms, start_ms.checked_add_unsigned(length_ms)?)));
        match bounds {
            Some(interval) if length_ms > 0 && (position == 0 || gap_ms > 0) => {
                from_ms = interval.end_ms;
                intervals.push(interval);
            }
            _ => return Err(cursor.error("intervals are empty, touch or do not ascend")),
        }
    }
    if intervals.is_empty() {
        return Err(cursor.error("series has no interval"));
    }
    Ok(intervals)
}
