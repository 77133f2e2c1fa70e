//! Whether a counter was reset between two histograms.

use mytsdb_storage::model::ResetHint;

use super::{Buckets, FloatHistogram};

/// Whether any bucket of `previous` holds more than the one of `current`.
fn has_fallen(current: &Buckets, previous: &Buckets) -> bool {
    if current.has_indexes_of(previous) {
        return current.counts().iter().zip(previous.counts()).any(|(now, before)| now < before);
    }
    let mut now = current.iter().peekable();
    for (index, before) in previous.iter() {
        while now.next_if(|(candidate, _)| *candidate < index).is_some() {}
        let has_fallen = match now.peek() {
            Some((candidate, count)) if *candidate == index => *count < before,
            _ => before != 0.0,
        };
        if has_fallen {
            return true;
        }
    }
    false
}

impl FloatHistogram {
    /// Whether the counter was reset after `previous`: its hint says so, or any count fell, or buckets became finer.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_bounds() {
            if !previous.has_custom_bounds() {
                return true;
            }
            if !self.has_bounds_of(previous) {
                return self.has_fallen_over_common_bounds(previous);
            }
            return has_fallen(&self.positive, &previous.positive);
        }
        // Custom bounds before count as a coarser schema, which a counter may not leave without a reset.
        if self.schema > previous.schema || previous.has_custom_bounds() {
            return true;
        }
        if self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let widened = previous.widened(self.zero_threshold, None);
        if widened.threshold != self.zero_threshold || self.zero_count < widened.count + widened.lost {
            return true;
        }
        let (positive, negative) = previous.buckets_outside(self.zero_threshold, self.schema);
        has_fallen(&self.positive, &positive) || has_fallen(&self.negative, &negative)
    }
}
