//! Makes lengths and checksums of damaged files fit again, so that the damage gets past them to the decoders.

use std::ops::Range;

use crate::coding::crc32c;

/// Bytes of a WAL segment's header, its checksum included.
const SEGMENT_HEADER_BYTES: usize = 20;
/// Bytes of the MANIFEST's header.
const MANIFEST_HEADER_BYTES: usize = 8;
/// Bytes of a block's header, its checksum included.
const BLOCK_HEADER_BYTES: usize = 64;
/// Bytes of a block's tail.
const BLOCK_TAIL_BYTES: usize = 24;
/// Bytes of an entry of a block's section table.
const SECTION_ENTRY_BYTES: usize = 24;

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

fn long_number(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*word)).ok()
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..what.len())) {
        place.copy_from_slice(what);
    }
}

fn checksum(bytes: &[u8], range: Range<usize>) -> [u8; 4] {
    crc32c(bytes.get(range).unwrap_or_default()).to_le_bytes()
}

/// Gives every frame from `start` on a length that fits and the right checksum.
fn forge_frames(bytes: &mut [u8], start: usize) {
    let mut position = start;
    while let Some(length) = number(bytes, position) {
        let Some(body) = position.checked_add(8).filter(|body| *body <= bytes.len()) else { return };
        let length = (length as usize).min(bytes.len() - body);
        put(bytes, position, &(length as u32).to_le_bytes());
        let fitting = checksum(bytes, body..body + length);
        put(bytes, position + 4, &fitting);
        position = body + length;
    }
}

/// A segment with the sequence number 1 and the frames of `bytes`.
pub(crate) fn wal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().max(SEGMENT_HEADER_BYTES), 0);
    put(&mut bytes, 0, b"MTWL");
    put(&mut bytes, 6, &[0; 2]);
    put(&mut bytes, 8, &1_u64.to_le_bytes());
    let fitting = checksum(&bytes, 0..16);
    put(&mut bytes, 16, &fitting);
    forge_frames(&mut bytes, SEGMENT_HEADER_BYTES);
    bytes
}

/// A MANIFEST with the records of `bytes`.
pub(crate) fn manifest(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().max(MANIFEST_HEADER_BYTES), 0);
    put(&mut bytes, 0, b"MTSM");
    forge_frames(&mut bytes, MANIFEST_HEADER_BYTES);
    bytes
}

/// A file that ends in the CRC-32C of all before.
pub(crate) fn checksum_at_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.len().checked_sub(4) {
        let fitting = checksum(&bytes, 0..end);
        put(&mut bytes, end, &fitting);
    }
    bytes
}

/// A block with the sections of `bytes`, as far as its section table can be found from the end.
pub(crate) fn block(mut bytes: Vec<u8>) -> Vec<u8> {
    put(&mut bytes, 0, b"MTSB");
    let file_bytes = bytes.len() as u64;
    put(&mut bytes, 48, &file_bytes.to_le_bytes());
    let fitting = checksum(&bytes, 0..BLOCK_HEADER_BYTES - 4);
    put(&mut bytes, BLOCK_HEADER_BYTES - 4, &fitting);
    let Some(tail) = bytes.len().checked_sub(BLOCK_TAIL_BYTES) else { return bytes };
    let Some(length) = number(&bytes, tail + 8) else { return bytes };
    let Some(table) = tail.checked_sub(length as usize) else { return bytes };
    let count = length.saturating_sub(4) as usize / SECTION_ENTRY_BYTES;
    put(&mut bytes, table, &(count as u32).to_le_bytes());
    let entries: Vec<usize> = (0..count).map(|index| table + 4 + index * SECTION_ENTRY_BYTES).collect();
    let range = |bytes: &[u8], entry: usize| -> Option<Range<usize>> {
        let start = long_number(bytes, entry + 8)?;
        let end = start.checked_add(long_number(bytes, entry + 16)?)?;
        (end <= table).then_some(start..end)
    };
    if let (Some(chunks), Some(pages)) = (
        entries.first().and_then(|entry| range(&bytes, *entry)),
        entries.get(1).and_then(|entry| range(&bytes, *entry)),
    ) {
        for (index, start) in chunks.clone().step_by(64 << 10).enumerate() {
            let fitting = checksum(&bytes, start..chunks.end.min(start + (64 << 10)));
            if pages.len() >= (index + 1) * 4 {
                put(&mut bytes, pages.start + index * 4, &fitting);
            }
        }
    }
    for entry in entries.iter().skip(1) {
        if let Some(section) = range(&bytes, *entry) {
            let fitting = checksum(&bytes, section);
            put(&mut bytes, entry + 4, &fitting);
        }
    }
    put(&mut bytes, tail, &(table as u64).to_le_bytes());
    let fitting = checksum(&bytes, table..tail);
    put(&mut bytes, tail + 12, &fitting);
    put(&mut bytes, tail + 16, b"MTSB.end");
    bytes
}

/// A segment whose frames are the pieces of `bytes`, each after its length in one byte and a record type.
pub(crate) fn wal_of_records(bytes: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; SEGMENT_HEADER_BYTES];
    put(&mut segment, 4, &1_u16.to_le_bytes());
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first() {
        let (body, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        segment.extend_from_slice(&(body.len() as u32).to_le_bytes());
        segment.extend_from_slice(&[0; 4]);
        segment.extend_from_slice(body);
        rest = tail;
    }
    wal(segment)
}
