//! Whose turn it is: batches of all signals mixed evenly, and metrics that take a detour.

use std::collections::VecDeque;

use super::metrics::Slot;
use super::options::Detours;
use crate::k8s::model::rng::{Rng, unit};
use crate::telemetry::template::Signal;

/// The order of one replay of all batches, again and again.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) order: Vec<(Signal, usize)>,
    position: usize,
    cycle: u64,
    cycle_count_max: u64,
}

impl Turns {
    /// Spreads the batches of each signal evenly; traces come first, so that others can point at them.
    pub(super) fn new(batch_counts: [(Signal, usize); 3], multiplier: u64) -> Self {
        let mut order = Vec::new();
        for (signal, count) in batch_counts {
            let lead = if signal == Signal::Traces { 0.0 } else { 0.5 };
            order.extend((0..count).map(|batch| ((batch as f64 + lead) / count as f64, signal, batch)));
        }
        order.sort_by(|left, right| left.0.total_cmp(&right.0));
        let order = order.into_iter().map(|(_, signal, batch)| (signal, batch)).collect();
        Self { order, position: 0, cycle: 0, cycle_count_max: multiplier }
    }

    /// Returns signal, batch and the number of the replay; nothing at the end.
    pub(super) fn next(&mut self) -> Option<(Signal, usize, u64)> {
        if self.position == self.order.len() {
            self.position = 0;
            self.cycle += 1;
        }
        if self.cycle_count_max > 0 && self.cycle >= self.cycle_count_max {
            return None;
        }
        let (signal, batch) = *self.order.get(self.position)?;
        self.position += 1;
        Some((signal, batch, self.cycle))
    }
}

/// Metrics that were taken out of the order.
#[derive(Debug)]
pub(super) struct Detoured {
    detours: Detours,
    rng: Rng,
    /// By time of release, the earliest first.
    late: VecDeque<(u64, Slot)>,
    /// By batch: what waits for the next request of the same series.
    held: Vec<Option<Slot>>,
    /// What is sent next.
    due: VecDeque<Slot>,
}

/// What becomes of a request whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Send,
    SendTwice,
    Keep,
}

impl Detoured {
    pub(super) fn new(detours: Detours, seed: u64, batch_count: usize) -> Self {
        Self {
            detours,
            rng: Rng::new(seed),
            late: VecDeque::new(),
            held: vec![None; batch_count],
            due: VecDeque::new(),
        }
    }

    /// Decides about a request; what is kept comes back from [`Detoured::due`].
    pub(super) fn decide(&mut self, slot: Slot) -> Fate {
        if let Some(held) = self.held.get_mut(slot.batch).and_then(Option::take) {
            self.due.push_back(held);
            return Fate::Send;
        }
        let Detours { duplicate, out_of_order, late, late_by_ns } = self.detours;
        if duplicate + out_of_order + late <= 0.0 {
            return Fate::Send;
        }
        let draw = unit(self.rng.bits());
        if draw < late {
            self.late.push_back((slot.time_ns.saturating_add(late_by_ns), slot));
            return Fate::Keep;
        }
        if draw < late + out_of_order {
            if let Some(held) = self.held.get_mut(slot.batch) {
                *held = Some(slot);
            }
            return Fate::Keep;
        }
        if draw < late + out_of_order + duplicate { Fate::SendTwice } else { Fate::Send }
    }

    /// Returns a request whose detour ends.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Slot> {
        self.due.pop_front().or_else(|| match self.late.front() {
            Some((release_ns, _)) if *release_ns <= now_ns => self.late.pop_front().map(|(_, slot)| slot),
            _ => None,
        })
    }

    /// Returns what is left at the end.
    pub(super) fn rest(&mut self) -> Option<Slot> {
        self.due(u64::MAX).or_else(|| self.held.iter_mut().find_map(Option::take))
    }
}
