//! Segment files: their names, their creation, their end.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{SEGMENT_HEADER_BYTES, segment_header};
use crate::fs::{Existing, FileSystem, WritableFile};

const SUFFIX: &str = ".wal";
/// Ending of files that are kept aside because of damage.
const ASIDE_SUFFIX: &str = ".corrupt";

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

/// Lists what was kept aside because of damage, sorted.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn list_aside(fs: &dyn FileSystem, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_aside =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ASIDE_SUFFIX));
    let mut aside: Vec<PathBuf> =
        fs.list(directory)?.into_iter().map(|entry| entry.path).filter(is_aside).collect();
    aside.sort();
    Ok(aside)
}

/// A name under which a damaged segment can be kept aside: none that is taken.
pub(super) fn free_aside_path(fs: &dyn FileSystem, segment: &Path) -> PathBuf {
    let named = |text: String| {
        let mut name = segment.as_os_str().to_owned();
        name.push(text);
        PathBuf::from(name)
    };
    let numbered = (2_u32..).map(|number| named(format!(".{number}{ASIDE_SUFFIX}")));
    let mut names = [named(ASIDE_SUFFIX.to_owned())].into_iter().chain(numbered);
    names.find(|path| fs.length_bytes(path).is_err()).unwrap_or_else(|| named(ASIDE_SUFFIX.to_owned()))
}

/// A segment that takes records.
#[derive(Debug)]
pub(super) struct Segment {
    file: Box<dyn WritableFile>,
    /// Bytes of the header and of whole records.
    pub(super) length_bytes: u64,
}

impl Segment {
    /// Creates segment `sequence` with its header, durable together with its name. What an earlier try has left under
    /// that name goes away.
    pub(super) fn create(fs: &dyn FileSystem, directory: &Path, sequence: u64) -> io::Result<Self> {
        let path = segment_path(directory, sequence);
        let file = match fs.create(&path, Existing::Refuse) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs.remove(&path)?;
                fs.create(&path, Existing::Refuse)?
            }
            outcome => outcome?,
        };
        file.write_all_at(&segment_header(sequence), 0)?;
        file.sync_data()?;
        fs.sync_directory(directory)?;
        Ok(Self { file, length_bytes: SEGMENT_HEADER_BYTES as u64 })
    }

    /// Appends whole records, not durably. After an error nothing may be appended before [`Segment::cut_back`].
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.length_bytes)?;
        self.length_bytes += records.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed append has left.
    pub(super) fn cut_back(&self) -> io::Result<()> {
        self.file.set_length(self.length_bytes)
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
