//! Whole files: written under a temporary name, synced, renamed, the directory synced. A file that has its final name
//! is complete.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Existing, FileSystem, WritableFile, parent};

/// Ending of files that are not finished; start-up deletes them.
pub(crate) const TEMPORARY_ENDING: &str = "tmp";

/// A file under construction beside its final name; deleted when dropped before [`TemporaryFile::persist`].
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    fs: Arc<dyn FileSystem>,
    file: Box<dyn WritableFile>,
    length_bytes: u64,
    leftover: Leftover,
    target: PathBuf,
}

/// Removes the temporary name when dropped, unless it has become the final one.
#[derive(Debug)]
struct Leftover {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    is_renamed: bool,
}

impl TemporaryFile {
    /// Creates `<target>.tmp`, replacing a left-over of that name.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn create(fs: &Arc<dyn FileSystem>, target: &Path) -> io::Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".");
        name.push(TEMPORARY_ENDING);
        let path = PathBuf::from(name);
        let file = fs.create(&path, Existing::Replace)?;
        Ok(Self {
            fs: Arc::clone(fs),
            file,
            length_bytes: 0,
            leftover: Leftover { fs: Arc::clone(fs), path, is_renamed: false },
            target: target.to_owned(),
        })
    }

    /// Appends all bytes.
    ///
    /// # Errors
    /// Those of the operating system; the file is of no use then.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length_bytes)?;
        self.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Overwrites bytes at `offset`; the next [`TemporaryFile::write_all`] goes where it would have gone.
    ///
    /// # Errors
    /// Those of the operating system; the file is of no use then.
    pub(crate) fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the file durable under its final name and hands it back, replacing what had that name.
    ///
    /// # Errors
    /// Those of the operating system; the final name is then as it was, unless syncing the directory failed.
    pub(crate) fn persist(mut self) -> io::Result<Box<dyn WritableFile>> {
        self.file.sync_data()?;
        self.fs.rename(&self.leftover.path, &self.target)?;
        self.leftover.is_renamed = true;
        self.fs.sync_directory(parent(&self.target))?;
        Ok(self.file)
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if !self.is_renamed
            && let Err(error) = self.fs.remove(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "unfinished file was not removed");
        }
    }
}
