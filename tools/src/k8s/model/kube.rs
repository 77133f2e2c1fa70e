//! What kube-state-metrics knows: phases of pods, restarts and limits of containers, replicas of deployments.

use std::ops::Range;

use super::container::{limits, started_before_ms};
use super::rng::hash;
use super::{Clock, Model, Profile, Restarts, Run, columns};

/// Values of the label `phase`, in the order of the series.
pub const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
/// One pod in this many is rescheduled once.
const PENDING_ODDS: u64 = 12;

/// Series that never change.
#[derive(Debug)]
pub struct ConstantModel {
    values: Vec<f64>,
}

impl ConstantModel {
    /// Creates one series per value.
    pub fn new(values: Vec<f64>) -> Self {
        Self { values }
    }
}

impl Model for ConstantModel {
    fn series_count(&self) -> usize {
        self.values.len()
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        for (column, value) in out.chunks_exact_mut(run.step_count.max(1)).zip(&self.values) {
            column.fill(*value);
        }
    }
}

/// The steps during which the pod of the container with `seed` waits for a node, if there are any.
fn pending(seed: u64, clock: &Clock) -> Range<u64> {
    let bits = hash(seed, &[100]);
    if !bits.is_multiple_of(PENDING_ODDS) {
        return 0..0;
    }
    let first = (bits >> 8) % clock.steps_per_day();
    first..first + 4 + (bits >> 48) % 16
}

/// Series: the five [`PHASES`] (one of them 1), info, creation time, readiness.
#[derive(Debug)]
pub struct PodStatusModel {
    pending: Range<u64>,
    restarts: Restarts,
    created_s: f64,
}

impl PodStatusModel {
    /// Creates the model of the pod whose first container has `profile`.
    pub fn new(profile: &Profile, clock: &Clock) -> Self {
        Self {
            pending: pending(profile.seed, clock),
            restarts: profile.restarts.clone(),
            created_s: ((clock.start_ms - started_before_ms(profile)).div_euclid(1_000) - 3) as f64,
        }
    }
}

impl Model for PodStatusModel {
    fn series_count(&self) -> usize {
        8
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 8] = columns(out, run.step_count);
        let [is_pending, is_running, succeeded, failed, unknown, info, created, is_ready] = columns;
        for column in [succeeded, failed, unknown] {
            column.fill(0.0);
        }
        info.fill(1.0);
        created.fill(self.created_s);
        for (position, step) in run.steps() {
            let pending = self.pending.contains(&step);
            let restarting = self.restarts.hit(step);
            is_pending[position] = f64::from(pending);
            is_running[position] = f64::from(!pending);
            is_ready[position] = f64::from(!pending && !restarting);
        }
    }
}

/// Series: restarts, readiness, running; requested processor and memory, limits of processor and memory.
#[derive(Debug)]
pub struct ContainerStatusModel {
    restarts: Restarts,
    restart_count: u64,
    memory_limit: f64,
    cpu_limit: f64,
}

impl ContainerStatusModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile) -> Self {
        let (memory_limit, cpu_limit) = limits(profile);
        let restart_count = hash(profile.seed, &[101]) % 4;
        Self { restarts: profile.restarts.clone(), restart_count, memory_limit, cpu_limit }
    }
}

impl Model for ContainerStatusModel {
    fn series_count(&self) -> usize {
        7
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 7] = columns(out, run.step_count);
        let [restarts, is_ready, is_running, cpu_request, memory_request, cpu_limit, memory_limit] = columns;
        cpu_request.fill(self.cpu_limit / 4.0);
        memory_request.fill(self.memory_limit / 2.0);
        cpu_limit.fill(self.cpu_limit);
        memory_limit.fill(self.memory_limit);
        is_running.fill(1.0);
        for (position, step) in run.steps() {
            let restarting = self.restarts.hit(step);
            self.restart_count += u64::from(restarting);
            restarts[position] = self.restart_count as f64;
            is_ready[position] = f64::from(!restarting);
        }
    }
}

/// Series: replicas wanted, existing, available.
#[derive(Debug)]
pub struct DeploymentModel {
    replica_count: usize,
    pending: Vec<Range<u64>>,
}

impl DeploymentModel {
    /// Creates the model of a deployment from the seeds of its pods' first containers.
    pub fn new(pod_seeds: impl Iterator<Item = u64>, clock: &Clock) -> Self {
        let pending: Vec<_> = pod_seeds.map(|seed| pending(seed, clock)).collect();
        let replica_count = pending.len();
        Self { replica_count, pending: pending.into_iter().filter(|steps| !steps.is_empty()).collect() }
    }
}

impl Model for DeploymentModel {
    fn series_count(&self) -> usize {
        3
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 3] = columns(out, run.step_count);
        let [wanted, existing, available] = columns;
        wanted.fill(self.replica_count as f64);
        existing.fill(self.replica_count as f64);
        for (position, step) in run.steps() {
            let pending_count = self.pending.iter().filter(|steps| steps.contains(&step)).count();
            available[position] = (self.replica_count - pending_count) as f64;
        }
    }
}
