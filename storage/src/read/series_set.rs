//! The series that a selection found, and their samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::columns::{SampleColumns, TimesId};
use super::select::{Found, Source};
use super::{ReadError, decode_pieces, merge_samples};
use crate::block::view::BlockView;
use crate::chunk::{ChunkError, is_histogram_chunk};
use crate::head::Generation;
use crate::model::{Histogram, LabelSet, StartSlice, StartTimes, TimeRange};

/// Tells caches of one set from those of another.
static NEXT_SET_ID: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone, Copy)]
struct Part {
    source_index: u32,
    series_id: u32,
}

/// The series that a selection found, in order of their label sets.
///
/// Shared between worker threads: every method takes `&self`. Holds the snapshot's blocks and head alive.
#[derive(Debug)]
pub struct SeriesSet {
    set_id: u64,
    sources: Vec<Source>,
    labels: Vec<LabelSet>,
    /// Per series: end of its parts.
    part_ends: Vec<u32>,
    parts: Vec<Part>,
}

impl SeriesSet {
    /// Groups `found`, sorted by label set and precedence.
    pub(super) fn new(sources: Vec<Source>, found: Vec<Found>) -> Self {
        let mut set = Self {
            set_id: NEXT_SET_ID.fetch_add(1, Ordering::Relaxed),
            sources,
            labels: Vec::with_capacity(found.len()),
            part_ends: Vec::with_capacity(found.len()),
            parts: Vec::with_capacity(found.len()),
        };
        for found in found {
            set.parts.push(Part { source_index: found.source_index, series_id: found.series_id });
            if set.labels.last() == Some(&found.labels) {
                set.part_ends.pop();
            } else {
                set.labels.push(found.labels);
            }
            set.part_ends.push(set.parts.len() as u32);
        }
        set
    }

    /// How many series were found.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels of one series.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn labels(&self, series_index: usize) -> &LabelSet {
        &self.labels[series_index]
    }

    fn parts(&self, series_index: usize) -> &[Part] {
        let start = if series_index == 0 { 0 } else { self.part_ends[series_index - 1] as usize };
        &self.parts[start..self.part_ends[series_index] as usize]
    }

    /// An upper bound of the samples that [`SeriesSet::read`] gives for any one series. Cheap: asks the sources,
    /// not the series.
    pub fn series_sample_count_max(&self) -> usize {
        let per_source = self.sources.iter().map(|source| match source {
            Source::Block(block) => block.meta().series_sample_count_max as usize,
            Source::Head(generation) => generation.series_sample_count_max(),
        });
        per_source.sum()
    }

    /// An upper estimate of how many samples [`SeriesSet::read`] gives, without decoding.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn estimated_sample_count(&self, series_index: usize, range: TimeRange) -> usize {
        let mut views = Vec::new();
        let mut sample_count = 0;
        for part in self.parts(series_index) {
            sample_count += match &self.sources[part.source_index as usize] {
                Source::Block(block) => {
                    views.clear();
                    // A damaged block is reported by `read`; an estimate may be low.
                    let _damage_is_found_by_read = block.chunks(part.series_id, range, &mut views);
                    views.iter().map(|view| view.sample_count as usize).sum()
                }
                Source::Head(generation) => generation.estimated_sample_count(part.series_id),
            };
        }
        sample_count
    }

    /// Reads the samples of one series inside `range` into `columns` (cleared first).
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if a block is damaged.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn read(
        &self,
        series_index: usize,
        range: TimeRange,
        columns: &mut SampleColumns,
    ) -> Result<(), ReadError> {
        self.read_detail(series_index, range, Detail::Values, columns)
    }

    /// As [`SeriesSet::read`], for a reader who only wants to know when there are samples and which of them are stale
    /// markers: other values may be zero instead. Much cheaper for samples in blocks.
    ///
    /// # Errors
    /// As [`SeriesSet::read`]; damage of values that are not decoded goes unnoticed.
    ///
    /// # Panics
    /// If `series_index >= len()`.
    pub fn read_presence(
        &self,
        series_index: usize,
        range: TimeRange,
        columns: &mut SampleColumns,
    ) -> Result<(), ReadError> {
        self.read_detail(series_index, range, Detail::Presence, columns)
    }

    fn read_detail(
        &self,
        series_index: usize,
        range: TimeRange,
        detail: Detail,
        columns: &mut SampleColumns,
    ) -> Result<(), ReadError> {
        columns.clear();
        if range.is_empty() {
            return Ok(());
        }
        columns.scratch.prepare_cache(self.set_id);
        for part in self.parts(series_index) {
            let middle = columns.len();
            match &self.sources[part.source_index as usize] {
                Source::Block(block) => {
                    let times_id = read_block(block, *part, range, detail, columns)?;
                    let read_count = columns.len();
                    columns.drop_deleted(middle, block.deleted(part.series_id));
                    // What was dropped might be made up for by other sources, in number.
                    let is_whole = columns.len() == read_count;
                    columns.times_id =
                        times_id.filter(|_| is_whole).map(|id| TimesId { set_id: self.set_id, ..id });
                }
                Source::Head(generation) => {
                    read_head(generation, *part, range, columns).map_err(|error| corrupt("head", &error))?;
                }
            }
            columns.merge(middle);
        }
        columns.trim(range);
        // Other sources can only add to the column of the last block: as many times are the same times.
        columns.times_id = columns.times_id.filter(|id| id.count as usize == columns.timestamps_ms.len());
        Ok(())
    }
}

/// What a reader wants to know of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Values,
    /// Only which are stale markers.
    Presence,
}

fn corrupt(path: &str, error: &ChunkError) -> ReadError {
    ReadError::Corrupt { path: path.to_owned(), reason: error.to_string() }
}

/// Appends histograms, whose times are in their column already.
fn append_histograms(
    rows: impl ExactSizeIterator<Item = Arc<Histogram>>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
    histograms: &mut Vec<(u32, Arc<Histogram>)>,
) {
    let start = values.len();
    starts.append(start, rows.len(), StartSlice::UNKNOWN);
    values.resize(start + rows.len(), f64::NAN);
    histograms.extend((start as u32..).zip(rows));
}

fn read_head(
    generation: &Generation,
    part: Part,
    range: TimeRange,
    columns: &mut SampleColumns,
) -> Result<(), ChunkError> {
    let SampleColumns { timestamps_ms, values, starts, histograms, scratch, .. } = &mut *columns;
    generation.collect(part.series_id, range, &mut scratch.pieces);
    let floats = timestamps_ms.len();
    decode_pieces(&mut scratch.pieces, &mut scratch.decoder, timestamps_ms, values, starts)?;
    if scratch.pieces.histograms.is_empty() {
        return Ok(());
    }
    merge_samples(floats, timestamps_ms, values, starts, histograms);
    let middle = timestamps_ms.len();
    scratch.rows.clear();
    scratch.rows.merge(&scratch.pieces.histograms, &mut scratch.decoder)?;
    timestamps_ms.append(&mut scratch.rows.timestamps_ms);
    append_histograms(scratch.rows.rows.drain(..), values, starts, histograms);
    merge_samples(middle, timestamps_ms, values, starts, histograms);
    Ok(())
}

fn read_block(
    block: &BlockView,
    part: Part,
    range: TimeRange,
    detail: Detail,
    columns: &mut SampleColumns,
) -> Result<Option<TimesId>, ReadError> {
    let SampleColumns { timestamps_ms, values, starts, histograms, scratch, .. } = columns;
    let mut times_id = None;
    scratch.chunk_views.clear();
    block.chunks(part.series_id, range, &mut scratch.chunk_views)?;
    let block = &block.reader;
    for view in &scratch.chunk_views {
        let sample_count = view.sample_count as usize;
        let damaged = |error: ChunkError| corrupt(&block.path().display().to_string(), &error);
        // PERF: a target's series share timestamp columns; decoding each once is a third of a query.
        let cached = scratch.cached_columns.entry((part.source_index, view.timestamps_id)).or_default();
        if cached.is_empty() {
            let bytes = block.timestamps(view)?;
            scratch.decoder.decode_timestamps(bytes, sample_count, cached).map_err(damaged)?;
        }
        if cached.len() != sample_count {
            return Err(ReadError::Corrupt {
                path: block.path().display().to_string(),
                reason: format!("chunk of {sample_count} samples has {} timestamps", cached.len()),
            });
        }
        // PERF: a chunk at rest spans a day in pages; a query often needs one of them.
        let inside = cached.partition_point(|time_ms| *time_ms < range.start_ms)
            ..cached.partition_point(|time_ms| *time_ms < range.end_ms);
        timestamps_ms.extend_from_slice(&cached[inside.clone()]);
        times_id = Some(TimesId {
            set_id: 0,
            source_index: part.source_index,
            timestamps_id: view.timestamps_id,
            first: inside.start as u32,
            count: inside.len() as u32,
        });
        let bytes = block.values(view)?;
        if is_histogram_chunk(bytes) {
            let rows = &mut scratch.rows.rows;
            rows.clear();
            scratch.decoder.decode_histograms(bytes, sample_count, rows).map_err(damaged)?;
            rows.truncate(inside.end);
            append_histograms(rows.drain(inside.start.min(rows.len())..), values, starts, histograms);
        } else {
            scratch
                .decoder
                .decode_starts(bytes, sample_count, inside.clone(), values.len(), starts)
                .map_err(damaged)?;
            let decoder = &mut scratch.decoder;
            match detail {
                Detail::Values => decoder.decode_value_range(bytes, sample_count, inside, values),
                Detail::Presence => decoder.decode_presence_range(bytes, sample_count, inside, values),
            }
            .map_err(damaged)?;
        }
    }
    Ok(times_id)
}
