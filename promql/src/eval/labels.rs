//! Labels of results: dropping metadata, group keys, match groups, Prometheus' hash.

use hashbrown::HashMap;
use mytsdb_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME};
use xxhash_rust::xxh64::xxh64;

use super::context::Context;
use super::delta::TEMPORALITY;
use crate::budget::Reservation;
use crate::engine::EvalError;

/// The label that holds the metric's type, if the writer was told to keep it as a label.
pub(crate) const METRIC_TYPE: &str = "__type__";

/// Whether a label describes the metric instead of the series.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | METRIC_TYPE | "__unit__" | TEMPORALITY)
}

/// The labels for which `keeps(name)` holds.
pub(crate) fn filtered(labels: &LabelSet, keeps: impl Fn(&str) -> bool) -> LabelSet {
    if labels.iter().all(|(name, _)| keeps(name)) {
        return labels.clone();
    }
    // A filtered label set is one: names stay distinct, sorted and non-empty.
    LabelSet::from_pairs(labels.iter().filter(|(name, _)| keeps(name))).unwrap_or_else(|_| LabelSet::empty())
}

/// The labels without `__name__`, `__type__`, `__unit__` and `__temporality__`.
pub(crate) fn without_metadata(labels: &LabelSet) -> LabelSet {
    filtered(labels, |name| !is_metadata(name))
}

/// The labels with one set (or deleted, if `value` is empty).
pub(crate) fn with_label(labels: &LabelSet, name: &str, value: &str) -> LabelSet {
    let mut builder = LabelSetBuilder::new(labels);
    builder.set(name, value);
    builder.build()
}

/// Takes the memory of labels that a query makes from its limit: their texts come from the query and may be long.
///
/// Short labels are counted together, so that a label costs no call of the limit.
pub(crate) struct LabelBudget<'a> {
    ctx: &'a Context<'a>,
    uncounted_bytes: usize,
    reservations: Vec<Reservation>,
}

/// Bytes of labels that are counted together.
const COUNTED_TOGETHER_BYTES: usize = 64 << 10;

impl<'a> LabelBudget<'a> {
    /// No labels yet.
    pub(crate) fn new(ctx: &'a Context<'a>) -> Self {
        Self { ctx, uncounted_bytes: 0, reservations: Vec::new() }
    }

    /// Fails if `bytes` more would not fit; to be asked before they are written.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), EvalError> {
        if bytes <= COUNTED_TOGETHER_BYTES || bytes <= self.ctx.bytes_left() {
            return Ok(());
        }
        self.ctx.reserve(bytes.min(usize::MAX / 2), String::new).map(drop)
    }

    /// Counts new labels. Looks at the cancellation from time to time.
    pub(crate) fn add(&mut self, labels: &LabelSet) -> Result<(), EvalError> {
        self.uncounted_bytes += labels.encoded().len();
        if self.uncounted_bytes >= COUNTED_TOGETHER_BYTES {
            self.ctx.check_cancelled()?;
            self.reservations.push(self.ctx.reserve(self.uncounted_bytes, String::new)?);
            self.uncounted_bytes = 0;
        }
        Ok(())
    }

    /// The memory, to be held by the block of the labels.
    pub(crate) fn finish(mut self) -> Result<Vec<Reservation>, EvalError> {
        if self.uncounted_bytes > 0 {
            self.reservations.push(self.ctx.reserve(self.uncounted_bytes, String::new)?);
        }
        Ok(self.reservations)
    }
}

/// Which labels of a series make its key: those listed, or all but those listed and `__name__`.
#[derive(Debug, Clone)]
pub(crate) struct KeyRule {
    is_only: bool,
    names: Vec<String>,
}

impl KeyRule {
    /// Only the labels in `names`.
    pub(crate) fn only(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.sort();
        Self { is_only: true, names }
    }

    /// All labels except `names` and the metric name.
    pub(crate) fn without(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push(METRIC_NAME.to_owned());
        names.sort();
        Self { is_only: false, names }
    }

    /// All labels except `names`; the metric name stays.
    pub(crate) fn without_only(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.sort();
        Self { is_only: false, names }
    }

    fn keeps(&self, name: &str) -> bool {
        let is_listed = if self.names.len() > 8 {
            self.names.binary_search_by(|listed| listed.as_str().cmp(name)).is_ok()
        } else {
            self.names.iter().any(|listed| listed == name)
        };
        is_listed == self.is_only
    }

    /// The labels that make the key.
    pub(crate) fn apply(&self, labels: &LabelSet) -> LabelSet {
        if self.is_only && self.names.is_empty() {
            LabelSet::empty()
        } else {
            filtered(labels, |name| self.keeps(name))
        }
    }

    /// Writes bytes that are equal exactly for equal keys.
    fn write_key(&self, labels: &LabelSet, key: &mut Vec<u8>) {
        key.clear();
        if self.is_only && self.names.is_empty() {
            return;
        }
        for (name, value) in labels.iter().filter(|(name, _)| self.keeps(name)) {
            for part in [name, value] {
                key.extend_from_slice(&(part.len() as u32).to_le_bytes());
                key.extend_from_slice(part.as_bytes());
            }
        }
    }
}

/// Gives every distinct key a number, in order of first appearance.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    rule: KeyRule,
    numbers: HashMap<Vec<u8>, u32>,
    key: Vec<u8>,
}

impl KeyIndex {
    /// An empty index.
    pub(crate) fn new(rule: KeyRule) -> Self {
        Self { rule, numbers: HashMap::new(), key: Vec::new() }
    }

    /// The number of the key of `labels`, and whether it is new.
    pub(crate) fn number(&mut self, labels: &LabelSet) -> (usize, bool) {
        self.rule.write_key(labels, &mut self.key);
        let next = self.numbers.len() as u32;
        let found = *self.numbers.entry_ref(self.key.as_slice()).or_insert(next);
        (found as usize, found == next)
    }

    /// How many distinct keys were seen.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The rule of the keys.
    pub(crate) fn rule(&self) -> &KeyRule {
        &self.rule
    }
}

/// Prometheus' hash of a label set: xxhash64 over its `stringlabels` encoding.
///
/// Why: `limit_ratio` selects by it, and must select what Prometheus selects.
pub(crate) fn prometheus_hash(labels: &LabelSet, buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    for (name, value) in labels.iter() {
        for part in [name, value] {
            if part.len() < 255 {
                buffer.push(part.len() as u8);
            } else {
                buffer.push(255);
                buffer.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
            }
            buffer.extend_from_slice(part.as_bytes());
        }
    }
    xxh64(buffer, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn equal_keys_get_equal_numbers() {
        let mut index = KeyIndex::new(KeyRule::without(&["b".to_owned()]));
        let first = index.number(&set(&[("__name__", "x"), ("a", "1"), ("b", "1")]));
        let second = index.number(&set(&[("__name__", "y"), ("a", "1"), ("b", "2")]));
        let third = index.number(&set(&[("a", "2")]));
        assert_eq!((first, second, third), ((0, true), (0, false), (1, true)));
    }

    #[test]
    fn key_of_nothing_is_shared_by_all() {
        let mut index = KeyIndex::new(KeyRule::only(&[]));
        assert_eq!(index.number(&set(&[("a", "1")])), (0, true));
        assert_eq!(index.number(&set(&[("a", "2")])), (0, false));
        assert_eq!(index.rule().apply(&set(&[("a", "2")])), LabelSet::empty());
    }

    #[test]
    fn metadata_labels_are_dropped_together() {
        let labels = set(&[("__name__", "x"), ("__type__", "counter"), ("__unit__", "s"), ("a", "1")]);
        assert_eq!(without_metadata(&labels), set(&[("a", "1")]));
    }
}
