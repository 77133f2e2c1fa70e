//! Replay: gives the records of all segments back, in order, up to the torn tail.

use std::io;
use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::format::{Record, next_frame, read_segment_header};
use super::progress::ReplayProgress;
use super::segment::list_segments;
use crate::coding::{CodingError, Cursor};
use crate::fs::FileSystem;

/// Why the WAL cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReplayError {
    /// An operation on a file failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What replay found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReplayOutcome {
    /// Sequence number for the next segment.
    pub(crate) next_sequence: u64,
    /// Records given to the caller.
    pub(crate) record_count: u64,
    /// Bytes of valid segments.
    pub(crate) valid_bytes: u64,
    /// Bytes cut off because they were torn or damaged.
    pub(crate) dropped_bytes: u64,
}

/// Replays all segments from `floor` on through `apply`.
///
/// The torn tail of the newest segment is cut off, so that what comes after stays readable. Damage before that
/// keeps the later segments aside as `*.corrupt`: their samples may build on what was lost.
///
/// # Errors
/// [`ReplayError`] if a file cannot be read, cut or renamed.
pub(crate) fn replay(
    fs: &dyn FileSystem,
    directory: &Path,
    floor: u64,
    progress: &ReplayProgress,
    mut apply: impl FnMut(u32, Record<'_>),
) -> Result<ReplayOutcome, ReplayError> {
    let segments = list_segments(fs, directory).map_err(io_error("list", directory))?;
    let mut outcome = ReplayOutcome { next_sequence: floor.max(1), ..ReplayOutcome::default() };
    let live: Vec<_> = segments.into_iter().filter(|(sequence, _)| *sequence >= floor).collect();
    if let (Some((first, _)), Some((last, _))) = (live.first(), live.last()) {
        progress.begin(*first, *last);
    }
    for (position, (sequence, path)) in live.iter().enumerate() {
        outcome.next_sequence = sequence + 1;
        progress.reach(*sequence);
        let bytes = fs.read(path).map_err(io_error("read", path))?;
        let (valid_bytes, damage) = replay_segment(&bytes, *sequence, &mut outcome.record_count, &mut apply);
        outcome.valid_bytes += valid_bytes as u64;
        let Some(damage) = damage else { continue };
        outcome.dropped_bytes += (bytes.len() - valid_bytes) as u64;
        let is_newest = position + 1 == live.len();
        warn!(segment = %path.display(), valid_bytes, %damage, is_newest, "WAL segment ends early");
        truncate(fs, directory, path, valid_bytes as u64).map_err(io_error("cut", path))?;
        if !is_newest {
            outcome.next_sequence = live[live.len() - 1].0 + 1;
            outcome.dropped_bytes += set_aside(fs, directory, &live[position + 1..])?;
            break;
        }
    }
    Ok(outcome)
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> ReplayError + 'p {
    move |source| ReplayError::Io { operation, path: path.to_owned(), source }
}

/// Applies the records of one segment; returns how many bytes are valid and what stopped it, if anything.
pub(super) fn replay_segment(
    bytes: &[u8],
    sequence: u64,
    record_count: &mut u64,
    apply: &mut impl FnMut(u32, Record<'_>),
) -> (usize, Option<CodingError>) {
    match read_segment_header(bytes) {
        Ok(found) if found == sequence => {}
        Ok(_) => {
            return (
                0,
                Some(CodingError { offset: 8, problem: "sequence number differs from the file's name" }),
            );
        }
        Err(damage) => return (0, Some(damage)),
    }
    let mut cursor = Cursor::new(bytes);
    if let Err(damage) = cursor.take(super::format::SEGMENT_HEADER_BYTES) {
        return (0, Some(damage));
    }
    let mut valid_bytes = cursor.offset();
    loop {
        match next_frame(&mut cursor) {
            Ok(None) => return (valid_bytes, None),
            Ok(Some(body)) => match Record::decode(body) {
                Ok((tenant, record)) => apply(tenant, record),
                Err(damage) => return (valid_bytes, Some(damage)),
            },
            Err(damage) => return (valid_bytes, Some(damage)),
        }
        *record_count += 1;
        valid_bytes = cursor.offset();
    }
}

/// Cuts a segment to its valid bytes; one without a valid header goes away.
fn truncate(fs: &dyn FileSystem, directory: &Path, path: &Path, valid_bytes: u64) -> io::Result<()> {
    if valid_bytes == 0 {
        fs.remove(path)?;
    } else {
        let file = fs.open(path)?;
        file.set_length(valid_bytes)?;
        file.sync_data()?;
    }
    fs.sync_directory(directory)
}

fn set_aside(fs: &dyn FileSystem, directory: &Path, segments: &[(u64, PathBuf)]) -> Result<u64, ReplayError> {
    let mut bytes = 0;
    for (_, path) in segments {
        bytes += fs.length_bytes(path).unwrap_or(0);
        let aside = path.with_extension("wal.corrupt");
        error!(segment = %path.display(), aside = %aside.display(), "WAL segment after a damaged one is kept aside");
        fs.rename(path, &aside).map_err(io_error("rename", path))?;
    }
    fs.sync_directory(directory).map_err(io_error("sync", directory))?;
    Ok(bytes)
}
