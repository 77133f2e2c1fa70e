//! Finished files, mapped read-only. Nothing is ever written through a mapping, and a file that may be mapped is never
//! truncated, only unlinked.

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Advice, Mmap};

/// A finished file, mapped read-only. The mapping outlives the unlinking of the file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    bytes: Bytes,
    /// Called before a range is read; lets a test break it.
    #[cfg(test)]
    pub(crate) guard: Option<Guard>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// An empty file, or one of a file system in memory.
    Held(Arc<Vec<u8>>),
}

/// Decides whether a range may be read.
#[cfg(test)]
pub(crate) struct Guard(pub(crate) Box<dyn Fn() -> io::Result<()> + Send + Sync>);

#[cfg(test)]
impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl MappedFile {
    /// Maps the whole of `file`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if length == 0 {
            return Ok(Self::of_bytes(Arc::default()));
        }
        // SAFETY: the bytes must not change or vanish while mapped. Only files that are finished and renamed are
        // mapped; this process never writes to or truncates such a file (it only unlinks, which leaves the mapping
        // whole), and the exclusive lock on the data directory keeps other servers away. The length is that of
        // just above, so no page lies beyond the end of the file.
        #[expect(unsafe_code, reason = "mapping is unsafe by nature; this is the one audited place")]
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        Ok(Self::new(Bytes::Mapped(map)))
    }

    /// Wraps bytes in memory.
    pub(super) fn of_bytes(bytes: Arc<Vec<u8>>) -> Self {
        Self::new(Bytes::Held(bytes))
    }

    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            #[cfg(test)]
            guard: None,
        }
    }

    /// The whole file.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }

    /// Reads a range into memory, so that a failing disk gives an error here and no signal later.
    ///
    /// # Errors
    /// [`io::Error`] if the range cannot be read. A kernel without `MADV_POPULATE_READ` (before 5.14) reads the
    /// pages when they are touched instead.
    pub(crate) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        #[cfg(test)]
        if let Some(Guard(guard)) = &self.guard {
            guard()?;
        }
        match &self.bytes {
            Bytes::Held(_) => Ok(()),
            Bytes::Mapped(map) => match map.advise_range(Advice::PopulateRead, offset, length) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                outcome => outcome,
            },
        }
    }
}
