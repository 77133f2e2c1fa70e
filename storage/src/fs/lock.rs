//! The lock that keeps two servers out of one data directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LockError {
    /// Another process holds the lock.
    #[error("{path} is locked: another server is using this data directory")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be created or locked.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Exclusive use of a data directory until dropped; the kernel releases it even if the process is killed.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// `None` for a directory in memory.
    _file: Option<File>,
}

impl DirectoryLock {
    /// The lock of a directory that no other process can see.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of_memory() -> Self {
        Self { _file: None }
    }

    /// Locks `directory/LOCK`, creating the file but not the directory.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process (or another lock of this one) has it; [`LockError::Io`].
    pub(crate) fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("LOCK");
        let io_error = |source| LockError::Io { path: path.clone(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held { path }),
            Err(error) => Err(io_error(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path()).unwrap();
        assert!(matches!(DirectoryLock::acquire(directory.path()), Err(LockError::Held { .. })));
        drop(first);
        DirectoryLock::acquire(directory.path()).unwrap();
        let missing = directory.path().join("missing");
        assert!(matches!(DirectoryLock::acquire(&missing), Err(LockError::Io { .. })));
    }
}
