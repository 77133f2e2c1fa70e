//! When which event is due: a schedule that all workers share.
//!
//! Input: the rate, and how many events a worker is about to send. Output: when the first of them is due, counted from the
//! start. Event n is due at n / rate, whatever became of the events before it: a server that stalls makes requests late, not
//! rare, so the rate holds in the long run, and a latency that is counted from the due time leaves no waiting out
//! ("coordinated omission").
//! Not here: clocks and sleeping (see `worker`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Due times at a rate, or none.
#[derive(Debug)]
pub struct Schedule {
    /// 0 = as fast as answers come.
    events_per_second: f64,
    /// The rate grows linearly from 0 during this time.
    ramp_up_s: f64,
    /// Events that have a due time.
    reserved_count: AtomicU64,
}

impl Schedule {
    /// Starts at event 0; `events_per_second` 0 means that everything is due at once.
    pub fn new(events_per_second: f64, ramp_up: Duration) -> Self {
        Self { events_per_second, ramp_up_s: ramp_up.as_secs_f64(), reserved_count: AtomicU64::new(0) }
    }

    /// Takes the next `event_count` events; returns when the first is due after the start, `None` without a rate.
    pub fn reserve(&self, event_count: u64) -> Option<Duration> {
        let first = self.reserved_count.fetch_add(event_count, Ordering::Relaxed);
        (self.events_per_second > 0.0).then(|| Duration::from_secs_f64(self.due_s(first as f64)))
    }

    /// Corrects a reservation once the request is there: the next ones are due earlier or later by the difference.
    pub fn settle(&self, reserved_count: u64, actual_count: u64) {
        // Addition modulo 2^64 subtracts, too.
        self.reserved_count.fetch_add(actual_count.wrapping_sub(reserved_count), Ordering::Relaxed);
    }

    fn due_s(&self, event: f64) -> f64 {
        let during_ramp = self.events_per_second * self.ramp_up_s / 2.0;
        if event < during_ramp {
            (2.0 * event * self.ramp_up_s / self.events_per_second).sqrt()
        } else {
            self.ramp_up_s / 2.0 + event / self.events_per_second
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends requests of `event_count` events until `seconds` are over, each when it is due; returns the events sent.
    fn events_within(schedule: &Schedule, event_count: u64, seconds: f64) -> u64 {
        let mut sent = 0;
        while schedule.reserve(event_count).is_some_and(|due| due.as_secs_f64() < seconds) {
            sent += event_count;
        }
        sent
    }

    #[test]
    fn rates_hold_within_two_percent() {
        for rate in [10_000.0, 100_000.0, 500_000.0] {
            for event_count in [1, 1_000] {
                let sent = events_within(&Schedule::new(rate, Duration::ZERO), event_count, 10.0);
                let expected = rate * 10.0;
                assert!((sent as f64 - expected).abs() <= expected * 0.02, "{sent} instead of {expected}");
            }
        }
    }

    #[test]
    fn what_is_late_is_still_due_at_its_own_time() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO);
        let due: Vec<_> = (0..3).map(|_| schedule.reserve(500).unwrap().as_millis()).collect();
        assert_eq!(due, [0, 500, 1_000]);
    }

    #[test]
    fn a_request_of_another_size_moves_the_next_ones() {
        let schedule = Schedule::new(1_000.0, Duration::ZERO);
        schedule.reserve(500);
        schedule.settle(500, 200);
        assert_eq!(schedule.reserve(100).unwrap().as_millis(), 200);
        schedule.settle(100, 700);
        assert_eq!(schedule.reserve(1).unwrap().as_millis(), 900);
    }

    #[test]
    fn without_a_rate_nothing_has_to_wait() {
        let schedule = Schedule::new(0.0, Duration::ZERO);
        assert_eq!((schedule.reserve(1_000), schedule.reserve(1_000)), (None, None));
    }

    #[test]
    fn a_ramp_sends_half_the_events_and_then_the_rate() {
        let ramp = Duration::from_secs(4);
        assert_eq!(events_within(&Schedule::new(1_000.0, ramp), 1, 4.0), 2_000);
        assert_eq!(events_within(&Schedule::new(1_000.0, ramp), 1, 5.0), 3_000);
        let first_second = events_within(&Schedule::new(1_000.0, ramp), 1, 1.0);
        assert_eq!(first_second, 125, "a quarter of the rate is reached after a quarter of the ramp");
    }
}
