//! Restoring: a verified copy of a snapshot becomes the data directory of a server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashSet;

use super::{CheckError, CheckReport, Severity, check_on};
use crate::block::manifest::{Manifest, ManifestError, inspect};
use crate::fs::disk::Disk;
use crate::fs::temporary::TemporaryFile;
use crate::fs::{FileSystem, list_or_empty, parent};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 4 << 20;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot could not be verified.
    #[error("cannot verify the snapshot: {0}")]
    Check(#[from] CheckError),
    /// The snapshot is damaged; the report says where.
    #[error("the snapshot is damaged: {} findings", .report.finding_count(Severity::Damage))]
    Damaged {
        /// What is wrong.
        report: Box<CheckReport>,
    },
    /// The target holds something already.
    #[error("{path} is not empty: it holds {found}; allowed is a directory that is empty or does not exist")]
    NotEmpty {
        /// The target.
        path: PathBuf,
        /// One of the things it holds.
        found: String,
    },
    /// The MANIFEST of the copy could not be written.
    #[error("cannot write the MANIFEST: {reason}")]
    Manifest {
        /// What went wrong.
        reason: String,
    },
    /// An operation on a file failed; what was copied so far is no data directory, as it has no MANIFEST.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl From<ManifestError> for RestoreError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest { reason: crate::error::with_sources(&error) }
    }
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// What was found in the snapshot before it was copied.
    pub snapshot: CheckReport,
    /// Files that were copied or linked, without the MANIFEST.
    pub file_count: usize,
    /// Bytes of these files.
    pub file_bytes: u64,
}

/// Verifies the snapshot in `snapshot_dir` and makes a durable copy of it in `data_dir`, which must be empty or not
/// exist. With `is_linked` files get a second name instead of being copied, which both directories must be on one file
/// system for. The copy is a data directory only when it is complete: its MANIFEST comes last.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(snapshot_dir: &Path, data_dir: &Path, is_linked: bool) -> Result<RestoreReport, RestoreError> {
    restore_on(&(Arc::new(Disk) as Arc<dyn FileSystem>), snapshot_dir, data_dir, is_linked)
}

/// [`restore`] on any file system.
///
/// # Errors
/// As [`restore`].
pub(crate) fn restore_on(
    fs: &Arc<dyn FileSystem>,
    snapshot_dir: &Path,
    data_dir: &Path,
    is_linked: bool,
) -> Result<RestoreReport, RestoreError> {
    check_target(fs.as_ref(), data_dir)?;
    let snapshot = check_on(fs, snapshot_dir)?;
    if !snapshot.is_whole() {
        return Err(RestoreError::Damaged { report: Box::new(snapshot) });
    }
    let lock = fs.lock(snapshot_dir).map_err(CheckError::from)?;
    let (state, _torn_bytes) = inspect(fs.as_ref(), snapshot_dir)?;
    let mut files: Vec<PathBuf> = state.files(snapshot_dir).into_iter().collect();
    let wal_dir = snapshot_dir.join("wal");
    let segments = list_or_empty(fs.as_ref(), &wal_dir).map_err(io_error("list", &wal_dir))?;
    files.extend(segments.into_iter().filter(|entry| !entry.is_directory).map(|entry| entry.path));
    let mut report = RestoreReport { snapshot, file_count: files.len(), file_bytes: 0 };
    let mut directories = HashSet::new();
    fs.create_directories(data_dir).map_err(io_error("create", data_dir))?;
    for file in &files {
        let Ok(relative) = file.strip_prefix(snapshot_dir) else { continue };
        let target = data_dir.join(relative);
        let above = parent(&target);
        if directories.insert(above.to_owned()) {
            fs.create_directories(above).map_err(io_error("create", above))?;
        }
        // The WAL is written on and cut off by the server, so it is never shared.
        let is_shared = is_linked && !file.starts_with(&wal_dir);
        report.file_bytes += match is_shared {
            true => fs.hard_link(file, &target).and_then(|()| fs.length_bytes(&target)),
            false => copy(fs, file, &target),
        }
        .map_err(io_error(if is_shared { "link" } else { "copy" }, file))?;
    }
    for directory in &directories {
        fs.sync_directory(directory).map_err(io_error("sync", directory))?;
    }
    Manifest::create_in(fs, data_dir, state)?;
    drop(lock);
    Ok(report)
}

/// Refuses a target that holds anything but what an empty file system has.
fn check_target(fs: &dyn FileSystem, data_dir: &Path) -> Result<(), RestoreError> {
    let entries = list_or_empty(fs, data_dir).map_err(io_error("list", data_dir))?;
    let names = entries.iter().filter_map(|entry| entry.path.file_name());
    match names.map(|name| name.to_string_lossy()).find(|name| name != "lost+found") {
        Some(found) => Err(RestoreError::NotEmpty { path: data_dir.to_owned(), found: found.into_owned() }),
        None => Ok(()),
    }
}

/// Copies a file durably, without holding it in memory; returns its length.
fn copy(fs: &Arc<dyn FileSystem>, from: &Path, to: &Path) -> io::Result<u64> {
    let source = fs.map(from)?;
    let mut target = TemporaryFile::create(fs, to)?;
    let mut offset = 0;
    for piece in source.bytes().chunks(COPY_BYTES) {
        source.populate(offset, piece.len())?;
        target.write_all(piece)?;
        offset += piece.len();
    }
    target.persist()?;
    Ok(offset as u64)
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> RestoreError + 'p {
    move |source| RestoreError::Io { operation, path: path.to_owned(), source }
}
