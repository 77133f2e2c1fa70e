//! Segment files: their names, their creation, their end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::format::segment_header;
use crate::fs::disk::sync_directory;

const SUFFIX: &str = ".wal";

/// Path of segment `sequence`.
pub(super) fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}{SUFFIX}"))
}

/// Lists the segments of `directory` by ascending sequence number.
pub(super) fn list_segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let sequence =
            name.to_str().and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| u64::from_str_radix(n, 16).ok());
        if let Some(sequence) = sequence {
            segments.push((sequence, entry.path()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Creates segment `sequence` with its header, durable together with its name.
pub(super) fn create_segment(directory: &Path, sequence: u64) -> io::Result<File> {
    let path = segment_path(directory, sequence);
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    file.write_all(&segment_header(sequence))?;
    file.sync_data()?;
    sync_directory(directory)?;
    Ok(file)
}

/// Deletes all segments below `floor` and returns how many bytes that freed.
///
/// # Errors
/// What the system says; some segments may be gone then, which is harmless: they were not needed.
pub(crate) fn delete_segments_below(directory: &Path, floor: u64) -> io::Result<u64> {
    let mut freed_bytes = 0;
    for (sequence, path) in list_segments(directory)? {
        if sequence < floor {
            freed_bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
            std::fs::remove_file(&path)?;
        }
    }
    Ok(freed_bytes)
}
