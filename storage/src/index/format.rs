//! The bytes of an index: constants, and the encoding of one posting list.
//!
//! Posting list: `uvarint(count << 1 | is_bitmap)`, then either the ids (first id, then the gaps minus one, as
//! uvarints) or a bitmap in the portable Roaring format, whichever is shorter. The lengths of lists are kept by the
//! dictionary, so a list ends where its slice ends.
//!
//! Format: docs/format/block.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use roaring::RoaringBitmap;

use super::select::Union;
use crate::coding::{CodingError, Cursor, put_uvarint};

/// Every so many values a dictionary holds a whole value and an entry in its table of restarts.
pub(crate) const VALUES_PER_RESTART: usize = 16;
/// Every so many series the label sets begin anew.
pub(crate) const SERIES_PER_GROUP: usize = 16;
/// Bytes of one restart: `u32` offset of the entry, `u32` offset of its postings.
pub(crate) const RESTART_BYTES: usize = 8;
/// Labels whose changes against the head of the group are told by the mask; later ones are always written.
pub(crate) const MASKED_LABEL_COUNT: usize = 64;
/// Most bytes of any one part of an index that is addressed by a `u32`.
pub(crate) const PART_BYTES_MAX: usize = u32::MAX as usize;

/// Bytes of one [`Group`].
pub(crate) const GROUP_BYTES: usize = 16;

/// Names of the sections, as messages show them.
pub(crate) const NAMES: &str = "NAMES";
/// See [`NAMES`].
pub(crate) const LABELS: &str = "LABELS";
/// See [`NAMES`].
pub(crate) const SHAPES: &str = "SHAPES";
/// See [`NAMES`].
pub(crate) const SETS: &str = "SETS";
/// See [`NAMES`].
pub(crate) const POSTINGS: &str = "POSTINGS";
/// See [`NAMES`].
pub(crate) const SERIES: &str = "SERIES";

/// Bytes of a section are not what a writer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("section {section} is damaged at its byte {offset}: {reason}")]
pub(crate) struct Damage {
    /// The section.
    pub(crate) section: &'static str,
    /// Offset inside the section.
    pub(crate) offset: u64,
    /// What was found.
    pub(crate) reason: &'static str,
}

impl Damage {
    /// Creates the evidence.
    pub(crate) fn new(section: &'static str, offset: usize, reason: &'static str) -> Self {
        Self { section, offset: offset as u64, reason }
    }

    /// The same damage, seen from `start` bytes earlier in the section.
    pub(crate) fn at(self, start: usize) -> Self {
        Self { offset: self.offset.saturating_add(start as u64), ..self }
    }

    /// Translates an error of a cursor that began at `start` of the section.
    pub(crate) fn coding(section: &'static str, start: usize) -> impl Fn(CodingError) -> Self {
        move |error| Self::new(section, start.saturating_add(error.offset), error.problem)
    }
}

/// Where the parts of [`SERIES_PER_GROUP`] neighbouring series begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Offset of their label sets inside SETS.
    pub(crate) sets_offset: u32,
    /// Offset of their chunk entries inside CHUNKIDX.
    pub(crate) chunks_offset: u32,
    /// Offset of their bytes inside CHUNKS.
    pub(crate) data_offset: u64,
}

impl Group {
    /// Appends the [`GROUP_BYTES`] of the group.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sets_offset.to_le_bytes());
        out.extend_from_slice(&self.chunks_offset.to_le_bytes());
        out.extend_from_slice(&self.data_offset.to_le_bytes());
    }
}

/// Reads one group of the section SERIES.
///
/// # Errors
/// [`Damage`] if there is no such group.
pub(crate) fn group(groups: &[u8], position: usize) -> Result<Group, Damage> {
    let start = position.saturating_mul(GROUP_BYTES);
    let damage = Damage::coding(SERIES, start);
    let mut cursor = Cursor::new(groups.get(start..).unwrap_or_default());
    Ok(Group {
        sets_offset: cursor.u32().map_err(&damage)?,
        chunks_offset: cursor.u32().map_err(&damage)?,
        data_offset: cursor.u64().map_err(&damage)?,
    })
}

/// Appends the posting list of the ascending, distinct `ids`.
pub(crate) fn put_postings(out: &mut Vec<u8>, ids: &[u32]) {
    let count = ids.len() as u64;
    let mut list = Vec::new();
    let mut next = 0_u32;
    for id in ids {
        put_uvarint(&mut list, u64::from(id.wrapping_sub(next)));
        next = id.wrapping_add(1);
    }
    let mut bitmap: RoaringBitmap = RoaringBitmap::from_sorted_iter(ids.iter().copied()).unwrap_or_default();
    bitmap.optimize();
    if list.len() <= bitmap.serialized_size() || bitmap.len() != count {
        put_uvarint(out, count << 1);
        out.extend_from_slice(&list);
    } else {
        put_uvarint(out, count << 1 | 1);
        let outcome = bitmap.serialize_into(&mut *out);
        debug_assert!(outcome.is_ok(), "writing into memory does not fail");
    }
}

/// A posting list, not decoded yet.
#[derive(Debug, Clone)]
pub(crate) struct PostingsBytes<'a> {
    /// What follows the head of the list.
    body: Cursor<'a>,
    is_bitmap: bool,
    count: u64,
    /// Ids must be below.
    series_count: u32,
}

impl<'a> PostingsBytes<'a> {
    /// Reads the head of a list, checking it against `series_count`.
    ///
    /// # Errors
    /// [`CodingError`] if the bytes are damaged.
    pub(crate) fn new(bytes: &'a [u8], series_count: u32) -> Result<Self, CodingError> {
        let mut body = Cursor::new(bytes);
        let head = body.uvarint()?;
        let count = head >> 1;
        if count > u64::from(series_count) {
            return Err(body.error("posting list has more entries than there are series"));
        }
        Ok(Self { body, is_bitmap: head & 1 == 1, count, series_count })
    }

    /// Adds the ids to `union`.
    ///
    /// # Errors
    /// [`CodingError`] if the bytes are damaged.
    pub(crate) fn add_to(self, union: &mut Union<'_>) -> Result<(), CodingError> {
        if self.is_bitmap {
            union.add(&self.bitmap()?);
            return Ok(());
        }
        self.for_each(|id| union.push(id))
    }

    /// Decodes the ids.
    ///
    /// # Errors
    /// [`CodingError`] if the bytes are damaged.
    pub(crate) fn into_bitmap(self) -> Result<RoaringBitmap, CodingError> {
        if self.is_bitmap {
            return self.bitmap();
        }
        let error = self.body.error("posting list is not ascending");
        let mut ids = Vec::new();
        self.for_each(|id| ids.push(id))?;
        RoaringBitmap::from_sorted_iter(ids).map_err(|_| error)
    }

    /// Returns whether the list and `within` share a series.
    ///
    /// # Errors
    /// [`CodingError`] if the bytes are damaged.
    pub(crate) fn touches(self, within: &RoaringBitmap) -> Result<bool, CodingError> {
        if self.is_bitmap {
            return Ok(!self.bitmap()?.is_disjoint(within));
        }
        let mut found = false;
        self.for_each(|id| found |= within.contains(id))?;
        Ok(found)
    }

    fn bitmap(mut self) -> Result<RoaringBitmap, CodingError> {
        let mut bytes = self.body.take(self.body.remaining())?;
        let bitmap = RoaringBitmap::deserialize_from(&mut bytes)
            .map_err(|_| self.body.error("bitmap is malformed"))?;
        let is_in_range = bitmap.max().is_none_or(|last| last < self.series_count);
        if !bytes.is_empty() || bitmap.len() != self.count || !is_in_range {
            return Err(self.body.error("bitmap does not fit its head"));
        }
        Ok(bitmap)
    }

    fn for_each(mut self, mut visit: impl FnMut(u32)) -> Result<(), CodingError> {
        let mut next = 0_u64;
        for _ in 0..self.count {
            let gap = self.body.uvarint()?;
            let id = next.saturating_add(gap);
            match u32::try_from(id) {
                Ok(id) if id < self.series_count => visit(id),
                _ => return Err(self.body.error("posting list names a series that does not exist")),
            }
            next = id.saturating_add(1);
        }
        if !self.body.is_at_end() {
            return Err(self.body.error("posting list has bytes left over"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn posting_lists_round_trip(
            ids in proptest::collection::btree_set(0_u32..200_000, 0..300),
            run in 0_u32..5000,
        ) {
            let run = (200_000..300_000).take(run as usize);
            let mut ids: Vec<u32> = ids.into_iter().chain(run).collect();
            ids.sort_unstable();
            let mut bytes = Vec::new();
            put_postings(&mut bytes, &ids);
            let found = PostingsBytes::new(&bytes, 300_000).unwrap();
            let expected: RoaringBitmap = ids.iter().copied().collect();
            let mut union = Union::default();
            found.clone().add_to(&mut union).unwrap();
            prop_assert_eq!(union.finish(), expected.clone());
            prop_assert_eq!(found.into_bitmap().unwrap(), expected);
            if let Some(last) = ids.last() {
                let read = PostingsBytes::new(&bytes, *last).and_then(PostingsBytes::into_bitmap);
                prop_assert!(read.is_err(), "an id outside must be refused");
            }
        }

        #[test]
        fn foreign_posting_lists_never_panic(bytes: Vec<u8>) {
            if let Ok(found) = PostingsBytes::new(&bytes, 1000) {
                let _outcome = found.clone().touches(&RoaringBitmap::new());
                if let Ok(bitmap) = found.into_bitmap() {
                    prop_assert!(bitmap.max().is_none_or(|last| last < 1000));
                }
            }
        }
    }

    #[test]
    fn a_run_takes_few_bytes() {
        let mut bytes = Vec::new();
        put_postings(&mut bytes, &(1000..50_000).collect::<Vec<_>>());
        assert!(bytes.len() < 24, "{}", bytes.len());
    }
}
