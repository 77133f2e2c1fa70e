//! Kahan–Neumaier summation, in the order and with the special cases of Prometheus.
//!
//! Source: Prometheus `util/kahansum`.

/// Adds `value` to the sum `sum + compensation`.
#[inline(always)]
pub(crate) fn add(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + value;
    let correction = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    // An infinite sum would turn the compensation into NaN.
    if total.is_infinite() { (total, 0.0) } else { (total, compensation + correction) }
}

/// Adds one compensated sum to another.
#[inline]
pub(crate) fn merge(left: (f64, f64), right: (f64, f64)) -> (f64, f64) {
    let (sum, compensation) = add(right.0, left.0, left.1);
    if sum.is_infinite() { (sum, 0.0) } else { add(right.1, sum, compensation) }
}

/// The mean of values in one pass: direct while the sum is finite, incremental from where it would overflow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    sum: f64,
    compensation: f64,
    mean: f64,
    count: f64,
    is_incremental: bool,
}

impl Mean {
    /// The mean of one value.
    #[inline]
    pub(crate) fn new(value: f64) -> Self {
        Self { sum: value, compensation: 0.0, mean: 0.0, count: 1.0, is_incremental: false }
    }

    /// Adds a value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_incremental {
            let (sum, compensation) = add(value, self.sum, self.compensation);
            if !sum.is_infinite() {
                (self.sum, self.compensation) = (sum, compensation);
                return;
            }
            self.is_incremental = true;
            self.mean = self.sum / (self.count - 1.0);
            self.compensation /= self.count - 1.0;
        }
        let weight = (self.count - 1.0) / self.count;
        (self.mean, self.compensation) =
            add(value / self.count, weight * self.mean, weight * self.compensation);
    }

    /// The mean of all values so far.
    #[inline]
    pub(crate) fn finish(&self) -> f64 {
        if self.is_incremental {
            self.mean + self.compensation
        } else {
            self.sum / self.count + self.compensation / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_large_neighbours() {
        let (mut sum, mut compensation) = (0.0, 0.0);
        for value in [5.0, 1e100, 10.0, -1e100] {
            (sum, compensation) = add(value, sum, compensation);
        }
        assert_eq!(sum + compensation, 15.0);
    }

    #[test]
    fn mean_of_values_whose_sum_overflows_is_finite() {
        let mut mean = Mean::new(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.finish(), f64::MAX);
    }

    #[test]
    fn infinite_sums_have_no_compensation() {
        assert_eq!(add(f64::INFINITY, 1.0, 0.5), (f64::INFINITY, 0.0));
        assert_eq!(merge((1.0, 0.1), (f64::NEG_INFINITY, 0.0)), (f64::NEG_INFINITY, 0.0));
    }
}
