//! A time of its own for every request and second: two requests never write the same sample of a series.
//!
//! Events are counted per second. A request that counted some of second `s` gets one of the milliseconds `s + 1 ms` to
//! `s + 999 ms` that no other request has, so that its points stand beside those of others and nothing is overwritten.
//! Where a second is full (999 requests had events in it) the next seconds are used.
//!
//! What is taken is remembered for seconds that this process has seen. Of others (late events after a restart) the
//! storage is asked, which has every slot that was ever acknowledged. A request that comes once more, byte for byte,
//! as clients do that heard no answer, gets the times that it had: its samples are the same and count once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;
use mytsdb_storage::model::TimeRange;

/// Slots of one second: the millisecond 0 is where the second begins, not where something was counted.
const SLOT_COUNT: u16 = 999;
/// Seconds after a full one that are tried.
const OVERFLOW_SECOND_COUNT: i64 = 60;
/// Seconds that are remembered; the oldest are forgotten, and looked up if they are needed again.
const SECOND_COUNT_MAX: usize = 20_000;
/// Most seconds between two that are looked up together.
const LOOK_UP_GAP_SECONDS: i64 = 60;
/// Times of requests that are remembered, all requests together.
const REMEMBERED_TIME_COUNT_MAX: usize = 50_000;

/// Why a request gets no slots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(in crate::otlp) enum SlotError {
    /// Too many requests have events of the same time.
    #[error("more than {limit} requests have events of second {second} and the minute after it")]
    Full {
        /// Seconds since the Unix epoch.
        second: i64,
        /// Requests per second.
        limit: u16,
    },
    /// The storage cannot be asked.
    #[error("the counts of events before the last start cannot be read: {reason}")]
    Read {
        /// What it said.
        reason: String,
    },
}

/// The slots of one tenant.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Second → slots taken, from 1 on.
    taken: BTreeMap<i64, u16>,
    /// Seconds up to this one may have slots that are not in `taken`; `None` before the first request.
    unknown_until: Option<i64>,
    /// Request → its times, and the requests in their order.
    remembered: HashMap<u128, BTreeMap<i64, i64>>,
    order: VecDeque<u128>,
    remembered_time_count: usize,
}

impl Slots {
    /// Gives the request with the digest `request` a time for each of `seconds`.
    ///
    /// `look_up` returns the times of all samples of the counters of events in a range.
    ///
    /// # Errors
    /// [`SlotError`]; nothing is taken then but slots that nobody gets.
    pub(super) fn take(
        &mut self,
        request: u128,
        seconds: BTreeSet<i64>,
        now_ms: i64,
        look_up: impl Fn(TimeRange) -> Result<Vec<i64>, SlotError>,
    ) -> Result<BTreeMap<i64, i64>, SlotError> {
        if let Some(times_ms) = self.remembered.get(&request) {
            return Ok(times_ms.clone());
        }
        self.begin(now_ms, &look_up)?;
        self.learn(&seconds, &look_up)?;
        let mut times_ms = BTreeMap::new();
        for second in seconds {
            times_ms.insert(second, self.next(second, &look_up)?);
        }
        self.forget_old();
        self.remember(request, times_ms.clone());
        Ok(times_ms)
    }

    /// Asks, at the first request, up to where other processes may have taken slots: now, or later if clients' clocks
    /// were ahead.
    fn begin(
        &mut self,
        now_ms: i64,
        look_up: &impl Fn(TimeRange) -> Result<Vec<i64>, SlotError>,
    ) -> Result<(), SlotError> {
        if self.unknown_until.is_none() {
            let horizon = now_ms.div_euclid(1000).saturating_sub(1);
            let ahead = look_up(TimeRange::new(horizon.saturating_mul(1000), i64::MAX))?;
            let newest = ahead.into_iter().map(|time_ms| time_ms.div_euclid(1000)).fold(horizon, i64::max);
            self.unknown_until = Some(newest);
        }
        Ok(())
    }

    /// Asks for what other processes took, of the seconds of which that is not known.
    fn learn(
        &mut self,
        seconds: &BTreeSet<i64>,
        look_up: &impl Fn(TimeRange) -> Result<Vec<i64>, SlotError>,
    ) -> Result<(), SlotError> {
        let unknown_until = self.unknown_until.unwrap_or(i64::MAX);
        let is_unknown = |second: &i64| !self.taken.contains_key(second);
        let cold: Vec<i64> = seconds.range(..=unknown_until).copied().filter(is_unknown).collect();
        let mut found: BTreeMap<i64, u16> = cold.iter().map(|second| (*second, 0)).collect();
        for range in ranges_of(&cold) {
            for time_ms in look_up(range)? {
                if let Some(taken) = found.get_mut(&time_ms.div_euclid(1000)) {
                    *taken = (*taken).max(time_ms.rem_euclid(1000) as u16);
                }
            }
        }
        self.taken.extend(found);
        Ok(())
    }

    fn next(
        &mut self,
        second: i64,
        look_up: &impl Fn(TimeRange) -> Result<Vec<i64>, SlotError>,
    ) -> Result<i64, SlotError> {
        for at in second..=second.saturating_add(OVERFLOW_SECOND_COUNT) {
            if at > second {
                self.learn(&BTreeSet::from([at]), look_up)?;
            }
            let taken = self.taken.entry(at).or_insert(0);
            if *taken < SLOT_COUNT {
                *taken += 1;
                return Ok(at.saturating_mul(1000).saturating_add(i64::from(*taken)));
            }
        }
        Err(SlotError::Full { second, limit: SLOT_COUNT })
    }

    fn forget_old(&mut self) {
        while self.taken.len() > SECOND_COUNT_MAX {
            if let Some((second, _)) = self.taken.pop_first() {
                self.unknown_until = self.unknown_until.max(Some(second));
            }
        }
    }

    fn remember(&mut self, request: u128, times_ms: BTreeMap<i64, i64>) {
        self.remembered_time_count += times_ms.len();
        self.remembered.insert(request, times_ms);
        self.order.push_back(request);
        while self.remembered_time_count > REMEMBERED_TIME_COUNT_MAX
            || self.order.len() > REMEMBERED_TIME_COUNT_MAX
        {
            let Some(oldest) = self.order.pop_front() else { return };
            let times_ms = self.remembered.remove(&oldest).unwrap_or_default();
            self.remembered_time_count -= times_ms.len();
        }
    }
}

/// Ranges that cover seconds, which ascend; seconds that are near are covered together.
fn ranges_of(seconds: &[i64]) -> Vec<TimeRange> {
    let mut ranges: Vec<TimeRange> = Vec::new();
    for second in seconds {
        let range =
            TimeRange::new(second.saturating_mul(1000), second.saturating_add(1).saturating_mul(1000));
        match ranges.last_mut() {
            Some(last) if range.start_ms - last.end_ms <= LOOK_UP_GAP_SECONDS * 1000 => {
                last.end_ms = range.end_ms
            }
            _ => ranges.push(range),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `stored_ms`: what the storage holds.
    fn take(slots: &mut Slots, stored_ms: &[i64], request: u128, seconds: &[i64]) -> Vec<i64> {
        let seconds: BTreeSet<i64> = seconds.iter().copied().collect();
        let look_up = |range: TimeRange| {
            Ok(stored_ms.iter().copied().filter(|time_ms| range.contains(*time_ms)).collect())
        };
        slots.take(request, seconds, 1_000_000, look_up).unwrap().into_values().collect()
    }

    #[test]
    fn requests_of_one_second_get_times_of_their_own() {
        let mut slots = Slots::default();
        assert_eq!(take(&mut slots, &[], 1, &[5000, 5001]), [5_000_001, 5_001_001]);
        assert_eq!(take(&mut slots, &[], 2, &[5001]), [5_001_002]);
        assert_eq!(take(&mut slots, &[], 3, &[]), [0_i64; 0]);
    }

    #[test]
    fn a_request_that_comes_again_gets_the_times_that_it_had() {
        let mut slots = Slots::default();
        let first = take(&mut slots, &[], 1, &[5000]);
        take(&mut slots, &[], 2, &[5000]);
        assert_eq!(take(&mut slots, &[], 1, &[5000]), first);
        assert_eq!(take(&mut slots, &[], 3, &[5000]), [5_000_003]);
    }

    #[test]
    fn a_full_second_is_followed_by_the_next_and_a_full_minute_is_an_error() {
        let mut slots = Slots::default();
        let times: BTreeSet<i64> =
            (0..2000).flat_map(|request| take(&mut slots, &[], request, &[5000])).collect();
        assert_eq!(times.len(), 2000);
        assert_eq!((times.first(), times.last()), (Some(&5_000_001), Some(&5_002_002)));
        slots.taken = (5000..=5060).map(|second| (second, SLOT_COUNT)).collect();
        let full = slots.take(9999, BTreeSet::from([5000]), 1_000_000, |_| Ok(Vec::new())).unwrap_err();
        assert_eq!(full, SlotError::Full { second: 5000, limit: 999 });
    }

    #[test]
    fn what_another_process_took_is_not_taken_again() {
        // Before the start, at the start, and ahead of the clock (which stands at 1000 s).
        let stored = [500_007, 501_999, 999_010, 1_300_005];
        let mut slots = Slots::default();
        assert_eq!(take(&mut slots, &stored, 1, &[500, 501]), [500_008, 502_001]);
        assert_eq!(take(&mut slots, &stored, 2, &[500, 999]), [500_009, 999_011]);
        assert_eq!(take(&mut slots, &stored, 3, &[1300, 1301]), [1_300_006, 1_301_001]);
    }

    #[test]
    fn seconds_that_are_near_are_looked_up_together() {
        let range = |start: i64, end: i64| TimeRange::new(start * 1000, end * 1000);
        assert_eq!(ranges_of(&[]), []);
        assert_eq!(ranges_of(&[5, 6, 66, 200]), [range(5, 67), range(200, 201)]);
    }

    #[test]
    fn seconds_that_were_forgotten_are_looked_up_again() {
        let mut slots = Slots::default();
        let mut stored = take(&mut slots, &[], 1, &[100]);
        for second in 0..SECOND_COUNT_MAX as i64 {
            stored.extend(take(&mut slots, &stored[..1], 2 + second as u128, &[2000 + second]));
        }
        assert!(!slots.taken.contains_key(&100));
        assert_eq!(take(&mut slots, &stored, u128::MAX, &[100]), [100_002]);
    }
}
