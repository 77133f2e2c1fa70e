//! Addition, subtraction, scaling.

use std::borrow::Cow;

use mytsdb_storage::model::ResetHint;

use super::sum::Losses;
use super::{Buckets, FloatHistogram};

/// One histogram has exponential buckets, the other custom bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot combine histograms with exponential and custom buckets")]
pub struct IncompatibleSchemas;

/// What had to be settled when two histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One says that its counter was reset, the other that it was not.
    pub has_reset_conflict: bool,
    /// Their custom bounds differ: the result has those that both had.
    pub has_reconciled_bounds: bool,
}

impl FloatHistogram {
    /// Multiplies all counts and the sum.
    pub fn multiply(&mut self, factor: f64) {
        self.zero_count *= factor;
        self.count *= factor;
        self.sum *= factor;
        for count in self.positive.counts_mut().iter_mut().chain(self.negative.counts_mut()) {
            *count *= factor;
        }
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. Division by zero leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.zero_count /= divisor;
        self.count /= divisor;
        self.sum /= divisor;
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
            return;
        }
        for count in self.positive.counts_mut().iter_mut().chain(self.negative.counts_mut()) {
            *count /= divisor;
        }
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Adds another histogram; schema, zero bucket and custom bounds become those that fit both.
    ///
    /// # Errors
    /// [`IncompatibleSchemas`]; nothing is changed then.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, 1.0, None)
    }

    /// Subtracts another histogram, as [`Self::add`] adds it. The hint stays that of a sum.
    ///
    /// # Errors
    /// [`IncompatibleSchemas`]; nothing is changed then.
    pub fn subtract(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, -1.0, None)
    }

    /// Adds `sign` times `other`, noting in `losses` what rounding loses.
    pub(super) fn combine(
        &mut self,
        other: &Self,
        sign: f64,
        mut losses: Option<&mut Losses>,
    ) -> Result<Combined, IncompatibleSchemas> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(IncompatibleSchemas);
        }
        let mut combined =
            Combined { has_reset_conflict: self.adopt_hint(other.reset_hint), has_reconciled_bounds: false };
        add_number(
            &mut self.count,
            losses.as_deref_mut().map(|losses| &mut losses.count),
            sign * other.count,
        );
        add_number(&mut self.sum, losses.as_deref_mut().map(|losses| &mut losses.sum), sign * other.sum);
        if self.has_custom_bounds() {
            if self.has_bounds_of(other) {
                let lost = losses.map(|losses| &mut losses.positive);
                self.positive.add(&other.positive, sign, lost);
            } else {
                combined.has_reconciled_bounds = true;
                self.add_over_common_bounds(other, sign, losses);
            }
            return Ok(combined);
        }
        let (zero_count, zero_lost) = self.reconcile_zero_bucket(other, losses.as_deref_mut());
        for value in [zero_count, zero_lost] {
            let lost = losses.as_deref_mut().map(|losses| &mut losses.zero_count);
            add_number(&mut self.zero_count, lost, sign * value);
        }
        if other.schema < self.schema {
            self.reduce(other.schema, losses.as_deref_mut());
        }
        let (positive_lost, negative_lost) = match losses {
            Some(losses) => (Some(&mut losses.positive), Some(&mut losses.negative)),
            None => (None, None),
        };
        let (positive, negative) = other.buckets_outside(self.zero_threshold, self.schema);
        self.positive.add(&positive, sign, positive_lost);
        self.negative.add(&negative, sign, negative_lost);
        Ok(combined)
    }

    /// Takes a hint that holds for both; returns whether they contradict each other.
    fn adopt_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        match (self.reset_hint, other) {
            (own, other) if own == other => false,
            (Gauge, _) => false,
            (_, Gauge) => {
                self.reset_hint = Gauge;
                false
            }
            (Unknown, _) => false,
            (_, Unknown) => {
                self.reset_hint = Unknown;
                false
            }
            _ => {
                self.reset_hint = Unknown;
                true
            }
        }
    }

    /// Merges buckets so that they fit the coarser `schema`.
    pub(super) fn reduce(&mut self, schema: i8, losses: Option<&mut Losses>) {
        let steps = u32::from(self.schema.abs_diff(schema));
        let (positive_lost, negative_lost) = match losses {
            Some(losses) => (Some(&mut losses.positive), Some(&mut losses.negative)),
            None => (None, None),
        };
        self.positive.reduce(steps, positive_lost);
        self.negative.reduce(steps, negative_lost);
        self.schema = schema;
    }

    /// The buckets that do not lie in a zero bucket of this width, over the coarser (or same) `schema`.
    ///
    /// Why in this order: observations that a zero bucket has swallowed must not come back in a coarser bucket that
    /// reaches beyond it (in Prometheus they do, and count twice).
    pub(super) fn buckets_outside(&self, threshold: f64, schema: i8) -> (Cow<'_, Buckets>, Cow<'_, Buckets>) {
        let steps = u32::from(self.schema.abs_diff(schema));
        let is_outside = |index: i32, _: f64, _: f64| self.bound(i64::from(index)) > threshold;
        let side = |buckets: &'_ Buckets| -> Option<Buckets> {
            let swallows =
                threshold > 0.0 && buckets.iter().next().is_some_and(|(i, c)| !is_outside(i, c, 0.0));
            if !swallows && steps == 0 {
                return None;
            }
            let mut side = buckets.clone();
            if swallows {
                side.retain(None, is_outside);
            }
            if steps > 0 {
                side.reduce(steps, None);
            }
            Some(side)
        };
        (
            side(&self.positive).map_or(Cow::Borrowed(&self.positive), Cow::Owned),
            side(&self.negative).map_or(Cow::Borrowed(&self.negative), Cow::Owned),
        )
    }

    /// A copy with the coarser (or same) `schema`.
    pub fn reduced_to(&self, schema: i8) -> Self {
        let mut copy = self.clone();
        if schema < self.schema && !self.has_custom_bounds() {
            copy.reduce(schema, None);
        }
        copy
    }
}

#[inline]
fn add_number(number: &mut f64, lost: Option<&mut f64>, value: f64) {
    match lost {
        None => *number += value,
        Some(lost) => (*number, *lost) = crate::kernel::kahan::add(value, *number, *lost),
    }
}
