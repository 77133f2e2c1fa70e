//! Several blocks of one tenant and day into one, series by series.

use std::path::Path;
use std::sync::Arc;

use super::Pace;
use super::series::SeriesMerger;
use crate::block::exemplars::ExemplarCursor;
use crate::block::layout::BlockRef;
use crate::block::view::BlockView;
use crate::block::writer::{BlockIdentity, BlockMeta, BlockWriteError, BlockWriter, ChunkInput};
use crate::fs::FileSystem;
use crate::model::{Exemplar, LabelSet, TimeRange};
use crate::read::ReadError;

/// Why a merge failed; no block of the output's name is left behind, the inputs are as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MergeError {
    /// An input is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output could not be written.
    #[error(transparent)]
    Write(#[from] BlockWriteError),
    /// The storage is closing.
    #[error("stopped, as the storage is closing")]
    Stopped,
}

/// What a merge makes.
#[derive(Debug, Clone)]
pub(crate) struct MergeTarget {
    /// The new block.
    pub(crate) block: BlockRef,
    /// Its level; [`super::FINAL_LEVEL`] asks for the smallest chunks.
    pub(crate) level: u8,
}

/// The next series of an input.
struct Head<'a> {
    input: &'a BlockView,
    exemplars: ExemplarCursor<'a>,
    rank: u32,
    series_id: u32,
    labels: LabelSet,
}

impl<'a> Head<'a> {
    fn first(input: &'a BlockView, rank: u32) -> Result<Option<Self>, ReadError> {
        if input.meta().series_count == 0 {
            return Ok(None);
        }
        let labels = input.reader.labels(0)?;
        Ok(Some(Self { input, exemplars: input.exemplars(), rank, series_id: 0, labels }))
    }

    /// Goes to the next series; returns whether there is one.
    fn advance(&mut self) -> Result<bool, ReadError> {
        self.series_id += 1;
        if self.series_id >= self.input.meta().series_count {
            return Ok(false);
        }
        self.labels = self.input.reader.labels(self.series_id)?;
        Ok(true)
    }
}

/// Merges `inputs`, by ascending precedence, into one block of `target`; what their tombstones cover is left out.
/// Exemplars are
/// carried along. Returns what was written, or nothing if no sample is left. When it returns, the block and its name are durable.
///
/// # Errors
/// [`MergeError`].
///
/// # Cost
/// Reads every input once; memory for the index of the output, and a few chunks of each input.
pub(crate) fn merge_blocks(
    fs: &Arc<dyn FileSystem>,
    data_dir: &Path,
    inputs: &[BlockView],
    target: &MergeTarget,
    pace: &mut Pace<'_>,
) -> Result<Option<BlockMeta>, MergeError> {
    let directory = target.block.directory(data_dir);
    let identity = BlockIdentity { id: target.block.id, tenant: target.block.tenant.clone() };
    let mut writer = BlockWriter::streaming(fs, identity, &directory)?;
    let precedence = inputs.iter().map(|input| input.meta().precedence).max().unwrap_or(target.block.id);
    writer.set_history(precedence, target.level);
    let mut heads = Vec::with_capacity(inputs.len());
    for (rank, input) in inputs.iter().enumerate() {
        heads.extend(Head::first(input, rank as u32)?);
    }
    let mut merger = SeriesMerger::new(inputs, target.level);
    let (mut parts, mut exemplars) = (Vec::new(), Vec::new());
    let mut is_empty = true;
    while let Some(labels) = heads.iter().map(|head| &head.labels).min().cloned() {
        if pace.is_stopped() {
            return Err(MergeError::Stopped);
        }
        parts.clear();
        exemplars.clear();
        let mut at = 0;
        while let Some(head) = heads.get_mut(at) {
            if head.labels == labels {
                parts.push((head.rank, head.series_id));
                head.exemplars.read(head.series_id, TimeRange::ALL, &mut exemplars)?;
                if !head.advance()? {
                    drop(heads.remove(at));
                    continue;
                }
            }
            at += 1;
        }
        merger.merge(&parts)?;
        pace.spend(merger.read_bytes);
        if !merger.chunks.is_empty() || !exemplars.is_empty() {
            let chunks: Vec<ChunkInput<'_>> = merger.chunks.iter().map(|chunk| chunk.as_input()).collect();
            writer.add_series(&labels, &chunks);
            Exemplar::merge(&mut exemplars);
            writer.add_exemplars(&exemplars);
            is_empty &= chunks.is_empty();
        }
    }
    if is_empty {
        return Ok(None);
    }
    Ok(Some(writer.finish(&directory)?))
}
