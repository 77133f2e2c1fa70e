//! The list of the blocks that count, and the commit point of every change to it.
//!
//! One file `MANIFEST` of checksummed records, only ever appended to, and replaced as a whole when it has grown. A change
//! is committed when [`Manifest::commit`] returns. Not here: writing or deleting the blocks themselves.
//!
//! Invariant: the file holds whole records, except that a crash may leave a torn one at its end, which [`Manifest::open`]
//! cuts off. Format: docs/format/manifest.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{BlockRef, Day, has_blocks};
use crate::coding::{CodingError, Cursor, crc32c, put_bytes, put_ivarint, put_uvarint};
use crate::fs::temporary::TemporaryFile;
use crate::fs::{FileSystem, WritableFile};
use crate::model::TenantId;

/// Name of the file in the data directory.
pub(crate) const FILE_NAME: &str = "MANIFEST";
const MAGIC: &[u8; 4] = b"MTSM";
/// The version that is written. Version 1, whose records have no tombstones, is read and replaced.
const VERSION: u16 = 2;
const VERSION_WITHOUT_TOMBSTONES: u16 = 1;
/// Magic, version, reserved.
const HEADER_BYTES: usize = 8;
/// Length and checksum before each payload.
const RECORD_HEAD_BYTES: usize = 8;
/// Longest payload; longer ones are damage.
const PAYLOAD_BYTES_MAX: usize = 256 << 20;
/// The file is replaced when it is longer than this and than four times its state.
const REWRITE_BYTES_MIN: u64 = 256 << 10;

/// Why the manifest cannot be opened or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ManifestError {
    /// The file cannot be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is damaged before its end.
    #[error("corrupt manifest {path} at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Offset of the damaged record.
        offset: u64,
        /// What was found.
        reason: &'static str,
    },
    /// The file has a version that is not understood.
    #[error("manifest {path} has version {found}, this server reads {supported}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u16,
        /// The version understood.
        supported: u16,
    },
    /// There are blocks but no manifest that could list them.
    #[error("{path} is missing although there are blocks beside it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A change does not fit the state.
    #[error("manifest edit {problem}: {block:?}")]
    Edit {
        /// What is wrong.
        problem: &'static str,
        /// The block concerned.
        block: BlockRef,
    },
    /// An earlier commit failed half-way, so that what is on disk is not known.
    #[error("manifest {path} is closed for changes since a commit failed; restart the server")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

/// What the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ManifestState {
    /// The blocks that count.
    pub(crate) blocks: BTreeSet<BlockRef>,
    /// Which generation of a block's tombstones counts; blocks from which nothing was deleted are not in it.
    pub(crate) tombstones: BTreeMap<BlockRef, u64>,
    /// The next block's sequence number.
    pub(crate) next_id: u64,
    /// The first WAL segment that is still needed.
    pub(crate) wal_floor: u64,
}

impl ManifestState {
    /// The files of blocks and tombstones that count.
    pub(crate) fn files(&self, data_dir: &Path) -> BTreeSet<PathBuf> {
        let blocks = self.blocks.iter().map(|block| block.path(data_dir));
        let tombstones = self.tombstones.iter();
        blocks
            .chain(tombstones.map(|(block, generation)| block.tombstone_path(data_dir, *generation)))
            .collect()
    }
}

/// A change, committed as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ManifestEdit {
    /// Blocks that count from now on; their files must be durable.
    pub(crate) add: Vec<BlockRef>,
    /// Blocks that count no more.
    pub(crate) del: Vec<BlockRef>,
    /// Blocks with the generation of tombstones that counts from now on; the files must be durable.
    pub(crate) tombstones: Vec<(BlockRef, u64)>,
    /// The next block's sequence number, if it grows.
    pub(crate) next_id: Option<u64>,
    /// The first WAL segment that is still needed, if it changes.
    pub(crate) wal_floor: Option<u64>,
}

/// The open manifest. One per data directory, under its lock.
#[derive(Debug)]
pub(crate) struct Manifest {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    file: Box<dyn WritableFile>,
    length_bytes: u64,
    /// Length of a file with nothing but the state.
    state_bytes: u64,
    state: ManifestState,
    is_poisoned: bool,
}

impl Manifest {
    /// Opens the manifest of `data_dir`, creating it if the directory is new, and returns what it says.
    ///
    /// # Errors
    /// [`ManifestError`]. A torn record at the end is no error: its commit never returned.
    pub(crate) fn open(
        fs: &Arc<dyn FileSystem>,
        data_dir: &Path,
    ) -> Result<(Self, ManifestState), ManifestError> {
        let path = data_dir.join(FILE_NAME);
        let Some((Replayed { state, whole_bytes, version, is_repaired }, found_bytes)) =
            read(fs.as_ref(), data_dir)?
        else {
            let manifest = Self::create(fs, path, ManifestState::default())?;
            return Ok((manifest, ManifestState::default()));
        };
        if is_repaired {
            tracing::error!(path = %path.display(), "a bit of the manifest's last record had flipped; the file is replaced");
            return Ok((Self::create(fs, path, state.clone())?, state));
        }
        if version != VERSION {
            tracing::info!(path = %path.display(), version, "manifest of an older version is replaced");
            return Ok((Self::create(fs, path, state.clone())?, state));
        }
        let io_error = |action| {
            let path = path.clone();
            move |source| ManifestError::Io { action, path, source }
        };
        let file = fs.open(&path).map_err(io_error("open"))?;
        if whole_bytes < found_bytes {
            let torn_bytes = found_bytes.saturating_sub(whole_bytes);
            tracing::warn!(path = %path.display(), torn_bytes, "torn record at the end of the manifest is cut off");
            file.set_length(whole_bytes as u64).map_err(io_error("truncate"))?;
            file.sync_data().map_err(io_error("sync"))?;
        }
        let state_bytes = encode_file(&state).len() as u64;
        let length_bytes = whole_bytes as u64;
        let fs = Arc::clone(fs);
        let manifest =
            Self { fs, path, file, length_bytes, state_bytes, state: state.clone(), is_poisoned: false };
        Ok((manifest, state))
    }

    /// Writes the manifest of a data directory that has none, durably.
    ///
    /// # Errors
    /// [`ManifestError::Io`].
    pub(crate) fn create_in(
        fs: &Arc<dyn FileSystem>,
        data_dir: &Path,
        state: ManifestState,
    ) -> Result<Self, ManifestError> {
        Self::create(fs, data_dir.join(FILE_NAME), state)
    }

    fn create(fs: &Arc<dyn FileSystem>, path: PathBuf, state: ManifestState) -> Result<Self, ManifestError> {
        let bytes = encode_file(&state);
        let file = TemporaryFile::create(fs, &path)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.persist()))
            .map_err(|source| ManifestError::Io { action: "replace", path: path.clone(), source })?;
        let length_bytes = bytes.len() as u64;
        let fs = Arc::clone(fs);
        Ok(Self { fs, path, file, length_bytes, state_bytes: length_bytes, state, is_poisoned: false })
    }

    /// What the manifest says now.
    pub(crate) fn state(&self) -> &ManifestState {
        &self.state
    }

    /// Commits a change: when this returns `Ok`, it is durable; after an error, the manifest says what it said
    /// before, or refuses all further changes if that cannot be known.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub(crate) fn commit(&mut self, edit: ManifestEdit) -> Result<(), ManifestError> {
        if self.is_poisoned {
            return Err(ManifestError::Poisoned { path: self.path.clone() });
        }
        let mut state = self.state.clone();
        apply(&mut state, &edit).map_err(|(problem, block)| ManifestError::Edit { problem, block })?;
        let mut record = Vec::new();
        put_record(&mut record, &edit);
        if let Err(error) = self.append(&record) {
            self.take_back()?;
            return Err(error);
        }
        self.length_bytes = self.length_bytes.saturating_add(record.len() as u64);
        self.state = state;
        if self.length_bytes > REWRITE_BYTES_MIN.max(self.state_bytes.saturating_mul(4)) {
            self.rewrite();
        }
        Ok(())
    }

    /// Whether a commit failed so that nobody knows what is on disk.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    fn append(&self, record: &[u8]) -> Result<(), ManifestError> {
        self.file
            .write_all_at(record, self.length_bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| ManifestError::Io { action: "append to", path: self.path.clone(), source })
    }

    /// After a failed append: cuts the file back, durably, or closes it for changes.
    fn take_back(&mut self) -> Result<(), ManifestError> {
        let outcome = self.file.set_length(self.length_bytes).and_then(|()| self.file.sync_data());
        outcome.map_err(|source| {
            self.is_poisoned = true;
            ManifestError::Io { action: "take back a failed commit to", path: self.path.clone(), source }
        })
    }

    /// Replaces the file by one that holds the state only. A failure costs nothing but room: the old file stays.
    fn rewrite(&mut self) {
        match Self::create(&self.fs, self.path.clone(), self.state.clone()) {
            Ok(manifest) => *self = manifest,
            Err(error) => {
                tracing::warn!(%error, "manifest was not shortened");
                // The new file may already have the name, so nothing may be appended to the old one.
                self.is_poisoned = !self.is_current();
                self.state_bytes = self.length_bytes;
            }
        }
    }

    /// Returns whether the open file is the one that has the name: what would replace it is shorter.
    fn is_current(&self) -> bool {
        self.fs.length_bytes(&self.path).is_ok_and(|found_bytes| found_bytes == self.length_bytes)
    }
}

/// Changes the state; an impossible change leaves it undefined and is named.
fn apply(state: &mut ManifestState, edit: &ManifestEdit) -> Result<(), (&'static str, BlockRef)> {
    for block in &edit.del {
        if !state.blocks.remove(block) {
            return Err(("deletes a block that is not listed", block.clone()));
        }
        state.tombstones.remove(block);
    }
    for block in &edit.add {
        if !state.blocks.insert(block.clone()) {
            return Err(("adds a block that is listed", block.clone()));
        }
        // Ids are never given twice, even if an edit forgets to say so.
        state.next_id = state.next_id.max(block.id.saturating_add(1));
    }
    for (block, generation) in &edit.tombstones {
        if !state.blocks.contains(block) {
            return Err(("deletes from a block that is not listed", block.clone()));
        }
        // A generation is never given twice: its file may be left over from before.
        if state.tombstones.insert(block.clone(), *generation).unwrap_or(0) >= *generation {
            return Err(("gives a block tombstones that are not newer", block.clone()));
        }
    }
    state.next_id = state.next_id.max(edit.next_id.unwrap_or(0));
    state.wal_floor = edit.wal_floor.unwrap_or(state.wal_floor);
    Ok(())
}

/// Reads the manifest of `data_dir`: what it says, and the length of the file; `None` if the directory is new.
fn read(fs: &dyn FileSystem, data_dir: &Path) -> Result<Option<(Replayed, usize)>, ManifestError> {
    let path = data_dir.join(FILE_NAME);
    match fs.read(&path) {
        Ok(bytes) => Ok(Some((replay(&path, &bytes)?, bytes.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match has_blocks(fs, data_dir) {
            Ok(false) => Ok(None),
            Ok(true) => Err(ManifestError::Missing { path }),
            Err(source) => Err(ManifestError::Io { action: "search", path, source }),
        },
        Err(source) => Err(ManifestError::Io { action: "read", path, source }),
    }
}

/// Reads what the manifest of `data_dir` says without changing anything, and how many bytes at its end are torn.
///
/// # Errors
/// [`ManifestError`].
pub(crate) fn inspect(fs: &dyn FileSystem, data_dir: &Path) -> Result<(ManifestState, usize), ManifestError> {
    let found = read(fs, data_dir)?;
    Ok(found.map_or_else(Default::default, |(replayed, found_bytes)| {
        (replayed.state, found_bytes.saturating_sub(replayed.whole_bytes))
    }))
}

/// What a file says.
struct Replayed {
    state: ManifestState,
    /// How many bytes of the file are whole records.
    whole_bytes: usize,
    version: u16,
    /// Whether the record behind them is whole but for one bit, and counts.
    is_repaired: bool,
}

fn replay(path: &Path, bytes: &[u8]) -> Result<Replayed, ManifestError> {
    let corrupt = |offset: usize, reason| ManifestError::Corrupt {
        path: path.to_owned(),
        offset: offset as u64,
        reason,
    };
    let mut header = Cursor::new(bytes);
    if header.take(MAGIC.len()).ok() != Some(MAGIC) {
        return Err(corrupt(0, "file does not begin with MTSM"));
    }
    let version = match header.u16() {
        Ok(version @ (VERSION | VERSION_WITHOUT_TOMBSTONES)) => version,
        Ok(found) => {
            return Err(ManifestError::Version { path: path.to_owned(), found, supported: VERSION });
        }
        Err(_) => return Err(corrupt(MAGIC.len(), "header ends early")),
    };
    let mut state = ManifestState::default();
    let mut position = HEADER_BYTES;
    loop {
        let rest = bytes.get(position..).ok_or_else(|| corrupt(0, "header ends early"))?;
        if rest.is_empty() {
            return Ok(Replayed { state, whole_bytes: position, version, is_repaired: false });
        }
        let Some((payload, length)) = record(rest) else {
            if holds_record_later(rest, version) {
                return Err(corrupt(position, "a damaged record has whole ones behind it"));
            }
            if let Some(repaired) = without_flipped_bit(rest) {
                let edit =
                    decode_edit(&repaired, version).map_err(|_| corrupt(position, "record is malformed"))?;
                apply(&mut state, &edit).map_err(|(problem, _)| corrupt(position, problem))?;
                return Ok(Replayed { state, whole_bytes: position, version, is_repaired: true });
            }
            if position == HEADER_BYTES {
                return Err(corrupt(position, "the first record, which came with the file, is damaged"));
            }
            return Ok(Replayed { state, whole_bytes: position, version, is_repaired: false });
        };
        let edit = decode_edit(payload, version).map_err(|_| corrupt(position, "record is malformed"))?;
        apply(&mut state, &edit).map_err(|(problem, _)| corrupt(position, problem))?;
        position = position.saturating_add(length);
    }
}

/// Reads the record at the front: its payload and its length with the head.
fn record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut cursor = Cursor::new(bytes);
    let length = cursor.u32().ok()? as usize;
    let checksum = cursor.u32().ok()?;
    // An empty payload is none: zeros that a file system left behind are no record.
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload = cursor.take(length).ok()?;
    (crc32c(payload) == checksum).then(|| (payload, cursor.offset()))
}

/// Returns whether a whole record begins anywhere behind the first byte. After a crash there is none: each record is
/// synced before the next is begun. If there is one, committed records would be lost by cutting the file.
fn holds_record_later(bytes: &[u8], version: u16) -> bool {
    (1..bytes.len())
        .filter_map(|start| record(bytes.get(start..)?))
        .any(|(payload, _)| decode_edit(payload, version).is_ok())
}

/// Returns the payload of `bytes` if they are a whole record but for one bit, with that bit put right.
///
/// Why: damage at the end looks like a torn commit, and cutting a commit off that did return loses data. The checksum
/// says which bit it was.
fn without_flipped_bit(bytes: &[u8]) -> Option<Vec<u8>> {
    /// The polynomial of CRC-32C, bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut cursor = Cursor::new(bytes);
    let (length, stored) = (cursor.u32().ok()?, cursor.u32().ok()?);
    let mut payload = bytes.get(RECORD_HEAD_BYTES..)?.to_vec();
    let difference = crc32c(&payload) ^ stored;
    let length_difference = u64::from(length) ^ payload.len() as u64;
    if length_difference != 0 || payload.is_empty() {
        return (difference == 0 && length_difference.is_power_of_two()).then_some(payload);
    }
    if difference.is_power_of_two() {
        return Some(payload);
    }
    // What flipping a bit of the payload does to the checksum, from the last bit to the first.
    let mut effect = POLYNOMIAL;
    for byte in payload.iter_mut().rev() {
        for bit in (0..8).rev() {
            if effect == difference {
                *byte ^= 1 << bit;
                return Some(payload);
            }
            effect = (effect >> 1) ^ if effect & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    None
}

fn encode_file(state: &ManifestState) -> Vec<u8> {
    let mut out = Vec::from(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; HEADER_BYTES.saturating_sub(6)]);
    let edit = ManifestEdit {
        add: state.blocks.iter().cloned().collect(),
        del: Vec::new(),
        tombstones: state.tombstones.iter().map(|(block, generation)| (block.clone(), *generation)).collect(),
        next_id: Some(state.next_id),
        wal_floor: Some(state.wal_floor),
    };
    put_record(&mut out, &edit);
    out
}

fn put_record(out: &mut Vec<u8>, edit: &ManifestEdit) {
    let mut payload = Vec::with_capacity(RECORD_HEAD_BYTES);
    for number in [edit.next_id, edit.wal_floor] {
        payload.push(u8::from(number.is_some()));
        put_uvarint(&mut payload, number.unwrap_or(0));
    }
    for blocks in [&edit.add, &edit.del] {
        put_uvarint(&mut payload, blocks.len() as u64);
        blocks.iter().for_each(|block| put_block(&mut payload, block));
    }
    put_uvarint(&mut payload, edit.tombstones.len() as u64);
    for (block, generation) in &edit.tombstones {
        put_block(&mut payload, block);
        put_uvarint(&mut payload, *generation);
    }
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
}

fn put_block(out: &mut Vec<u8>, block: &BlockRef) {
    put_bytes(out, block.tenant.as_str().as_bytes());
    put_ivarint(out, block.day.number());
    put_uvarint(out, block.id);
}

fn decode_edit(payload: &[u8], version: u16) -> Result<ManifestEdit, CodingError> {
    let mut cursor = Cursor::new(payload);
    let edit = ManifestEdit {
        next_id: decode_option(&mut cursor)?,
        wal_floor: decode_option(&mut cursor)?,
        add: decode_blocks(&mut cursor)?,
        del: decode_blocks(&mut cursor)?,
        tombstones: match version {
            VERSION_WITHOUT_TOMBSTONES => Vec::new(),
            _ => decode_tombstones(&mut cursor)?,
        },
    };
    if !cursor.is_at_end() {
        return Err(cursor.error("record has bytes left over"));
    }
    Ok(edit)
}

fn decode_option(cursor: &mut Cursor<'_>) -> Result<Option<u64>, CodingError> {
    let is_some = cursor.u8()?;
    let number = cursor.uvarint()?;
    match is_some {
        0 => Ok(None),
        1 => Ok(Some(number)),
        _ => Err(cursor.error("flag is neither 0 nor 1")),
    }
}

fn decode_blocks(cursor: &mut Cursor<'_>) -> Result<Vec<BlockRef>, CodingError> {
    let count = cursor.count(3)?;
    (0..count).map(|_| decode_block(cursor)).collect()
}

fn decode_tombstones(cursor: &mut Cursor<'_>) -> Result<Vec<(BlockRef, u64)>, CodingError> {
    let count = cursor.count(4)?;
    (0..count).map(|_| Ok((decode_block(cursor)?, cursor.uvarint()?))).collect()
}

fn decode_block(cursor: &mut Cursor<'_>) -> Result<BlockRef, CodingError> {
    let tenant = TenantId::new(cursor.text()?).map_err(|_| cursor.error("tenant name is not valid"))?;
    let day = Day::from_number(cursor.ivarint()?);
    Ok(BlockRef { tenant, day, id: cursor.uvarint()? })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
