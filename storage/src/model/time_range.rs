//! Half-open time ranges, the only kind inside the engine.

/// A half-open range of time `[start_ms, end_ms)` in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First millisecond inside.
    pub start_ms: i64,
    /// First millisecond after.
    pub end_ms: i64,
}

impl TimeRange {
    /// Everything that can be stored.
    pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

    /// Creates the range `[start_ms, end_ms)`; empty if `end_ms <= start_ms`.
    pub fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { start_ms, end_ms }
    }

    /// Creates the range that holds both ends, as HTTP APIs mean it.
    pub fn from_inclusive(first_ms: i64, last_ms: i64) -> Self {
        Self { start_ms: first_ms, end_ms: last_ms.saturating_add(1) }
    }

    /// Returns whether no time lies inside.
    pub fn is_empty(self) -> bool {
        self.end_ms <= self.start_ms
    }

    /// Returns whether `time_ms` lies inside.
    pub fn contains(self, time_ms: i64) -> bool {
        self.start_ms <= time_ms && time_ms < self.end_ms
    }

    /// Returns whether the closed span `[first_ms, last_ms]` of some samples touches this range.
    pub fn overlaps_span(self, first_ms: i64, last_ms: i64) -> bool {
        first_ms < self.end_ms && last_ms >= self.start_ms
    }
}
