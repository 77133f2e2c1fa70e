//! Who wrote what: every sample has a number, used once; the number decides series, timestamp and value.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

/// Series of each writer.
pub(super) const SERIES_PER_WRITER: u64 = 3;
/// Between two samples of a writer.
const STEP_MS: i64 = 7;
/// A server that acknowledges nothing for so long fails the test.
const ACKNOWLEDGEMENTS_WAIT: Duration = Duration::from_secs(120);

/// A sample of a writer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) series: u64,
    pub(super) timestamp_ms: i64,
    pub(super) value: f64,
}

/// What one writer sent and what was acknowledged.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) writer: &'static str,
    pub(super) base_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers below were sent (or nearly).
    next: u64,
    acknowledged: Vec<Range<u64>>,
}

impl Ledger {
    pub(super) fn new(writer: &'static str, base_ms: i64) -> Self {
        Self { writer, base_ms, state: Mutex::default() }
    }

    /// A ledger in which nothing more is acknowledged.
    pub(super) fn frozen(&self) -> Self {
        let state = State { next: 0, acknowledged: self.acknowledged() };
        Self { writer: self.writer, base_ms: self.base_ms, state: Mutex::new(state) }
    }

    /// Takes over what `other` has sent, acknowledged or not.
    pub(super) fn extend_to(&self, other: &Self) {
        let sent = other.state().next;
        self.state().next = sent;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes numbers that were never used before.
    pub(super) fn take(&self, count: u64) -> Range<u64> {
        let mut state = self.state();
        let start = state.next;
        state.next += count;
        start..state.next
    }

    pub(super) fn acknowledge(&self, numbers: Range<u64>) {
        self.state().acknowledged.push(numbers);
    }

    pub(super) fn sample(&self, number: u64) -> Sample {
        Sample {
            series: number % SERIES_PER_WRITER,
            timestamp_ms: self.base_ms + number as i64 * STEP_MS,
            value: number as f64 + 0.5,
        }
    }

    pub(super) fn samples(&self, numbers: &Range<u64>) -> Vec<Sample> {
        numbers.clone().map(|number| self.sample(number)).collect()
    }

    /// The number of the sample at this time, if one was ever sent there.
    pub(super) fn number_at(&self, timestamp_ms: i64) -> Option<u64> {
        let distance_ms = timestamp_ms - self.base_ms;
        let number = u64::try_from(distance_ms / STEP_MS).ok()?;
        (distance_ms % STEP_MS == 0 && number < self.state().next).then_some(number)
    }

    pub(super) fn acknowledged(&self) -> Vec<Range<u64>> {
        self.state().acknowledged.clone()
    }

    pub(super) fn acknowledged_count(&self) -> u64 {
        self.state().acknowledged.iter().map(|range| range.end - range.start).sum()
    }
}

/// Counts acknowledged batches of all writers.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    count: watch::Sender<u64>,
}

impl Default for Acknowledgements {
    fn default() -> Self {
        Self { count: watch::Sender::new(0) }
    }
}

impl Acknowledgements {
    pub(super) fn add(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// How many batches were acknowledged.
    pub(super) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Comes back when so many batches were acknowledged.
    pub(super) async fn wait_for(&self, wanted: u64) {
        let mut count = self.count.subscribe();
        let reached = count.wait_for(|count| *count >= wanted);
        let outcome = tokio::time::timeout(ACKNOWLEDGEMENTS_WAIT, reached).await;
        assert!(outcome.is_ok(), "fewer than {wanted} acknowledgements within {ACKNOWLEDGEMENTS_WAIT:?}");
    }
}

/// SplitMix64: the choices of a run repeat with its seed.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }
}
