//! Ids of traces and spans: unique among all workers and pods, and known without being remembered.
//!
//! An id is a number of the run, scrambled by a function that maps no two numbers to one. The run's key depends on
//! identity and start, so other pods and later runs have other ids.

use crate::k8s::model::rng::hash;

/// Bits for the spans of one worker; the worker's number is above.
const WORKER_SHIFT: u32 = 48;

/// Makes the ids of one worker.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    first: u64,
    trace_key: u64,
    span_key: u64,
}

impl Ids {
    /// Returns the ids of a worker of the run that `instance` started at `started_ns`.
    pub fn new(seed: u64, instance: &str, started_ns: u64, worker: usize) -> Self {
        let parts: Vec<u64> = instance.bytes().map(u64::from).chain([started_ns]).collect();
        let key = hash(seed, &parts);
        Self { first: (worker as u64) << WORKER_SHIFT, trace_key: hash(key, &[1]), span_key: hash(key, &[2]) }
    }

    /// Returns the id of the worker's trace `number`.
    #[inline]
    pub fn trace(&self, number: u64) -> [u8; 16] {
        let low = scramble(self.first.wrapping_add(number).wrapping_add(self.trace_key));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&scramble(low ^ self.span_key).to_le_bytes());
        id[8..].copy_from_slice(&low.to_le_bytes());
        id
    }

    /// Returns the id of the worker's span `number`.
    #[inline]
    pub fn span(&self, number: u64) -> [u8; 8] {
        scramble(self.first.wrapping_add(number).wrapping_add(self.span_key)).to_le_bytes()
    }
}

/// SplitMix64's finisher, which is a bijection. One number of 2^64 becomes 0, which is no valid id.
#[inline]
fn scramble(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_workers_pods_and_runs_differ() {
        let mut spans = HashSet::new();
        let mut traces = HashSet::new();
        for (instance, started_ns) in [("a", 1), ("b", 1), ("a", 2)] {
            for worker in 0..3 {
                let ids = Ids::new(9, instance, started_ns, worker);
                for number in 0..2_000 {
                    assert!(spans.insert(ids.span(number)));
                    assert!(traces.insert(ids.trace(number)));
                }
            }
        }
    }
}
