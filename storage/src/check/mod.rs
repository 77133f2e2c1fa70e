//! The verifier: reads every byte of a data directory that no server uses, and says what is wrong.
//!
//! Input: a data directory (a snapshot is one). Output: findings. Changes nothing but takes the directory's lock.
//! Damage is what costs data or answers; a note is what an ordinary crash leaves, and the next start puts right.
//! Not here: repairing.

mod block;
mod restore;
#[cfg(test)]
mod tests;
mod wal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

pub use restore::{RestoreError, RestoreReport, restore};

use crate::block::layout::{BlockRef, block_files, is_own_file};
use crate::block::manifest::{FILE_NAME, ManifestError, ManifestState, inspect};
use crate::fs::disk::Disk;
use crate::fs::lock::LockError;
use crate::fs::{FileSystem, list_or_empty};

/// Findings told of one file; more are counted.
const FINDINGS_PER_FILE_MAX: usize = 20;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Data or answers are lost.
    Damage,
    /// What a crash leaves, and the next start puts right.
    Note,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The path is no data directory.
    #[error("{path} is no data directory: it has neither a MANIFEST nor tenants nor a wal directory")]
    NotADataDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A server uses the directory.
    #[error("cannot lock the data directory: {reason}")]
    Locked {
        /// Why.
        reason: String,
    },
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

impl From<LockError> for CheckError {
    fn from(error: LockError) -> Self {
        Self::Locked { reason: crate::error::with_sources(&error) }
    }
}

/// What was verified, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What is wrong, file by file.
    pub findings: Vec<Finding>,
    /// Blocks that were read.
    pub block_count: usize,
    /// Series in them, counted once per block.
    pub series_count: u64,
    /// Chunks in them.
    pub chunk_count: u64,
    /// Samples in them, deleted ones included.
    pub sample_count: u64,
    /// Bytes of the block files.
    pub block_bytes: u64,
    /// Tombstone files that count.
    pub tombstone_file_count: usize,
    /// Segments of the WAL.
    pub wal_segment_count: usize,
    /// Records in them.
    pub wal_record_count: u64,
    /// Bytes of the segments.
    pub wal_bytes: u64,
}

impl CheckReport {
    /// How many findings have this severity.
    pub fn finding_count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Returns whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.finding_count(Severity::Damage) == 0
    }

    fn add(&mut self, other: CheckReport) {
        self.findings.extend(other.findings);
        self.block_count += other.block_count;
        self.series_count += other.series_count;
        self.chunk_count += other.chunk_count;
        self.sample_count += other.sample_count;
        self.block_bytes += other.block_bytes;
        self.tombstone_file_count += other.tombstone_file_count;
        self.wal_segment_count += other.wal_segment_count;
        self.wal_record_count += other.wal_record_count;
        self.wal_bytes += other.wal_bytes;
    }
}

/// Findings about one file: many of them are told as a few.
#[derive(Debug)]
struct Findings {
    path: PathBuf,
    told: Vec<Finding>,
    untold_count: usize,
}

impl Findings {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), told: Vec::new(), untold_count: 0 }
    }

    fn damage(&mut self, text: impl Into<String>) {
        self.add(Severity::Damage, text.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.add(Severity::Note, text.into());
    }

    fn add(&mut self, severity: Severity, text: String) {
        if self.told.len() < FINDINGS_PER_FILE_MAX {
            self.told.push(Finding { severity, path: self.path.clone(), text });
        } else {
            self.untold_count += 1;
        }
    }

    fn into_vec(mut self) -> Vec<Finding> {
        if self.untold_count > 0 {
            let text = format!("and {} more", self.untold_count);
            self.told.push(Finding { severity: Severity::Damage, path: self.path, text });
        }
        self.told
    }
}

/// Verifies the data directory `data_dir`, which no server may use meanwhile: every checksum, every index against the
/// series, every chunk against what is announced of it, tombstones, the MANIFEST against the files, the WAL.
///
/// # Errors
/// [`CheckError`] if nothing could be verified; what is wrong with the data is part of the report.
///
/// # Cost
/// Reads every file once; the memory of the index of as many blocks as there are threads.
pub fn check(data_dir: &Path) -> Result<CheckReport, CheckError> {
    check_on(&(Arc::new(Disk) as Arc<dyn FileSystem>), data_dir)
}

/// [`check`] on any file system.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_on(fs: &Arc<dyn FileSystem>, data_dir: &Path) -> Result<CheckReport, CheckError> {
    let wal_dir = data_dir.join("wal");
    let names = [data_dir.join(FILE_NAME), data_dir.join("tenants"), wal_dir.clone()];
    let entries = fs.list(data_dir).map_err(io_error("list", data_dir))?;
    if !entries.iter().any(|entry| names.contains(&entry.path)) {
        return Err(CheckError::NotADataDirectory { path: data_dir.to_owned() });
    }
    let _lock = fs.lock(data_dir)?;
    let mut report = CheckReport::default();
    let found = block_files(fs.as_ref(), data_dir).map_err(io_error("list the tenants of", data_dir))?;
    match listed(fs.as_ref(), data_dir, &mut report)? {
        Some(state) => {
            compare(&state, &found, data_dir, &mut report);
            let checked: Vec<CheckReport> = state
                .blocks
                .par_iter()
                .filter(|block| found.binary_search(&block.path(data_dir)).is_ok())
                .map(|block| block::check(fs.as_ref(), data_dir, block, state.tombstones.get(block).copied()))
                .collect();
            checked.into_iter().for_each(|checked| report.add(checked));
            report.add(wal::check(fs.as_ref(), &wal_dir, state.wal_floor)?);
        }
        // Nobody knows which blocks count, but what can be verified is.
        None => report.add(wal::check(fs.as_ref(), &wal_dir, 0)?),
    }
    for entry in list_or_empty(fs.as_ref(), data_dir).map_err(io_error("list", data_dir))? {
        if !entry.is_directory && entry.path.extension().is_some_and(|ending| ending == "tmp") {
            note(&mut report, entry.path, "is not finished; the next start removes it");
        }
    }
    Ok(report)
}

/// Reads the MANIFEST; `None` if it is damaged.
fn listed(
    fs: &dyn FileSystem,
    data_dir: &Path,
    report: &mut CheckReport,
) -> Result<Option<ManifestState>, CheckError> {
    let path = data_dir.join(FILE_NAME);
    match inspect(fs, data_dir) {
        Ok((state, 0)) => Ok(Some(state)),
        Ok((state, torn_bytes)) => {
            let text =
                format!("{torn_bytes} bytes at the end are a torn commit; the next start cuts them off");
            note(report, path, &text);
            Ok(Some(state))
        }
        Err(ManifestError::Io { action, path, source }) => {
            Err(CheckError::Io { operation: action, path, source })
        }
        Err(damage) => {
            let text = format!("{damage}; no block could be verified");
            report.findings.push(Finding { severity: Severity::Damage, path, text });
            Ok(None)
        }
    }
}

/// Compares what is listed with what is there.
fn compare(state: &ManifestState, found: &[PathBuf], data_dir: &Path, report: &mut CheckReport) {
    let listed = state.files(data_dir);
    for path in listed.iter().filter(|path| found.binary_search(path).is_err()) {
        let text = "is listed in the MANIFEST but not there".to_owned();
        report.findings.push(Finding { severity: Severity::Damage, path: path.clone(), text });
    }
    for path in found.iter().filter(|path| is_own_file(path) && !listed.contains(*path)) {
        note(report, path.clone(), "is not listed in the MANIFEST; the next start removes it");
    }
    let newest_id = state.blocks.iter().map(|block: &BlockRef| block.id).max();
    if newest_id.is_some_and(|id| id >= state.next_id) {
        let text = format!("block {:016x} is not below next_id {}", newest_id.unwrap_or(0), state.next_id);
        report.findings.push(Finding { severity: Severity::Damage, path: data_dir.join(FILE_NAME), text });
    }
}

fn note(report: &mut CheckReport, path: PathBuf, text: &str) {
    report.findings.push(Finding { severity: Severity::Note, path, text: text.to_owned() });
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> CheckError + 'p {
    move |source| CheckError::Io { operation, path: path.to_owned(), source }
}
