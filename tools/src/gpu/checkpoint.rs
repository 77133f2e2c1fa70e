//! How far a replay is, in a file: written under a temporary name, synced, renamed.
//!
//! Only acknowledged rows are behind a checkpoint: what was under way when the process died is sent again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::player::Position;

const VERSION: u32 = 1;

/// What a checkpoint belongs to, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// Digest of the CSV file, in hexadecimal digits.
    pub file: String,
    /// `ORDINAL/COUNT`.
    pub shard: String,
    /// What is added to times of mode `shift`.
    pub offset_ms: i64,
    /// One per worker.
    pub positions: Vec<Position>,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("cannot {what} the checkpoint {path}: {source}")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no checkpoint.
    #[error("{path} is no checkpoint: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file belongs to another replay.
    #[error(
        "the checkpoint {path} is of another {what} ({found}, not {expected}); delete it to begin afresh"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the checkpoint.
        found: String,
        /// Of this replay.
        expected: String,
    },
}

impl Checkpoint {
    /// Creates the checkpoint of a replay that begins.
    pub fn new(digest: u64, shard: String, offset_ms: i64, worker_count: usize) -> Self {
        let positions = vec![Position::default(); worker_count];
        Self { version: VERSION, file: format!("{digest:016x}"), shard, offset_ms, positions }
    }

    /// Reads the file, if it is there, and makes sure that it belongs to the replay that `fresh` begins.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(path: &Path, fresh: &Self) -> Result<Option<Self>, CheckpointError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Io { what: "read", path: path.to_owned(), source }),
        };
        let read: Self = serde_json::from_slice(&bytes)
            .map_err(|error| CheckpointError::Content { path: path.to_owned(), reason: error.to_string() })?;
        let pairs = [
            ("version", read.version.to_string(), fresh.version.to_string()),
            ("file", read.file.clone(), fresh.file.clone()),
            ("shard", read.shard.clone(), fresh.shard.clone()),
            ("number of workers", read.positions.len().to_string(), fresh.positions.len().to_string()),
        ];
        for (what, found, expected) in pairs {
            if found != expected {
                return Err(CheckpointError::Other { path: path.to_owned(), what, found, expected });
            }
        }
        Ok(Some(read))
    }

    /// Writes the file. May block.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; the file is as it was before then.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let failed =
            |source: std::io::Error| CheckpointError::Io { what: "write", path: path.to_owned(), source };
        let json = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let mut file = File::create(&temporary).map_err(failed)?;
        file.write_all(&json).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_replays_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position.json");
        let fresh = Checkpoint::new(1, "0/3".to_owned(), 5, 2);
        assert_eq!(Checkpoint::read(&path, &fresh).unwrap(), None);
        let mut later = fresh.clone();
        later.positions[1] = Position { loop_index: 3, row: 17 };
        later.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path, &fresh).unwrap(), Some(later));
        for (other, part) in [
            (Checkpoint::new(2, "0/3".to_owned(), 5, 2), "another file"),
            (Checkpoint::new(1, "1/3".to_owned(), 5, 2), "another shard"),
            (Checkpoint::new(1, "0/3".to_owned(), 5, 3), "number of workers"),
        ] {
            let error = Checkpoint::read(&path, &other).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("delete it"), "{error}");
        }
        fs::write(&path, "{").unwrap();
        assert!(Checkpoint::read(&path, &fresh).unwrap_err().to_string().contains("no checkpoint"));
        assert!(fresh.write(&folder.path().join("none/position.json")).is_err());
    }
}
