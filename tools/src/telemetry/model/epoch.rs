//! Since when the series of a target count: starts, restarts, replacements.
//!
//! A restart keeps the identity and begins at zero with a new start time. A replacement is another target, with
//! another generation in its `service.instance.id`. Both happen at times of their own for every target, so that within
//! an interval they are spread evenly.

use crate::k8s::model::rng::hash;
use crate::telemetry::template::ModelSettings;

const MS_NS: u64 = 1_000_000;

/// When the targets of a run restart and are replaced.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    seed: u64,
    started_ns: u64,
    restart_interval_ns: u64,
    lifetime_ns: u64,
}

/// A time in which a target counts up without interruption: `(start_ns, until_ns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Start of its counters; a whole millisecond if the run's start is.
    pub start_ns: u64,
    /// The last time that belongs to it.
    pub until_ns: u64,
    /// How many targets were in this place before.
    pub generation: u32,
}

impl Epoch {
    /// Whether a time is within.
    #[inline]
    pub fn has(&self, time_ns: u64) -> bool {
        self.start_ns < time_ns && time_ns <= self.until_ns
    }
}

impl Epochs {
    /// Returns the epochs of a run.
    pub fn new(settings: &ModelSettings, started_ns: u64) -> Self {
        Self {
            seed: settings.seed,
            started_ns,
            restart_interval_ns: settings.restart_interval_ns,
            lifetime_ns: settings.lifetime_ns,
        }
    }

    /// Returns the epoch of a target at a time after the start of the run.
    pub fn at(&self, target: u32, time_ns: u64) -> Epoch {
        let restarts = self.boundaries(target, time_ns, self.restart_interval_ns, 1);
        let replacements = self.boundaries(target, time_ns, self.lifetime_ns, 2);
        Epoch {
            start_ns: restarts.start_ns.max(replacements.start_ns),
            until_ns: restarts.until_ns.min(replacements.until_ns),
            generation: replacements.generation,
        }
    }

    /// The stretch between boundaries every `interval_ns`, the first of which comes at a random time of the first interval.
    fn boundaries(&self, target: u32, time_ns: u64, interval_ns: u64, kind: u64) -> Epoch {
        let interval_ms = interval_ns / MS_NS;
        if interval_ms == 0 {
            return Epoch { start_ns: self.started_ns, until_ns: u64::MAX, generation: 0 };
        }
        let interval_ns = interval_ms * MS_NS;
        let first_ms = 1 + hash(self.seed, &[u64::from(target), kind]) % interval_ms;
        let first = self.started_ns.saturating_add(first_ms.saturating_mul(MS_NS));
        // A boundary itself belongs to what ends there: nothing has its own start as its time.
        let Some(since_first_ns) = time_ns.checked_sub(first.saturating_add(1)) else {
            return Epoch { start_ns: self.started_ns, until_ns: first, generation: 0 };
        };
        let passed = since_first_ns / interval_ns;
        let start_ns = first + passed * interval_ns;
        Epoch { start_ns, until_ns: start_ns.saturating_add(interval_ns), generation: (passed + 1) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED_NS: u64 = 1_790_000_000_000_000_000;
    const MINUTE_NS: u64 = 60_000_000_000;

    fn epochs(restart_interval_ns: u64, lifetime_ns: u64) -> Epochs {
        let settings =
            ModelSettings { seed: 5, restart_interval_ns, lifetime_ns, ..ModelSettings::default() };
        Epochs::new(&settings, STARTED_NS)
    }

    #[test]
    fn without_restarts_everything_counts_since_the_start() {
        let epoch = epochs(0, 0).at(3, STARTED_NS + 5);
        assert_eq!(epoch, Epoch { start_ns: STARTED_NS, until_ns: u64::MAX, generation: 0 });
    }

    #[test]
    fn epochs_follow_each_other_without_gaps() {
        let epochs = epochs(7 * MINUTE_NS, 11 * MINUTE_NS);
        let mut epoch = epochs.at(1, STARTED_NS + 1);
        assert_eq!(epoch.start_ns, STARTED_NS);
        let mut restart_count = 0;
        while epoch.until_ns < STARTED_NS + 77 * MINUTE_NS {
            assert_eq!(epochs.at(1, epoch.until_ns), epoch);
            let next = epochs.at(1, epoch.until_ns + 1);
            assert_eq!(next.start_ns, epoch.until_ns);
            assert!(next.has(next.until_ns) && !next.has(next.start_ns));
            assert!(next.generation >= epoch.generation);
            restart_count += 1;
            epoch = next;
        }
        assert!((17..=18).contains(&restart_count), "{restart_count}");
        assert!((6..=7).contains(&epoch.generation), "{}", epoch.generation);
    }

    #[test]
    fn a_share_of_the_targets_is_replaced_in_each_interval() {
        let epochs = epochs(0, 10 * MINUTE_NS);
        let generations = |minute: u64| -> u32 {
            (0..1_000).map(|target| epochs.at(target, STARTED_NS + minute * MINUTE_NS).generation).sum()
        };
        for minute in 1..30 {
            let replaced = generations(minute + 1) - generations(minute);
            assert!((60..140).contains(&replaced), "{replaced} in minute {minute}");
        }
    }
}
