//! The zero bucket: making it wider, and agreeing on one width for two histograms.

use super::FloatHistogram;
use super::sum::Losses;
use crate::kernel::kahan;

/// What the zero bucket would hold if it were wider.
pub(super) struct Widened {
    pub(super) threshold: f64,
    pub(super) count: f64,
    pub(super) lost: f64,
}

impl FloatHistogram {
    /// What the zero bucket holds if it is at least `threshold` wide; wider if that lies inside of a bucket that is not
    /// empty. `threshold` is not below the present one.
    pub(super) fn widened(&self, threshold: f64, losses: Option<&Losses>) -> Widened {
        let mut widened = Widened {
            threshold,
            count: self.zero_count,
            lost: losses.map_or(0.0, |losses| losses.zero_count),
        };
        if threshold == self.zero_threshold {
            return widened;
        }
        let start = (widened.count, widened.lost);
        'again: loop {
            (widened.count, widened.lost) = start;
            let mut swallow = |count: f64, lost: Option<f64>| {
                for value in [count, lost.unwrap_or(0.0)] {
                    (widened.count, widened.lost) = kahan::add(value, widened.count, widened.lost);
                }
            };
            for (position, (index, count)) in self.positive.iter().enumerate() {
                let bucket = self.positive_bucket(index, count);
                if bucket.lower >= widened.threshold {
                    break;
                }
                swallow(count, losses.map(|losses| losses.positive[position]));
                if bucket.upper > widened.threshold {
                    if count != 0.0 {
                        widened.threshold = bucket.upper;
                    }
                    break;
                }
            }
            for (position, (index, count)) in self.negative.iter().enumerate() {
                let bucket = self.negative_bucket(index, count);
                if bucket.upper <= -widened.threshold {
                    break;
                }
                swallow(count, losses.map(|losses| losses.negative[position]));
                if bucket.lower < -widened.threshold {
                    if count != 0.0 {
                        // What was counted on the positive side no longer holds.
                        widened.threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return widened;
        }
    }

    /// Drops the buckets that lie inside of the zero bucket, whose observations it holds already, and empty ones.
    fn drop_inside_zero_bucket(&mut self, losses: Option<&mut Losses>) {
        let (positive_losses, negative_losses) = match losses {
            Some(losses) => (Some(&mut losses.positive), Some(&mut losses.negative)),
            None => (None, None),
        };
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let is_outside = |index: i32, count: f64, lost: f64| {
            let lower = super::bounds::exponential_bound(i64::from(index) - 1, schema);
            lower >= threshold && (count != 0.0 || lost != 0.0)
        };
        self.positive.retain(positive_losses, is_outside);
        self.negative.retain(negative_losses, is_outside);
    }

    /// Widens the zero bucket until it fits `other` as well; returns what the one of `other` would hold then, and what
    /// is lost by rounding.
    pub(super) fn reconcile_zero_bucket(
        &mut self,
        other: &Self,
        mut losses: Option<&mut Losses>,
    ) -> (f64, f64) {
        let mut theirs = Widened { threshold: other.zero_threshold, count: other.zero_count, lost: 0.0 };
        while theirs.threshold != self.zero_threshold {
            if self.zero_threshold > theirs.threshold {
                theirs = other.widened(self.zero_threshold, None);
            }
            if theirs.threshold > self.zero_threshold {
                let own = self.widened(theirs.threshold, losses.as_deref());
                self.zero_count = own.count;
                self.zero_threshold = own.threshold;
                match losses.as_deref_mut() {
                    Some(losses) => losses.zero_count = own.lost,
                    None => self.zero_count += own.lost,
                }
                self.drop_inside_zero_bucket(losses.as_deref_mut());
            }
            if theirs.threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        (theirs.count, theirs.lost)
    }
}
