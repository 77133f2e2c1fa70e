//! Evaluates an encoded index where it lies. Nothing per series is held in memory; the values of labels that have few
//! of them are decoded once, within a limit.
//!
//! [`IndexDirectory`] is parsed once (label names and shapes, few), [`IndexView`] joins it with the bytes.
//! Every byte is checked before use: damage gives [`Damage`], never a panic.
//!
//! Format: docs/format/block.md

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::format::{
    Damage, LABELS, MASKED_LABEL_COUNT, NAMES, POSTINGS, PostingsBytes, RESTART_BYTES, SERIES_PER_GROUP,
    SETS, SHAPES, VALUES_PER_RESTART, group,
};
use super::select::{Terms, Union, select};
use crate::coding::Cursor;
use crate::model::pattern::Pattern;
use crate::model::{LabelSet, Matcher};

/// Below this share of the dictionary (1 in so many) candidates are tested one by one.
const CANDIDATE_SHARE: u64 = 4;

/// Reading a value of one series costs about as much as going through this many bytes of posting lists.
const POSTING_BYTES_PER_SERIES: u64 = 64;
/// Most values that are decoded into a table.
const TABLE_VALUE_COUNT_MAX: u32 = 1 << 16;
/// Most bytes that all tables of one block may take.
const TABLE_BYTES_MAX: usize = 2 << 20;

/// Where the parts of one label name lie.
#[derive(Debug)]
struct Label {
    name: Box<str>,
    value_count: u32,
    /// Table of restarts inside LABELS.
    restarts: Range<usize>,
    /// Entries inside LABELS.
    entries: Range<usize>,
    /// Posting lists inside POSTINGS.
    postings: Range<usize>,
    /// All values, decoded when first needed; `None` inside if there was no room.
    table: OnceLock<Option<ValueTable>>,
}

/// The values of a label, decoded.
#[derive(Debug, Default)]
struct ValueTable {
    text: String,
    /// Where each value ends in `text`.
    ends: Vec<u32>,
}

impl ValueTable {
    fn get(&self, value_id: u32) -> Option<&str> {
        let position = value_id as usize;
        let end = *self.ends.get(position)? as usize;
        let start = match position.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    fn bytes(&self) -> usize {
        self.text.len().saturating_add(self.ends.len().saturating_mul(4))
    }
}

/// The names that some label sets have, and which.
#[derive(Debug)]
struct Shape {
    /// Positions in the list of labels, ascending.
    names: Box<[u32]>,
    /// The posting list inside POSTINGS.
    postings: Range<usize>,
}

/// The small part of an index that is kept parsed: label names and shapes.
#[derive(Debug)]
pub(crate) struct IndexDirectory {
    labels: Vec<Label>,
    shapes: Vec<Shape>,
    /// What the tables of values take together.
    tables_bytes: AtomicUsize,
}

/// The sections of an index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexBytes<'a> {
    pub(crate) groups: &'a [u8],
    pub(crate) labels: &'a [u8],
    pub(crate) sets: &'a [u8],
    pub(crate) postings: &'a [u8],
}

impl IndexDirectory {
    /// Parses the sections NAMES and SHAPES against the lengths of the others.
    ///
    /// # Errors
    /// [`Damage`] if a part would lie outside its section.
    pub(crate) fn parse(names: &[u8], shapes: &[u8], bytes: IndexBytes<'_>) -> Result<Self, Damage> {
        let (labels, postings_end) = parse_names(names, bytes)?;
        let shapes = parse_shapes(shapes, labels.len(), postings_end, bytes.postings.len())?;
        Ok(Self { labels, shapes, tables_bytes: AtomicUsize::new(0) })
    }

    /// Sets memory aside for a table; returns whether there was enough.
    fn reserve(&self, bytes: usize) -> bool {
        let grow = |used: usize| used.checked_add(bytes).filter(|used| *used <= TABLE_BYTES_MAX);
        self.tables_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok()
    }

    fn label(&self, name: &str) -> Option<(u32, &Label)> {
        let position = self.labels.binary_search_by(|label| label.name.as_ref().cmp(name)).ok()?;
        Some((u32::try_from(position).ok()?, self.labels.get(position)?))
    }
}

fn parse_names(names: &[u8], bytes: IndexBytes<'_>) -> Result<(Vec<Label>, usize), Damage> {
    let damage = Damage::coding(NAMES, 0);
    let mut cursor = Cursor::new(names);
    let count = cursor.count(4).map_err(&damage)?;
    let mut labels: Vec<Label> = Vec::with_capacity(count);
    let (mut dictionary_start, mut postings_start) = (0_usize, 0_usize);
    for _ in 0..count {
        let name = cursor.text().map_err(&damage)?;
        let value_count = cursor.uvarint().map_err(&damage)?;
        let dictionary_bytes = cursor.count(0).map_err(&damage)?;
        let postings_bytes = cursor.count(0).map_err(&damage)?;
        let wrong = |reason| Damage::new(NAMES, cursor.offset(), reason);
        let value_count = u32::try_from(value_count).map_err(|_| wrong("too many values"))?;
        let restart_count = (value_count as usize).div_ceil(VALUES_PER_RESTART);
        let entries_start = dictionary_start.saturating_add(restart_count.saturating_mul(RESTART_BYTES));
        let dictionary_end = dictionary_start.saturating_add(dictionary_bytes);
        let postings_end = postings_start.saturating_add(postings_bytes);
        if entries_start > dictionary_end || dictionary_end > bytes.labels.len() {
            return Err(wrong("dictionary lies outside its section"));
        }
        if postings_end > bytes.postings.len() {
            return Err(wrong("postings lie outside their section"));
        }
        if labels.last().is_some_and(|last| *last.name >= *name) {
            return Err(wrong("label names are not ascending"));
        }
        labels.push(Label {
            name: name.into(),
            value_count,
            restarts: dictionary_start..entries_start,
            entries: entries_start..dictionary_end,
            postings: postings_start..postings_end,
            table: OnceLock::new(),
        });
        (dictionary_start, postings_start) = (dictionary_end, postings_end);
    }
    if !cursor.is_at_end() || dictionary_start != bytes.labels.len() {
        return Err(Damage::new(NAMES, cursor.offset(), "section has bytes left over"));
    }
    Ok((labels, postings_start))
}

fn parse_shapes(
    shapes: &[u8],
    label_count: usize,
    postings_start: usize,
    postings_bytes: usize,
) -> Result<Vec<Shape>, Damage> {
    let damage = Damage::coding(SHAPES, 0);
    let mut cursor = Cursor::new(shapes);
    let count = cursor.count(2).map_err(&damage)?;
    let mut found = Vec::with_capacity(count);
    let mut start = postings_start;
    for _ in 0..count {
        let name_count = cursor.count(1).map_err(&damage)?;
        let mut names: Vec<u32> = Vec::with_capacity(name_count);
        for _ in 0..name_count {
            let name = cursor.uvarint().map_err(&damage)?;
            match u32::try_from(name) {
                Ok(name) if (name as usize) < label_count && names.last().is_none_or(|last| *last < name) => {
                    names.push(name);
                }
                _ => {
                    return Err(Damage::new(
                        SHAPES,
                        cursor.offset(),
                        "label names of a shape are not ascending",
                    ));
                }
            }
        }
        let length = cursor.count(0).map_err(&damage)?;
        let end = start.saturating_add(length);
        if end > postings_bytes {
            return Err(Damage::new(SHAPES, cursor.offset(), "postings lie outside their section"));
        }
        found.push(Shape { names: names.into(), postings: start..end });
        start = end;
    }
    if !cursor.is_at_end() || start != postings_bytes {
        return Err(Damage::new(SHAPES, cursor.offset(), "section has bytes left over"));
    }
    Ok(found)
}

/// One value of a dictionary.
struct Entry {
    value_id: u32,
    /// Its posting list inside POSTINGS.
    postings: Range<usize>,
}

/// Walks the values of one label name in order.
struct Dictionary<'a> {
    cursor: Cursor<'a>,
    /// Where the cursor began, inside LABELS.
    start: usize,
    next_value_id: u32,
    end_value_id: u32,
    postings_start: usize,
    postings_end: usize,
    value: Vec<u8>,
}

impl Dictionary<'_> {
    /// Steps to the next value, which is then in `self.value`.
    fn next(&mut self) -> Result<Option<Entry>, Damage> {
        if self.next_value_id >= self.end_value_id {
            return Ok(None);
        }
        let damage = Damage::coding(LABELS, self.start);
        let shared = self.cursor.uvarint().map_err(&damage)?;
        let suffix = self.cursor.bytes().map_err(&damage)?;
        let length = self.cursor.count(0).map_err(&damage)?;
        let end = self.postings_start.saturating_add(length);
        if shared > self.value.len() as u64 || end > self.postings_end {
            return Err(Damage::new(
                LABELS,
                self.start.saturating_add(self.cursor.offset()),
                "dictionary entry does not fit what precedes it",
            ));
        }
        self.value.truncate(shared as usize);
        self.value.extend_from_slice(suffix);
        let entry = Entry { value_id: self.next_value_id, postings: self.postings_start..end };
        self.postings_start = end;
        self.next_value_id = self.next_value_id.saturating_add(1);
        Ok(Some(entry))
    }

    fn text(&self) -> Result<&str, Damage> {
        std::str::from_utf8(&self.value).map_err(|_| {
            Damage::new(LABELS, self.start.saturating_add(self.cursor.offset()), "value is not UTF-8")
        })
    }
}

/// The shape and value ids of one label set.
#[derive(Debug, Default)]
struct Set {
    shape: usize,
    values: Vec<u32>,
}

/// An index: its parsed directory joined with its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexView<'a> {
    pub(crate) directory: &'a IndexDirectory,
    pub(crate) bytes: IndexBytes<'a>,
    pub(crate) series_count: u32,
}

impl<'a> IndexView<'a> {
    /// Returns the ids of the series that satisfy all matchers.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Damage> {
        select(self, matchers)
    }

    /// Returns the labels of a series.
    pub(crate) fn labels(&self, series_id: u32) -> Result<LabelSet, Damage> {
        let set = self.set(series_id)?;
        let shape = self.shape(set.shape)?;
        let mut pairs = Vec::with_capacity(set.values.len());
        for (name_id, value_id) in shape.names.iter().zip(&set.values) {
            let label = self.label(*name_id)?;
            pairs.push((label.name.as_ref(), self.value(label, *value_id)?));
        }
        LabelSet::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_ref())))
            .map_err(|_| Damage::new(SETS, 0, "labels make no label set"))
    }

    /// Returns the label names of the series `within` (of all if `None`), sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Result<Vec<String>, Damage> {
        let mut is_found = vec![within.is_none(); self.directory.labels.len()];
        if let Some(within) = within {
            for shape in &self.directory.shapes {
                if self
                    .postings(&shape.postings)?
                    .touches(within)
                    .map_err(self.in_postings(&shape.postings))?
                {
                    for name in &shape.names {
                        is_found.get_mut(*name as usize).into_iter().for_each(|found| *found = true);
                    }
                }
            }
        }
        let labels = self.directory.labels.iter().zip(is_found);
        Ok(labels.filter(|(_, is_found)| *is_found).map(|(label, _)| label.name.to_string()).collect())
    }

    /// Returns the values of label `name` in the series `within` (in all if `None`), sorted.
    pub(crate) fn label_values(
        &self,
        name: &str,
        within: Option<&RoaringBitmap>,
    ) -> Result<Vec<String>, Damage> {
        let Some((name_id, label)) = self.directory.label(name) else { return Ok(Vec::new()) };
        let mut values = Vec::new();
        if let Some(within) = within
            && within.len().saturating_mul(POSTING_BYTES_PER_SERIES) < label.postings.len() as u64
        {
            let mut value_ids = Vec::new();
            for series_id in within {
                value_ids.extend(self.value_id(series_id, name_id)?);
            }
            value_ids.sort_unstable();
            value_ids.dedup();
            for value_id in value_ids {
                values.push(self.value(label, value_id)?.into_owned());
            }
            return Ok(values);
        }
        let mut dictionary = self.dictionary(label, 0)?;
        while let Some(entry) = dictionary.next()? {
            let is_inside = match within {
                None => true,
                Some(within) => self
                    .postings(&entry.postings)?
                    .touches(within)
                    .map_err(self.in_postings(&entry.postings))?,
            };
            if is_inside {
                values.push(dictionary.text()?.to_owned());
            }
        }
        Ok(values)
    }

    /// Returns whether looking at each series is cheaper than looking at each value.
    fn are_few(&self, series: &RoaringBitmap, label: &Label) -> bool {
        series.len().saturating_mul(CANDIDATE_SHARE) < u64::from(label.value_count)
    }

    fn shape(&self, shape: usize) -> Result<&'a Shape, Damage> {
        self.directory.shapes.get(shape).ok_or_else(|| Damage::new(SETS, 0, "shape does not exist"))
    }

    fn postings(&self, range: &Range<usize>) -> Result<PostingsBytes<'a>, Damage> {
        let bytes = self.bytes.postings.get(range.clone()).unwrap_or_default();
        PostingsBytes::new(bytes, self.series_count).map_err(self.in_postings(range))
    }

    fn in_postings(&self, range: &Range<usize>) -> impl Fn(crate::coding::CodingError) -> Damage + use<> {
        Damage::coding(POSTINGS, range.start)
    }

    /// Starts at a restart of the dictionary; nothing follows if there is no such restart.
    fn dictionary(&self, label: &Label, restart: usize) -> Result<Dictionary<'a>, Damage> {
        let first_value_id = restart.saturating_mul(VALUES_PER_RESTART);
        let (offset, postings) = match first_value_id < label.value_count as usize {
            true => self.restart(label, restart)?,
            false => (0, 0),
        };
        let start = label.entries.start.saturating_add(offset);
        let entries = self.bytes.labels.get(start..label.entries.end).ok_or_else(|| {
            Damage::new(LABELS, label.restarts.start, "restart points outside the dictionary")
        })?;
        Ok(Dictionary {
            cursor: Cursor::new(entries),
            start,
            next_value_id: u32::try_from(first_value_id).unwrap_or(u32::MAX),
            end_value_id: label.value_count,
            postings_start: label.postings.start.saturating_add(postings),
            postings_end: label.postings.end,
            value: Vec::new(),
        })
    }

    /// Reads a restart: offset of the entry, offset of its postings.
    fn restart(&self, label: &Label, restart: usize) -> Result<(usize, usize), Damage> {
        let start = label.restarts.start.saturating_add(restart.saturating_mul(RESTART_BYTES));
        let damage = Damage::coding(LABELS, start);
        let bytes = self.bytes.labels.get(start..label.restarts.end).unwrap_or_default();
        let mut cursor = Cursor::new(bytes);
        let offset = cursor.u32().map_err(&damage)?;
        let postings = cursor.u32().map_err(&damage)?;
        Ok((offset as usize, postings as usize))
    }

    /// The whole value that a restart begins with.
    fn restart_value(&self, label: &Label, restart: usize) -> Result<&'a [u8], Damage> {
        let (offset, _) = self.restart(label, restart)?;
        let start = label.entries.start.saturating_add(offset);
        let damage = Damage::coding(LABELS, start);
        let mut cursor = Cursor::new(self.bytes.labels.get(start..label.entries.end).unwrap_or_default());
        if cursor.uvarint().map_err(&damage)? != 0 {
            return Err(Damage::new(LABELS, start, "restart does not hold a whole value"));
        }
        cursor.bytes().map_err(&damage)
    }

    /// The last restart whose value is not above `value`.
    fn find_restart(&self, label: &Label, value: &[u8]) -> Result<usize, Damage> {
        let (mut low, mut high) = (0, (label.value_count as usize).div_ceil(VALUES_PER_RESTART));
        while low < high {
            let middle = low.midpoint(high);
            if self.restart_value(label, middle)? <= value {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1))
    }

    /// Finds the posting list of one value.
    fn find_value(&self, label: &Label, value: &str) -> Result<Option<Range<usize>>, Damage> {
        let mut dictionary = self.dictionary(label, self.find_restart(label, value.as_bytes())?)?;
        while let Some(entry) = dictionary.next()? {
            match dictionary.value.as_slice().cmp(value.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(entry.postings)),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    fn label(&self, name_id: u32) -> Result<&'a Label, Damage> {
        let label = self.directory.labels.get(name_id as usize);
        label.ok_or_else(|| Damage::new(SETS, 0, "label name does not exist"))
    }

    /// Reads one value, from the table of all if that is small enough to be held.
    fn value(&self, label: &'a Label, value_id: u32) -> Result<Cow<'a, str>, Damage> {
        let unknown = || Damage::new(SETS, 0, "value does not exist");
        if value_id >= label.value_count {
            return Err(unknown());
        }
        if let Some(table) = self.table(label)? {
            return table.get(value_id).map(Cow::Borrowed).ok_or_else(unknown);
        }
        let mut dictionary = self.dictionary(label, value_id as usize / VALUES_PER_RESTART)?;
        while let Some(entry) = dictionary.next()? {
            if entry.value_id == value_id {
                return dictionary.text().map(|text| Cow::Owned(text.to_owned()));
            }
        }
        Err(unknown())
    }

    /// Returns the table of a label's values, made when first needed; `None` if there is no room for it.
    fn table(&self, label: &'a Label) -> Result<Option<&'a ValueTable>, Damage> {
        if let Some(table) = label.table.get() {
            return Ok(table.as_ref());
        }
        let table = match label.value_count <= TABLE_VALUE_COUNT_MAX {
            true => self.new_table(label)?,
            false => None,
        };
        Ok(label.table.get_or_init(|| table.filter(|table| self.directory.reserve(table.bytes()))).as_ref())
    }

    fn new_table(&self, label: &Label) -> Result<Option<ValueTable>, Damage> {
        let mut dictionary = self.dictionary(label, 0)?;
        let mut table = ValueTable::default();
        while dictionary.next()?.is_some() {
            table.text.push_str(dictionary.text()?);
            if table.text.len() > TABLE_BYTES_MAX {
                return Ok(None);
            }
            table.ends.push(u32::try_from(table.text.len()).unwrap_or(u32::MAX));
        }
        table.text.shrink_to_fit();
        Ok(Some(table))
    }

    /// Reads the value id that one label of a series has.
    fn value_id(&self, series_id: u32, name_id: u32) -> Result<Option<u32>, Damage> {
        let set = self.set(series_id)?;
        let position = self.shape(set.shape)?.names.binary_search(&name_id);
        Ok(position.ok().and_then(|position| set.values.get(position).copied()))
    }

    /// Decodes the label set of one series.
    fn set(&self, series_id: u32) -> Result<Set, Damage> {
        if series_id >= self.series_count {
            return Err(Damage::new(SETS, 0, "series does not exist"));
        }
        let position = series_id as usize;
        let group = group(self.bytes.groups, position / SERIES_PER_GROUP)?;
        let start = group.sets_offset as usize;
        let damage = Damage::coding(SETS, start);
        let mut cursor = Cursor::new(self.bytes.sets.get(start..).unwrap_or_default());
        let head =
            self.whole_set(&mut Cursor::new(cursor.bytes().map_err(&damage)?)).map_err(|e| e.at(start))?;
        let skip = position % SERIES_PER_GROUP;
        if skip == 0 {
            return Ok(head);
        }
        for _ in 1..skip {
            cursor.bytes().map_err(&damage)?;
        }
        let mut entry = Cursor::new(cursor.bytes().map_err(&damage)?);
        self.changed_set(head, &mut entry).map_err(|found| found.at(start.saturating_add(cursor.offset())))
    }

    fn whole_set(&self, entry: &mut Cursor<'_>) -> Result<Set, Damage> {
        let damage = Damage::coding(SETS, 0);
        let shape = entry.count(0).map_err(&damage)?;
        let mut values = Vec::with_capacity(self.shape(shape)?.names.len());
        for _ in 0..self.shape(shape)?.names.len() {
            values.push(read_value_id(entry)?);
        }
        Ok(Set { shape, values })
    }

    fn changed_set(&self, head: Set, entry: &mut Cursor<'_>) -> Result<Set, Damage> {
        let damage = Damage::coding(SETS, 0);
        let shape = entry.clone().count(0).map_err(&damage)?;
        if shape != head.shape {
            return self.whole_set(entry);
        }
        entry.count(0).map_err(&damage)?;
        let mask = entry.uvarint().map_err(&damage)?;
        let mut set = head;
        for (position, value) in set.values.iter_mut().enumerate() {
            let bit = u32::try_from(position).ok().and_then(|position| mask.checked_shr(position));
            if position >= MASKED_LABEL_COUNT || bit.is_some_and(|bit| bit & 1 == 1) {
                *value = read_value_id(entry)?;
            }
        }
        Ok(set)
    }

    /// Tests the value of each candidate; each distinct value once.
    fn candidates_with_pattern(
        &self,
        name_id: u32,
        pattern: &Pattern,
        candidates: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Damage> {
        let label = self.label(name_id)?;
        let mut known: HashMap<u32, bool> = HashMap::new();
        let mut found = Vec::new();
        for series_id in candidates {
            let Some(value_id) = self.value_id(series_id, name_id)? else { continue };
            let is_match = match known.get(&value_id) {
                Some(is_match) => *is_match,
                None => {
                    let is_match = pattern.is_match(&self.value(label, value_id)?);
                    known.insert(value_id, is_match);
                    is_match
                }
            };
            if is_match {
                found.push(series_id);
            }
        }
        Ok(found.into_iter().collect())
    }
}

fn read_value_id(entry: &mut Cursor<'_>) -> Result<u32, Damage> {
    let value = entry.uvarint().map_err(Damage::coding(SETS, 0))?;
    u32::try_from(value).map_err(|_| Damage::new(SETS, entry.offset(), "value id is above 32 bits"))
}

impl Terms for IndexView<'_> {
    type Error = Damage;

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series_count);
        all
    }

    fn series_with_label(&self, name: &str) -> Result<RoaringBitmap, Damage> {
        let Some((name_id, _)) = self.directory.label(name) else { return Ok(RoaringBitmap::new()) };
        let mut union = Union::default();
        for shape in &self.directory.shapes {
            if shape.names.binary_search(&name_id).is_ok() {
                let list = self.postings(&shape.postings)?;
                list.add_to(&mut union).map_err(self.in_postings(&shape.postings))?;
            }
        }
        Ok(union.finish())
    }

    fn series_with_values(&self, name: &str, values: &[&str]) -> Result<RoaringBitmap, Damage> {
        let Some((_, label)) = self.directory.label(name) else { return Ok(RoaringBitmap::new()) };
        let mut union = Union::default();
        for value in values {
            let Some(range) = self.find_value(label, value)? else { continue };
            let list = self.postings(&range)?;
            if values.len() == 1 {
                return list.into_bitmap().map_err(self.in_postings(&range));
            }
            list.add_to(&mut union).map_err(self.in_postings(&range))?;
        }
        Ok(union.finish())
    }

    fn series_with_pattern(
        &self,
        name: &str,
        pattern: &Pattern,
        candidates: Option<&RoaringBitmap>,
    ) -> Result<RoaringBitmap, Damage> {
        let Some((name_id, label)) = self.directory.label(name) else { return Ok(RoaringBitmap::new()) };
        if let Some(candidates) = candidates
            && self.are_few(candidates, label)
        {
            return self.candidates_with_pattern(name_id, pattern, candidates);
        }
        let prefix = pattern.prefix().as_bytes();
        let mut dictionary = self.dictionary(label, self.find_restart(label, prefix)?)?;
        let mut union = Union::within(candidates);
        while let Some(entry) = dictionary.next()? {
            // PERF: index `block/select/metric_and_infix`: comparing no bytes at the dangling address of an empty
            // string costs a processor assist of 250 ns with AVX-512.
            if !prefix.is_empty() && !dictionary.value.starts_with(prefix) {
                if dictionary.value.as_slice() > prefix {
                    break;
                }
                continue;
            }
            if pattern.is_match(dictionary.text()?) {
                let list = self.postings(&entry.postings)?;
                list.add_to(&mut union).map_err(self.in_postings(&entry.postings))?;
            }
        }
        Ok(union.finish())
    }
}
