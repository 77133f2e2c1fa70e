//! Turns sorted series and their encoded chunks into one `.mtb` file.
//!
//! Input: label sets in ascending order, each with its chunks in order of time. Output: a complete, durable file under
//! its final name. Equal timestamp columns are stored once. Not here: the encoding of chunks, the MANIFEST.
//!
//! Format: docs/format/block.md

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use tracing::warn;
use xxhash_rust::xxh3::Xxh3;

use super::exemplars::ExemplarSection;
use super::format::{
    CHUNKS_BYTES_MAX, COLUMN_LENGTH_MAX, Column, HEADER_BYTES, Header, MINOR_VERSION, PAGE_BYTES,
    SECTION_ALIGNMENT_BYTES, SECTION_VERSION, SPAN_MS_MAX, Section, SectionEntry, Stats, encode_footer,
    put_chunk, tenant_hash,
};
use super::layout::block_file_name;
use crate::coding::{crc32c, put_bytes, put_uvarint};
use crate::fs::FileSystem;
use crate::fs::temporary::TemporaryFile;
use crate::index::format::{Group, SERIES_PER_GROUP};
use crate::index::writer::{IndexSections, IndexWriter, SectionTooLarge, check_part};
use crate::model::{Exemplar, LabelSet, TenantId};

/// What a block is called and whom it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockIdentity {
    /// Sequence number, unique in the data directory.
    pub(crate) id: u64,
    /// The owner of all series inside.
    pub(crate) tenant: TenantId,
}

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// Sequence number, unique in the data directory.
    pub(crate) id: u64,
    /// The owner of all series inside.
    pub(crate) tenant: TenantId,
    /// Time of the first sample.
    pub(crate) min_ms: i64,
    /// Time of the last sample.
    pub(crate) max_ms: i64,
    /// Series inside.
    pub(crate) series_count: u32,
    /// Chunks inside.
    pub(crate) chunk_count: u64,
    /// Samples inside.
    pub(crate) sample_count: u64,
    /// Samples of the series that has most: bounds what reading one series takes.
    pub(crate) series_sample_count_max: u64,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Where sources overlap in time, the higher wins.
    pub(crate) precedence: u64,
    /// How often the samples were merged, see [`crate::compact::FINAL_LEVEL`].
    pub(crate) level: u8,
}

/// One encoded chunk. The block does not look into its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkInput<'a> {
    /// Time of the first sample.
    pub(crate) min_ms: i64,
    /// Time of the last sample.
    pub(crate) max_ms: i64,
    /// How many samples there are.
    pub(crate) sample_count: u32,
    /// The encoded timestamp column, shared between chunks with equal bytes.
    pub(crate) timestamps: &'a [u8],
    /// The encoded values.
    pub(crate) values: &'a [u8],
}

/// Why a block could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BlockWriteError {
    /// The file cannot be written.
    #[error("cannot write block {path}")]
    Io {
        /// The block's final name.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A part does not fit the format.
    #[error(transparent)]
    TooLarge(#[from] SectionTooLarge),
    /// First and last sample are too far apart.
    #[error("block would span {given_ms} ms, the limit is {limit_ms} ms")]
    SpanTooLong {
        /// Milliseconds between the first and the last sample.
        given_ms: u64,
        /// Most that fits.
        limit_ms: u64,
    },
    /// No chunk was added.
    #[error("block would hold no samples")]
    Empty,
}

/// Collects a block.
///
/// # Cost
/// [`BlockWriter::streaming`] holds the index only (about 150 bytes a series); [`BlockWriter::new`] the chunks as
/// well, once.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    fs: Arc<dyn FileSystem>,
    identity: BlockIdentity,
    precedence: u64,
    level: u8,
    pages: PageSink,
    index: IndexWriter,
    columns: ColumnTable,
    groups: Vec<(u32, u64)>,
    chunk_index: Vec<u8>,
    previous: Option<LabelSet>,
    chunk_count: u64,
    sample_count: u64,
    series_sample_count_max: u64,
    too_large: Option<SectionTooLarge>,
    exemplars: ExemplarSection,
}

impl BlockWriter {
    /// Starts a block whose chunks are held in memory until [`BlockWriter::finish`]. For small blocks.
    pub(crate) fn new(fs: &Arc<dyn FileSystem>, identity: BlockIdentity) -> Self {
        Self {
            fs: Arc::clone(fs),
            precedence: identity.id,
            level: 0,
            identity,
            pages: PageSink::default(),
            index: IndexWriter::default(),
            columns: ColumnTable::default(),
            groups: Vec::new(),
            chunk_index: Vec::new(),
            previous: None,
            chunk_count: 0,
            sample_count: 0,
            series_sample_count_max: 0,
            too_large: None,
            exemplars: ExemplarSection::default(),
        }
    }

    /// Starts a block whose chunks are written to a temporary file in `directory` as they come; give the same
    /// directory to [`BlockWriter::finish`], which also reports a failed write of a chunk.
    ///
    /// # Errors
    /// [`BlockWriteError::Io`].
    pub(crate) fn streaming(
        fs: &Arc<dyn FileSystem>,
        identity: BlockIdentity,
        directory: &Path,
    ) -> Result<Self, BlockWriteError> {
        let path = directory.join(block_file_name(identity.id));
        let file =
            create_file(fs, directory, &path).map_err(|source| BlockWriteError::Io { path, source })?;
        let mut writer = Self::new(fs, identity);
        writer.pages.file = Some(file);
        Ok(writer)
    }

    /// Says what the block was merged from; otherwise it is of level 0 and its precedence is its id.
    pub(crate) fn set_history(&mut self, precedence: u64, level: u8) {
        self.precedence = precedence;
        self.level = level;
    }

    /// Adds the next series.
    ///
    /// # Panics
    /// If series do not come in ascending order of their label sets, or chunks of a series overlap or are not
    /// ascending.
    pub(crate) fn add_series(&mut self, labels: &LabelSet, chunks: &[ChunkInput<'_>]) {
        assert!(
            self.previous.as_ref().is_none_or(|previous| previous < labels),
            "series {labels} does not follow {:?}",
            self.previous
        );
        assert!(
            chunks.iter().all(|chunk| chunk.min_ms <= chunk.max_ms)
                && chunks.is_sorted_by(|left, right| left.max_ms < right.min_ms),
            "chunks of {labels} overlap or are not ascending"
        );
        if (self.index.series_count() as usize).is_multiple_of(SERIES_PER_GROUP) {
            let outcome = check_part(Section::ChunkIndex.name(), self.chunk_index.len());
            self.too_large = self.too_large.or(outcome.err());
            self.groups.push((self.chunk_index.len() as u32, self.pages.length));
        }
        self.index.add(labels);
        self.previous = Some(labels.clone());
        self.add_chunks(chunks);
    }

    /// Adds the exemplars of the series that was added last, ascending by time. At most once per series.
    pub(crate) fn add_exemplars(&mut self, exemplars: &[Exemplar]) {
        if let Some(series_id) = self.index.series_count().checked_sub(1) {
            self.exemplars.add(series_id, exemplars);
        }
    }

    fn add_chunks(&mut self, chunks: &[ChunkInput<'_>]) {
        let data_start = self.pages.length;
        chunks.iter().for_each(|chunk| self.pages.append(chunk.values));
        let mut entry = Vec::with_capacity(chunks.len() * 4);
        let mut expected_column = 0;
        let series_sample_count = chunks.iter().map(|chunk| u64::from(chunk.sample_count)).sum();
        self.series_sample_count_max = self.series_sample_count_max.max(series_sample_count);
        for chunk in chunks {
            let column = self.columns.add(chunk, &mut self.pages);
            put_chunk(&mut entry, expected_column, column, chunk.values.len());
            expected_column = column.wrapping_add(1);
            self.sample_count += u64::from(chunk.sample_count);
            let given = chunk.timestamps.len() as u64;
            if given > COLUMN_LENGTH_MAX {
                let section = Section::Columns.name();
                self.too_large = Some(SectionTooLarge { section, given, limit: COLUMN_LENGTH_MAX });
            }
        }
        self.chunk_count += chunks.len() as u64;
        put_uvarint(&mut self.chunk_index, self.pages.length - data_start);
        put_bytes(&mut self.chunk_index, &entry);
    }

    /// Completes the block as `directory/<id>.mtb`, creating the directory if need be. When this returns `Ok` the
    /// file and its name are durable.
    ///
    /// # Errors
    /// [`BlockWriteError`]; no file of the final name exists then, unless syncing the directory failed.
    pub(crate) fn finish(mut self, directory: &Path) -> Result<BlockMeta, BlockWriteError> {
        let path = directory.join(block_file_name(self.identity.id));
        self.check()?;
        self.pages.seal();
        let index = std::mem::take(&mut self.index);
        let series_count = index.series_count();
        let sections = self.sections(index.finish()?);
        let io_error = |source| BlockWriteError::Io { path: path.clone(), source };
        let mut file = self.take_file(directory, &path).map_err(io_error)?;
        let file_bytes = write_sections(&mut file, self.pages.length, &sections).map_err(io_error)?;
        let meta = BlockMeta {
            id: self.identity.id,
            tenant: self.identity.tenant,
            min_ms: self.columns.min_ms,
            max_ms: self.columns.max_ms,
            series_count,
            chunk_count: self.chunk_count,
            sample_count: self.sample_count,
            series_sample_count_max: self.series_sample_count_max,
            file_bytes,
            precedence: self.precedence,
            level: self.level,
        };
        file.write_all_at(&header(&meta).encode(), 0).map_err(io_error)?;
        file.persist().map_err(io_error)?;
        Ok(meta)
    }

    fn check(&self) -> Result<(), BlockWriteError> {
        if let Some(too_large) = self.too_large {
            return Err(too_large.into());
        }
        if self.chunk_count == 0 {
            return Err(BlockWriteError::Empty);
        }
        if self.pages.length > CHUNKS_BYTES_MAX {
            let (section, given) = (Section::Chunks.name(), self.pages.length);
            return Err(SectionTooLarge { section, given, limit: CHUNKS_BYTES_MAX }.into());
        }
        let given_ms = self.columns.max_ms.abs_diff(self.columns.min_ms);
        if given_ms > SPAN_MS_MAX {
            return Err(BlockWriteError::SpanTooLong { given_ms, limit_ms: SPAN_MS_MAX });
        }
        Ok(())
    }

    /// All sections after CHUNKS, in order.
    fn sections(&mut self, index: IndexSections) -> Vec<(Section, Vec<u8>)> {
        let mut groups = Vec::new();
        for (sets_offset, (chunks_offset, data_offset)) in index.set_offsets.iter().zip(&self.groups) {
            Group { sets_offset: *sets_offset, chunks_offset: *chunks_offset, data_offset: *data_offset }
                .put(&mut groups);
        }
        let stats = Stats {
            tenant: self.identity.tenant.clone(),
            chunk_count: self.chunk_count,
            sample_count: self.sample_count,
            series_sample_count_max: self.series_sample_count_max,
            precedence: self.precedence,
            level: self.level,
        };
        let mut sections = vec![
            (
                Section::Pages,
                self.pages.checksums.iter().flat_map(|checksum| checksum.to_le_bytes()).collect(),
            ),
            (Section::Columns, self.columns.encode()),
            (Section::Series, groups),
            (Section::ChunkIndex, std::mem::take(&mut self.chunk_index)),
            (Section::Names, index.names),
            (Section::Labels, index.labels),
            (Section::Shapes, index.shapes),
            (Section::Sets, index.sets),
            (Section::Postings, index.postings),
            (Section::Stats, stats.encode()),
        ];
        sections.extend(self.exemplars.encode().map(|bytes| (Section::Exemplars, bytes)));
        if self.exemplars.left_out_count > 0 {
            let exemplar_count = self.exemplars.left_out_count;
            warn!(block = self.identity.id, exemplar_count, "a block has no room for more exemplars");
        }
        sections
    }

    /// The file with the header's room and all of CHUNKS written.
    fn take_file(&mut self, directory: &Path, path: &Path) -> io::Result<TemporaryFile> {
        if let Some(error) = self.pages.error.take() {
            return Err(error);
        }
        if let Some(file) = self.pages.file.take() {
            return Ok(file);
        }
        let mut file = create_file(&self.fs, directory, path)?;
        for page in self.pages.held.drain(..) {
            file.write_all(&page)?;
        }
        Ok(file)
    }
}

fn create_file(fs: &Arc<dyn FileSystem>, directory: &Path, path: &Path) -> io::Result<TemporaryFile> {
    fs.create_directories(directory)?;
    let mut file = TemporaryFile::create(fs, path)?;
    file.write_all(&[0; HEADER_BYTES])?;
    Ok(file)
}

fn header(meta: &BlockMeta) -> Header {
    Header {
        minor_version: MINOR_VERSION,
        series_count: meta.series_count,
        id: meta.id,
        tenant_hash: tenant_hash(&meta.tenant),
        min_ms: meta.min_ms,
        max_ms: meta.max_ms,
        file_bytes: meta.file_bytes,
    }
}

/// Writes padding, sections, footer and tail behind CHUNKS; returns the length of the file.
fn write_sections(
    file: &mut TemporaryFile,
    chunks_bytes: u64,
    sections: &[(Section, Vec<u8>)],
) -> io::Result<u64> {
    let mut entries = vec![SectionEntry {
        kind: Section::Chunks as u16,
        version: SECTION_VERSION,
        checksum: 0,
        offset: HEADER_BYTES as u64,
        length: chunks_bytes,
    }];
    let mut position = HEADER_BYTES as u64 + chunks_bytes;
    for (section, bytes) in sections {
        let offset = position.next_multiple_of(SECTION_ALIGNMENT_BYTES as u64);
        file.write_all(&vec![0; (offset - position) as usize])?;
        file.write_all(bytes)?;
        position = offset + bytes.len() as u64;
        entries.push(SectionEntry {
            kind: *section as u16,
            version: SECTION_VERSION,
            checksum: crc32c(bytes),
            offset,
            length: bytes.len() as u64,
        });
    }
    let footer = encode_footer(&entries, position);
    file.write_all(&footer)?;
    Ok(position + footer.len() as u64)
}

/// Takes the bytes of CHUNKS, page by page.
#[derive(Debug, Default)]
struct PageSink {
    /// Bytes taken so far.
    length: u64,
    current: Vec<u8>,
    checksums: Vec<u32>,
    /// Finished pages, if there is no file yet.
    held: Vec<Vec<u8>>,
    file: Option<TemporaryFile>,
    /// The first failed write; nothing is written after it.
    error: Option<io::Error>,
}

impl PageSink {
    fn append(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - self.current.len()));
            self.current.extend_from_slice(now);
            rest = later;
            if self.current.len() == PAGE_BYTES {
                self.seal();
            }
        }
    }

    /// Finishes the page at hand, if it holds anything.
    fn seal(&mut self) {
        if self.current.is_empty() {
            return;
        }
        self.checksums.push(crc32c(&self.current));
        match &mut self.file {
            None => self.held.push(std::mem::take(&mut self.current)),
            Some(file) => {
                if self.error.is_none() {
                    self.error = file.write_all(&self.current).err();
                }
                self.current.clear();
            }
        }
    }
}

/// A timestamp column while its block is being collected.
#[derive(Debug)]
struct ColumnDraft {
    min_ms: i64,
    max_ms: i64,
    sample_count: u32,
    offset: u64,
    length: u64,
}

/// Finds equal timestamp columns by their content.
#[derive(Debug)]
struct ColumnTable {
    /// Keeps senders from constructing columns whose hashes collide.
    seed: u64,
    ids: HashMap<u128, u32>,
    columns: Vec<ColumnDraft>,
    min_ms: i64,
    max_ms: i64,
}

impl Default for ColumnTable {
    fn default() -> Self {
        Self {
            seed: RandomState::new().hash_one(0),
            ids: HashMap::new(),
            columns: Vec::new(),
            min_ms: i64::MAX,
            max_ms: i64::MIN,
        }
    }
}

impl ColumnTable {
    /// Returns the id of the chunk's column, appending the column to `pages` if it is new.
    fn add(&mut self, chunk: &ChunkInput<'_>, pages: &mut PageSink) -> u32 {
        self.min_ms = self.min_ms.min(chunk.min_ms);
        self.max_ms = self.max_ms.max(chunk.max_ms);
        let next_id = self.columns.len() as u32;
        let id = *self.ids.entry(self.content_hash(chunk)).or_insert(next_id);
        if id == next_id {
            self.columns.push(ColumnDraft {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                sample_count: chunk.sample_count,
                offset: pages.length,
                length: chunk.timestamps.len() as u64,
            });
            pages.append(chunk.timestamps);
        }
        id
    }

    /// 128 bits under a random seed: equal hashes mean equal columns. Span and count belong to the content, as the
    /// record of the column tells them for every chunk that uses it.
    fn content_hash(&self, chunk: &ChunkInput<'_>) -> u128 {
        let mut hasher = Xxh3::with_seed(self.seed);
        hasher.update(&chunk.min_ms.to_le_bytes());
        hasher.update(&chunk.max_ms.to_le_bytes());
        hasher.update(&chunk.sample_count.to_le_bytes());
        hasher.update(chunk.timestamps);
        hasher.digest128()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for draft in &self.columns {
            // Both fit: `BlockWriter::check` has refused longer spans.
            Column {
                min_after_ms: draft.min_ms.abs_diff(self.min_ms) as u32,
                max_after_ms: draft.max_ms.abs_diff(self.min_ms) as u32,
                sample_count: draft.sample_count,
                offset: draft.offset,
                length: draft.length,
            }
            .put(&mut out);
        }
        out
    }
}
