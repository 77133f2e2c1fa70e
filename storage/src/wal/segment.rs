//! Segment files: their names, their creation, their end.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{SEGMENT_HEADER_BYTES, segment_header};
use crate::fs::{Existing, FileSystem, WritableFile};

const SUFFIX: &str = ".wal";

/// Path of segment `sequence`.
pub(super) fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}{SUFFIX}"))
}

/// Lists the segments of `directory` by ascending sequence number.
pub(super) fn list_segments(fs: &dyn FileSystem, directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs.list(directory)? {
        let name = entry.path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(sequence) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            segments.push((sequence, entry.path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// A segment that takes records.
#[derive(Debug)]
pub(super) struct Segment {
    file: Box<dyn WritableFile>,
    /// Bytes of the header and of whole records.
    pub(super) length_bytes: u64,
}

impl Segment {
    /// Creates segment `sequence` with its header, durable together with its name.
    pub(super) fn create(fs: &dyn FileSystem, directory: &Path, sequence: u64) -> io::Result<Self> {
        let file = fs.create(&segment_path(directory, sequence), Existing::Refuse)?;
        file.write_all_at(&segment_header(sequence), 0)?;
        file.sync_data()?;
        fs.sync_directory(directory)?;
        Ok(Self { file, length_bytes: SEGMENT_HEADER_BYTES as u64 })
    }

    /// Appends whole records, not durably.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.length_bytes)?;
        self.length_bytes += records.len() as u64;
        Ok(())
    }

    /// Makes the records durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Writes a whole segment that holds `records`, durably.
///
/// # Errors
/// Those of the operating system; also if there is such a segment.
pub(crate) fn write_segment(
    fs: &dyn FileSystem,
    directory: &Path,
    sequence: u64,
    records: &[u8],
) -> io::Result<()> {
    let mut segment = Segment::create(fs, directory, sequence)?;
    segment.append(records)?;
    segment.sync()
}

/// Deletes all segments below `floor` and returns how many bytes that freed.
///
/// # Errors
/// What the system says; some segments may be gone then, which is harmless: they were not needed.
pub(crate) fn delete_segments_below(fs: &dyn FileSystem, directory: &Path, floor: u64) -> io::Result<u64> {
    let mut freed_bytes = 0;
    for (sequence, path) in list_segments(fs, directory)? {
        if sequence < floor {
            freed_bytes += fs.length_bytes(&path).unwrap_or(0);
            fs.remove(&path)?;
        }
    }
    Ok(freed_bytes)
}
