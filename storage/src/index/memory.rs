//! The index of the head: label pairs to series, growing as series are created.
//!
//! Input: label sets with dense ids in order of creation. Output: bitmaps of ids, names, values.
//! Not here: locks (the head has one around this) and the label sets themselves.

use std::convert::Infallible;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::select::{Terms, Union, select};
use crate::model::pattern::Pattern;
use crate::model::{LabelSet, Matcher};

/// How many series ids are held without an allocation.
const FEW_COUNT_MAX: usize = 5;

/// The series of one label pair, ascending; most pairs of a busy system have few.
#[derive(Debug, Clone)]
enum Postings {
    Few { count: u8, ids: [u32; FEW_COUNT_MAX] },
    Many(RoaringBitmap),
}

impl Postings {
    fn one(id: u32) -> Self {
        let mut ids = [0; FEW_COUNT_MAX];
        ids[0] = id;
        Self::Few { count: 1, ids }
    }

    fn few(&self) -> &[u32] {
        match self {
            Self::Few { count, ids } => &ids[..usize::from(*count)],
            Self::Many(_) => &[],
        }
    }

    fn insert(&mut self, id: u32) {
        match self {
            Self::Many(bitmap) => append(bitmap, id),
            Self::Few { count, ids } => {
                let used = usize::from(*count);
                if ids[..used].contains(&id) {
                    return;
                }
                if used < FEW_COUNT_MAX {
                    ids[used] = id;
                    *count += 1;
                } else {
                    let mut bitmap: RoaringBitmap = ids.iter().copied().collect();
                    bitmap.insert(id);
                    *self = Self::Many(bitmap);
                }
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Few { count, .. } => u64::from(*count),
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    fn touches(&self, within: &RoaringBitmap) -> bool {
        match self {
            Self::Few { .. } => self.few().iter().any(|id| within.contains(*id)),
            Self::Many(bitmap) => !bitmap.is_disjoint(within),
        }
    }

    fn add_to(&self, union: &mut Union<'_>) {
        match self {
            Self::Few { .. } => self.few().iter().for_each(|id| union.push(*id)),
            Self::Many(bitmap) => union.add(bitmap),
        }
    }

    fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few { .. } => self.few().iter().copied().collect(),
            Self::Many(bitmap) => bitmap.clone(),
        }
    }
}

/// Inserts an id that is most often the greatest.
fn append(bitmap: &mut RoaringBitmap, id: u32) {
    if bitmap.try_push(id).is_err() {
        bitmap.insert(id);
    }
}

#[derive(Debug, Clone, Default)]
struct Label {
    /// Series that have the label, whatever its value.
    series: RoaringBitmap,
    values: HashMap<Box<str>, Postings>,
}

impl Label {
    fn insert(&mut self, value: &str, series_id: u32) {
        append(&mut self.series, series_id);
        match self.values.get_mut(value) {
            Some(postings) => postings.insert(series_id),
            None => {
                self.values.insert(value.into(), Postings::one(series_id));
            }
        }
    }
}

/// The inverted index of the head.
///
/// # Cost
/// `insert`: one hash look-up per label. A pair that few series have takes about 50 bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryIndex {
    labels: HashMap<Box<str>, Label>,
    series: RoaringBitmap,
}

impl MemoryIndex {
    /// Adds a series; adding one twice changes nothing.
    pub(crate) fn insert(&mut self, series_id: u32, labels: &LabelSet) {
        append(&mut self.series, series_id);
        for (name, value) in labels.iter() {
            match self.labels.get_mut(name) {
                Some(label) => label.insert(value, series_id),
                None => {
                    let mut label = Label::default();
                    label.insert(value, series_id);
                    self.labels.insert(name.into(), label);
                }
            }
        }
    }

    /// Returns the ids of the series that satisfy all matchers; all if there are none.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        match select(self, matchers) {
            Ok(series) => series,
            Err(never) => match never {},
        }
    }

    /// Returns the label names of the series `within` (of all if `None`), sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        let mut names: Vec<String> = self
            .labels
            .iter()
            .filter(|(_, label)| within.is_none_or(|within| !label.series.is_disjoint(within)))
            .map(|(name, _)| name.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// Returns the values of label `name` in the series `within` (in all if `None`), sorted.
    pub(crate) fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
        let Some(label) = self.labels.get(name) else { return Vec::new() };
        let mut values: Vec<String> = label
            .values
            .iter()
            .filter(|(_, postings)| within.is_none_or(|within| postings.touches(within)))
            .map(|(value, _)| value.to_string())
            .collect();
        values.sort_unstable();
        values
    }

    /// Iterates over all label pairs as (name, value, how many series have it), in no order.
    pub(crate) fn postings_sizes(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.labels.iter().flat_map(|(name, label)| {
            label.values.iter().map(|(value, postings)| (name.as_ref(), value.as_ref(), postings.len()))
        })
    }

    /// How many series there are.
    #[cfg(test)]
    pub(crate) fn series_count(&self) -> usize {
        usize::try_from(self.series.len()).unwrap_or(usize::MAX)
    }
}

impl Terms for MemoryIndex {
    type Error = Infallible;

    fn all(&self) -> RoaringBitmap {
        self.series.clone()
    }

    fn series_with_label(&self, name: &str) -> Result<RoaringBitmap, Infallible> {
        Ok(self.labels.get(name).map(|label| label.series.clone()).unwrap_or_default())
    }

    fn series_with_values(&self, name: &str, values: &[&str]) -> Result<RoaringBitmap, Infallible> {
        let Some(label) = self.labels.get(name) else { return Ok(RoaringBitmap::new()) };
        if let [value] = values {
            return Ok(label.values.get(*value).map(Postings::to_bitmap).unwrap_or_default());
        }
        let mut union = Union::default();
        values.iter().filter_map(|value| label.values.get(*value)).for_each(|found| found.add_to(&mut union));
        Ok(union.finish())
    }

    fn series_with_pattern(
        &self,
        name: &str,
        pattern: &Pattern,
        candidates: Option<&RoaringBitmap>,
    ) -> Result<RoaringBitmap, Infallible> {
        let Some(label) = self.labels.get(name) else { return Ok(RoaringBitmap::new()) };
        let mut union = Union::within(candidates);
        for (value, postings) in &label.values {
            if pattern.is_match(value) {
                postings.add_to(&mut union);
            }
        }
        Ok(union.finish())
    }
}
