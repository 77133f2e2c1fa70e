//! Histograms whose custom bounds differ: both are mapped to the bounds that they have in common.

use std::sync::Arc;

use super::sum::Losses;
use super::{Buckets, FloatHistogram};
use crate::kernel::kahan;

/// The bounds that both have; both ascend.
fn intersection(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut common = Vec::new();
    let mut rest = right;
    for bound in left {
        while rest.first().is_some_and(|other| other < bound) {
            rest = &rest[1..];
        }
        if rest.first() == Some(bound) {
            common.push(*bound);
        }
    }
    common
}

impl FloatHistogram {
    /// Calls `add(position, count, lost)` for every bucket, where `position` is that of its bucket among `bounds`.
    fn map_to(&self, bounds: &[f64], losses: Option<&Losses>, mut add: impl FnMut(usize, f64, f64)) {
        for (position, (index, count)) in self.positive.iter().enumerate() {
            let upper = self.bound(i64::from(index));
            let target = bounds.partition_point(|bound| *bound < upper);
            add(target, count, losses.map_or(0.0, |losses| losses.positive[position]));
        }
    }

    /// The counts over common bounds.
    fn mapped(&self, bounds: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; bounds.len() + 1];
        self.map_to(bounds, None, |target, count, _| counts[target] += count);
        counts
    }

    /// Adds `sign` times the buckets of `other` over the bounds that both have; buckets that are empty then go.
    pub(super) fn add_over_common_bounds(&mut self, other: &Self, sign: f64, losses: Option<&mut Losses>) {
        let bounds = intersection(&self.custom_bounds, &other.custom_bounds);
        let mut counts = vec![0.0; bounds.len() + 1];
        let mut lost = vec![0.0; bounds.len() + 1];
        let mut add = |target: usize, value: f64| {
            (counts[target], lost[target]) = kahan::add(value, counts[target], lost[target]);
        };
        self.map_to(&bounds, losses.as_deref(), |target, count, before| {
            add(target, count);
            add(target, before);
        });
        other.map_to(&bounds, None, |target, count, _| add(target, sign * count));
        let (indexes, counts, positions) = Buckets::from_dense(&counts);
        self.positive = Buckets::new(indexes, counts);
        if let Some(losses) = losses {
            losses.positive = positions.iter().map(|position| lost[*position]).collect();
        }
        self.custom_bounds = Arc::from(bounds);
    }

    /// Whether any bucket over the common bounds holds less than it did in `previous`.
    pub(super) fn has_fallen_over_common_bounds(&self, previous: &Self) -> bool {
        let bounds = intersection(&self.custom_bounds, &previous.custom_bounds);
        self.mapped(&bounds).iter().zip(previous.mapped(&bounds)).any(|(now, before)| *now < before)
    }
}
