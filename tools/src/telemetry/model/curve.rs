//! How fast counters count: a mean of 1, more by day than by night, and noise.
//!
//! `at(t)[phase]` is the integral of the rate from the origin, in seconds of mean rate. Over a whole day it is exactly
//! a day; noise adds up to nothing over its period of 2,560 s.

use super::{PHASES, Phases, SLOTS, slot_of};
use crate::k8s::model::rng::{Rng, unit};
use crate::telemetry::template::ModelSettings;

const DAY_NS: u64 = 86_400_000_000_000;
const DAY_SLOTS: usize = 96;
const DAY_SLOT_NS: u64 = DAY_NS / DAY_SLOTS as u64;
const DAY_SLOT_SECONDS: f64 = 900.0;
const SLOT_SECONDS: f64 = 10.0;
/// The slot of a day with the highest rate: 14:00 UTC.
const PEAK_SLOT: usize = 56;

/// The curves of a run.
#[derive(Debug, Clone)]
pub struct Curves {
    origin_ns: u64,
    day: [Slot; DAY_SLOTS],
    noise: [Slot; SLOTS],
}

/// A piece of an integral: where it begins, and its slope.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    begin: f64,
    slope: f64,
}

impl Curves {
    /// Returns the curves of a run that starts at `started_ns`.
    ///
    /// `settings.diurnal + settings.noise` must be below 1, else counters would count down.
    pub fn new(settings: &ModelSettings, started_ns: u64) -> Self {
        Self {
            origin_ns: started_ns - started_ns % DAY_NS,
            day: day_slots(settings.diurnal),
            noise: noise_slots(settings.seed, settings.noise),
        }
    }

    /// Returns the integral at a time for each phase; at times before the day of the start, that of its midnight.
    pub fn at(&self, time_ns: u64) -> Phases {
        let elapsed_ns = time_ns.saturating_sub(self.origin_ns);
        let in_day_ns = elapsed_ns % DAY_NS;
        let slot = self.day[(in_day_ns / DAY_SLOT_NS) as usize % DAY_SLOTS];
        let days = (elapsed_ns / DAY_NS) as f64 * 86_400.0;
        let of_day = days + slot.begin + slot.slope * ((in_day_ns % DAY_SLOT_NS) as f64 * 1e-9);
        let mut phases = [0.0; PHASES];
        for (phase, integral) in phases.iter_mut().enumerate() {
            let (position, seconds) = slot_of(elapsed_ns, phase);
            let noise = self.noise[position];
            *integral = of_day + noise.begin + noise.slope * seconds;
        }
        phases
    }
}

/// A triangle with its peak in the afternoon and a mean of 1.
fn day_slots(diurnal: f64) -> [Slot; DAY_SLOTS] {
    let mut begin = 0.0;
    std::array::from_fn(|slot| {
        let from_peak = slot.abs_diff(PEAK_SLOT).min(DAY_SLOTS - slot.abs_diff(PEAK_SLOT));
        // 0 to 48 slots away: 1 down to -1, whose mean over all slots is 0.
        let triangle = 1.0 - from_peak as f64 / (DAY_SLOTS as f64 / 4.0);
        let slope = 1.0 + diurnal * triangle;
        let piece = Slot { begin, slope };
        begin += slope * DAY_SLOT_SECONDS;
        piece
    })
}

/// Slopes between ±`noise` that add up to nothing: every second one is the opposite of the one before, in random order.
fn noise_slots(seed: u64, noise: f64) -> [Slot; SLOTS] {
    let mut rng = Rng::new(seed ^ 0x6e_6f69_7365);
    let mut slopes = [0.0; SLOTS];
    for pair in slopes.chunks_exact_mut(2) {
        let slope = noise * (2.0 * unit(rng.bits()) - 1.0);
        pair.copy_from_slice(&[slope, -slope]);
    }
    for position in (1..SLOTS).rev() {
        slopes.swap(position, (rng.bits() % (position as u64 + 1)) as usize);
    }
    let mut begin = 0.0;
    slopes.map(|slope| {
        let piece = Slot { begin, slope };
        begin += slope * SLOT_SECONDS;
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED_NS: u64 = 1_790_000_000_123_000_000;

    fn settings(diurnal: f64, noise: f64) -> ModelSettings {
        ModelSettings { seed: 7, diurnal, noise, ..ModelSettings::default() }
    }

    #[test]
    fn without_shape_and_noise_time_is_time() {
        let curves = Curves::new(&settings(0.0, 0.0), STARTED_NS);
        let begin = curves.at(STARTED_NS);
        let end = curves.at(STARTED_NS + 100_000_500_000_000);
        for (begin, end) in begin.iter().zip(&end) {
            assert!((end - begin - 100_000.5).abs() < 1e-6, "{begin} {end}");
        }
    }

    #[test]
    fn a_day_is_a_day_and_nothing_counts_down() {
        let curves = Curves::new(&settings(0.6, 0.3), STARTED_NS);
        let period_ns = SLOTS as u64 * 10_000_000_000;
        // The least common multiple of a day and the period of the noise: 8 days.
        let (begin, end) = (curves.at(STARTED_NS), curves.at(STARTED_NS + 8 * DAY_NS));
        assert_eq!(8 * DAY_NS % period_ns, 0);
        for (begin, end) in begin.iter().zip(&end) {
            assert!((end - begin - 8.0 * 86_400.0).abs() < 1e-5, "{begin} {end}");
        }
        let mut last = curves.at(STARTED_NS);
        let mut slowest = f64::MAX;
        for step in 1..20_000 {
            let now = curves.at(STARTED_NS + step * 17_777_000_000);
            for (now, last) in now.iter().zip(&last) {
                slowest = slowest.min((now - last) / 17.777);
            }
            last = now;
        }
        assert!(slowest > 0.05 && slowest < 0.5, "{slowest}");
    }

    #[test]
    fn the_peak_is_in_the_afternoon() {
        let curves = Curves::new(&settings(0.5, 0.0), 0);
        let rate = |hour: u64| {
            let time_ns = hour * 3_600_000_000_000;
            (curves.at(time_ns + 1_000_000_000)[0] - curves.at(time_ns)[0]) / 1.0
        };
        assert!((rate(14) - 1.5).abs() < 1e-6 && (rate(2) - 0.5).abs() < 1e-6, "{} {}", rate(14), rate(2));
    }
}
