//! What aggregations keep of the numbers of one group at one step: sum, mean, count, extreme, variance.

use crate::kernel::{ABSENT, is_absent, kahan};

/// What is kept of the values of one group at one step.
pub(super) trait Cell: Copy + Send + Sync {
    /// No value yet.
    const EMPTY: Self;
    /// Adds a value that is present.
    fn add(&mut self, value: f64);
    /// Adds the values of another cell, which come after those of this one.
    fn merge(&mut self, later: &Self);
    /// The result, or [`ABSENT`].
    fn finish(&self) -> f64;
}

/// A compensated sum; [`ABSENT`] while there is no value.
#[derive(Clone, Copy)]
pub(super) struct SumCell {
    sum: f64,
    compensation: f64,
}

impl Cell for SumCell {
    const EMPTY: Self = Self { sum: ABSENT, compensation: 0.0 };

    #[inline(always)]
    fn add(&mut self, value: f64) {
        if is_absent(self.sum) {
            self.sum = value;
        } else {
            (self.sum, self.compensation) = kahan::add(value, self.sum, self.compensation);
        }
    }

    fn merge(&mut self, later: &Self) {
        if is_absent(self.sum) {
            *self = *later;
        } else if !is_absent(later.sum) {
            (self.sum, self.compensation) =
                kahan::merge((self.sum, self.compensation), (later.sum, later.compensation));
        }
    }

    fn finish(&self) -> f64 {
        if is_absent(self.sum) { ABSENT } else { self.sum + self.compensation }
    }
}

/// Sum and number of values.
#[derive(Clone, Copy)]
pub(super) struct AvgCell {
    sum: SumCell,
    count: f64,
}

impl Cell for AvgCell {
    const EMPTY: Self = Self { sum: SumCell::EMPTY, count: 0.0 };

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1.0;
    }

    fn merge(&mut self, later: &Self) {
        self.sum.merge(&later.sum);
        self.count += later.count;
    }

    fn finish(&self) -> f64 {
        if self.count == 0.0 {
            ABSENT
        } else {
            self.sum.sum / self.count + self.sum.compensation / self.count
        }
    }
}

/// How many values there are.
#[derive(Clone, Copy)]
pub(super) struct CountCell(f64);

impl Cell for CountCell {
    const EMPTY: Self = Self(0.0);

    #[inline(always)]
    fn add(&mut self, _value: f64) {
        self.0 += 1.0;
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn finish(&self) -> f64 {
        if self.0 == 0.0 { ABSENT } else { self.0 }
    }
}

/// Whether there is a value.
#[derive(Clone, Copy)]
pub(super) struct GroupCell(bool);

impl Cell for GroupCell {
    const EMPTY: Self = Self(false);

    #[inline(always)]
    fn add(&mut self, _value: f64) {
        self.0 = true;
    }

    fn merge(&mut self, later: &Self) {
        self.0 |= later.0;
    }

    fn finish(&self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

/// The smallest or largest value; NaN only if there is nothing else.
#[derive(Clone, Copy)]
pub(super) struct ExtremeCell<const IS_MAX: bool>(f64);

impl<const IS_MAX: bool> Cell for ExtremeCell<IS_MAX> {
    const EMPTY: Self = Self(ABSENT);

    #[inline(always)]
    fn add(&mut self, value: f64) {
        // ABSENT is a NaN as well, so the first value always replaces it.
        let is_better = if IS_MAX { value > self.0 } else { value < self.0 };
        if is_better || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, later: &Self) {
        if !is_absent(later.0) {
            self.add(later.0);
        }
    }

    fn finish(&self) -> f64 {
        self.0
    }
}

/// Welford's variance.
#[derive(Clone, Copy)]
pub(super) struct VarianceCell<const IS_STDDEV: bool> {
    count: f64,
    mean: f64,
    squares: f64,
}

impl<const IS_STDDEV: bool> Cell for VarianceCell<IS_STDDEV> {
    const EMPTY: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn merge(&mut self, later: &Self) {
        if self.count == 0.0 {
            *self = *later;
        } else if later.count > 0.0 {
            let count = self.count + later.count;
            let delta = later.mean - self.mean;
            self.mean += delta * later.count / count;
            self.squares += later.squares + delta * delta * self.count * later.count / count;
            self.count = count;
        }
    }

    fn finish(&self) -> f64 {
        let variance = self.squares / self.count;
        match (self.count == 0.0, IS_STDDEV) {
            (true, _) => ABSENT,
            (false, true) => variance.sqrt(),
            (false, false) => variance,
        }
    }
}
