//! A block as queries see it: the immutable file, without what was deleted from it.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::reader::{BlockReader, ChunkView};
use super::tombstones::{Tombstones, covers};
use super::writer::BlockMeta;
use crate::model::{Matcher, TimeRange};
use crate::read::ReadError;

/// A block with its tombstones. Cheap to clone; a delete makes a new view of the same block.
#[derive(Debug, Clone)]
pub(crate) struct BlockView {
    /// The block, deleted samples included.
    pub(crate) reader: Arc<BlockReader>,
    /// What of it was deleted.
    pub(crate) tombstones: Option<Arc<Tombstones>>,
}

impl BlockView {
    /// The view of a block from which nothing was deleted.
    pub(crate) fn whole(reader: Arc<BlockReader>) -> Self {
        Self { reader, tombstones: None }
    }

    /// What the block holds, deleted samples included.
    pub(crate) fn meta(&self) -> &BlockMeta {
        self.reader.meta()
    }

    /// The generation of the tombstones; 0 if there are none.
    pub(crate) fn tombstone_generation(&self) -> u64 {
        self.tombstones.as_ref().map_or(0, |tombstones| tombstones.generation())
    }

    /// The deleted times of one series, ascending, disjoint.
    pub(crate) fn deleted(&self, series_id: u32) -> &[TimeRange] {
        self.tombstones.as_ref().map_or(&[], |tombstones| tombstones.of_series(series_id))
    }

    /// Returns the series that satisfy all matchers, without those of which everything inside `range` was deleted;
    /// ids ascend in order of the label sets.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`].
    pub(crate) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<RoaringBitmap, ReadError> {
        let mut series = self.reader.select(matchers)?;
        if self.tombstones.is_some() {
            let mut gone = Vec::new();
            for series_id in &series {
                if self.is_gone(series_id, range)? {
                    gone.push(series_id);
                }
            }
            gone.into_iter().for_each(|series_id| {
                series.remove(series_id);
            });
        }
        Ok(series)
    }

    /// Returns whether something was deleted of a series and nothing of it is left inside `range`, as far as can be
    /// told without decoding.
    fn is_gone(&self, series_id: u32, range: TimeRange) -> Result<bool, ReadError> {
        if self.deleted(series_id).is_empty() {
            return Ok(false);
        }
        let mut chunks = Vec::new();
        self.chunks(series_id, range, &mut chunks)?;
        Ok(chunks.is_empty())
    }

    /// Appends the chunks of a series that touch `range` to `out`, ascending, without those of which everything
    /// inside `range` was deleted.
    ///
    /// # Errors
    /// As [`BlockReader::chunks`].
    pub(crate) fn chunks(
        &self,
        series_id: u32,
        range: TimeRange,
        out: &mut Vec<ChunkView>,
    ) -> Result<(), ReadError> {
        let deleted = self.deleted(series_id);
        if deleted.is_empty() {
            return self.reader.chunks(series_id, range, out);
        }
        let mut chunks = Vec::new();
        self.reader.chunks(series_id, range, &mut chunks)?;
        chunks.retain(|chunk| {
            let last_ms = chunk.max_ms.min(range.end_ms.saturating_sub(1));
            !covers(deleted, chunk.min_ms.max(range.start_ms), last_ms)
        });
        out.append(&mut chunks);
        Ok(())
    }
}
