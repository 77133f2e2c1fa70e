//! Several blocks of one tenant and day into one, series by series.

use std::path::Path;
use std::sync::Arc;

use super::Pace;
use super::series::SeriesMerger;
use crate::block::layout::BlockRef;
use crate::block::view::BlockView;
use crate::block::writer::{BlockIdentity, BlockMeta, BlockWriteError, BlockWriter, ChunkInput};
use crate::fs::FileSystem;
use crate::model::LabelSet;
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
    rank: u32,
    series_id: u32,
    labels: LabelSet,
}

impl<'a> Head<'a> {
    fn at(input: &'a BlockView, rank: u32, series_id: u32) -> Result<Option<Self>, ReadError> {
        if series_id >= input.meta().series_count {
            return Ok(None);
        }
        Ok(Some(Self { input, rank, series_id, labels: input.reader.labels(series_id)? }))
    }
}

/// Merges `inputs`, by ascending precedence, into one block of `target`; what their tombstones cover is left out.
/// Returns what was written, or nothing if no sample is left. When it returns, the block and its name are durable.
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
        heads.extend(Head::at(input, rank as u32, 0)?);
    }
    let mut merger = SeriesMerger::new(inputs, target.level);
    let mut parts = Vec::new();
    let mut is_empty = true;
    while let Some(labels) = heads.iter().map(|head| &head.labels).min().cloned() {
        if pace.is_stopped() {
            return Err(MergeError::Stopped);
        }
        parts.clear();
        let mut at = 0;
        while at < heads.len() {
            if heads[at].labels != labels {
                at += 1;
                continue;
            }
            let Head { input, rank, series_id, .. } = heads[at];
            parts.push((rank, series_id));
            match Head::at(input, rank, series_id + 1)? {
                Some(next) => {
                    heads[at] = next;
                    at += 1;
                }
                None => drop(heads.remove(at)),
            }
        }
        merger.merge(&parts)?;
        pace.spend(merger.read_bytes);
        if !merger.chunks.is_empty() {
            let chunks: Vec<ChunkInput<'_>> = merger.chunks.iter().map(|chunk| chunk.as_input()).collect();
            writer.add_series(&labels, &chunks);
            is_empty = false;
        }
    }
    if is_empty {
        return Ok(None);
    }
    Ok(Some(writer.finish(&directory)?))
}
