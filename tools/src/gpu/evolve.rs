//! The value of a row in a later loop: the recorded one, moved as the load of its GPU moves.
//!
//! Why: many recordings have one sample per series, which played again and again would be flat lines. The first loop has
//! the recorded values. Everything is a function of (seed, GPU, loop, row): a replay that goes on after a crash goes on
//! with the same values. Pure.
//!
//! Invariants: per cent stay within 0 and 100, ratios within 0 and 1; memory in use and free memory of a time add up to
//! what was recorded; counters never fall; temperatures follow the power with a delay.

use clap::ValueEnum;

use super::metric::{Kind, Motion};
use super::recording::{Gpu, Recording, Row, Series};
use crate::k8s::model::rng::{hash, unit};

/// How values move from loop to loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Evolve {
    /// Not at all; counters go on counting.
    Hold,
    /// Each sample a little off, by itself.
    Noise,
    /// The load of each GPU goes its way, slowly, and everything with it.
    Walk,
}

/// Loops from a turn of the slow walk to the next one, and of the quick one on top of it.
const SLOW_LOOPS: f64 = 12.0;
const QUICK_LOOPS: f64 = 3.0;
/// Loops until the walk has its full width.
const RAMP_LOOPS: f64 = 4.0;
/// Loops by which temperatures are behind.
const TEMPERATURE_DELAY_LOOPS: f64 = 1.0;
const NOISE_SHARE: f64 = 0.15;

const LOAD: u64 = 0;
const MEMORY: u64 = 1;

/// How far a value moves at the full width of the walk.
const PERCENT_SWING: f64 = 35.0;
const POWER_SWING_W: f64 = 180.0;
const TEMPERATURE_SWING_C: f64 = 15.0;
const CLOCK_SWING_MHZ: f64 = 300.0;

/// Moves values.
#[derive(Debug, Clone, Copy)]
pub struct Evolution {
    /// How.
    pub evolve: Evolve,
    /// Equal seeds give equal values.
    pub seed: u64,
    /// Seconds that a loop takes, for what counts energy.
    pub loop_seconds: f64,
}

impl Evolution {
    /// The value of `row` in loop `loop_index`; 0 is the recording itself.
    pub fn value(&self, recording: &Recording, row: &Row, loop_index: u64) -> f64 {
        let Some(series) = recording.series.get(row.series as usize) else { return row.value };
        if loop_index == 0 {
            return row.value;
        }
        let gpu = recording.gpus.get(series.gpu).cloned().unwrap_or_default();
        if series.known.kind == Kind::Counter {
            return self.counted(series, &gpu, row.value, loop_index);
        }
        let moved = self.moved(series, &gpu, row, loop_index);
        // What was recorded as a whole number stays one.
        if row.value.fract() == 0.0 && series.known.motion != Motion::Ratio { moved.round() } else { moved }
    }

    /// Counters go on from where the last loop ended.
    fn counted(&self, series: &Series, gpu: &Gpu, value: f64, loop_index: u64) -> f64 {
        let recorded = (series.last_value - series.first_value).max(0.0);
        let by_loop = match series.known.motion {
            Motion::Energy => recorded.max((gpu.power * 1e3 * self.loop_seconds).round()),
            _ => recorded,
        };
        value + by_loop * loop_index as f64
    }

    fn moved(&self, series: &Series, gpu: &Gpu, row: &Row, loop_index: u64) -> f64 {
        let drift =
            |channel: u64, delay: f64| self.drift(series.gpu as u64, channel, row, loop_index as f64 - delay);
        let value = row.value;
        // The bounds are those of the hardware, or what was recorded if that is beyond them.
        let within = |moved: f64, low: f64, high: f64| moved.clamp(low.min(value), high.max(value));
        match series.known.motion {
            Motion::Hold | Motion::Energy | Motion::Count => value,
            // An engine that does nothing (encoder, decoder) goes on doing nothing.
            Motion::Percent if value == 0.0 && series.metric != "DCGM_FI_DEV_GPU_UTIL" => value,
            Motion::Percent => within(value + PERCENT_SWING * drift(LOAD, 0.0), 0.0, 100.0),
            Motion::Ratio => within(value + PERCENT_SWING / 100.0 * drift(LOAD, 0.0), 0.0, 1.0),
            Motion::Power => within(value + POWER_SWING_W * drift(LOAD, 0.0), 50.0, 700.0),
            Motion::Temperature => {
                within(value + TEMPERATURE_SWING_C * drift(LOAD, TEMPERATURE_DELAY_LOOPS), 25.0, 92.0)
            }
            Motion::Clock => within(value + CLOCK_SWING_MHZ * drift(LOAD, 0.0), 210.0, 1_980.0),
            Motion::Throughput => (value * (1.0 + drift(LOAD, 0.0))).max(0.0),
            Motion::MemoryUsed => value + taken(gpu, drift(MEMORY, 0.0)),
            Motion::MemoryFree => value - taken(gpu, drift(MEMORY, 0.0)),
        }
    }

    /// How far the load is off, -1 to 1. All rows of a GPU and time have the same.
    fn drift(&self, gpu: u64, channel: u64, row: &Row, phase: f64) -> f64 {
        let random = |parts: &[u64]| unit(hash(self.seed, parts)) * 2.0 - 1.0;
        match self.evolve {
            Evolve::Hold => 0.0,
            Evolve::Noise => {
                NOISE_SHARE * random(&[gpu, channel, phase.to_bits(), row.time_ms.unsigned_abs()])
            }
            Evolve::Walk if phase <= 0.0 => 0.0,
            Evolve::Walk => {
                let wave = |length: f64, octave: u64| {
                    let at = phase / length;
                    let (knot, share) = (at.floor(), at.fract());
                    let smooth = share * share * (3.0 - 2.0 * share);
                    let of_knot = |knot: f64| random(&[gpu, channel, octave, knot as u64]);
                    of_knot(knot) * (1.0 - smooth) + of_knot(knot + 1.0) * smooth
                };
                let ramp = (phase / RAMP_LOOPS).min(1.0);
                ramp * (0.7 * wave(SLOW_LOOPS, 1) + 0.3 * wave(QUICK_LOOPS, 2))
            }
        }
    }
}

/// MiB that are in use beyond what was recorded: at most half of what is free, or minus half of what is used.
fn taken(gpu: &Gpu, drift: f64) -> f64 {
    (0.5 * drift * if drift > 0.0 { gpu.free_min } else { gpu.used_min }.max(0.0)).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::metric::known;

    const METRICS: [(&str, f64); 8] = [
        ("DCGM_FI_DEV_GPU_UTIL", 85.0),
        ("DCGM_FI_DEV_FB_USED", 40_000.0),
        ("DCGM_FI_DEV_FB_FREE", 41_000.0),
        ("DCGM_FI_DEV_POWER_USAGE", 412.25),
        ("DCGM_FI_DEV_GPU_TEMP", 55.0),
        ("DCGM_FI_PROF_SM_ACTIVE", 0.5),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1e9),
        ("DCGM_FI_DEV_ENC_UTIL", 0.0),
    ];

    fn recording() -> Recording {
        let mut recording = Recording::default();
        recording.gpus.push(Gpu { key: "GPU-1".to_owned(), ..Gpu::default() });
        for (at, (metric, value)) in METRICS.iter().enumerate() {
            recording.series.push(Series {
                metric: (*metric).to_owned(),
                labels: Vec::new(),
                gpu: 0,
                known: known(metric),
                first_value: 0.0,
                last_value: 0.0,
            });
            recording.rows.push(Row { series: at as u32, time_ms: 1_000, value: *value });
        }
        recording.finish();
        recording
    }

    fn played(evolve: Evolve) -> Vec<[f64; 8]> {
        let (recording, evolution) = (recording(), Evolution { evolve, seed: 7, loop_seconds: 10.0 });
        let of_loop =
            |index: u64| std::array::from_fn(|at| evolution.value(&recording, &recording.rows[at], index));
        (0..400).map(of_loop).collect()
    }

    #[test]
    fn the_first_loop_is_the_recording_and_hold_stays_there_while_counters_count() {
        for evolve in [Evolve::Hold, Evolve::Noise, Evolve::Walk] {
            let found = played(evolve);
            assert_eq!(found[0], METRICS.map(|(_, value)| value));
            assert_eq!(found[3][6], 1e9 + 3.0 * 412.25 * 1e4, "{evolve:?}");
        }
        let held = played(Evolve::Hold);
        assert_eq!(held[399][..6], held[0][..6]);
    }

    #[test]
    fn values_move_within_their_bounds() {
        for evolve in [Evolve::Noise, Evolve::Walk] {
            let found = played(evolve);
            for [util, used, free, power, temperature, ratio, _, encoder] in &found {
                assert!((0.0..=100.0).contains(util) && util.fract() == 0.0);
                assert!(*used >= 0.0 && *free >= 0.0 && used + free == 81_000.0, "{used} {free}");
                assert!((50.0..=700.0).contains(power) && (25.0..=92.0).contains(temperature));
                assert!((0.0..=1.0).contains(ratio) && *encoder == 0.0);
            }
            for column in 0..6 {
                let mut distinct: Vec<f64> = found.iter().map(|row| row[column]).collect();
                distinct.sort_by(f64::total_cmp);
                distinct.dedup();
                assert!(distinct.len() > 3, "{evolve:?} column {column} is flat");
            }
            assert!(found.is_sorted_by(|left, right| left[6] <= right[6]));
        }
    }

    #[test]
    fn a_walk_has_no_jumps_and_the_temperature_follows_the_power() {
        let found = played(Evolve::Walk);
        for pair in found.windows(2) {
            assert!((pair[1][3] - pair[0][3]).abs() < 100.0, "{pair:?}");
        }
        let follows = (2..399).filter(|at| {
            let power_rose = found[at - 1][3] - found[at - 2][3];
            let temperature_rose = found[*at][4] - found[at - 1][4];
            power_rose * temperature_rose >= 0.0
        });
        assert!(follows.count() > 380);
    }
}
