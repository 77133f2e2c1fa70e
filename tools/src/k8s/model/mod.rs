//! The values: one model per group of series that share their randomness, filled run by run.
//!
//! Input: a seed, what the group stands for ([`Profile`]), consecutive runs of steps ([`Run`]). Output: `f64` columns,
//! one per series. A model carries its state from run to run; runs must follow each other from step 0.
//! Not here: names and labels (see [`super::metrics`]), which groups exist (see [`super::plan`]).
//!
//! Invariants: the way a range of steps is cut into runs never changes a value. Counters only grow, except that all
//! counters of a container start again at zero at each of its restarts.

mod container;
mod http;
mod kube;
mod node;
pub mod rng;
mod runtime;

pub use container::{CpuModel, FilesystemModel, MemoryModel, NetworkModel, StateModel};
pub use http::{BUCKET_BOUNDS, HttpModel, Method};
pub use kube::{ConstantModel, ContainerStatusModel, DeploymentModel, PHASES, PodStatusModel};
pub use node::{
    CPU_MODES, NodeCpuModel, NodeDiskModel, NodeLoadModel, NodeMachineModel, NodeMemoryModel,
    NodeNetworkModel,
};
pub use runtime::{EventsModel, RuntimeModel};

use std::fmt::Debug;
use std::sync::Arc;

use rng::{hash, unit};

const DAY_MS: u64 = 86_400_000;
/// One container in this many restarts on a given day.
const RESTART_ODDS: u64 = 4;

/// The step grid and the daily rhythm.
///
/// # Units
/// Step `i` is at `start_ms + i * interval_ms`.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Time of step 0.
    pub start_ms: i64,
    /// Between steps.
    pub interval_ms: u64,
    /// Steps in all.
    pub step_count: u64,
    load: Arc<[f64]>,
}

impl Clock {
    /// Creates the grid of `step_count` steps whose last one is at `end_ms`.
    pub fn ending_at(end_ms: i64, interval_ms: u64, step_count: u64) -> Self {
        let interval_ms = interval_ms.max(1);
        let start_ms = end_ms - (step_count.max(1) - 1) as i64 * interval_ms as i64;
        let period = (DAY_MS / interval_ms).max(1);
        let load = (0..period).map(|step| load(step as f64 / period as f64)).collect();
        Self { start_ms, interval_ms, step_count, load }
    }

    /// Returns the time of `step`.
    pub fn time_ms(&self, step: u64) -> i64 {
        self.start_ms + (step * self.interval_ms) as i64
    }

    /// Returns the seconds between steps.
    pub fn interval_s(&self) -> f64 {
        self.interval_ms as f64 / 1e3
    }

    /// Returns the steps of a day.
    pub fn steps_per_day(&self) -> u64 {
        self.load.len() as u64
    }

    /// Returns the load at `step` for somebody whose day is `offset` steps ahead: 0.35 at night, 1.55 at the peak.
    #[inline]
    pub fn load(&self, step: u64, offset: u64) -> f64 {
        self.load[((step + offset) % self.load.len() as u64) as usize]
    }
}

/// A bump over the day: smooth, zero at both ends, one in the middle.
fn load(day: f64) -> f64 {
    let bump = 16.0 * (day * (1.0 - day)) * (day * (1.0 - day));
    0.35 + 1.2 * bump
}

/// Consecutive steps to fill.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The grid.
    pub clock: &'a Clock,
    /// First step to fill.
    pub first_step: u64,
    /// How many.
    pub step_count: usize,
}

impl Run<'_> {
    fn steps(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.step_count).map(|position| (position, self.first_step + position as u64))
    }
}

/// Values of a group of series.
pub trait Model: Debug + Send {
    /// Returns how many series it has.
    fn series_count(&self) -> usize;

    /// Fills the next run.
    ///
    /// # Shape
    /// `out`: `[series_count][run.step_count]`, series-major, wholly overwritten.
    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]);
}

/// Cuts `out` into the columns of `COUNT` series.
fn columns<const COUNT: usize>(out: &mut [f64], step_count: usize) -> [&mut [f64]; COUNT] {
    let mut rest = out.chunks_exact_mut(step_count.max(1));
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// When a container starts again.
#[derive(Debug, Clone)]
pub struct Restarts {
    steps: Arc<[u64]>,
    next: usize,
}

impl Restarts {
    /// Draws the restarts of the container with this `seed`: on some days one, never at step 0.
    pub fn new(seed: u64, clock: &Clock) -> Self {
        let per_day = clock.steps_per_day();
        let steps = (0..clock.step_count.div_ceil(per_day))
            .filter_map(|day| {
                let bits = hash(seed, &[4, day]);
                let step = day * per_day + (bits >> 8) % per_day;
                (bits.is_multiple_of(RESTART_ODDS) && step > 0 && step < clock.step_count).then_some(step)
            })
            .collect();
        Self { steps, next: 0 }
    }

    /// Returns all steps at which the container starts again.
    pub fn steps(&self) -> &[u64] {
        &self.steps
    }

    /// Returns whether the container starts again at `step`; to be asked once per step, in order.
    #[inline]
    fn hit(&mut self, step: u64) -> bool {
        let is_hit = self.steps.get(self.next).is_some_and(|next| *next == step);
        self.next += usize::from(is_hit);
        is_hit
    }
}

/// What is particular to one container: how busy it is, when its day begins, when it restarts.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Decides everything random.
    pub seed: u64,
    /// Decides what the pods of a service have in common.
    pub service_seed: u64,
    /// Sidecars do less.
    pub is_sidecar: bool,
    /// How far its day is ahead, in steps.
    pub day_offset: u64,
    /// Its restarts.
    pub restarts: Restarts,
}

impl Profile {
    /// Derives the profile of container `index` of service `service_index`.
    pub fn new(seed: u64, index: usize, service_index: usize, is_sidecar: bool, clock: &Clock) -> Self {
        let service_seed = hash(seed, &[5, service_index as u64]);
        let own_seed = hash(seed, &[6, index as u64]);
        Self {
            seed: own_seed,
            service_seed,
            is_sidecar,
            day_offset: service_seed % (clock.steps_per_day() / 6).max(1),
            restarts: Restarts::new(own_seed, clock),
        }
    }

    /// Returns a number between `low` and `high` that all pods of the service share; most are near `low`.
    fn of_service(&self, salt: u64, low: f64, high: f64) -> f64 {
        let share = unit(hash(self.service_seed, &[salt]));
        low + (high - low) * share * share
    }

    /// Returns a number between `low` and `high` of this container.
    fn of_container(&self, salt: u64, low: f64, high: f64) -> f64 {
        low + (high - low) * unit(hash(self.seed, &[salt]))
    }

    fn rng(&self, salt: u64) -> rng::Rng {
        rng::Rng::new(hash(self.seed, &[salt]))
    }

    /// Work relative to the application's container.
    fn weight(&self) -> f64 {
        if self.is_sidecar { 0.25 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_the_end_and_steps_are_apart_by_the_interval() {
        let clock = Clock::ending_at(1_000_000, 15_000, 5_760);
        assert_eq!(clock.time_ms(5_759), 1_000_000);
        assert_eq!(clock.time_ms(1) - clock.time_ms(0), 15_000);
        assert_eq!(clock.steps_per_day(), 5_760);
    }

    #[test]
    fn load_peaks_at_noon_and_repeats_daily() {
        let clock = Clock::ending_at(0, 15_000, 5_760);
        assert!((clock.load(0, 0) - 0.35).abs() < 1e-12);
        assert!((clock.load(2_880, 0) - 1.55).abs() < 1e-12);
        assert_eq!(clock.load(100, 0), clock.load(100 + 5_760, 0));
        assert_eq!(clock.load(100, 20), clock.load(120, 0));
    }

    #[test]
    fn restarts_are_hit_once_each_in_order() {
        let clock = Clock::ending_at(0, 15_000, 20 * 5_760);
        let mut restarts = Restarts::new(11, &clock);
        let expected = restarts.steps().to_vec();
        assert!((2..=10).contains(&expected.len()), "{expected:?}");
        let found: Vec<u64> = (0..clock.step_count).filter(|step| restarts.hit(*step)).collect();
        assert_eq!(found, expected);
    }
}
