//! Where gauges are: walks that never leave their bounds.
//!
//! A walk is an endless line of random slopes; [`within`] folds it between the bounds.

use super::{PHASES, Phases, SLOTS, slot_of};
use crate::k8s::model::rng::{Rng, unit};

const SLOT_SECONDS: f64 = 10.0;
/// Fastest change in a second, as a share of the bounds.
const SLOPE_MAX: f64 = 0.01;
/// Keeps all positions above zero, where folding is a truncation.
const OFFSET: f64 = 1_024.0;

/// The walks of a run.
#[derive(Debug, Clone)]
pub struct Walks {
    slots: [(f64, f64); SLOTS],
}

impl Walks {
    /// Returns the walks of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x77_616c_6b73);
        let slopes: Vec<f64> = (0..SLOTS).map(|_| SLOPE_MAX * (2.0 * unit(rng.bits()) - 1.0)).collect();
        // The end meets the beginning.
        let mean = slopes.iter().sum::<f64>() / SLOTS as f64;
        let mut begin = OFFSET;
        let mut slots = [(0.0, 0.0); SLOTS];
        for (slot, slope) in slots.iter_mut().zip(slopes) {
            *slot = (begin, slope - mean);
            begin += slot.1 * SLOT_SECONDS;
        }
        Self { slots }
    }

    /// Returns the positions of the walks at a time.
    pub fn at(&self, time_ns: u64) -> Phases {
        let mut phases = [0.0; PHASES];
        for (phase, position) in phases.iter_mut().enumerate() {
            let (slot, seconds) = slot_of(time_ns, phase);
            let (begin, slope) = self.slots[slot];
            *position = begin + slope * seconds;
        }
        phases
    }
}

/// Returns a position, above zero, folded into `[0, 1]`.
#[inline]
pub fn fold(position: f64) -> f64 {
    let fraction = position - position as i64 as f64;
    1.0 - (2.0 * fraction - 1.0).abs()
}

/// Returns where a gauge between `low` and `high` is.
#[inline]
pub fn within(position: f64, shift: f64, low: f64, high: f64) -> f64 {
    low + (high - low) * fold(position + shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_move_slowly_and_stay_within_their_bounds() {
        let walks = Walks::new(3);
        let mut last = walks.at(0);
        for second in 1..6_000 {
            let now = walks.at(second * 1_000_000_000);
            for (now, last) in now.iter().zip(&last) {
                let (now, last) = (within(*now, 0.3, -5.0, 20.0), within(*last, 0.3, -5.0, 20.0));
                assert!((-5.0..=20.0).contains(&now), "{now}");
                assert!((now - last).abs() < 25.0 * 2.0 * 2.0 * SLOPE_MAX, "{last} to {now}");
            }
            last = now;
        }
    }

    #[test]
    fn walks_differ_and_reach_much_of_their_range() {
        let walks = Walks::new(3);
        let values: Vec<f64> =
            (0..256).map(|slot| within(walks.at(slot * 10_000_000_000)[0], 0.0, 0.0, 1.0)).collect();
        let low = values.iter().copied().fold(f64::MAX, f64::min);
        let high = values.iter().copied().fold(f64::MIN, f64::max);
        assert!(high - low > 0.3, "{low} to {high}");
        assert_ne!(walks.at(0)[0], walks.at(0)[1]);
    }
}
