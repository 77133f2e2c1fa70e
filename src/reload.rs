//! Files that are read again while the server runs, when their content changes and on `POST /-/reload`.
//!
//! A file that became bad is a loud line in the log and a metric; what was read last stays in force. Not here: what is
//! in the files.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mytsdb_storage::Storage;
use tracing::{error, info};

use crate::limits_file::{AllLimits, TenantSettings};
use crate::telemetry::Metrics;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file and what was last found in it.
#[derive(Debug)]
pub struct WatchedFile {
    /// A short fixed word for metrics.
    name: &'static str,
    path: PathBuf,
    /// The text, or why there was none; `None` before the first look.
    last: Mutex<Option<Result<Vec<u8>, String>>>,
}

impl WatchedFile {
    /// Watches `path`; `name` is its word in metrics.
    pub fn new(name: &'static str, path: PathBuf) -> Self {
        Self { name, path, last: Mutex::new(None) }
    }

    /// Calls `apply` if what `read` gives has changed, or if `is_forced`. Everything that depends on the file belongs to
    /// what `read` returns. May block.
    ///
    /// # Errors
    /// What is wrong with the file; it is in the log and in the metrics, too.
    pub fn check(
        &self,
        is_forced: bool,
        metrics: &Metrics,
        read: impl FnOnce(&Path) -> Result<Vec<u8>, String>,
        apply: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let found = read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_forced && last.as_ref() == Some(&found) {
            return Ok(());
        }
        let is_first = last.is_none();
        let outcome = found.as_ref().map_err(Clone::clone).and_then(|bytes| apply(bytes));
        *last = Some(found);
        let path = self.path.display();
        metrics.reloaded(self.name, outcome.is_ok());
        match &outcome {
            Ok(()) if is_first => {}
            Ok(()) => info!(%path, "file is in force as it is now"),
            Err(reason) => error!(%path, reason, "file is bad; what was read before stays in force"),
        }
        outcome.map_err(|reason| format!("{path}: {reason}"))
    }
}

/// Reads a file that may not be larger than any sensible one.
///
/// # Errors
/// What the system said, or that the file is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the file has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// The file of `--limits-file`.
#[derive(Debug)]
pub struct LimitsReload {
    file: WatchedFile,
    flags: TenantSettings,
}

impl LimitsReload {
    /// Watches `path`, whose settings stand over `flags`.
    pub fn new(path: PathBuf, flags: TenantSettings) -> Self {
        Self { file: WatchedFile::new("limits", path), flags }
    }

    /// Gives the storage the limits of the file if they have changed, or if `is_forced`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn check(&self, is_forced: bool, metrics: &Metrics, storage: &Storage) -> Result<(), String> {
        self.file.check(is_forced, metrics, read_file, |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let all = AllLimits::parse(text, &self.flags)?;
            storage.set_limits(all.defaults, all.by_tenant);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_applied_when_it_changes_and_a_bad_one_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (file, metrics) = (WatchedFile::new("test", path.clone()), Metrics::default());
        let applied = Mutex::new(Vec::new());
        let check = |is_forced| {
            file.check(is_forced, &metrics, read_file, |bytes| {
                applied.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
                if bytes == b"bad" { Err("is bad".to_owned()) } else { Ok(()) }
            })
        };
        let gauge = |value| format!("mytsdb_config_last_reload_successful{{file=\"test\"}} {value}\n");
        assert!(check(false).unwrap_err().contains("cannot be read"));
        assert_eq!(check(false), Ok(()), "reported once");
        std::fs::write(&path, "one").unwrap();
        assert_eq!((check(false), check(false)), (Ok(()), Ok(())));
        assert!(metrics.render(None, None).contains(&gauge(1)));
        std::fs::write(&path, "bad").unwrap();
        assert!(check(false).unwrap_err().ends_with("is bad"));
        assert!(metrics.render(None, None).contains(&gauge(0)));
        assert!(check(true).is_err());
        assert_eq!(*applied.lock().unwrap(), ["one", "bad", "bad"]);
    }
}
