//! Label sets: the identity of a series, held in one allocation.
//!
//! Bytes: per label `len(name) name len(value) value`, sorted by name. A length is a little-endian varint of
//! 6 bits per byte with bit 6 as the continuation flag, so that the whole buffer is valid UTF-8 and slices of it
//! need no second check. Two sets are equal exactly if their bytes are equal.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of labels without empty values; cheap to clone.
///
/// # Invariants
/// Names are distinct, non-empty and ascending; values are non-empty.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LabelSet {
    encoded: Arc<str>,
}

/// Why labels make no label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelSetError {
    /// A label has no name.
    #[error("a label with value {value:?} has an empty name")]
    EmptyName {
        /// The value of the nameless label.
        value: String,
    },
    /// A name occurs twice.
    #[error("label name {name:?} occurs twice")]
    DuplicateName {
        /// The repeated name.
        name: String,
    },
    /// Encoded bytes are damaged.
    #[error("encoded label set is damaged at byte {offset}")]
    Damaged {
        /// Where decoding stopped making sense.
        offset: usize,
    },
}

fn push_length(buffer: &mut String, length: usize) {
    let mut rest = length;
    while rest >= 64 {
        buffer.push(char::from((rest % 64) as u8 | 64));
        rest /= 64;
    }
    buffer.push(char::from(rest as u8));
}

fn read_length(text: &str, position: &mut usize) -> Option<usize> {
    let mut length = 0_usize;
    let mut shift = 0_u32;
    loop {
        let byte = *text.as_bytes().get(*position)?;
        if byte >= 128 || shift > 30 {
            return None;
        }
        *position += 1;
        length |= usize::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(length);
        }
        shift += 6;
    }
}

fn read_text<'a>(text: &'a str, position: &mut usize) -> Option<&'a str> {
    let length = read_length(text, position)?;
    let end = position.checked_add(length)?;
    let part = text.get(*position..end)?;
    *position = end;
    Some(part)
}

impl LabelSet {
    /// The set without labels.
    pub fn empty() -> Self {
        Self { encoded: "".into() }
    }

    /// Builds a set from pairs in any order. Empty values mean "no such label" and are left out.
    ///
    /// # Errors
    /// [`LabelSetError::EmptyName`], [`LabelSetError::DuplicateName`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, LabelSetError> {
        let mut sorted: Vec<(&str, &str)> = pairs.into_iter().collect();
        if !sorted.is_sorted_by(|left, right| left.0 < right.0) {
            sorted.sort_by(|left, right| left.0.cmp(right.0));
        }
        let mut encoded = String::with_capacity(sorted.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (index, (name, value)) in sorted.iter().enumerate() {
            if name.is_empty() {
                return Err(LabelSetError::EmptyName { value: (*value).to_owned() });
            }
            if index > 0 && sorted[index - 1].0 == *name {
                return Err(LabelSetError::DuplicateName { name: (*name).to_owned() });
            }
            if !value.is_empty() {
                push_label(&mut encoded, name, value);
            }
        }
        Ok(Self { encoded: encoded.into() })
    }

    /// The canonical bytes; see the module's head.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// Takes canonical bytes back, checking every invariant.
    ///
    /// # Errors
    /// [`LabelSetError::Damaged`] if the bytes are not what [`LabelSet::encoded`] gives.
    pub fn from_encoded(encoded: &str) -> Result<Self, LabelSetError> {
        let mut position = 0;
        let mut previous = "";
        while position < encoded.len() {
            let offset = position;
            let damaged = || LabelSetError::Damaged { offset };
            let name = read_text(encoded, &mut position).ok_or_else(damaged)?;
            let value = read_text(encoded, &mut position).ok_or_else(damaged)?;
            if name <= previous || value.is_empty() {
                return Err(damaged());
            }
            previous = name;
        }
        Ok(Self { encoded: encoded.into() })
    }

    /// Returns the labels in order of their names.
    pub fn iter(&self) -> Labels<'_> {
        Labels { encoded: &self.encoded, position: 0 }
    }

    /// Returns the canonical bytes of each label in order; one after another they are [`LabelSet::encoded`].
    pub(crate) fn encoded_labels(&self) -> impl Iterator<Item = &str> {
        let mut labels = self.iter();
        std::iter::from_fn(move || {
            let start = labels.position;
            labels.next()?;
            self.encoded.get(start..labels.position)
        })
    }

    /// Takes canonical bytes back that [`LabelSet::encoded`] gave.
    pub(crate) fn from_canonical(encoded: &str) -> Self {
        debug_assert!(Self::from_encoded(encoded).is_ok());
        Self { encoded: encoded.into() }
    }

    /// Returns the value of `name`, if there is such a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .take_while(|(found, _)| *found <= name)
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// Returns the metric name, `""` if there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Returns whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Returns how many labels there are.
    pub fn label_count(&self) -> usize {
        self.iter().count()
    }
}

/// Splits the canonical bytes of one label into name and value.
pub(crate) fn split_label(encoded: &str) -> (&str, &str) {
    Labels { encoded, position: 0 }.next().unwrap_or_default()
}

fn push_label(encoded: &mut String, name: &str, value: &str) {
    push_length(encoded, name.len());
    encoded.push_str(name);
    push_length(encoded, value.len());
    encoded.push_str(value);
}

/// Iterator over the labels of a set, by ascending name.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    encoded: &'a str,
    position: usize,
}

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = read_text(self.encoded, &mut self.position)?;
        let value = read_text(self.encoded, &mut self.position)?;
        Some((name, value))
    }
}

/// Orders as Prometheus does: label by label, name before value, the shorter set first.
impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Writes `{__name__="up", job="a"}` as Prometheus prints label sets in messages.
impl fmt::Display for LabelSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            write!(formatter, "{name}={value:?}")?;
        }
        formatter.write_str("}")
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Changes a label set: set and delete labels, then [`LabelSetBuilder::build`].
#[derive(Debug, Clone, Default)]
pub struct LabelSetBuilder {
    labels: Vec<(String, String)>,
}

impl LabelSetBuilder {
    /// Starts from the labels of `base`.
    pub fn new(base: &LabelSet) -> Self {
        Self { labels: base.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// Sets `name` to `value`; an empty value deletes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.labels.retain(|(found, _)| found != name);
        if !value.is_empty() {
            self.labels.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Deletes `name` if it is there.
    pub fn delete(&mut self, name: &str) -> &mut Self {
        self.labels.retain(|(found, _)| found != name);
        self
    }

    /// Builds the set.
    pub fn build(mut self) -> LabelSet {
        self.labels.sort();
        let mut encoded = String::new();
        for (name, value) in &self.labels {
            push_label(&mut encoded, name, value);
        }
        LabelSet { encoded: encoded.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_values_survive() {
        let value = "ü".repeat(5000);
        let set = LabelSet::from_pairs([("b", value.as_str()), ("a", "1"), ("c", "")]).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", value.as_str())]);
        assert_eq!(set.get("b"), Some(value.as_str()));
        assert_eq!(set.get("c"), None);
    }

    #[test]
    fn nameless_and_repeated_labels_are_refused() {
        assert!(matches!(LabelSet::from_pairs([("", "x")]), Err(LabelSetError::EmptyName { .. })));
        assert!(matches!(
            LabelSet::from_pairs([("a", "x"), ("a", "y")]),
            Err(LabelSetError::DuplicateName { .. })
        ));
    }

    proptest! {
        #[test]
        fn encoding_round_trips(map in proptest::collection::btree_map(".{1,70}", ".{1,200}", 0..6)) {
            let set = LabelSet::from_pairs(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
            prop_assert_eq!(LabelSet::from_encoded(set.encoded()).unwrap(), set.clone());
            let pairs: Vec<_> = set.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(pairs, map.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn damaged_bytes_never_panic(text in ".{0,60}") {
            let _outcome = LabelSet::from_encoded(&text);
        }
    }
}
