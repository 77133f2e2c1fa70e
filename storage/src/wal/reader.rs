//! Replay: gives the records of all segments back, in order, up to the torn tail.
//!
//! What ends the log is either a torn tail, with nothing behind it: that is the ordinary end of a crash, and it is cut
//! off. Or damage, with records behind it: then the records before it count, and what holds the others is kept aside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info};

use super::format::{FRAME_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, next_frame, read_segment_header};
use super::progress::ReplayProgress;
use super::segment::{free_aside_path, list_segments, segment_path};
use crate::coding::Cursor;
use crate::fs::FileSystem;
use crate::fs::temporary::TemporaryFile;

/// Bytes that are checksummed at most in the search for records behind damage; if that is not enough there may be some.
const SEARCH_BYTES_MAX: usize = 256 << 20;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReplayOutcome {
    /// Sequence number for the next segment.
    pub(crate) next_sequence: u64,
    /// Records given to the caller.
    pub(crate) record_count: u64,
    /// Bytes of valid segments.
    pub(crate) valid_bytes: u64,
    /// Bytes cut off or kept aside because they were torn or damaged.
    pub(crate) dropped_bytes: u64,
    /// Files that are kept aside because of damage, with what was found.
    pub(crate) aside: Vec<(PathBuf, String)>,
}

/// How a segment ends.
pub(super) struct SegmentEnd {
    /// Bytes of the header and of whole records; 0 without a whole header.
    pub(super) valid_bytes: usize,
    /// What stopped the reading, if it was not the end.
    pub(super) problem: Option<&'static str>,
}

/// Replays all segments from `floor` on through `apply`.
///
/// # Errors
/// [`ReplayError`] if a file cannot be read, cut, copied or renamed. Damage is no error.
pub(crate) fn replay(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    floor: u64,
    progress: &ReplayProgress,
    mut apply: impl FnMut(u32, Record<'_>),
) -> Result<ReplayOutcome, ReplayError> {
    let segments = list_segments(fs.as_ref(), directory).map_err(io_error("list", directory))?;
    let live: Vec<_> = segments.into_iter().filter(|(sequence, _)| *sequence >= floor).collect();
    if let (Some((first, _)), Some((last, _))) = (live.first(), live.last()) {
        progress.begin(*first, *last);
    }
    let mut outcome = ReplayOutcome { next_sequence: floor.max(1), ..ReplayOutcome::default() };
    for (position, (sequence, path)) in live.iter().enumerate() {
        progress.reach(*sequence);
        let ending = Ending { fs, directory, path, later: &live[position + 1..] };
        if *sequence != outcome.next_sequence {
            let missing = segment_path(directory, outcome.next_sequence);
            let problem = format!("{} before it is missing", missing.display());
            ending.set_aside(0, &[], &problem, &mut outcome)?;
            break;
        }
        let bytes = fs.read(path).map_err(io_error("read", path))?;
        let is_last = ending.later_are_blank()?;
        let end = replay_segment(&bytes, *sequence, is_last, &mut outcome.record_count, &mut apply);
        outcome.valid_bytes += end.valid_bytes as u64;
        outcome.next_sequence = sequence + u64::from(end.valid_bytes > 0);
        let Some(problem) = end.problem else { continue };
        let (valid, rest) = bytes.split_at(end.valid_bytes);
        if is_last && !holds_record(rest) {
            info!(
                segment = %path.display(), valid_bytes = valid.len(), dropped_bytes = rest.len(), problem,
                "torn end of the WAL is cut off"
            );
            outcome.dropped_bytes += rest.len() as u64;
            ending.cut(valid.len())?;
        } else {
            ending.set_aside(valid.len(), &bytes, problem, &mut outcome)?;
        }
        break;
    }
    Ok(outcome)
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> ReplayError + 'p {
    move |source| ReplayError::Io { operation, path: path.to_owned(), source }
}

/// Applies the records of one segment. Zeros may end only the last one: others were synced before the next was begun.
pub(super) fn replay_segment(
    bytes: &[u8],
    sequence: u64,
    is_last: bool,
    record_count: &mut u64,
    apply: &mut impl FnMut(u32, Record<'_>),
) -> SegmentEnd {
    let ends = |valid_bytes, problem| SegmentEnd { valid_bytes, problem };
    match read_segment_header(bytes) {
        Ok(found) if found == sequence => {}
        Ok(_) => return ends(0, Some("sequence number differs from the file's name")),
        Err(damage) => return ends(0, Some(damage.problem)),
    }
    let mut valid_bytes = SEGMENT_HEADER_BYTES;
    let mut cursor = Cursor::new(bytes.get(valid_bytes..).unwrap_or_default());
    loop {
        match next_frame(&mut cursor) {
            Ok(None) => {
                let rest = bytes.get(valid_bytes..).unwrap_or_default();
                let is_clean = rest.is_empty() || is_last && rest.iter().all(|byte| *byte == 0);
                return ends(valid_bytes, (!is_clean).then_some("records are followed by zeros"));
            }
            Ok(Some(body)) => match Record::decode(body) {
                Ok((tenant, record)) => apply(tenant, record),
                Err(damage) => return ends(valid_bytes, Some(damage.problem)),
            },
            Err(damage) => return ends(valid_bytes, Some(damage.problem)),
        }
        *record_count += 1;
        valid_bytes = SEGMENT_HEADER_BYTES + cursor.offset();
    }
}

/// Returns whether a whole record begins anywhere in `bytes`.
pub(super) fn holds_record(bytes: &[u8]) -> bool {
    let mut budget_bytes = SEARCH_BYTES_MAX;
    for start in 0..bytes.len() {
        let rest = &bytes[start..];
        // Cheap checks first: length and type of a record that may be one.
        let Some(body) = rest.get(FRAME_HEADER_BYTES..) else { return false };
        let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        if length == 0 || length > body.len() || !body.first().is_some_and(|kind| Record::is_type(*kind)) {
            continue;
        }
        if budget_bytes < length {
            return true;
        }
        budget_bytes -= length;
        if let Ok(Some(body)) = next_frame(&mut Cursor::new(rest))
            && Record::decode(body).is_ok()
        {
            return true;
        }
    }
    false
}

/// The end of the log: a segment with a problem, and those after it.
struct Ending<'a> {
    fs: &'a Arc<dyn FileSystem>,
    directory: &'a Path,
    path: &'a Path,
    later: &'a [(u64, PathBuf)],
}

impl Ending<'_> {
    /// Whether no later segment has a record: such are begun and never written to.
    fn later_are_blank(&self) -> Result<bool, ReplayError> {
        for (_, path) in self.later {
            let length_bytes = self.fs.length_bytes(path).map_err(io_error("measure", path))?;
            if length_bytes > SEGMENT_HEADER_BYTES as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Cuts the segment to its valid bytes; one without a valid header goes away, as do the blank ones after it.
    fn cut(&self, valid_bytes: usize) -> Result<(), ReplayError> {
        for (_, path) in self.later.iter().rev() {
            self.fs.remove(path).map_err(io_error("remove", path))?;
        }
        // First of all: numbers must stay without gaps whatever of this is durable after a crash.
        self.sync()?;
        if valid_bytes == 0 {
            self.fs.remove(self.path).map_err(io_error("remove", self.path))?;
        } else {
            let file = self.fs.open(self.path).map_err(io_error("open", self.path))?;
            let cut = file.set_length(valid_bytes as u64).and_then(|()| file.sync_data());
            cut.map_err(io_error("cut", self.path))?;
        }
        self.sync()
    }

    /// Keeps the segment and those after it aside, and puts the valid part of it in its place.
    ///
    /// At every moment either the problem is still to be seen, or everything is done: a crash here does no harm.
    fn set_aside(
        &self,
        valid_bytes: usize,
        bytes: &[u8],
        problem: &str,
        outcome: &mut ReplayOutcome,
    ) -> Result<(), ReplayError> {
        let aside = free_aside_path(self.fs.as_ref(), self.path);
        error!(
            segment = %self.path.display(), valid_bytes, problem, aside = %aside.display(),
            "WAL is damaged: what is behind is kept aside"
        );
        if valid_bytes > 0 && self.fs.hard_link(self.path, &aside).is_err() {
            self.write(&aside, bytes)?;
        }
        self.sync()?;
        for (_, path) in self.later.iter().rev() {
            let aside = free_aside_path(self.fs.as_ref(), path);
            outcome.dropped_bytes += self.fs.length_bytes(path).unwrap_or(0);
            self.fs.rename(path, &aside).map_err(io_error("rename", path))?;
            outcome.aside.push((aside, format!("{} is damaged: {problem}", self.path.display())));
            // One by one, newest first: no gap that could be taken for damage.
            self.sync()?;
        }
        if valid_bytes == 0 {
            outcome.dropped_bytes += self.fs.length_bytes(self.path).unwrap_or(0);
            self.fs.rename(self.path, &aside).map_err(io_error("rename", self.path))?;
            self.sync()?;
        } else {
            outcome.dropped_bytes += (bytes.len() - valid_bytes) as u64;
            self.write(self.path, &bytes[..valid_bytes])?;
        }
        outcome.aside.push((aside, problem.to_owned()));
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ReplayError> {
        let written = TemporaryFile::create(self.fs, path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.persist()));
        written.map(drop).map_err(io_error("write", path))
    }

    fn sync(&self) -> Result<(), ReplayError> {
        self.fs.sync_directory(self.directory).map_err(io_error("sync", self.directory))
    }
}
