//! Collects the label sets of a block and encodes its index.
//!
//! Input: label sets in ascending order; the series id is the position. Output: [`IndexSections`].
//! Not here: chunks and files (see `block`).
//!
//! Format: docs/format/block.md

use hashbrown::HashMap;

use super::format::{
    LABELS, MASKED_LABEL_COUNT, PART_BYTES_MAX, POSTINGS, SERIES_PER_GROUP, SETS, VALUES_PER_RESTART,
    put_postings,
};
use crate::coding::{put_bytes, put_uvarint};
use crate::model::LabelSet;

/// A section is too long for its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("section {section} would have {given} bytes, the limit is {limit}")]
pub(crate) struct SectionTooLarge {
    /// The section.
    pub(crate) section: &'static str,
    /// Bytes it would have.
    pub(crate) given: u64,
    /// Most bytes allowed.
    pub(crate) limit: u64,
}

/// Checks that offsets into a part of `given` bytes fit.
pub(crate) fn check_part(section: &'static str, given: usize) -> Result<(), SectionTooLarge> {
    if given > PART_BYTES_MAX {
        return Err(SectionTooLarge { section, given: given as u64, limit: PART_BYTES_MAX as u64 });
    }
    Ok(())
}

/// The encoded index.
#[derive(Debug, Default)]
pub(crate) struct IndexSections {
    pub(crate) names: Vec<u8>,
    pub(crate) labels: Vec<u8>,
    pub(crate) shapes: Vec<u8>,
    pub(crate) sets: Vec<u8>,
    pub(crate) postings: Vec<u8>,
    /// Where each group of [`SERIES_PER_GROUP`] label sets begins in `sets`.
    pub(crate) set_offsets: Vec<u32>,
}

#[derive(Debug, Default)]
struct Label {
    /// Value to its number in order of appearance.
    values: HashMap<Box<str>, u32>,
    /// Series per value, by that number.
    postings: Vec<Vec<u32>>,
}

/// Collects label sets.
///
/// # Cost
/// About 100 bytes a series while collecting, plus the distinct strings once.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    name_ids: HashMap<Box<str>, u32>,
    labels: Vec<Label>,
    /// Names of a label set, as ids in order of appearance.
    shape_ids: HashMap<Box<[u32]>, u32>,
    shape_postings: Vec<Vec<u32>>,
    /// Per series its shape, then one value number per name of the shape.
    sets: Vec<u32>,
    series_count: u32,
}

impl IndexWriter {
    /// Adds the next series. Label sets come in ascending order (the block's writer asserts it).
    pub(crate) fn add(&mut self, labels: &LabelSet) {
        let series_id = self.series_count;
        self.series_count += 1;
        let set_start = self.sets.len();
        self.sets.push(0);
        let mut shape = Vec::new();
        for (name, value) in labels.iter() {
            let name_id = self.name_id(name);
            shape.push(name_id);
            let label = &mut self.labels[name_id as usize];
            let value_id = match label.values.get(value) {
                Some(id) => *id,
                None => {
                    let id = label.postings.len() as u32;
                    label.values.insert(value.into(), id);
                    label.postings.push(Vec::new());
                    id
                }
            };
            label.postings[value_id as usize].push(series_id);
            self.sets.push(value_id);
        }
        let shape_id = match self.shape_ids.get(shape.as_slice()) {
            Some(id) => *id,
            None => {
                let id = self.shape_postings.len() as u32;
                self.shape_ids.insert(shape.into(), id);
                self.shape_postings.push(Vec::new());
                id
            }
        };
        self.shape_postings[shape_id as usize].push(series_id);
        self.sets[set_start] = shape_id;
    }

    /// How many series were added.
    pub(crate) fn series_count(&self) -> u32 {
        self.series_count
    }

    fn name_id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.name_ids.get(name) {
            return *id;
        }
        let id = self.labels.len() as u32;
        self.name_ids.insert(name.into(), id);
        self.labels.push(Label::default());
        id
    }

    /// Encodes the index.
    ///
    /// # Errors
    /// [`SectionTooLarge`] if a part outgrows 4 GiB.
    pub(crate) fn finish(mut self) -> Result<IndexSections, SectionTooLarge> {
        let mut sections = IndexSections::default();
        let mut names: Vec<(Box<str>, u32)> = self.name_ids.drain().collect();
        names.sort_unstable();
        let mut name_ranks = vec![0_u32; names.len()];
        let mut value_ranks = vec![Vec::new(); names.len()];
        put_uvarint(&mut sections.names, names.len() as u64);
        for (rank, (name, name_id)) in names.iter().enumerate() {
            let label = std::mem::take(&mut self.labels[*name_id as usize]);
            name_ranks[*name_id as usize] = rank as u32;
            value_ranks[*name_id as usize] = put_label(&mut sections, name, label)?;
        }
        let shapes = self.put_shapes(&mut sections, &name_ranks);
        self.put_sets(&mut sections, &shapes, &value_ranks)?;
        check_part(POSTINGS, sections.postings.len())?;
        Ok(sections)
    }

    /// Encodes the shapes; returns the names of each, as ids in order of appearance.
    fn put_shapes(&mut self, sections: &mut IndexSections, name_ranks: &[u32]) -> Vec<Box<[u32]>> {
        let mut shapes: Vec<(Box<[u32]>, u32)> = self.shape_ids.drain().collect();
        shapes.sort_unstable_by_key(|(_, id)| *id);
        put_uvarint(&mut sections.shapes, shapes.len() as u64);
        for ((names, _), postings) in shapes.iter().zip(&self.shape_postings) {
            put_uvarint(&mut sections.shapes, names.len() as u64);
            for name_id in names {
                put_uvarint(&mut sections.shapes, u64::from(name_ranks[*name_id as usize]));
            }
            let start = sections.postings.len();
            put_postings(&mut sections.postings, postings);
            put_uvarint(&mut sections.shapes, (sections.postings.len() - start) as u64);
        }
        shapes.into_iter().map(|(names, _)| names).collect()
    }

    fn put_sets(
        &self,
        sections: &mut IndexSections,
        shapes: &[Box<[u32]>],
        value_ranks: &[Vec<u32>],
    ) -> Result<(), SectionTooLarge> {
        let mut head: (u32, Vec<u32>) = (0, Vec::new());
        let mut rest = self.sets.as_slice();
        let mut entry = Vec::new();
        for series_id in 0..self.series_count as usize {
            let shape_id = rest[0];
            let names = &shapes[shape_id as usize];
            let (set, tail) = rest[1..].split_at(names.len());
            rest = tail;
            let values: Vec<u32> = names
                .iter()
                .zip(set)
                .map(|(name, value)| value_ranks[*name as usize][*value as usize])
                .collect();
            entry.clear();
            put_uvarint(&mut entry, u64::from(shape_id));
            if series_id % SERIES_PER_GROUP == 0 {
                check_part(SETS, sections.sets.len())?;
                sections.set_offsets.push(sections.sets.len() as u32);
                values.iter().for_each(|value| put_uvarint(&mut entry, u64::from(*value)));
                head = (shape_id, values);
            } else if shape_id == head.0 {
                put_changes(&mut entry, &head.1, &values);
            } else {
                values.iter().for_each(|value| put_uvarint(&mut entry, u64::from(*value)));
            }
            put_bytes(&mut sections.sets, &entry);
        }
        Ok(())
    }
}

/// Encodes the values that differ from those of the head of the group.
fn put_changes(entry: &mut Vec<u8>, head: &[u32], values: &[u32]) {
    let is_written = |position: usize| position >= MASKED_LABEL_COUNT || head[position] != values[position];
    let mask = (0..values.len().min(MASKED_LABEL_COUNT))
        .filter(|position| is_written(*position))
        .fold(0_u64, |mask, position| mask | 1 << position);
    put_uvarint(entry, mask);
    for (position, value) in values.iter().enumerate() {
        if is_written(position) {
            put_uvarint(entry, u64::from(*value));
        }
    }
}

/// Encodes one label name: its dictionary and postings. Returns the rank of each value number.
fn put_label(sections: &mut IndexSections, name: &str, label: Label) -> Result<Vec<u32>, SectionTooLarge> {
    let mut values: Vec<(Box<str>, u32)> = label.values.into_iter().collect();
    values.sort_unstable();
    let mut ranks = vec![0; values.len()];
    let mut restarts = Vec::new();
    let mut entries = Vec::new();
    let postings_start = sections.postings.len();
    let mut previous: &str = "";
    for (rank, (value, value_id)) in values.iter().enumerate() {
        ranks[*value_id as usize] = rank as u32;
        let postings_offset = sections.postings.len() - postings_start;
        let mut shared = 0;
        if rank % VALUES_PER_RESTART == 0 {
            check_part(LABELS, entries.len())?;
            check_part(POSTINGS, postings_offset)?;
            restarts.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            restarts.extend_from_slice(&(postings_offset as u32).to_le_bytes());
        } else {
            shared = previous.bytes().zip(value.bytes()).take_while(|(left, right)| left == right).count();
        }
        put_uvarint(&mut entries, shared as u64);
        put_bytes(&mut entries, &value.as_bytes()[shared..]);
        put_postings(&mut sections.postings, &label.postings[*value_id as usize]);
        put_uvarint(&mut entries, (sections.postings.len() - postings_start - postings_offset) as u64);
        previous = value;
    }
    put_bytes(&mut sections.names, name.as_bytes());
    put_uvarint(&mut sections.names, values.len() as u64);
    put_uvarint(&mut sections.names, (restarts.len() + entries.len()) as u64);
    put_uvarint(&mut sections.names, (sections.postings.len() - postings_start) as u64);
    sections.labels.append(&mut restarts);
    sections.labels.append(&mut entries);
    Ok(ranks)
}
