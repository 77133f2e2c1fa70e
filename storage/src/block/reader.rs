//! Answers from a block file where it lies, mapped read-only.
//!
//! At open: lengths, versions and the checksum of every section but CHUNKS. Of CHUNKS each 64 KiB page is checked when
//! first touched. Every offset and count is checked when used: damage gives a named error, never a panic or a wrong
//! answer. Nothing is held per series. Not here: what the bytes of a chunk mean.
//!
//! Format: docs/format/block.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roaring::RoaringBitmap;

use super::format::{
    CHUNK_INDEX, COLUMN_BYTES, Column, FOOTER, HEADER_BYTES, Header, HeaderProblem, MAJOR_VERSION,
    PAGE_BYTES, SECTION_COUNT, SECTION_VERSION, Section, SectionEntry, Stats, TAIL_BYTES, decode_footer,
    get_chunk, tenant_hash,
};
use super::writer::BlockMeta;
use crate::coding::{Cursor, crc32c};
use crate::damage::{DamageList, DamagedFile};
use crate::fs::FileSystem;
use crate::fs::mapped::MappedFile;
use crate::index::format::{Damage, GROUP_BYTES, SERIES_PER_GROUP, group};
use crate::index::reader::{IndexBytes, IndexDirectory, IndexView};
use crate::model::{LabelSet, Matcher, TimeRange};
use crate::read::ReadError;

/// Bytes at the end of the file that are read ahead: footer and tail are in them.
const FOOTER_BYTES_READ: usize = 64 << 10;

/// Why a block cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BlockOpenError {
    /// The file cannot be read.
    #[error("cannot read block {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no block.
    #[error("{path} is not a block: it does not begin with MTSB")]
    NotABlock {
        /// The file.
        path: PathBuf,
    },
    /// The block has a version that is not understood.
    #[error("block {path} has version {found} of {part}, this server reads {supported}")]
    Version {
        /// The file.
        path: PathBuf,
        /// `"the format"` or the name of a section.
        part: &'static str,
        /// The version found.
        found: u16,
        /// The version understood.
        supported: u16,
    },
    /// The file is shorter or longer than its header says.
    #[error("block {path} has {found_bytes} bytes where its header says {expected_bytes}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected_bytes: u64,
        /// Bytes on disk.
        found_bytes: u64,
    },
    /// A part is damaged.
    #[error("corrupt block {path}: section {section} at byte {offset} of the file: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The section's name in `docs/format/block.md`.
        section: &'static str,
        /// Offset inside the file.
        offset: u64,
        /// What was found.
        reason: &'static str,
    },
}

/// One chunk of a series: its facts, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkView {
    /// Time of the first sample.
    pub(crate) min_ms: i64,
    /// Time of the last sample.
    pub(crate) max_ms: i64,
    /// How many samples there are.
    pub(crate) sample_count: u32,
    /// Number of the timestamp column: chunks of this block with equal numbers have equal timestamps.
    pub(crate) timestamps_id: u32,
    /// Where the timestamp column begins in CHUNKS.
    timestamps_offset: u64,
    timestamps_bytes: u32,
    values_bytes: u32,
    /// Where the values begin in CHUNKS.
    values_offset: u64,
}

/// An open block. Shared between threads; the mapping stays whole after the file is unlinked.
#[derive(Debug)]
pub(crate) struct BlockReader {
    path: PathBuf,
    map: MappedFile,
    meta: BlockMeta,
    /// Where the sections lie in the file.
    sections: [Range<usize>; SECTION_COUNT],
    directory: IndexDirectory,
    /// One bit per page of CHUNKS that was found whole.
    verified_pages: Vec<AtomicU64>,
    /// Is told of damage that is found later.
    damage: Arc<DamageList>,
}

impl BlockReader {
    /// Opens and verifies a block.
    ///
    /// # Errors
    /// [`BlockOpenError`] naming what is wrong with which part.
    ///
    /// # Cost
    /// Reads the whole index once for its checksums; allocates per label name, not per series.
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path) -> Result<BlockReader, BlockOpenError> {
        Self::open_reporting(fs, path, &Arc::default())
    }

    /// [`BlockReader::open`], telling `damage` what reads find wrong later.
    ///
    /// # Errors
    /// As [`BlockReader::open`].
    pub(crate) fn open_reporting(
        fs: &dyn FileSystem,
        path: &Path,
        damage: &Arc<DamageList>,
    ) -> Result<BlockReader, BlockOpenError> {
        let io_error = |source| BlockOpenError::Io { path: path.to_owned(), source };
        let map = fs.map(path).map_err(io_error)?;
        let header = read_header(path, &map)?;
        let tail = map.bytes().len().saturating_sub(FOOTER_BYTES_READ);
        map.populate(tail, map.bytes().len().saturating_sub(tail)).map_err(io_error)?;
        let damaged = |damage: Damage| BlockOpenError::Corrupt {
            path: path.to_owned(),
            section: damage.section,
            offset: damage.offset,
            reason: damage.reason,
        };
        let (footer_offset, entries) = decode_footer(map.bytes()).map_err(damaged)?;
        let sections = find_sections(path, &entries, footer_offset)?;
        verify_sections(&map, &entries, &sections).map_err(|error| match error {
            SectionProblem::Io(source) => io_error(source),
            SectionProblem::Damage(damage) => damaged(damage),
        })?;
        let in_file = |damage: Damage| damaged(to_file_offset(&sections, damage));
        let (meta, directory) = parse(&map, &sections, &header).map_err(in_file)?;
        let page_count = length_of(&sections, Section::Chunks).div_ceil(PAGE_BYTES);
        let verified_pages = (0..page_count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            path: path.to_owned(),
            map,
            meta,
            sections,
            directory,
            verified_pages,
            damage: Arc::clone(damage),
        })
    }

    /// What the block holds.
    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the series that satisfy all matchers; ids ascend in order of the label sets.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`].
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, ReadError> {
        self.index().select(matchers).map_err(|damage| self.damaged(damage))
    }

    /// Returns the labels of one series.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`]; also if there is no such series.
    pub(crate) fn labels(&self, series_id: u32) -> Result<LabelSet, ReadError> {
        self.index().labels(series_id).map_err(|damage| self.damaged(damage))
    }

    /// Returns the label names of the series `within` (of all if `None`), sorted.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`]; also if `within` holds a series that the block has not.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Result<Vec<String>, ReadError> {
        self.index().label_names(within).map_err(|damage| self.damaged(damage))
    }

    /// Returns the values of label `name` in the series `within` (in all if `None`), sorted.
    ///
    /// # Errors
    /// As [`BlockReader::label_names`].
    pub(crate) fn label_values(
        &self,
        name: &str,
        within: Option<&RoaringBitmap>,
    ) -> Result<Vec<String>, ReadError> {
        self.index().label_values(name, within).map_err(|damage| self.damaged(damage))
    }

    /// Appends the chunks of a series that touch `range` to `out`, ascending.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`]; also if there is no such series.
    ///
    /// # Cost
    /// Skips up to 15 neighbours, then decodes one small entry per chunk; touches no page of CHUNKS.
    pub(crate) fn chunks(
        &self,
        series_id: u32,
        range: TimeRange,
        out: &mut Vec<ChunkView>,
    ) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        self.chunk_entries(series_id, range, out).map_err(|damage| self.damaged(damage))
    }

    /// Returns the encoded timestamp column of a chunk.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`] if a page of it is damaged or cannot be read.
    #[inline]
    pub(crate) fn timestamps(&self, chunk: &ChunkView) -> Result<&[u8], ReadError> {
        self.chunk_bytes(chunk.timestamps_offset, chunk.timestamps_bytes)
    }

    /// Returns the encoded values of a chunk.
    ///
    /// # Errors
    /// As [`BlockReader::timestamps`].
    #[inline]
    pub(crate) fn values(&self, chunk: &ChunkView) -> Result<&[u8], ReadError> {
        self.chunk_bytes(chunk.values_offset, chunk.values_bytes)
    }

    /// How many pages CHUNKS has.
    pub(crate) fn page_count(&self) -> usize {
        self.range(Section::Chunks).len().div_ceil(PAGE_BYTES)
    }

    /// Returns the name and length of every section.
    #[cfg(feature = "bench")]
    pub(crate) fn section_bytes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Section::ALL.into_iter().map(|section| (section.name(), self.range(section).len() as u64))
    }

    fn index(&self) -> IndexView<'_> {
        IndexView {
            directory: &self.directory,
            bytes: index_bytes(self.map.bytes(), &self.sections),
            series_count: self.meta.series_count,
        }
    }

    pub(super) fn section(&self, section: Section) -> &[u8] {
        slice_of(self.map.bytes(), &self.sections, section)
    }

    pub(super) fn damaged(&self, damage: Damage) -> ReadError {
        let damage = to_file_offset(&self.sections, damage);
        let error = ReadError::CorruptBlock {
            path: self.path.display().to_string(),
            section: damage.section,
            offset: damage.offset,
            reason: damage.reason.to_owned(),
        };
        let is_new = self.damage.add(DamagedFile {
            path: self.path.clone(),
            reason: error.to_string(),
            tenant: Some(self.meta.tenant.clone()),
            range: Some(TimeRange::from_inclusive(self.meta.min_ms, self.meta.max_ms)),
        });
        if is_new {
            tracing::error!(%error, "a read found a damaged block");
        }
        error
    }

    fn chunk_entries(
        &self,
        series_id: u32,
        range: TimeRange,
        out: &mut Vec<ChunkView>,
    ) -> Result<(), Damage> {
        let SeriesEntry { start, chunks, data } = self.series_entry(series_id)?;
        let columns = self.section(Section::Columns);
        let mut entry = Cursor::new(chunks);
        let mut expected_column = 0;
        let mut values_offset = data.start;
        while !entry.is_at_end() {
            let (column_id, values_bytes) =
                get_chunk(&mut entry, expected_column).map_err(Damage::coding(CHUNK_INDEX, start))?;
            expected_column = column_id.wrapping_add(1);
            let values_end = values_offset.saturating_add(values_bytes);
            let (true, Ok(values_bytes)) = (values_end <= data.end, u32::try_from(values_bytes)) else {
                return Err(Damage::new(CHUNK_INDEX, start, "values lie outside the data of their series"));
            };
            let column = Column::get(columns, column_id)?;
            let min_ms = self.meta.min_ms.saturating_add(i64::from(column.min_after_ms));
            let max_ms = self.meta.min_ms.saturating_add(i64::from(column.max_after_ms));
            if range.overlaps_span(min_ms, max_ms) {
                out.push(ChunkView {
                    min_ms,
                    max_ms,
                    sample_count: column.sample_count,
                    timestamps_id: column_id,
                    timestamps_offset: column.offset,
                    // The length has 24 bits.
                    timestamps_bytes: column.length as u32,
                    values_bytes,
                    values_offset,
                });
            }
            values_offset = values_end;
        }
        Ok(())
    }

    /// Finds the entry of a series: skips those before it in its group.
    fn series_entry(&self, series_id: u32) -> Result<SeriesEntry<'_>, Damage> {
        if series_id >= self.meta.series_count {
            return Err(Damage::new(CHUNK_INDEX, 0, "series does not exist"));
        }
        let position = series_id as usize;
        let group = group(self.section(Section::Series), position / SERIES_PER_GROUP)?;
        let group_start = group.chunks_offset as usize;
        let damage = Damage::coding(CHUNK_INDEX, group_start);
        let mut cursor =
            Cursor::new(self.section(Section::ChunkIndex).get(group_start..).unwrap_or_default());
        let mut data_start = group.data_offset;
        for _ in 0..position % SERIES_PER_GROUP {
            data_start = data_start.saturating_add(cursor.uvarint().map_err(&damage)?);
            cursor.bytes().map_err(&damage)?;
        }
        let data_end = data_start.saturating_add(cursor.uvarint().map_err(&damage)?);
        let chunks = cursor.bytes().map_err(&damage)?;
        let start = group_start.saturating_add(cursor.offset()).saturating_sub(chunks.len());
        Ok(SeriesEntry { start, chunks, data: data_start..data_end })
    }

    /// Returns bytes of CHUNKS from pages that are known to be whole.
    #[inline]
    fn chunk_bytes(&self, offset: u64, length: u32) -> Result<&[u8], ReadError> {
        let chunks = self.section(Section::Chunks);
        let outside =
            || self.damaged(Damage { section: Section::Chunks.name(), offset, reason: "bytes lie outside" });
        let start = usize::try_from(offset).map_err(|_| outside())?;
        let end = start.checked_add(length as usize).ok_or_else(outside)?;
        let bytes = chunks.get(start..end).ok_or_else(outside)?;
        if !bytes.is_empty() {
            for page in start / PAGE_BYTES..=end.saturating_sub(1) / PAGE_BYTES {
                self.verify_page(page)?;
            }
        }
        Ok(bytes)
    }

    /// Checks a page of CHUNKS unless that was done before.
    ///
    /// # Errors
    /// [`ReadError::CorruptBlock`] if it is damaged, cannot be read or does not exist.
    #[inline]
    pub(crate) fn verify_page(&self, page: usize) -> Result<(), ReadError> {
        let bit = 1_u64 << (page % 64);
        // Relaxed: the bit guards no other memory, the mapping never changes.
        match self.verified_pages.get(page / 64) {
            Some(word) if word.load(Ordering::Relaxed) & bit != 0 => Ok(()),
            Some(word) => {
                self.check_page(page)?;
                word.fetch_or(bit, Ordering::Relaxed);
                Ok(())
            }
            None => Err(self.damaged(Damage::new(Section::Pages.name(), 0, "page does not exist"))),
        }
    }

    #[cold]
    fn check_page(&self, page: usize) -> Result<(), ReadError> {
        let start = page.saturating_mul(PAGE_BYTES);
        let chunks = self.section(Section::Chunks);
        let end = start.saturating_add(PAGE_BYTES).min(chunks.len());
        let file_start = self.range(Section::Chunks).start.saturating_add(start);
        let damage = |reason| self.damaged(Damage::new(Section::Chunks.name(), start, reason));
        let bytes = chunks.get(start..end).ok_or_else(|| damage("page does not exist"))?;
        self.map.populate(file_start, bytes.len()).map_err(|_| damage("page cannot be read from disk"))?;
        let table = self.section(Section::Pages).get(page.saturating_mul(4)..).unwrap_or_default();
        match Cursor::new(table).u32() {
            Ok(stored) if stored == crc32c(bytes) => Ok(()),
            _ => Err(damage("checksum of the page differs")),
        }
    }

    fn range(&self, section: Section) -> Range<usize> {
        range_of(&self.sections, section)
    }
}

/// The entry of one series in CHUNKIDX.
struct SeriesEntry<'a> {
    /// Where its chunks begin in the section.
    start: usize,
    /// The entries of its chunks.
    chunks: &'a [u8],
    /// What of CHUNKS belongs to it.
    data: Range<u64>,
}

fn range_of(sections: &[Range<usize>; SECTION_COUNT], section: Section) -> Range<usize> {
    sections.get(section.position()).cloned().unwrap_or_default()
}

fn length_of(sections: &[Range<usize>; SECTION_COUNT], section: Section) -> usize {
    range_of(sections, section).len()
}

fn slice_of<'a>(file: &'a [u8], sections: &[Range<usize>; SECTION_COUNT], section: Section) -> &'a [u8] {
    file.get(range_of(sections, section)).unwrap_or_default()
}

fn index_bytes<'a>(file: &'a [u8], sections: &[Range<usize>; SECTION_COUNT]) -> IndexBytes<'a> {
    IndexBytes {
        groups: slice_of(file, sections, Section::Series),
        labels: slice_of(file, sections, Section::Labels),
        sets: slice_of(file, sections, Section::Sets),
        postings: slice_of(file, sections, Section::Postings),
    }
}

/// Turns an offset inside a section into one inside the file.
fn to_file_offset(sections: &[Range<usize>; SECTION_COUNT], damage: Damage) -> Damage {
    let section = Section::from_name(damage.section);
    damage.at(section.map_or(0, |section| range_of(sections, section).start))
}

fn read_header(path: &Path, map: &MappedFile) -> Result<Header, BlockOpenError> {
    let path = || path.to_owned();
    let io_error = |source| BlockOpenError::Io { path: path(), source };
    let corrupt = |reason| BlockOpenError::Corrupt { path: path(), section: "HEADER", offset: 0, reason };
    let found_bytes = map.bytes().len() as u64;
    let Some(bytes) = map.bytes().first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt("file is shorter than a header"));
    };
    map.populate(0, HEADER_BYTES).map_err(io_error)?;
    let header = Header::decode(bytes).map_err(|problem| match problem {
        HeaderProblem::Magic => BlockOpenError::NotABlock { path: path() },
        HeaderProblem::Version(found) => {
            BlockOpenError::Version { path: path(), part: "the format", found, supported: MAJOR_VERSION }
        }
        HeaderProblem::Checksum => corrupt("checksum of the header differs"),
    })?;
    if header.file_bytes != found_bytes {
        let expected_bytes = header.file_bytes;
        return Err(BlockOpenError::Length { path: path(), expected_bytes, found_bytes });
    }
    if found_bytes < HEADER_BYTES.saturating_add(TAIL_BYTES) as u64 || header.min_ms > header.max_ms {
        return Err(corrupt("header contradicts itself"));
    }
    Ok(header)
}

/// Finds every known section; unknown kinds are skipped.
fn find_sections(
    path: &Path,
    entries: &[SectionEntry],
    footer_offset: usize,
) -> Result<[Range<usize>; SECTION_COUNT], BlockOpenError> {
    let mut sections = [const { 0..0 }; SECTION_COUNT];
    for (section, range) in Section::ALL.iter().zip(&mut sections) {
        let part = section.name();
        let corrupt = |reason| BlockOpenError::Corrupt {
            path: path.to_owned(),
            section: FOOTER,
            offset: footer_offset as u64,
            reason,
        };
        let mut found = entries.iter().filter(|entry| entry.kind == *section as u16);
        let first = found.next();
        if first.is_none() && section.is_optional() {
            continue;
        }
        let (Some(entry), None) = (first, found.next()) else {
            return Err(corrupt("a section is missing or listed twice"));
        };
        if entry.version != SECTION_VERSION {
            let (found, supported) = (entry.version, SECTION_VERSION);
            return Err(BlockOpenError::Version { path: path.to_owned(), part, found, supported });
        }
        *range = entry.range(footer_offset).ok_or_else(|| corrupt("a section lies outside the file"))?;
    }
    Ok(sections)
}

enum SectionProblem {
    Io(io::Error),
    Damage(Damage),
}

/// Checks the checksums of all sections but CHUNKS. Offsets of damage count from the start of the file.
fn verify_sections(
    map: &MappedFile,
    entries: &[SectionEntry],
    sections: &[Range<usize>; SECTION_COUNT],
) -> Result<(), SectionProblem> {
    for section in Section::ALL {
        let range = range_of(sections, section);
        if section == Section::Chunks || range.is_empty() {
            continue;
        }
        map.populate(range.start, range.len()).map_err(SectionProblem::Io)?;
        let stored = entries.iter().find(|entry| entry.kind == section as u16).map(|entry| entry.checksum);
        if stored != Some(crc32c(slice_of(map.bytes(), sections, section))) {
            let reason = "checksum of the section differs";
            return Err(SectionProblem::Damage(Damage::new(section.name(), range.start, reason)));
        }
    }
    Ok(())
}

/// Parses the small parts and checks that the tables fit the counts.
fn parse(
    map: &MappedFile,
    sections: &[Range<usize>; SECTION_COUNT],
    header: &Header,
) -> Result<(BlockMeta, IndexDirectory), Damage> {
    let bytes = |section| slice_of(map.bytes(), sections, section);
    let stats = Stats::decode(bytes(Section::Stats), header.id)?;
    if tenant_hash(&stats.tenant) != header.tenant_hash {
        return Err(Damage::new(Section::Stats.name(), 0, "tenant is not that of the header"));
    }
    let table_lengths = [
        (Section::Series, (header.series_count as usize).div_ceil(SERIES_PER_GROUP).checked_mul(GROUP_BYTES)),
        (Section::Pages, length_of(sections, Section::Chunks).div_ceil(PAGE_BYTES).checked_mul(4)),
        (
            Section::Columns,
            length_of(sections, Section::Columns).div_ceil(COLUMN_BYTES).checked_mul(COLUMN_BYTES),
        ),
    ];
    for (section, expected_bytes) in table_lengths {
        if expected_bytes != Some(length_of(sections, section)) {
            return Err(Damage::new(section.name(), 0, "table has another length than its count asks for"));
        }
    }
    let index = index_bytes(map.bytes(), sections);
    let directory = IndexDirectory::parse(bytes(Section::Names), bytes(Section::Shapes), index)?;
    let meta = BlockMeta {
        id: header.id,
        tenant: stats.tenant,
        min_ms: header.min_ms,
        max_ms: header.max_ms,
        series_count: header.series_count,
        chunk_count: stats.chunk_count,
        sample_count: stats.sample_count,
        series_sample_count_max: stats.series_sample_count_max,
        file_bytes: header.file_bytes,
        precedence: stats.precedence,
        level: stats.level,
    };
    Ok((meta, directory))
}
