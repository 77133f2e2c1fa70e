//! One function per fuzz target of `fuzz/`: foreign bytes in, no panic out, and what is accepted is stable.
//!
//! The first byte of an input says whether checksums are made to fit: without that nearly every mutation ends at the
//! first checksum, with it never one is tried.

use std::sync::Arc;

use super::{forge, read};
use crate::chunk::{ChunkDecoder, ChunkEncoder, histogram_run_length};
use crate::head::HeadReplay;
use crate::model::TimeRange;
use crate::read::{SampleColumns, Source, select};

/// Splits the mode off an input.
fn split(input: &[u8]) -> (u8, Vec<u8>) {
    input.split_first().map_or((0, Vec::new()), |(mode, rest)| (*mode, rest.to_vec()))
}

/// A WAL segment: raw, with fitting checksums, or made of records. What is replayed can be read.
///
/// # Panics
/// If what was left of the segment is damaged again.
pub fn wal(input: &[u8]) {
    let (mode, bytes) = split(input);
    let segment = match mode % 3 {
        0 => bytes,
        1 => forge::wal(bytes),
        _ => forge::wal_of_records(&bytes),
    };
    let (head, answer) =
        HeadReplay::run(|head| read::wal(segment, true, |_, tenant, record| head.apply(tenant, record)));
    let Ok(answer) = answer else { return };
    assert!(answer.is_stable, "a cut segment is read without damage: {answer:?}");
    let mut columns = SampleColumns::default();
    for tenant in head.tenants.values() {
        let sources = vec![Source::Head(Arc::clone(&tenant.generation))];
        let Ok(set) = select(sources, &[], TimeRange::ALL) else { continue };
        for index in 0..set.len() {
            let _may_be_damaged = set.read(index, TimeRange::ALL, &mut columns);
        }
    }
}

/// A block: raw or with fitting checksums. Whatever it is asked, it answers or names the damage.
pub fn block(input: &[u8]) {
    let (mode, bytes) = split(input);
    let bytes = if mode % 2 == 0 { bytes } else { forge::block(bytes) };
    drop(read::block(bytes));
}

/// A MANIFEST: raw or with fitting checksums.
pub fn manifest(input: &[u8]) {
    let (mode, bytes) = split(input);
    let bytes = if mode % 2 == 0 { bytes } else { forge::manifest(bytes) };
    drop(read::manifest(bytes));
}

/// Tombstones of a block: raw or with a fitting checksum. What is read is written and read again the same.
///
/// # Panics
/// If it is not the same.
pub fn tombstones(input: &[u8]) {
    let (mode, bytes) = split(input);
    let bytes = if mode % 2 == 0 { bytes } else { forge::checksum_at_end(bytes) };
    let generation =
        bytes.get(16..).and_then(|rest| rest.first_chunk::<8>()).map(|word| u64::from_le_bytes(*word));
    if let Ok(found) = read::tombstones(bytes, generation.unwrap_or(1)) {
        let again = read::rewritten(&found);
        assert_eq!(again.as_ref(), Ok(&found));
    }
}

/// A chunk of histograms, its sample count first (two bytes). What decodes is encoded and decoded again the same.
///
/// # Panics
/// If it is not the same.
pub fn histograms(input: &[u8]) {
    let Some((count, bytes)) = input.split_first_chunk::<2>() else { return };
    let count = usize::from(u16::from_le_bytes(*count));
    let mut decoder = ChunkDecoder::new();
    let mut rows = Vec::new();
    let is_decoded = decoder.decode_histograms(bytes, count, &mut rows).is_ok();
    assert_eq!(rows.len(), if is_decoded { count } else { 0 });
    // Rows of one chunk share a layout; the run may still be shorter if the rows are too many for a chunk.
    if !is_decoded || histogram_run_length(&rows) != rows.len() {
        return;
    }
    let mut encoded = Vec::new();
    ChunkEncoder::new().encode_histograms(&rows, &mut encoded);
    let mut again = Vec::new();
    let outcome = decoder.decode_histograms(&encoded, count, &mut again);
    assert!(outcome.is_ok() && again == rows, "{outcome:?}: {again:?} instead of {rows:?}");
}
