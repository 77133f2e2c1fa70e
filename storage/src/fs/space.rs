//! Whether the disk has room: writes stop before it is full, so that a flush, which frees room, still fits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::FileSystem;

/// Part of the disk that is kept for flushes unless said otherwise: a twentieth, at most this many bytes.
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// How much there is and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes of the whole file system.
    pub(crate) total_bytes: u64,
    /// Bytes that this process may still take.
    pub(crate) free_bytes: u64,
}

/// Less is free than is kept in reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFull {
    /// Bytes that were free.
    pub(crate) free_bytes: u64,
    /// Bytes that are kept.
    pub(crate) reserve_bytes: u64,
}

/// Measures the room of one directory and remembers whether writes may go on.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    /// `None`: by the size of the disk.
    reserve_bytes: Option<u64>,
    is_full: AtomicBool,
    last: Mutex<DiskFull>,
}

impl DiskWatch {
    /// Watches the file system of `directory`; nothing is measured yet.
    pub(crate) fn new(fs: &Arc<dyn FileSystem>, directory: &Path, reserve_bytes: Option<u64>) -> Self {
        Self {
            fs: Arc::clone(fs),
            directory: directory.to_owned(),
            reserve_bytes,
            is_full: AtomicBool::new(false),
            last: Mutex::new(DiskFull { free_bytes: 0, reserve_bytes: 0 }),
        }
    }

    /// Measures; returns what is missing, if anything. A disk that cannot be measured counts as having room.
    pub(crate) fn check(&self) -> Option<DiskFull> {
        let measured = self.measure();
        let is_full = measured.free_bytes < measured.reserve_bytes;
        self.remember(measured, is_full);
        is_full.then_some(measured)
    }

    /// The disk has refused bytes: it counts as full until [`DiskWatch::check`] finds room.
    pub(crate) fn refused(&self) -> DiskFull {
        let measured = self.measure();
        self.remember(measured, true);
        measured
    }

    /// What was missing when it was last measured.
    #[inline]
    pub(crate) fn full(&self) -> Option<DiskFull> {
        // Relaxed: guards no other memory; a write more or less before it is seen does no harm.
        self.is_full.load(Ordering::Relaxed).then(|| *self.last.lock())
    }

    fn measure(&self) -> DiskFull {
        let space = self.fs.space(&self.directory).unwrap_or_else(|error| {
            tracing::debug!(directory = %self.directory.display(), %error, "cannot measure the disk");
            Space { total_bytes: u64::MAX, free_bytes: u64::MAX }
        });
        let by_size = || RESERVE_BYTES_MAX.min(space.total_bytes / 20);
        DiskFull { free_bytes: space.free_bytes, reserve_bytes: self.reserve_bytes.unwrap_or_else(by_size) }
    }

    fn remember(&self, measured: DiskFull, is_full: bool) {
        *self.last.lock() = measured;
        let was_full = self.is_full.swap(is_full, Ordering::Relaxed);
        let DiskFull { free_bytes, reserve_bytes } = measured;
        if is_full && !was_full {
            tracing::error!(free_bytes, reserve_bytes, "disk is full: writes are refused, reads go on");
        } else if was_full && !is_full {
            tracing::info!(free_bytes, reserve_bytes, "disk has room again: writes are taken");
        }
    }
}
