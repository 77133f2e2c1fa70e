//! The bytes of a block file: header, section table, tail, and the fixed records of TSCOLS and STATS.
//!
//! Format: docs/format/block.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use crate::coding::{CodingError, Cursor, crc32c, put_bytes, put_ivarint, put_uvarint};
use crate::index::format as index_format;
use crate::index::format::Damage;
use crate::model::TenantId;

/// First bytes of a block file.
pub(crate) const MAGIC: &[u8; 4] = b"MTSB";
/// Last bytes of a block file.
pub(crate) const TAIL_MAGIC: &[u8; 8] = b"MTSB.end";
/// Readers refuse files with another major version.
pub(crate) const MAJOR_VERSION: u16 = 1;
/// Readers accept any minor version: it only adds sections that may be skipped.
pub(crate) const MINOR_VERSION: u16 = 1;
/// Version of every section kind so far.
pub(crate) const SECTION_VERSION: u16 = 1;

/// Bytes of the header; the section CHUNKS follows at once.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of the header before its checksum.
const HEADER_CHECKED_BYTES: usize = 60;
/// Bytes of the tail.
pub(crate) const TAIL_BYTES: usize = 24;
/// Bytes of one entry of the section table.
const SECTION_ENTRY_BYTES: usize = 24;
/// Sections begin at multiples of this.
pub(crate) const SECTION_ALIGNMENT_BYTES: usize = 64;
/// CHUNKS has one checksum per so many bytes.
pub(crate) const PAGE_BYTES: usize = 64 << 10;
/// Bytes of one record of TSCOLS.
pub(crate) const COLUMN_BYTES: usize = 20;
/// Bits of a column's place that hold its length.
const COLUMN_LENGTH_BITS: u32 = 24;
/// Longest encoded timestamp column.
pub(crate) const COLUMN_LENGTH_MAX: u64 = (1 << COLUMN_LENGTH_BITS) - 1;
/// Longest CHUNKS section: offsets of columns have 40 bits.
pub(crate) const CHUNKS_BYTES_MAX: u64 = 1 << 40;
/// Longest span of a block: times in TSCOLS are `u32` milliseconds after its first.
pub(crate) const SPAN_MS_MAX: u64 = u32::MAX as u64;

/// Name of the section that holds the entries of chunks.
pub(crate) const CHUNK_INDEX: &str = "CHUNKIDX";

/// The kinds of sections; numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Section {
    /// Values of chunks and timestamp columns.
    Chunks = 1,
    /// Checksums of the pages of CHUNKS.
    Pages = 2,
    /// Records of the distinct timestamp columns.
    Columns = 3,
    /// Where groups of series begin.
    Series = 4,
    /// Entries of the chunks of each series.
    ChunkIndex = 5,
    /// Label names.
    Names = 6,
    /// Dictionaries of label values.
    Labels = 7,
    /// Which names occur together.
    Shapes = 8,
    /// Label sets.
    Sets = 9,
    /// Posting lists.
    Postings = 10,
    /// Tenant and counts.
    Stats = 11,
    /// Exemplars; since minor version 1, only where there are some.
    Exemplars = 12,
}

/// How many kinds of sections there are.
pub(crate) const SECTION_COUNT: usize = 12;

impl Section {
    /// All kinds, in the order of their numbers and of the file.
    pub(crate) const ALL: [Section; SECTION_COUNT] = [
        Self::Chunks,
        Self::Pages,
        Self::Columns,
        Self::Series,
        Self::ChunkIndex,
        Self::Names,
        Self::Labels,
        Self::Shapes,
        Self::Sets,
        Self::Postings,
        Self::Stats,
        Self::Exemplars,
    ];

    /// The name in messages and documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chunks => "CHUNKS",
            Self::Pages => "PAGES",
            Self::Columns => "TSCOLS",
            Self::Series => index_format::SERIES,
            Self::ChunkIndex => CHUNK_INDEX,
            Self::Names => index_format::NAMES,
            Self::Labels => index_format::LABELS,
            Self::Shapes => index_format::SHAPES,
            Self::Sets => index_format::SETS,
            Self::Postings => index_format::POSTINGS,
            Self::Stats => "STATS",
            Self::Exemplars => "EXEMPLARS",
        }
    }

    /// Returns whether a block may be without it.
    pub(crate) fn is_optional(self) -> bool {
        self == Self::Exemplars
    }

    /// The kind with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// Position in tables of all sections.
    pub(crate) fn position(self) -> usize {
        (self as usize).saturating_sub(1)
    }
}

/// The first 64 bytes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) minor_version: u16,
    pub(crate) series_count: u32,
    pub(crate) id: u64,
    pub(crate) tenant_hash: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) file_bytes: u64,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderProblem {
    /// The file is no block.
    Magic,
    /// The block is of another time.
    Version(u16),
    /// The header is damaged.
    Checksum,
}

impl Header {
    /// Encodes the header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&MAJOR_VERSION.to_le_bytes());
        out.extend_from_slice(&self.minor_version.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&self.series_count.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.tenant_hash.to_le_bytes());
        out.extend_from_slice(&self.min_ms.to_le_bytes());
        out.extend_from_slice(&self.max_ms.to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&crc32c(&out).to_le_bytes());
        out
    }

    /// Decodes and checks a header.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderProblem> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(HeaderProblem::Magic);
        }
        let checked = bytes.get(..HEADER_CHECKED_BYTES).unwrap_or_default();
        let stored = bytes.get(HEADER_CHECKED_BYTES..).and_then(|rest| Cursor::new(rest).u32().ok());
        if stored != Some(crc32c(checked)) {
            return Err(HeaderProblem::Checksum);
        }
        Self::fields(&mut cursor).map_err(|_| HeaderProblem::Checksum).and_then(|(major, header)| {
            if major == MAJOR_VERSION { Ok(header) } else { Err(HeaderProblem::Version(major)) }
        })
    }

    fn fields(cursor: &mut Cursor<'_>) -> Result<(u16, Self), CodingError> {
        let major = cursor.u16()?;
        let minor_version = cursor.u16()?;
        cursor.u32()?;
        let header = Self {
            minor_version,
            series_count: cursor.u32()?,
            id: cursor.u64()?,
            tenant_hash: cursor.u64()?,
            min_ms: cursor.i64()?,
            max_ms: cursor.i64()?,
            file_bytes: cursor.u64()?,
        };
        Ok((major, header))
    }
}

/// The hash of a tenant's name in the header.
pub(crate) fn tenant_hash(tenant: &TenantId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(tenant.as_str().as_bytes())
}

/// One entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectionEntry {
    pub(crate) kind: u16,
    pub(crate) version: u16,
    /// CRC-32C of the section; of CHUNKS 0, as PAGES holds its checksums.
    pub(crate) checksum: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl SectionEntry {
    /// Where the section lies, if that is inside the first `end` bytes of the file.
    pub(crate) fn range(&self, end: usize) -> Option<Range<usize>> {
        let first = usize::try_from(self.offset).ok()?;
        let last = first.checked_add(usize::try_from(self.length).ok()?)?;
        (first >= HEADER_BYTES && last <= end).then_some(first..last)
    }
}

/// Encodes the section table and the tail that points to it.
pub(crate) fn encode_footer(entries: &[SectionEntry], footer_offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.kind.to_le_bytes());
        out.extend_from_slice(&entry.version.to_le_bytes());
        out.extend_from_slice(&entry.checksum.to_le_bytes());
        out.extend_from_slice(&entry.offset.to_le_bytes());
        out.extend_from_slice(&entry.length.to_le_bytes());
    }
    let (length, checksum) = (out.len() as u32, crc32c(&out));
    out.extend_from_slice(&footer_offset.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(TAIL_MAGIC);
    out
}

/// Finds and checks the section table of a whole file.
///
/// # Errors
/// [`Damage`] in `"FOOTER"`, offsets counted from the start of the file.
pub(crate) fn decode_footer(file: &[u8]) -> Result<(usize, Vec<SectionEntry>), Damage> {
    let tail_start = file.len().saturating_sub(TAIL_BYTES);
    let wrong = |reason| Damage::new(FOOTER, tail_start, reason);
    let mut tail = Cursor::new(file.get(tail_start..).unwrap_or_default());
    let damage = Damage::coding(FOOTER, tail_start);
    let offset = tail.u64().map_err(&damage)?;
    let length = tail.u32().map_err(&damage)?;
    let checksum = tail.u32().map_err(&damage)?;
    if tail.take(TAIL_MAGIC.len()).map_err(&damage)? != TAIL_MAGIC {
        return Err(wrong("tail has no magic"));
    }
    let offset = usize::try_from(offset).map_err(|_| wrong("footer lies outside the file"))?;
    if offset.checked_add(length as usize) != Some(tail_start) {
        return Err(wrong("footer does not end at the tail"));
    }
    let footer = file.get(offset..tail_start).unwrap_or_default();
    if crc32c(footer) != checksum {
        return Err(Damage::new(FOOTER, offset, "checksum of the section table differs"));
    }
    Ok((offset, decode_entries(footer).map_err(Damage::coding(FOOTER, offset))?))
}

/// Name of the section table in messages.
pub(crate) const FOOTER: &str = "FOOTER";

fn decode_entries(footer: &[u8]) -> Result<Vec<SectionEntry>, CodingError> {
    let mut cursor = Cursor::new(footer);
    let count = cursor.u32()? as usize;
    if count.checked_mul(SECTION_ENTRY_BYTES) != Some(cursor.remaining()) {
        return Err(cursor.error("section table has another length"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(SectionEntry {
            kind: cursor.u16()?,
            version: cursor.u16()?,
            checksum: cursor.u32()?,
            offset: cursor.u64()?,
            length: cursor.u64()?,
        });
    }
    Ok(entries)
}

/// One distinct timestamp column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// First and last sample, in milliseconds after the first of the block.
    pub(crate) min_after_ms: u32,
    pub(crate) max_after_ms: u32,
    pub(crate) sample_count: u32,
    /// Offset inside CHUNKS, below [`CHUNKS_BYTES_MAX`].
    pub(crate) offset: u64,
    /// Encoded bytes, up to [`COLUMN_LENGTH_MAX`].
    pub(crate) length: u64,
}

impl Column {
    /// Appends the [`COLUMN_BYTES`] of the record.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.min_after_ms.to_le_bytes());
        out.extend_from_slice(&self.max_after_ms.to_le_bytes());
        out.extend_from_slice(&self.sample_count.to_le_bytes());
        out.extend_from_slice(&(self.offset << COLUMN_LENGTH_BITS | self.length).to_le_bytes());
    }

    /// Reads the record of column `id`.
    ///
    /// # Errors
    /// [`Damage`] if there is no such column.
    #[inline]
    pub(crate) fn get(columns: &[u8], id: u32) -> Result<Self, Damage> {
        let start = (id as usize).saturating_mul(COLUMN_BYTES);
        let damage = Damage::coding(Section::Columns.name(), start);
        let mut cursor = Cursor::new(columns.get(start..).unwrap_or_default());
        let min_after_ms = cursor.u32().map_err(&damage)?;
        let max_after_ms = cursor.u32().map_err(&damage)?;
        let sample_count = cursor.u32().map_err(&damage)?;
        let place = cursor.u64().map_err(&damage)?;
        let (offset, length) = (place >> COLUMN_LENGTH_BITS, place & COLUMN_LENGTH_MAX);
        Ok(Self { min_after_ms, max_after_ms, sample_count, offset, length })
    }
}

/// The section STATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) tenant: TenantId,
    pub(crate) chunk_count: u64,
    pub(crate) sample_count: u64,
    /// Samples of the series that has most.
    pub(crate) series_sample_count_max: u64,
    /// Where sources overlap in time, the higher wins; blocks from before compaction have their id.
    pub(crate) precedence: u64,
    /// How often the samples were merged, see `compact::FINAL_LEVEL`.
    pub(crate) level: u8,
}

impl Stats {
    /// Encodes the section.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.tenant.as_str().as_bytes());
        put_uvarint(&mut out, self.chunk_count);
        put_uvarint(&mut out, self.sample_count);
        put_uvarint(&mut out, self.series_sample_count_max);
        put_uvarint(&mut out, self.precedence);
        out.push(self.level);
        out
    }

    /// Decodes the section of block `id`; later versions may append to it, earlier ones end before the precedence.
    ///
    /// # Errors
    /// [`Damage`] if the bytes end early or the tenant is none.
    pub(crate) fn decode(bytes: &[u8], id: u64) -> Result<Self, Damage> {
        let damage = Damage::coding(Section::Stats.name(), 0);
        let mut cursor = Cursor::new(bytes);
        let tenant = cursor.text().map_err(&damage)?;
        let tenant = TenantId::new(tenant)
            .map_err(|_| Damage::new(Section::Stats.name(), 0, "tenant name is not valid"))?;
        let chunk_count = cursor.uvarint().map_err(&damage)?;
        let sample_count = cursor.uvarint().map_err(&damage)?;
        let series_sample_count_max = cursor.uvarint().map_err(&damage)?;
        let is_first_version = cursor.is_at_end();
        let precedence = if is_first_version { id } else { cursor.uvarint().map_err(&damage)? };
        let level = if is_first_version { 0 } else { cursor.u8().map_err(&damage)? };
        Ok(Self { tenant, chunk_count, sample_count, series_sample_count_max, precedence, level })
    }
}

/// Appends one chunk entry; `expected_column` is the column after that of the chunk before (0 for the first).
pub(crate) fn put_chunk(out: &mut Vec<u8>, expected_column: u32, column: u32, values_bytes: usize) {
    put_ivarint(out, i64::from(column).wrapping_sub(i64::from(expected_column)));
    put_uvarint(out, values_bytes as u64);
}

/// Reads what [`put_chunk`] wrote: the column and the length of the values.
///
/// # Errors
/// [`CodingError`] if the bytes are damaged.
#[inline]
pub(crate) fn get_chunk(cursor: &mut Cursor<'_>, expected_column: u32) -> Result<(u32, u64), CodingError> {
    let step = cursor.ivarint()?;
    let column = i64::from(expected_column)
        .checked_add(step)
        .and_then(|column| u32::try_from(column).ok())
        .ok_or_else(|| cursor.error("timestamp column does not exist"))?;
    Ok((column, cursor.uvarint()?))
}
