//! The buckets of one sign: which there are, and how many observations each holds.

use std::sync::Arc;

use mytsdb_storage::model::BucketSpan;

use crate::kernel::kahan;

/// Buckets of one sign by ascending index; empty ones may be among them.
///
/// # Shape
/// `indexes` and `counts` have the same length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets {
    indexes: Arc<[i32]>,
    counts: Vec<f64>,
}

/// The index of every bucket in `spans`.
///
/// Indexes past `i32` cannot be stored (see `HistogramLayout::validate`); they would be clamped.
pub(super) fn indexes_of(spans: &[BucketSpan]) -> Arc<[i32]> {
    let mut indexes = Vec::new();
    let mut next = 0_i64;
    for span in spans {
        next += i64::from(span.offset);
        for _ in 0..span.length {
            indexes.push(next.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
            next += 1;
        }
    }
    indexes.into()
}

/// What is lost by rounding when counts are added, by bucket; nothing if nobody asked for it.
pub(super) type Lost<'a> = Option<&'a mut Vec<f64>>;

/// Adds `value` to a count, noting what is lost.
#[inline(always)]
fn add_to(count: &mut f64, lost: Option<&mut f64>, value: f64) {
    match lost {
        None => *count += value,
        Some(lost) => (*count, *lost) = kahan::add(value, *count, *lost),
    }
}

impl Buckets {
    /// Buckets with these counts. What one side has too many is cut off.
    pub(super) fn new(indexes: Arc<[i32]>, mut counts: Vec<f64>) -> Self {
        counts.truncate(indexes.len());
        let indexes =
            if counts.len() < indexes.len() { Arc::from(&indexes[..counts.len()]) } else { indexes };
        Self { indexes, counts }
    }

    /// How many buckets there are, empty ones included.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are no buckets, not even empty ones.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The counts by ascending index.
    pub(crate) fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The counts, to change.
    pub(super) fn counts_mut(&mut self) -> &mut [f64] {
        &mut self.counts
    }

    /// Index and count of every bucket.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, f64)> + '_ {
        self.indexes.iter().copied().zip(self.counts.iter().copied())
    }

    /// Whether both have the same indexes.
    #[inline]
    pub(super) fn has_indexes_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.indexes, &other.indexes) || self.indexes == other.indexes
    }

    /// Whether both have the same indexes and counts.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(left, right): (&f64, &f64)| left.to_bits() == right.to_bits();
        self.has_indexes_of(other) && self.counts.iter().zip(&other.counts).all(same)
    }

    /// Removes all buckets.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps the buckets for which `keeps(index, count, lost)` holds.
    pub(super) fn retain(&mut self, lost: Lost<'_>, keeps: impl Fn(i32, f64, f64) -> bool) {
        let lost_at = |position: usize, lost: &Lost<'_>| lost.as_ref().map_or(0.0, |lost| lost[position]);
        let kept: Vec<usize> = (0..self.len())
            .filter(|position| {
                keeps(self.indexes[*position], self.counts[*position], lost_at(*position, &lost))
            })
            .collect();
        if kept.len() == self.len() {
            return;
        }
        self.indexes = kept.iter().map(|position| self.indexes[*position]).collect();
        self.counts = kept.iter().map(|position| self.counts[*position]).collect();
        if let Some(lost) = lost {
            *lost = kept.iter().map(|position| lost[*position]).collect();
        }
    }

    /// Drops the buckets that are empty.
    pub(super) fn compact(&mut self) {
        self.retain(None, |_, count, _| count != 0.0);
    }

    /// Merges buckets so that they fit a schema that is `steps` coarser.
    pub(super) fn reduce(&mut self, steps: u32, lost: Lost<'_>) {
        let coarser = |index: i32| (((i64::from(index) - 1) >> steps) + 1) as i32;
        let mut indexes: Vec<i32> = Vec::with_capacity(self.len());
        let mut counts: Vec<f64> = Vec::with_capacity(self.len());
        let mut losses: Vec<f64> = Vec::new();
        for (position, (index, count)) in self.iter().enumerate() {
            let index = coarser(index);
            if indexes.last() != Some(&index) {
                indexes.push(index);
                counts.push(0.0);
                losses.push(0.0);
            }
            let last = counts.len() - 1;
            let with_loss = lost.is_some().then_some(&mut losses[last]);
            add_to(&mut counts[last], with_loss, count);
            if let Some(before) = &lost {
                add_to(&mut counts[last], Some(&mut losses[last]), before[position]);
            }
        }
        self.indexes = indexes.into();
        self.counts = counts;
        if let Some(lost) = lost {
            *lost = losses;
        }
    }

    /// Adds `sign` times the buckets of `other`; both have the same schema.
    pub(super) fn add(&mut self, other: &Self, sign: f64, lost: Lost<'_>) {
        if other.is_empty() {
            return;
        }
        if self.has_indexes_of(other) {
            match lost {
                None => {
                    for (count, value) in self.counts.iter_mut().zip(&other.counts) {
                        *count += sign * value;
                    }
                }
                Some(lost) => {
                    for ((count, value), lost) in self.counts.iter_mut().zip(&other.counts).zip(lost) {
                        (*count, *lost) = kahan::add(sign * value, *count, *lost);
                    }
                }
            }
            return;
        }
        let length = self.len() + other.len();
        let mut indexes = Vec::with_capacity(length);
        let mut counts = Vec::with_capacity(length);
        let mut losses = Vec::new();
        let (mut own, mut their) = (0, 0);
        while own < self.len() || their < other.len() {
            let own_index = self.indexes.get(own).copied();
            let their_index = other.indexes.get(their).copied();
            let takes_own = own_index.is_some_and(|own| their_index.is_none_or(|their| own <= their));
            let takes_their = their_index.is_some_and(|their| own_index.is_none_or(|own| their <= own));
            let (mut count, mut loss) = (0.0, 0.0);
            if takes_own {
                count = self.counts[own];
                loss = lost.as_ref().map_or(0.0, |lost| lost[own]);
            }
            if takes_their {
                let value = sign * other.counts[their];
                if takes_own {
                    add_to(&mut count, lost.is_some().then_some(&mut loss), value);
                } else {
                    count = value;
                }
            }
            indexes.extend(if takes_own { own_index } else { their_index });
            counts.push(count);
            losses.push(loss);
            own += usize::from(takes_own);
            their += usize::from(takes_their);
        }
        self.indexes = indexes.into();
        self.counts = counts;
        if let Some(lost) = lost {
            *lost = losses;
        }
    }

    /// Buckets made of the counts that are not zero, where the position is the index.
    pub(super) fn from_dense(dense: &[f64]) -> (Arc<[i32]>, Vec<f64>, Vec<usize>) {
        let positions: Vec<usize> = (0..dense.len()).filter(|position| dense[*position] != 0.0).collect();
        let indexes = positions.iter().map(|position| *position as i32).collect();
        let counts = positions.iter().map(|position| dense[*position]).collect();
        (indexes, counts, positions)
    }
}
