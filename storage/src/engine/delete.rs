//! Deletes: which series of which blocks, and when that counts.
//!
//! Blocks are never changed: what was deleted is named in tombstones beside them, committed in the MANIFEST, and left
//! out of every read. What is in the head is flushed to blocks first, so a sample that is written afterwards is new,
//! even at a time that was deleted. Not here: making room, which rewrites blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info};

use super::Storage;
use super::maintain::{MaintainError, Maintenance, reference};
use super::tenant::Tenant;
use crate::block::manifest::{ManifestEdit, ManifestError};
use crate::block::tombstones::Tombstones;
use crate::block::view::BlockView;
use crate::error::with_sources;
use crate::fs::remove_durably;
use crate::model::{Matcher, TenantId, TimeRange};
use crate::read::ReadError;

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// What is in memory could not be written to blocks.
    #[error("cannot flush before deleting: {0}")]
    Flush(#[from] MaintainError),
    /// A block could not be searched for the series.
    #[error("cannot search for what is to be deleted: {0}")]
    Read(#[from] ReadError),
    /// A tombstone file could not be written.
    #[error("cannot write tombstones {path}: {source}")]
    Tombstones {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The MANIFEST could not be written.
    #[error("cannot commit to the MANIFEST: {reason}")]
    Manifest {
        /// What went wrong.
        reason: String,
    },
}

impl From<ManifestError> for DeleteError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest { reason: with_sources(&error) }
    }
}

/// What a delete did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Series of which something was deleted, counted once per block.
    pub series_count: u64,
    /// Blocks from which something was deleted.
    pub block_count: usize,
}

impl Storage {
    /// Deletes the samples inside `range` of the series that satisfy all matchers of any of `matcher_sets` (of all
    /// series if a set is empty). When it returns, that is durable, and no later read finds them; samples that are
    /// written from then on are found, whatever their time. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`DeleteError`]; nothing was deleted then.
    ///
    /// # Cost
    /// Flushes the heads; writes one small file per touched block. Room on disk is freed by
    /// [`Storage::clean_tombstones`] or by a compaction.
    pub fn delete_series(
        &self,
        tenant: &TenantId,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        now_ms: i64,
    ) -> Result<DeleteReport, DeleteError> {
        let Some(tenant) = self.tenants.read().get(tenant).cloned() else {
            return Ok(DeleteReport::default());
        };
        let mut maintenance = self.maintenance.lock();
        if tenant.snapshot().generations.iter().any(|generation| !generation.is_empty()) {
            self.flush_locked(&mut maintenance, now_ms)?;
        }
        let mut report = DeleteReport::default();
        let mut views = Vec::new();
        for block in tenant.snapshot().blocks.iter() {
            let series_ids = matching_series(block, matcher_sets, range)?;
            let (first_ms, last_ms) = block.reader.whole_span_ms();
            let inside =
                TimeRange::new(range.start_ms.max(first_ms), range.end_ms.min(last_ms.saturating_add(1)));
            let previous = block.tombstones.as_deref();
            if let Some(next) = Tombstones::extended(block.meta().id, previous, &series_ids, inside) {
                report.series_count += series_ids.len() as u64;
                report.block_count += 1;
                let reader = Arc::clone(&block.reader);
                views.push(BlockView { reader, tombstones: Some(Arc::new(next)) });
            }
        }
        self.commit_tombstones(&mut maintenance, &tenant, &views)?;
        info!(
            tenant = %tenant.id, series_count = report.series_count, block_count = report.block_count,
            start_ms = range.start_ms, end_ms = range.end_ms, "series deleted"
        );
        Ok(report)
    }

    /// Makes the tombstones of `views` durable, then commits and shows them, then removes those they replace.
    fn commit_tombstones(
        &self,
        maintenance: &mut Maintenance,
        tenant: &Tenant,
        views: &[BlockView],
    ) -> Result<(), DeleteError> {
        let mut written = Vec::new();
        let mut edit = ManifestEdit::default();
        for view in views {
            let Some(tombstones) = &view.tombstones else { continue };
            let block = reference(view);
            let path = block.tombstone_path(&self.options.data_dir, tombstones.generation());
            if let Err(source) = tombstones.write(&self.fs, &path) {
                written.iter().chain([&path]).for_each(|path| self.remove_tombstones(path));
                return Err(DeleteError::Tombstones { path, source });
            }
            written.push(path);
            edit.tombstones.push((block, tombstones.generation()));
        }
        if written.is_empty() {
            return Ok(());
        }
        // After a failed commit the files stay: whether it counts may be unknown until the next start.
        maintenance.manifest.commit(edit)?;
        tenant.replace_blocks(views);
        for view in views {
            let before = view.tombstone_generation().saturating_sub(1);
            if before > 0 {
                self.remove_tombstones(&reference(view).tombstone_path(&self.options.data_dir, before));
            }
        }
        Ok(())
    }

    fn remove_tombstones(&self, path: &Path) {
        if let Err(error) = remove_durably(self.fs.as_ref(), path) {
            // Harmless: no commit names it, the next start removes it.
            error!(path = %path.display(), %error, "cannot remove tombstones that do not count");
        }
    }
}

/// The series of a block, ascending, of which something is left to delete.
fn matching_series(
    block: &BlockView,
    matcher_sets: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<Vec<u32>, ReadError> {
    let mut touched = Vec::new();
    let (first_ms, last_ms) = block.reader.whole_span_ms();
    if range.is_empty() || !range.overlaps_span(first_ms, last_ms) {
        return Ok(touched);
    }
    let mut series = roaring::RoaringBitmap::new();
    for matchers in matcher_sets {
        series |= block.reader.select(matchers)?;
    }
    let (mut chunks, mut exemplars) = (Vec::new(), Vec::new());
    let mut cursor = block.exemplars();
    for series_id in series {
        chunks.clear();
        exemplars.clear();
        block.chunks(series_id, range, &mut chunks)?;
        // Exemplars may be older or newer than the samples of their series.
        cursor.read(series_id, range, &mut exemplars)?;
        if !chunks.is_empty() || !exemplars.is_empty() {
            touched.push(series_id);
        }
    }
    Ok(touched)
}
