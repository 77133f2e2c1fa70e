//! Reading the log without changing it: what a verifier asks.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{FRAME_HEADER_BYTES, Record, next_frame};
use super::reader::replay_segment;
use super::segment::list_segments;
use crate::coding::{CodingError, Cursor};
use crate::fs::FileSystem;

/// Bytes behind damage that are checksummed in search of whole records.
const SEARCHED_BYTES_MAX: usize = 64 << 20;

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
    pub(crate) damage: Option<CodingError>,
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
    for (sequence, path) in list_segments(fs, directory)? {
        let bytes = fs.read(&path)?;
        let mut record_count = 0;
        let mut apply = |tenant: u32, record: Record<'_>| {
            if sequence >= floor {
                visit(&path, tenant, record);
            }
        };
        let (valid_bytes, damage) = replay_segment(&bytes, sequence, &mut record_count, &mut apply);
        let has_records_behind = damage.is_some()
            && has_whole_record(bytes.get(valid_bytes.saturating_add(1)..).unwrap_or_default());
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

/// Searches for a whole record at every byte.
fn has_whole_record(bytes: &[u8]) -> bool {
    let mut left_bytes = SEARCHED_BYTES_MAX;
    for start in 0..bytes.len().saturating_sub(FRAME_HEADER_BYTES) {
        let rest = bytes.get(start..).unwrap_or_default();
        let length = Cursor::new(rest).u32().unwrap_or(0) as usize;
        if length == 0 || length > rest.len() {
            continue;
        }
        // Checksums of many long spans would take for ever; a search that gives up finds fewer.
        let Some(left) = left_bytes.checked_sub(length) else { continue };
        left_bytes = left;
        if let Ok(Some(body)) = next_frame(&mut Cursor::new(rest))
            && Record::decode(body).is_ok()
        {
            return true;
        }
    }
    false
}
