//! What was deleted from one block: per series the times that do not count any more.
//!
//! A block is never changed, so a delete writes a file beside it that names series and times; the MANIFEST says which
//! generation of that file counts. Not here: which series a delete means and when it counts (see the engine).
//!
//! Format: docs/format/tombstones.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod format;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::FileSystem;
use crate::fs::temporary::TemporaryFile;
use crate::model::TimeRange;

/// Why a tombstone file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TombstoneError {
    /// The file cannot be read.
    #[error("cannot read tombstones {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file has a version that is not understood.
    #[error("tombstones {path} have version {found}, this server reads {supported}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u16,
        /// The version understood.
        supported: u16,
    },
    /// The bytes are not what was written.
    #[error("corrupt tombstones {path} at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Offset inside the file.
        offset: u64,
        /// What was found.
        reason: &'static str,
    },
    /// The file belongs to another block or is another generation.
    #[error(
        "tombstones {path} are generation {found_generation} of block {found_block_id:016x}, \
         not {expected_generation} of {expected_block_id:016x}"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The block of the file.
        found_block_id: u64,
        /// The generation of the file.
        found_generation: u64,
        /// The block that was asked for.
        expected_block_id: u64,
        /// The generation that was asked for.
        expected_generation: u64,
    },
}

/// The deleted times of one block's series.
///
/// # Shape
/// Series ids ascend; each has at least one interval; its intervals are half-open, not empty, ascending, and do not
/// touch each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstones {
    block_id: u64,
    generation: u64,
    series_ids: Vec<u32>,
    /// Per series: end of its intervals.
    interval_ends: Vec<usize>,
    intervals: Vec<TimeRange>,
}

impl Tombstones {
    fn empty(block_id: u64, generation: u64) -> Self {
        Self { block_id, generation, series_ids: vec![], interval_ends: vec![], intervals: vec![] }
    }

    fn push(&mut self, series_id: u32, intervals: &[TimeRange]) {
        self.series_ids.push(series_id);
        self.intervals.extend_from_slice(intervals);
        self.interval_ends.push(self.intervals.len());
    }

    /// Adds a delete of `deleted` (series ids, ascending) in `interval` to what `previous` holds. `None` if that
    /// changes nothing.
    pub(crate) fn extended(
        block_id: u64,
        previous: Option<&Self>,
        deleted: &[u32],
        interval: TimeRange,
    ) -> Option<Self> {
        if interval.is_empty() || deleted.is_empty() {
            return None;
        }
        let none = Self::empty(block_id, 0);
        let previous = previous.unwrap_or(&none);
        let mut next = Self::empty(block_id, previous.generation.saturating_add(1));
        let mut known = previous.iter().peekable();
        let mut fresh = deleted.iter().copied().peekable();
        loop {
            let series_id = match (known.peek(), fresh.peek()) {
                (Some((known, _)), Some(fresh)) => *known.min(fresh),
                (Some((known, _)), None) => *known,
                (None, Some(fresh)) => *fresh,
                (None, None) => break,
            };
            let before =
                known.next_if(|(id, _)| *id == series_id).map_or(&[][..], |(_, intervals)| intervals);
            match fresh.next_if_eq(&series_id) {
                Some(_) => next.push(series_id, &united(before, interval)),
                None => next.push(series_id, before),
            }
        }
        (next.series_ids != previous.series_ids || next.intervals != previous.intervals).then_some(next)
    }

    /// Reads the file of `generation` of the block `block_id`.
    ///
    /// # Errors
    /// [`TombstoneError`].
    pub(crate) fn read(
        fs: &dyn FileSystem,
        path: &Path,
        block_id: u64,
        generation: u64,
    ) -> Result<Self, TombstoneError> {
        let bytes = fs.read(path).map_err(|source| TombstoneError::Io { path: path.to_owned(), source })?;
        let tombstones = format::decode(&bytes).map_err(|problem| match problem {
            format::Problem::Version(found) => {
                TombstoneError::Version { path: path.to_owned(), found, supported: format::VERSION }
            }
            format::Problem::Damage(error) => TombstoneError::Corrupt {
                path: path.to_owned(),
                offset: error.offset as u64,
                reason: error.problem,
            },
        })?;
        if (tombstones.block_id, tombstones.generation) != (block_id, generation) {
            return Err(TombstoneError::Foreign {
                path: path.to_owned(),
                found_block_id: tombstones.block_id,
                found_generation: tombstones.generation,
                expected_block_id: block_id,
                expected_generation: generation,
            });
        }
        Ok(tombstones)
    }

    /// Writes the file, durably.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write(&self, fs: &Arc<dyn FileSystem>, path: &Path) -> io::Result<()> {
        let mut file = TemporaryFile::create(fs, path)?;
        file.write_all(&format::encode(self))?;
        file.persist().map(drop)
    }

    /// Which delete of the block this is, counted from 1.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The deleted times of one series, ascending; empty if nothing of it was deleted.
    #[inline]
    pub(crate) fn of_series(&self, series_id: u32) -> &[TimeRange] {
        self.series_ids.binary_search(&series_id).map_or(&[], |position| self.at(position))
    }

    /// All series with their deleted times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[TimeRange])> {
        self.series_ids.iter().enumerate().map(|(position, series_id)| (*series_id, self.at(position)))
    }

    fn at(&self, position: usize) -> &[TimeRange] {
        let start = position.checked_sub(1).and_then(|before| self.interval_ends.get(before)).unwrap_or(&0);
        let end = self.interval_ends.get(position).unwrap_or(start);
        self.intervals.get(*start..*end).unwrap_or_default()
    }
}

/// Returns whether every millisecond of the closed span `[first_ms, last_ms]` is deleted.
#[inline]
pub(crate) fn covers(deleted: &[TimeRange], first_ms: i64, last_ms: i64) -> bool {
    let behind = deleted.partition_point(|interval| interval.start_ms <= first_ms);
    // Intervals do not touch, so a span that is covered is covered by one of them.
    let holding = behind.checked_sub(1).and_then(|position| deleted.get(position));
    holding.is_some_and(|interval| last_ms < interval.end_ms)
}

/// Adds an interval to ascending ones, merging those that it overlaps or touches.
fn united(intervals: &[TimeRange], added: TimeRange) -> Vec<TimeRange> {
    let before = intervals.iter().take_while(|interval| interval.end_ms < added.start_ms);
    let behind = intervals.iter().skip_while(|interval| interval.start_ms <= added.end_ms);
    let merged = intervals
        .iter()
        .filter(|interval| interval.end_ms >= added.start_ms && interval.start_ms <= added.end_ms)
        .fold(added, |union, interval| {
            TimeRange::new(union.start_ms.min(interval.start_ms), union.end_ms.max(interval.end_ms))
        });
    before.copied().chain([merged]).chain(behind.copied()).collect()
}
