//! The series of the head: their labels, interned, and which series have which label pair.
//!
//! Input: label sets; each gets the next dense id. Output: ids, bitmaps of ids, names, values, label sets.
//! Each distinct label pair is stored once, in the bytes of [`LabelSet::encoded`]; a series is the list of its
//! pairs' numbers as varints, so a label set comes back by copying its pairs one after another.
//! Not here: locks (the head has one around this).

use std::cmp::Ordering;
use std::convert::Infallible;

use hashbrown::{HashMap, HashTable};
use rayon::slice::ParallelSliceMut;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::postings::{Postings, append};
use super::select::{Terms, Union, select};
use crate::coding::{Cursor, put_uvarint};
use crate::model::pattern::Pattern;
use crate::model::{LabelSet, Matcher, split_label};

/// Bytes of pairs, and of lists of pairs, that one index may hold: positions have 32 bits.
const ARENA_BYTES_MAX: usize = (u32::MAX - (64 << 20)) as usize;

/// One distinct label pair.
#[derive(Debug, Clone)]
struct Pair {
    /// Where its text ends; it begins where the pair before ends.
    text_end: u32,
    /// Position of its name in `names`.
    name: u32,
    series: Postings,
}

#[derive(Debug, Clone, Default)]
struct Name {
    text: Box<str>,
    /// Series that have the label, whatever its value.
    series: RoaringBitmap,
    /// Its pairs.
    pairs: Vec<u32>,
}

/// The inverted index of the head, and its label sets.
///
/// # Cost
/// `insert`: one hash look-up per label. A series takes about 2.5 bytes a label and 20 more; a pair that few series
/// have takes 40 bytes and its text.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryIndex {
    /// The pairs' canonical bytes, one after another.
    texts: String,
    pairs: Vec<Pair>,
    pairs_by_text: HashTable<u32>,
    names: Vec<Name>,
    names_by_text: HashMap<Box<str>, u32>,
    /// The lists of pairs of all series, one after another.
    lists: Vec<u8>,
    /// Per series: where its list ends.
    list_ends: Vec<u32>,
    series_by_list: HashTable<u32>,
}

fn span(ends: &[u32], index: usize) -> std::ops::Range<usize> {
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    start..ends[index] as usize
}

fn list_of<'a>(lists: &'a [u8], list_ends: &[u32], series_id: u32) -> &'a [u8] {
    &lists[span(list_ends, series_id as usize)]
}

/// The pairs of a list; the bytes are our own, so they end but are never damaged.
fn pairs_of(list: &[u8]) -> impl Iterator<Item = u32> {
    let mut cursor = Cursor::new(list);
    std::iter::from_fn(move || cursor.uvarint().ok().map(|pair| pair as u32))
}

impl MemoryIndex {
    fn pair_text(&self, pair: u32) -> &str {
        pair_text(&self.texts, &self.pairs, pair)
    }

    fn find_pair(&self, text: &str) -> Option<u32> {
        let hash = xxh3_64(text.as_bytes());
        self.pairs_by_text.find(hash, |pair| self.pair_text(*pair) == text).copied()
    }

    /// Returns the id of a series that is known.
    pub(crate) fn find(&self, labels: &LabelSet) -> Option<u32> {
        let mut list = Vec::with_capacity(64);
        for text in labels.encoded_labels() {
            put_uvarint(&mut list, u64::from(self.find_pair(text)?));
        }
        self.find_list(&list)
    }

    fn find_list(&self, list: &[u8]) -> Option<u32> {
        let is_same = |id: &u32| list_of(&self.lists, &self.list_ends, *id) == list;
        self.series_by_list.find(xxh3_64(list), is_same).copied()
    }

    /// Returns whether there is room for another series.
    pub(crate) fn has_room(&self) -> bool {
        self.texts.len() < ARENA_BYTES_MAX && self.lists.len() < ARENA_BYTES_MAX
    }

    /// Returns the id of a series, adding it if it is new. The caller asks [`MemoryIndex::has_room`] before.
    pub(crate) fn find_or_insert(&mut self, labels: &LabelSet) -> u32 {
        let mut list = Vec::with_capacity(64);
        for text in labels.encoded_labels() {
            put_uvarint(&mut list, u64::from(self.intern(text)));
        }
        if let Some(known) = self.find_list(&list) {
            return known;
        }
        let series_id = self.list_ends.len() as u32;
        for pair in pairs_of(&list) {
            let pair = &mut self.pairs[pair as usize];
            pair.series.push(series_id);
            append(&mut self.names[pair.name as usize].series, series_id);
        }
        let hash = xxh3_64(&list);
        self.lists.extend_from_slice(&list);
        self.list_ends.push(self.lists.len() as u32);
        let (lists, list_ends) = (&self.lists, &self.list_ends);
        self.series_by_list.insert_unique(hash, series_id, |id| xxh3_64(list_of(lists, list_ends, *id)));
        series_id
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(known) = self.find_pair(text) {
            return known;
        }
        let (name, _) = split_label(text);
        let name = match self.names_by_text.get(name) {
            Some(known) => *known,
            None => {
                self.names.push(Name { text: name.into(), ..Name::default() });
                let position = self.names.len() as u32 - 1;
                self.names_by_text.insert(name.into(), position);
                position
            }
        };
        let pair = self.pairs.len() as u32;
        self.texts.push_str(text);
        self.pairs.push(Pair { text_end: self.texts.len() as u32, name, series: Postings::default() });
        self.names[name as usize].pairs.push(pair);
        let (texts, pairs) = (&self.texts, &self.pairs);
        self.pairs_by_text.insert_unique(xxh3_64(text.as_bytes()), pair, |pair| {
            xxh3_64(pair_text(texts, pairs, *pair).as_bytes())
        });
        pair
    }

    /// Returns the labels of each series.
    ///
    /// # Panics
    /// If there is no such series.
    ///
    /// # Cost
    /// A copy of each label set, no formatting.
    pub(crate) fn labels(&self, series_ids: &[u32]) -> Vec<LabelSet> {
        let mut encoded = String::with_capacity(512);
        let rebuild = |series_id: &u32| {
            encoded.clear();
            for pair in pairs_of(list_of(&self.lists, &self.list_ends, *series_id)) {
                encoded.push_str(self.pair_text(pair));
            }
            LabelSet::from_canonical(&encoded)
        };
        series_ids.iter().map(rebuild).collect()
    }

    /// Copies what it takes to put series in the order of their label sets.
    pub(crate) fn order_key(&self, series_ids: &[u32]) -> OrderKey {
        let mut by_text: Vec<(&str, &str, u32)> = (0..self.pairs.len() as u32)
            .map(|pair| {
                let (name, value) = split_label(self.pair_text(pair));
                (name, value, pair)
            })
            .collect();
        by_text.par_sort_unstable();
        let mut ranks = vec![0; by_text.len()];
        for (rank, (_, _, pair)) in by_text.iter().enumerate() {
            ranks[*pair as usize] = rank as u32;
        }
        let mut key = OrderKey { ranks, lists: Vec::new(), list_ends: Vec::with_capacity(series_ids.len()) };
        for series_id in series_ids {
            key.lists.extend_from_slice(list_of(&self.lists, &self.list_ends, *series_id));
            key.list_ends.push(key.lists.len());
        }
        key
    }

    /// Returns the ids of the series that satisfy all matchers; all if there are none.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        match select(self, matchers) {
            Ok(series) => series,
            Err(never) => match never {},
        }
    }

    fn name(&self, name: &str) -> Option<&Name> {
        self.names_by_text.get(name).map(|position| &self.names[*position as usize])
    }

    /// The pairs of a name as values with their series.
    fn values<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = (&'a str, &'a Postings)> {
        name.pairs.iter().map(|pair| {
            let (_, value) = split_label(self.pair_text(*pair));
            (value, &self.pairs[*pair as usize].series)
        })
    }

    /// Returns the label names of the series `within` (of all if `None`), sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        let mut names: Vec<String> = self
            .names
            .iter()
            .filter(|name| within.is_none_or(|within| !name.series.is_disjoint(within)))
            .map(|name| name.text.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// Returns the values of label `name` in the series `within` (in all if `None`), sorted.
    pub(crate) fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
        let Some(name) = self.name(name) else { return Vec::new() };
        let mut values: Vec<String> = self
            .values(name)
            .filter(|(_, postings)| within.is_none_or(|within| postings.touches(within)))
            .map(|(value, _)| value.to_owned())
            .collect();
        values.sort_unstable();
        values
    }

    /// Iterates over all label pairs as (name, value, how many series have it), in no order.
    pub(crate) fn postings_sizes(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.names.iter().flat_map(|name| {
            self.values(name).map(|(value, postings)| (name.text.as_ref(), value, postings.len()))
        })
    }

    /// How many series there are.
    pub(crate) fn series_count(&self) -> usize {
        self.list_ends.len()
    }
}

fn pair_text<'a>(texts: &'a str, pairs: &[Pair], pair: u32) -> &'a str {
    let pair = pair as usize;
    let start = if pair == 0 { 0 } else { pairs[pair - 1].text_end as usize };
    &texts[start..pairs[pair].text_end as usize]
}

/// The lists of some series and the order of all pairs, to sort without the index.
#[derive(Debug)]
pub(crate) struct OrderKey {
    /// By pair: its place among all pairs.
    ranks: Vec<u32>,
    lists: Vec<u8>,
    list_ends: Vec<usize>,
}

impl OrderKey {
    /// Compares two series, given by their positions in the list that the key was made for, as their label sets compare.
    pub(crate) fn compare(&self, left: usize, right: usize) -> Ordering {
        self.ranked(left).cmp(self.ranked(right))
    }

    fn ranked(&self, position: usize) -> impl Iterator<Item = u32> {
        let start = if position == 0 { 0 } else { self.list_ends[position - 1] };
        pairs_of(&self.lists[start..self.list_ends[position]]).map(|pair| self.ranks[pair as usize])
    }
}

impl Terms for MemoryIndex {
    type Error = Infallible;

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.list_ends.len() as u32);
        all
    }

    fn series_with_label(&self, name: &str) -> Result<RoaringBitmap, Infallible> {
        Ok(self.name(name).map(|name| name.series.clone()).unwrap_or_default())
    }

    fn series_with_values(&self, name: &str, values: &[&str]) -> Result<RoaringBitmap, Infallible> {
        let mut postings = values.iter().filter_map(|value| {
            // A set of this one label is what the pair is stored as.
            let label = LabelSet::from_pairs([(name, *value)]).ok()?;
            Some(&self.pairs[self.find_pair(label.encoded())? as usize].series)
        });
        if values.len() == 1 {
            return Ok(postings.next().map(Postings::to_bitmap).unwrap_or_default());
        }
        let mut union = Union::default();
        postings.for_each(|found| found.add_to(&mut union));
        Ok(union.finish())
    }

    fn series_with_pattern(
        &self,
        name: &str,
        pattern: &Pattern,
        candidates: Option<&RoaringBitmap>,
    ) -> Result<RoaringBitmap, Infallible> {
        let Some(name) = self.name(name) else { return Ok(RoaringBitmap::new()) };
        let mut union = Union::within(candidates);
        for (value, postings) in self.values(name) {
            if pattern.is_match(value) {
                postings.add_to(&mut union);
            }
        }
        Ok(union.finish())
    }
}
