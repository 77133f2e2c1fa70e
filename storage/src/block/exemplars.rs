//! The section EXEMPLARS of a block: exemplars by series id, ascending by time.
//!
//! It is there only if the block has exemplars; readers of older versions skip it. Format: docs/format/block.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::format::Section;
use super::reader::BlockReader;
use super::view::BlockView;
use crate::coding::{CodingError, Cursor, put_bytes, put_ivarint, put_uvarint};
use crate::index::format::Damage;
use crate::model::{Exemplar, LabelSet, TimeRange};
use crate::read::ReadError;

/// Longest section: exemplars beyond it are left out.
const SECTION_BYTES_MAX: usize = 256 << 20;
/// Times of the first and the last exemplar.
const SPAN_BYTES: usize = 16;

/// Collects the section.
#[derive(Debug)]
pub(super) struct ExemplarSection {
    body: Vec<u8>,
    /// Series id after that of the series added last.
    expected_id: u32,
    min_ms: i64,
    max_ms: i64,
    /// Exemplars for which there was no room.
    pub(super) left_out_count: usize,
}

impl Default for ExemplarSection {
    fn default() -> Self {
        Self { body: Vec::new(), expected_id: 0, min_ms: i64::MAX, max_ms: i64::MIN, left_out_count: 0 }
    }
}

impl ExemplarSection {
    /// Adds the exemplars of a series: ids ascend, and so do the times inside.
    pub(super) fn add(&mut self, series_id: u32, exemplars: &[Exemplar]) {
        let (Some(first), Some(last)) = (exemplars.first(), exemplars.last()) else { return };
        let mut entry = Vec::new();
        let mut previous_ms = 0_i64;
        for exemplar in exemplars {
            put_ivarint(&mut entry, exemplar.time_ms.wrapping_sub(previous_ms));
            previous_ms = exemplar.time_ms;
            entry.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
            put_bytes(&mut entry, exemplar.labels.encoded().as_bytes());
        }
        if self.body.len().saturating_add(entry.len()) > SECTION_BYTES_MAX {
            self.left_out_count = self.left_out_count.saturating_add(exemplars.len());
            return;
        }
        put_uvarint(&mut self.body, u64::from(series_id.wrapping_sub(self.expected_id)));
        put_uvarint(&mut self.body, exemplars.len() as u64);
        put_bytes(&mut self.body, &entry);
        self.expected_id = series_id.wrapping_add(1);
        self.min_ms = self.min_ms.min(first.time_ms);
        self.max_ms = self.max_ms.max(last.time_ms);
    }

    /// The bytes of the section; `None` if there are no exemplars.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        if self.body.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.body.len().saturating_add(SPAN_BYTES));
        out.extend_from_slice(&self.min_ms.to_le_bytes());
        out.extend_from_slice(&self.max_ms.to_le_bytes());
        out.extend_from_slice(&self.body);
        Some(out)
    }
}

/// Reads the exemplars of series of ascending ids.
#[derive(Debug)]
pub(crate) struct ExemplarCursor<'a> {
    view: &'a BlockView,
    cursor: Cursor<'a>,
    expected_id: u32,
    /// A series that was read and not asked for yet: id, count, bytes.
    ahead: Option<(u32, usize, &'a [u8])>,
}

impl BlockReader {
    /// Times of the first and the last exemplar, if there is one.
    pub(crate) fn exemplar_span_ms(&self) -> Option<(i64, i64)> {
        let mut cursor = Cursor::new(self.section(Section::Exemplars));
        Some((cursor.i64().ok()?, cursor.i64().ok()?))
    }

    /// Times of the first and the last sample or exemplar.
    pub(crate) fn whole_span_ms(&self) -> (i64, i64) {
        let meta = self.meta();
        self.exemplar_span_ms().map_or((meta.min_ms, meta.max_ms), |(min_ms, max_ms)| {
            (min_ms.min(meta.min_ms), max_ms.max(meta.max_ms))
        })
    }
}

impl BlockView {
    /// Begins to read the exemplars of the block, without those of deleted times.
    pub(crate) fn exemplars(&self) -> ExemplarCursor<'_> {
        let body = self.reader.section(Section::Exemplars).get(SPAN_BYTES..).unwrap_or_default();
        ExemplarCursor { view: self, cursor: Cursor::new(body), expected_id: 0, ahead: None }
    }

    /// Returns whether the block may have exemplars inside `range`.
    pub(crate) fn has_exemplars(&self, range: TimeRange) -> bool {
        self.reader.exemplar_span_ms().is_some_and(|(min_ms, max_ms)| range.overlaps_span(min_ms, max_ms))
    }
}

impl ExemplarCursor<'_> {
    /// Appends the exemplars of a series inside `range` to `out`, ascending. Ask for series in order of their ids.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`].
    pub(crate) fn read(
        &mut self,
        series_id: u32,
        range: TimeRange,
        out: &mut Vec<Exemplar>,
    ) -> Result<(), ReadError> {
        let offset = SPAN_BYTES.saturating_add(self.cursor.offset());
        let deleted = self.view.deleted(series_id);
        let start = out.len();
        self.read_unchecked(series_id, out)
            .map_err(|error| self.damaged(Damage::coding(Section::Exemplars.name(), offset)(error)))?;
        let mut index = 0_usize;
        out.retain(|exemplar| {
            let is_older = index < start;
            index = index.saturating_add(1);
            let time_ms = exemplar.time_ms;
            is_older
                || (range.contains(time_ms) && !deleted.iter().any(|interval| interval.contains(time_ms)))
        });
        Ok(())
    }

    fn damaged(&self, damage: Damage) -> ReadError {
        let reader: &BlockReader = &self.view.reader;
        reader.damaged(damage)
    }

    fn read_unchecked(&mut self, series_id: u32, out: &mut Vec<Exemplar>) -> Result<(), CodingError> {
        while self.ahead.is_none_or(|(id, ..)| id < series_id) {
            if self.cursor.is_at_end() {
                return Ok(());
            }
            let step = u32::try_from(self.cursor.uvarint()?).ok();
            let series_id = step
                .and_then(|step| self.expected_id.checked_add(step))
                .ok_or_else(|| self.cursor.error("series of exemplars is above 32 bits"))?;
            let count = self.cursor.count(0)?;
            self.ahead = Some((series_id, count, self.cursor.bytes()?));
            self.expected_id = series_id.saturating_add(1);
        }
        let Some((_, count, bytes)) = self.ahead.take_if(|(id, ..)| *id == series_id) else { return Ok(()) };
        let mut cursor = Cursor::new(bytes);
        let mut time_ms = 0_i64;
        for _ in 0..count {
            time_ms = time_ms.wrapping_add(cursor.ivarint()?);
            let value = f64::from_bits(cursor.u64()?);
            let labels = LabelSet::from_encoded(cursor.text()?)
                .map_err(|_| cursor.error("label set of an exemplar is damaged"))?;
            out.push(Exemplar { labels, value, time_ms });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::block::layout::block_file_name;
    use crate::block::tombstones::Tombstones;
    use crate::block::writer::{BlockIdentity, BlockWriter, ChunkInput};
    use crate::fs::FileSystem;
    use crate::fs::memory::MemoryFs;
    use crate::model::TenantId;

    fn exemplar(time_ms: i64, trace: &str) -> Exemplar {
        Exemplar { labels: LabelSet::from_pairs([("trace_id", trace)]).unwrap(), value: -0.0, time_ms }
    }

    fn write(fs: &Arc<dyn FileSystem>, exemplars: &[Vec<Exemplar>]) -> BlockView {
        let identity = BlockIdentity { id: 1, tenant: TenantId::anonymous() };
        let mut writer = BlockWriter::new(fs, identity);
        for (number, exemplars) in exemplars.iter().enumerate() {
            let labels = LabelSet::from_pairs([("n", number.to_string().as_str())]).unwrap();
            let chunk = ChunkInput { min_ms: 5, max_ms: 9, sample_count: 2, timestamps: &[1], values: &[2] };
            writer.add_series(&labels, &[chunk]);
            writer.add_exemplars(exemplars);
        }
        writer.finish(Path::new("/d")).unwrap();
        let path = Path::new("/d").join(block_file_name(1));
        BlockView::whole(Arc::new(BlockReader::open(fs.as_ref(), &path).unwrap()))
    }

    fn read(view: &BlockView, series_ids: &[u32], range: TimeRange) -> Vec<Vec<Exemplar>> {
        let mut cursor = view.exemplars();
        let read_one = |id: &u32| {
            let mut out = vec![exemplar(-1, "kept")];
            cursor.read(*id, range, &mut out).unwrap();
            assert_eq!(out.remove(0), exemplar(-1, "kept"));
            out
        };
        series_ids.iter().map(read_one).collect()
    }

    #[test]
    fn exemplars_come_back_by_series() {
        let fs: Arc<dyn FileSystem> = Arc::new(MemoryFs::default());
        let all = vec![
            vec![],
            vec![exemplar(-7, "a"), exemplar(3, "b"), exemplar(3, "c")],
            vec![],
            vec![exemplar(i64::MIN, "d"), exemplar(i64::MAX - 1, "")],
        ];
        let view = write(&fs, &all);
        assert_eq!(read(&view, &[0, 1, 2, 3], TimeRange::ALL), all);
        assert_eq!(read(&view, &[3, 9], TimeRange::ALL), [all.last().cloned().unwrap_or_default(), vec![]]);
        assert_eq!(read(&view, &[1, 2], TimeRange::new(-7, 3)), [vec![exemplar(-7, "a")], vec![]]);
        assert!(view.has_exemplars(TimeRange::new(100, 200)));
        let deleted = Tombstones::extended(1, None, &[1], TimeRange::new(0, 4)).unwrap();
        let view = BlockView { tombstones: Some(Arc::new(deleted)), ..view };
        assert_eq!(read(&view, &[1], TimeRange::ALL), [vec![exemplar(-7, "a")]]);
    }

    #[test]
    fn a_block_without_exemplars_has_no_section() {
        let fs: Arc<dyn FileSystem> = Arc::new(MemoryFs::default());
        let view = write(&fs, &[vec![], vec![]]);
        assert!(!view.has_exemplars(TimeRange::ALL));
        assert_eq!(read(&view, &[0, 1], TimeRange::ALL), [vec![], vec![]]);
    }
}
