//! Files behind one trait: durable writes, read-only mappings, the lock of the data directory.
//!
//! [`disk::Disk`] is the real one; [`memory::MemoryFs`] and [`faulty::FaultyFs`] are for tests, which cut the power and
//! break calls where no real disk lets them. Nothing else in this crate calls `std::fs`.
//! Not here: any format. What the bytes mean is known to `wal` and `block`.

#[cfg(test)]
pub(crate) mod crash;
pub(crate) mod disk;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod lock;
pub(crate) mod mapped;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the fuzz targets need no crash images"))]
pub(crate) mod memory;
pub(crate) mod space;
pub(crate) mod temporary;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use lock::{DirectoryLock, LockError};
use mapped::MappedFile;
use space::Space;

/// What [`FileSystem::create`] does with a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is an error.
    Refuse,
    /// It is emptied.
    Replace,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The directory's path and the name.
    pub(crate) path: PathBuf,
    /// Whether it is a directory.
    pub(crate) is_directory: bool,
}

/// All that the storage does with files. Shared as `Arc<dyn FileSystem>`.
///
/// # Errors
/// Every call gives those of the operating system.
///
/// # Durability
/// Bytes are durable after [`WritableFile::sync_data`]; names (created, renamed, linked, removed) after
/// [`FileSystem::sync_directory`] of their directory, and not before.
pub(crate) trait FileSystem: Debug + Send + Sync {
    /// Creates `directory` and what is missing above it, durably.
    fn create_directories(&self, directory: &Path) -> io::Result<()>;

    /// Lists a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    fn length_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Creates an empty file and opens it for writing.
    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn WritableFile>>;

    /// Opens a file that is there for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn WritableFile>>;

    /// Gives a file another name, replacing what has that name, in one step. Also for directories; the new name must
    /// be free then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; one that is taken is an error.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name; open files and mappings live on.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, directory: &Path) -> io::Result<()>;

    /// Makes the names in `directory` durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Maps a whole file read-only. It must be complete: nobody writes to it any more.
    fn map(&self, path: &Path) -> io::Result<MappedFile>;

    /// How much room there is on the file system of `directory`.
    fn space(&self, directory: &Path) -> io::Result<Space>;

    /// Takes the data directory for this process alone.
    ///
    /// # Errors
    /// [`LockError`].
    fn lock(&self, directory: &Path) -> Result<DirectoryLock, LockError>;
}

/// A file open for writing.
///
/// # Errors
/// Every call gives those of the operating system; after a failed write any part of the bytes may be in the file.
pub(crate) trait WritableFile: Debug + Send + Sync {
    /// Writes all bytes at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file off, or lengthens it by zeros.
    fn set_length(&self, length_bytes: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable. After a failure nobody knows which bytes are: it must not be tried again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Removes `path` durably; a file that is not there is no error.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_durably(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs.sync_directory(parent(path)),
    }
}

/// Removes a directory with all that is inside; one that is not there is no error.
///
/// # Errors
/// Those of the operating system; part of it may be gone then.
pub(crate) fn remove_tree(fs: &dyn FileSystem, directory: &Path) -> io::Result<()> {
    let entries = match fs.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome?,
    };
    for Entry { path, is_directory } in entries {
        if is_directory { remove_tree(fs, &path)? } else { fs.remove(&path)? }
    }
    fs.remove_directory(directory)
}

/// Lists a directory; one that is not there is empty.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn list_or_empty(fs: &dyn FileSystem, directory: &Path) -> io::Result<Vec<Entry>> {
    match fs.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// Returns whether a call failed because the disk has no room.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
