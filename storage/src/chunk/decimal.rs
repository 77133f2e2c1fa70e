//! Floats that are decimal fractions, as integers: `value = integer / 10^exponent`, bit by bit.
//!
//! Division, not multiplication by `10^-exponent`: IEEE division rounds correctly, so every decimal of up to 15 digits
//! and every quotient an exporter computed as `n / 1e9` comes back exactly.
//! Misfits (stale markers, `-0.0`, infinities, odd floats) become exceptions (see `exceptions`).

/// Largest exponent; `10^14` and all below are exact floats.
pub(super) const EXPONENT_MAX: u8 = 14;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// Integers of smaller magnitude are exact floats.
const INTEGER_LIMIT: f64 = 9e15;
/// From here on every float is an integer.
const ALL_INTEGERS_FROM: f64 = 4_503_599_627_370_496.0;
const PROBE_COUNT: usize = 8;
/// Times a search may settle for a larger exponent.
const ATTEMPT_COUNT: usize = 4;

/// The float that `integer` stands for; `exponent` is at most [`EXPONENT_MAX`].
#[inline]
pub(super) fn value_of(integer: i64, exponent: u8) -> f64 {
    integer as f64 / power(exponent)
}

#[inline]
fn power(exponent: u8) -> f64 {
    POWERS[usize::from(exponent.min(EXPONENT_MAX))]
}

/// The smallest exponent, and its integer, that gives `value` exactly.
pub(super) fn shortest(value: f64) -> Option<(u8, i64)> {
    (0..=EXPONENT_MAX).find_map(|exponent| {
        let rounded = round(value * power(exponent));
        is_exact(value, rounded, power(exponent)).then_some((exponent, rounded as i64))
    })
}

/// Rounds to the nearest integer; written without the library call that the baseline processor would need.
#[inline(always)]
fn round(value: f64) -> f64 {
    let shift = ALL_INTEGERS_FROM.copysign(value);
    let rounded = (value + shift) - shift;
    if value.abs() < ALL_INTEGERS_FROM { rounded } else { value }
}

#[inline(always)]
fn is_exact(value: f64, rounded: f64, power: f64) -> bool {
    // `rounded` may be -0.0 where the integer, and so the decoded value, is 0.0: adding 0.0 makes it that.
    rounded.abs() < INTEGER_LIMIT && ((rounded + 0.0) / power).to_bits() == value.to_bits()
}

fn fits(value: f64, exponent: u8) -> bool {
    is_exact(value, round(value * power(exponent)), power(exponent))
}

/// Integers for a column of floats, the exponent, and the positions that have none.
#[derive(Debug, Default)]
pub(super) struct DecimalColumn {
    /// One for each value; a misfit repeats its predecessor.
    pub(super) integers: Vec<i64>,
    /// Positions of the misfits, ascending.
    pub(super) misfits: Vec<u32>,
    /// Exponent of the column last found: where the next search starts. It changes the time, not the outcome.
    pub(super) exponent: u8,
}

impl DecimalColumn {
    /// Finds an exponent that fits all but a few of `values`; returns whether there is one.
    pub(super) fn find(&mut self, values: &[f64]) -> bool {
        let Some(mut exponent) = self.probe(values) else { return false };
        let budget = values.len() / 16 + 4;
        for _ in 0..ATTEMPT_COUNT {
            let is_within_budget = self.convert(values, exponent, budget);
            let Some(larger) = self.exponent_for_misfits(values, exponent) else { return is_within_budget };
            // An exception costs some 80 bits, a digit 3.3 bits in every sample.
            if is_within_budget
                && self.misfits.len() * 80 <= values.len() * 10 * usize::from(larger - exponent) / 3
            {
                return true;
            }
            exponent = larger;
        }
        self.convert(values, exponent, budget)
    }

    /// The smallest exponent that fits a sample of the values; none if most fit no exponent.
    fn probe(&self, values: &[f64]) -> Option<u8> {
        let stride = values.len().div_ceil(PROBE_COUNT).max(1);
        let mut exponent = 0;
        let (mut probed_count, mut misfit_count) = (0, 0);
        for &value in values.iter().step_by(stride).filter(|value| value.is_finite()) {
            probed_count += 1;
            match self.smallest_exponent(value, exponent) {
                Some(found) => exponent = found,
                None => misfit_count += 1,
            }
            if misfit_count > 1 {
                return None;
            }
        }
        (misfit_count < probed_count || probed_count == 0).then_some(exponent)
    }

    fn smallest_exponent(&self, value: f64, from: u8) -> Option<u8> {
        let hint = self.exponent;
        if fits(value, from) {
            return Some(from);
        }
        let start =
            if hint > from + 1 && !fits(value, hint - 1) && fits(value, hint) { hint } else { from + 1 };
        (start..=EXPONENT_MAX).find(|&exponent| fits(value, exponent))
    }

    /// The exponent that the first misfits would need, if there is one.
    fn exponent_for_misfits(&self, values: &[f64], exponent: u8) -> Option<u8> {
        let finite =
            self.misfits.iter().map(|&index| values[index as usize]).filter(|value| value.is_finite());
        finite
            .take(PROBE_COUNT)
            .filter_map(|value| ((exponent + 1)..=EXPONENT_MAX).find(|&larger| fits(value, larger)))
            .max()
    }

    /// Fills integers and misfits; gives up, returning false, above `budget` misfits.
    fn convert(&mut self, values: &[f64], exponent: u8, budget: usize) -> bool {
        self.exponent = exponent;
        self.integers.clear();
        self.misfits.clear();
        let power = power(exponent);
        let mut last = 0;
        let mut is_led = false;
        for (index, &value) in values.iter().enumerate() {
            let rounded = round(value * power);
            if is_exact(value, rounded, power) {
                last = rounded as i64;
                if !is_led {
                    // Leading misfits take the first integer, so that they cost no jump.
                    self.integers.fill(last);
                    is_led = true;
                }
            } else {
                if self.misfits.len() >= budget {
                    return false;
                }
                self.misfits.push(index as u32);
            }
            self.integers.push(last);
        }
        true
    }
}

/// Appends the floats that `integers` stand for.
#[inline]
pub(super) fn restore(integers: &[i64], exponent: u8, out: &mut Vec<f64>) {
    if exponent == 0 {
        out.extend(integers.iter().map(|&integer| integer as f64));
    } else {
        let power = power(exponent);
        out.extend(integers.iter().map(|&integer| integer as f64 / power));
    }
}
