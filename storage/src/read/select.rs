//! From matchers to a series set: asks every source and merges what they found by label set.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{ReadError, SeriesSet};
use crate::block::view::BlockView;
use crate::head::{Generation, SeriesTable};
use crate::model::{LabelSet, Matcher, TimeRange};

/// Where samples of a series come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// An immutable block; series by position.
    Block(BlockView),
    /// A generation of the head; series by reference.
    Head(Arc<Generation>),
}

/// One series as one source knows it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) labels: LabelSet,
    pub(super) source_index: u32,
    pub(super) series_id: u32,
}

/// Finds series in all `sources` (in order of precedence, the last one wins).
///
/// # Errors
/// [`ReadError::Corrupt`] if a block's index is damaged.
pub(crate) fn select(
    sources: Vec<Source>,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<SeriesSet, ReadError> {
    let mut found: Vec<Found> = Vec::new();
    visit_selected(&sources, matchers, range, |source_index, series_ids| {
        match &sources[source_index] {
            Source::Block(block) => {
                for series_id in series_ids {
                    let labels = block.reader.labels(*series_id)?;
                    found.push(Found { labels, source_index: source_index as u32, series_id: *series_id });
                }
            }
            Source::Head(generation) => {
                let labels = generation.table().labels(series_ids);
                for (labels, series_id) in labels.into_iter().zip(series_ids) {
                    found.push(Found { labels, source_index: source_index as u32, series_id: *series_id });
                }
            }
        }
        Ok(())
    })?;
    // Blocks give their series sorted, so this finds long runs; it is stable, so precedence survives.
    if !found.is_sorted_by(|left, right| left.labels <= right.labels) {
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
    }
    Ok(SeriesSet::new(sources, found))
}

/// Calls `visit` with each source's index and the ascending ids of its series that match and may have samples
/// inside `range`.
///
/// # Errors
/// [`ReadError::Corrupt`] if a block's index is damaged, or what `visit` gives.
pub(crate) fn visit_selected(
    sources: &[Source],
    matchers: &[Matcher],
    range: TimeRange,
    mut visit: impl FnMut(usize, &[u32]) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    // Generations mostly share one table.
    let mut in_head: Option<(&Arc<SeriesTable>, RoaringBitmap)> = None;
    for (source_index, source) in sources.iter().enumerate() {
        let series_ids: Vec<u32> = match source {
            Source::Block(block) => block.select(matchers, range)?.into_iter().collect(),
            Source::Head(generation) => {
                let table = generation.table();
                let selected = match in_head.take() {
                    Some((known, selected)) if Arc::ptr_eq(known, table) => selected,
                    _ => table.select(matchers),
                };
                let mut refs: Vec<u32> = selected.iter().collect();
                in_head = Some((table, selected));
                generation.retain_touching(&mut refs, range);
                refs
            }
        };
        visit(source_index, &series_ids)?;
    }
    Ok(())
}
