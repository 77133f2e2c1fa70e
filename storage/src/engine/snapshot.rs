//! A copy of everything that is stored, by hard links, while the server goes on.
//!
//! Blocks and tombstones are never changed, so a second name is a copy that costs no room. The copy is a data directory
//! of its own: a MANIFEST that lists the blocks, and a WAL with what is known about metrics.
//! Not here: the view that a query reads (see `crate::snapshot`), and restoring (see `crate::check`).

use std::io;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use tracing::{info, warn};

use super::Storage;
use super::maintain::{MaintainError, reference};
use crate::block::layout::{BlockRef, snapshots};
use crate::block::manifest::{Manifest, ManifestState};
use crate::fs::temporary::TEMPORARY_ENDING;
use crate::fs::{FileSystem, list_or_empty, parent, remove_tree};
use crate::wal::{RecordBuilder, write_segment};

/// Longest name of a snapshot.
const NAME_BYTES_MAX: usize = 128;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The name cannot be that of a directory.
    #[error(
        "snapshot name {given:?} is not valid; allowed are 1 to {NAME_BYTES_MAX} of the characters a-z, A-Z, 0-9, - and _"
    )]
    Name {
        /// The name.
        given: String,
    },
    /// There is a snapshot of that name.
    #[error("snapshot {path} exists already")]
    Exists {
        /// Where it lies.
        path: PathBuf,
    },
    /// What is in memory could not be written to blocks.
    #[error("cannot flush before taking a snapshot: {0}")]
    Flush(#[from] MaintainError),
    /// An operation on a file failed.
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

/// A snapshot that is complete and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// Its directory, `<data>/snapshots/<name>`.
    pub path: PathBuf,
    /// Blocks inside.
    pub block_count: usize,
    /// Blocks that are listed but damaged, and therefore left out.
    pub left_out_block_count: usize,
}

impl Storage {
    /// Takes a snapshot of all tenants into `<data>/snapshots/<name>`. It holds every write that was acknowledged
    /// before the call; with `skip_head` only what is in blocks by now. Reads and writes go on. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing of that name is there then.
    pub fn snapshot(&self, name: &str, now_ms: i64, skip_head: bool) -> Result<SnapshotInfo, SnapshotError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_allowed) {
            return Err(SnapshotError::Name { given: name.to_owned() });
        }
        let _one_at_a_time = self.snapshots.lock();
        let fs = self.fs.as_ref();
        let above = snapshots(&self.options.data_dir);
        let path = above.join(name);
        fs.create_directories(&above).map_err(io_error("create", &above))?;
        if list_or_empty(fs, &above).map_err(io_error("list", &above))?.iter().any(|entry| entry.path == path)
        {
            return Err(SnapshotError::Exists { path });
        }
        if !skip_head {
            self.flush(now_ms)?;
        }
        let unfinished = above.join(format!("{name}.{TEMPORARY_ENDING}"));
        let built = remove_tree(fs, &unfinished)
            .map_err(io_error("remove", &unfinished))
            .and_then(|()| self.build(&unfinished))
            .and_then(|counts| {
                fs.rename(&unfinished, &path).map_err(io_error("rename", &unfinished))?;
                fs.sync_directory(&above).map_err(io_error("sync", &above))?;
                Ok(counts)
            });
        let (block_count, left_out_block_count) = built.inspect_err(|_| {
            for directory in [&unfinished, &path] {
                if let Err(error) = remove_tree(fs, directory) {
                    warn!(path = %directory.display(), %error, "snapshot that failed is left behind");
                }
            }
        })?;
        info!(name, block_count, left_out_block_count, "snapshot taken");
        Ok(SnapshotInfo { name: name.to_owned(), path, block_count, left_out_block_count })
    }

    /// Fills the directory, durably; returns how many blocks are inside and how many were left out.
    fn build(&self, directory: &Path) -> Result<(usize, usize), SnapshotError> {
        let fs = self.fs.as_ref();
        let wal_dir = directory.join("wal");
        fs.create_directories(&wal_dir).map_err(io_error("create", &wal_dir))?;
        // Creating directories syncs, so most are made before the lock is taken; there may be few new days then.
        for block in self.served_blocks() {
            let day = block.directory(directory);
            fs.create_directories(&day).map_err(io_error("create", &day))?;
        }
        let (state, left_out_block_count) = self.link_all(directory)?;
        let days: HashSet<PathBuf> = state.blocks.iter().map(|block| block.directory(directory)).collect();
        for day in days {
            fs.sync_directory(&day).map_err(io_error("sync", &day))?;
        }
        write_segment(fs, &wal_dir, 1, self.metadata_records().bytes())
            .map_err(io_error("write the WAL in", &wal_dir))?;
        let block_count = state.blocks.len();
        Manifest::create_in(&self.fs, directory, state).map_err(|error| SnapshotError::Io {
            operation: "write the MANIFEST in",
            path: directory.to_owned(),
            source: io::Error::other(crate::error::with_sources(&error)),
        })?;
        Ok((block_count, left_out_block_count))
    }

    /// Links the files of all blocks, at one moment; returns what the MANIFEST of the copy says.
    fn link_all(&self, directory: &Path) -> Result<(ManifestState, usize), SnapshotError> {
        let fs = self.fs.as_ref();
        let maintenance = self.maintenance.lock();
        let mut state = maintenance.manifest.state().clone();
        let served: HashSet<BlockRef> = self.served_blocks().into_iter().collect();
        let listed_count = state.blocks.len();
        state.blocks.retain(|block| served.contains(block));
        state.tombstones.retain(|block, _| served.contains(block));
        state.wal_floor = 0;
        let targets = state.files(directory);
        for (file, target) in state.files(&self.options.data_dir).iter().zip(&targets) {
            let day = parent(target);
            fs.create_directories(day).map_err(io_error("create", day))?;
            fs.hard_link(file, target).map_err(io_error("link", file))?;
        }
        let left_out_block_count = listed_count - state.blocks.len();
        Ok((state, left_out_block_count))
    }

    fn served_blocks(&self) -> Vec<BlockRef> {
        let tenants = self.all_tenants();
        tenants
            .iter()
            .flat_map(|tenant| tenant.snapshot().blocks.iter().map(reference).collect::<Vec<_>>())
            .collect()
    }

    /// What is known about metrics, as the records of a WAL.
    fn metadata_records(&self) -> RecordBuilder {
        let mut builder = RecordBuilder::default();
        for (number, tenant) in (0..).zip(self.all_tenants()) {
            let metadata = tenant.snapshot().metadata();
            if !metadata.is_empty() {
                builder.tenant(number, tenant.id.as_str());
                builder.metadata(number, &metadata);
            }
        }
        builder
    }
}

/// Deletes what a crash has left of snapshots that were not finished. Returns the deleted paths.
///
/// # Errors
/// Those of the operating system.
pub(super) fn remove_unfinished(fs: &dyn FileSystem, data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for entry in list_or_empty(fs, &snapshots(data_dir))? {
        if entry.is_directory && entry.path.extension().is_some_and(|ending| ending == TEMPORARY_ENDING) {
            remove_tree(fs, &entry.path)?;
            removed.push(entry.path);
        }
    }
    Ok(removed)
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> SnapshotError + 'p {
    move |source| SnapshotError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
