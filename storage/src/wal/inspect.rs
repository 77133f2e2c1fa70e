//! Reading the log without changing it: what a verifier asks.

use std::io;
use std::path::{Path, PathBuf};

use super::format::Record;
use super::reader::{SegmentEnd, holds_record, replay_segment};
use super::segment::list_segments;
use crate::fs::FileSystem;

/// What was found in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InspectedSegment {
    /// Its number in the log.
    pub(crate) sequence: u64,
    /// The file.
    pub(crate) path: PathBuf,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Bytes of the header and of whole records.
    pub(crate) valid_bytes: u64,
    /// Whole records.
    pub(crate) record_count: u64,
    /// What ended the segment before its end, if anything.
    pub(crate) damage: Option<&'static str>,
    /// Whether whole records lie behind the damage: a crash tears only the end.
    pub(crate) has_records_behind: bool,
}

/// Reads all segments by ascending sequence; the records of those from `floor` on go through `visit`.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn inspect(
    fs: &dyn FileSystem,
    directory: &Path,
    floor: u64,
    mut visit: impl FnMut(&Path, u32, Record<'_>),
) -> io::Result<Vec<InspectedSegment>> {
    let mut inspected = Vec::new();
    let segments = list_segments(fs, directory)?;
    let newest = segments.last().map(|(sequence, _)| *sequence);
    for (sequence, path) in segments {
        let bytes = fs.read(&path)?;
        let mut record_count = 0;
        let mut apply = |tenant: u32, record: Record<'_>| {
            if sequence >= floor {
                visit(&path, tenant, record);
            }
        };
        let is_newest = Some(sequence) == newest;
        let SegmentEnd { valid_bytes, problem: damage } =
            replay_segment(&bytes, sequence, is_newest, &mut record_count, &mut apply);
        let has_records_behind =
            damage.is_some() && holds_record(bytes.get(valid_bytes..).unwrap_or_default());
        inspected.push(InspectedSegment {
            sequence,
            path,
            file_bytes: bytes.len() as u64,
            valid_bytes: valid_bytes as u64,
            record_count,
            damage,
            has_records_behind,
        });
    }
    Ok(inspected)
}
