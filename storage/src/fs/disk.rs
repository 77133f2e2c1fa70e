//! Durable files: written under a temporary name, synced, renamed, the directory synced; mapped read-only.
//!
//! A file that has its final name is complete. Nothing is ever written through a mapping, and a file that may be
//! mapped is never truncated, only unlinked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

/// Ending of files that are not finished; start-up deletes them.
pub(crate) const TEMPORARY_ENDING: &str = "tmp";

/// A file under construction beside its final name; deleted when dropped before [`TemporaryFile::persist`].
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    is_persisted: bool,
}

impl TemporaryFile {
    /// Creates `<target>.tmp`, replacing a left-over of that name.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".");
        name.push(TEMPORARY_ENDING);
        let temporary = PathBuf::from(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        Ok(Self { file, temporary, target: target.to_owned(), is_persisted: false })
    }

    /// Appends all bytes at the file position.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes all bytes at `offset`, leaving the file position alone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the file durable under its final name and hands it back, replacing what had that name.
    ///
    /// # Errors
    /// Those of the operating system; the final name is then as it was, unless syncing the directory failed.
    pub(crate) fn persist(mut self) -> io::Result<File> {
        self.file.sync_all()?;
        let file = self.file.try_clone()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.is_persisted = true;
        sync_directory(parent(&self.target))?;
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_persisted
            && let Err(error) = std::fs::remove_file(&self.temporary)
        {
            tracing::debug!(path = %self.temporary.display(), %error, "unfinished file was not removed");
        }
    }
}

/// Makes creations, renames and deletions inside `directory` durable.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates `directory` and what is missing above it, durably: every directory that gained an entry is synced.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let above = parent(directory);
    create_directories(above)?;
    match DirBuilder::new().create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Somebody else may have created it a moment ago without having synced it yet.
        _ => sync_directory(above),
    }
}

/// Deletes `path` durably; a file that is not there is no error.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_directory(parent(path)),
    }
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A finished file, mapped read-only. The mapping outlives the unlinking of the file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps `file`, which must be exactly `expected_bytes` long.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the length differs, else those of the operating system.
    pub(crate) fn map(file: &File, expected_bytes: u64) -> io::Result<Self> {
        let found_bytes = file.metadata()?.len();
        let length = usize::try_from(expected_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if found_bytes != expected_bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("file has {found_bytes} bytes where {expected_bytes} were announced"),
            ));
        }
        // SAFETY: the bytes must not change or vanish while mapped. Only files that are finished and renamed are
        // mapped; this process never writes to or truncates such a file (it only unlinks, which leaves the mapping
        // whole), and the exclusive lock on the data directory keeps other servers away. The length was checked
        // just above, so no page lies beyond the end of the file.
        #[expect(unsafe_code, reason = "mapping is unsafe by nature; this is the one audited place")]
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        Ok(Self { map })
    }

    /// The whole file.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Reads a range into memory, so that a failing disk gives an error here and no signal later.
    ///
    /// # Errors
    /// [`io::Error`] if the range cannot be read. A kernel without `MADV_POPULATE_READ` (before 5.14) reads the
    /// pages when they are touched instead.
    pub(crate) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        match self.map.advise_range(Advice::PopulateRead, offset, length) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_persisted() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a/b/file.mtb");
        create_directories(target.parent().unwrap()).unwrap();
        drop(TemporaryFile::create(&target).unwrap());
        assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);

        let mut file = TemporaryFile::create(&target).unwrap();
        file.write_all(b"....two").unwrap();
        file.write_all_at(b"one ", 0).unwrap();
        assert!(!target.exists());
        file.persist().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"one two");
        assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn mapping_checks_the_length_and_outlives_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        std::fs::write(&target, vec![7; 10_000]).unwrap();
        let file = File::open(&target).unwrap();
        assert_eq!(MappedFile::map(&file, 9_999).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let map = MappedFile::map(&file, 10_000).unwrap();
        map.populate(5_000, 5_000).unwrap();
        remove_file(&target).unwrap();
        remove_file(&target).unwrap();
        assert!(map.bytes().iter().all(|byte| *byte == 7) && map.bytes().len() == 10_000);
    }
}
