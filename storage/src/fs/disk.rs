//! The operating system's files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::lock::{DirectoryLock, LockError};
use super::mapped::MappedFile;
use super::space::Space;
use super::{Entry, Existing, FileSystem, WritableFile, parent};

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disk;

impl FileSystem for Disk {
    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        if directory.as_os_str().is_empty() || directory.is_dir() {
            return Ok(());
        }
        let above = parent(directory);
        self.create_directories(above)?;
        match DirBuilder::new().create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // Somebody else may have created it a moment ago without having synced it yet.
            _ => self.sync_directory(above),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let entry = |found: io::Result<std::fs::DirEntry>| {
            let found = found?;
            Ok(Entry { path: found.path(), is_directory: found.file_type()?.is_dir() })
        };
        std::fs::read_dir(directory)?.map(entry).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn length_bytes(&self, path: &Path) -> io::Result<u64> {
        std::fs::metadata(path).map(|meta| meta.len())
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn WritableFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match existing {
            Existing::Refuse => options.create_new(true),
            Existing::Replace => options.create(true).truncate(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn WritableFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        std::fs::remove_dir(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        MappedFile::of_file(&File::open(path)?)
    }

    fn space(&self, directory: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(directory)?;
        Ok(Space {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, directory: &Path) -> Result<DirectoryLock, LockError> {
        DirectoryLock::acquire(directory)
    }
}

impl WritableFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.set_len(length_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
