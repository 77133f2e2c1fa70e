//! What of the data directory is damaged: left where it is, not read, and told to whoever asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::model::{TenantId, TimeRange};

/// Damaged files that are remembered at most; more are only named in the log.
const FILE_COUNT_MAX: usize = 10_000;

/// A file that is damaged, wholly or in part. It is never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedFile {
    /// The file, as it lies now.
    pub path: PathBuf,
    /// What was found first.
    pub reason: String,
    /// Whose data it holds, if it is one tenant's.
    pub tenant: Option<TenantId>,
    /// Times that its samples may have, if known.
    pub range: Option<TimeRange>,
}

/// The damaged files of a data directory, each once.
#[derive(Debug, Default)]
pub(crate) struct DamageList {
    files: Mutex<BTreeMap<PathBuf, DamagedFile>>,
}

impl DamageList {
    /// Adds a file; returns whether it was unknown.
    pub(crate) fn add(&self, file: DamagedFile) -> bool {
        let mut files = self.files.lock();
        if files.contains_key(&file.path) || files.len() >= FILE_COUNT_MAX {
            return false;
        }
        files.insert(file.path.clone(), file);
        true
    }

    /// Forgets a file that is gone.
    pub(crate) fn forget(&self, path: &Path) {
        self.files.lock().remove(path);
    }

    /// All of them, by path.
    pub(crate) fn all(&self) -> Vec<DamagedFile> {
        self.files.lock().values().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.files.lock().len()
    }

    /// Those that hold samples of `tenant`.
    pub(crate) fn of_tenant(&self, tenant: &TenantId) -> Vec<DamagedFile> {
        let files = self.files.lock();
        files.values().filter(|file| file.tenant.as_ref() == Some(tenant)).cloned().collect()
    }
}
