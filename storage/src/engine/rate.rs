//! How fast a tenant may write: a bucket of samples that fills with time.
//!
//! Pure: the time is given. A batch that is larger than the bucket is taken when the bucket is full and leaves a debt,
//! so that it is not refused for ever, and the rate holds all the same.

use crate::limits::RateLimit;

/// The bucket of one tenant; the default one is full.
#[derive(Debug, Default)]
pub(super) struct RateBucket {
    /// Samples that may be taken, and the time when it was so; `None` = full.
    filled: Option<(f64, i64)>,
}

impl RateBucket {
    /// Takes `sample_count` samples, or returns after how many milliseconds there is room for them.
    pub(super) fn take(&mut self, limit: RateLimit, sample_count: usize, now_ms: i64) -> Result<(), u64> {
        let (burst, per_ms) = (limit.burst as f64, limit.samples_per_second as f64 / 1000.0);
        let (balance, then_ms) = self.filled.unwrap_or((burst, now_ms));
        // A clock that was set back neither fills the bucket nor empties it.
        let elapsed_ms = now_ms.saturating_sub(then_ms).max(0) as f64;
        let balance = (balance + elapsed_ms * per_ms).min(burst);
        let needed = (sample_count as f64).min(burst);
        let is_enough = balance >= needed;
        self.filled = Some((if is_enough { balance - sample_count as f64 } else { balance }, now_ms));
        if is_enough { Ok(()) } else { Err(((needed - balance) / per_ms).ceil() as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { samples_per_second: 100, burst: 200 };

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let mut bucket = RateBucket::default();
        assert_eq!(bucket.take(LIMIT, 150, 0), Ok(()));
        assert_eq!(bucket.take(LIMIT, 100, 0), Err(500), "50 are left, 50 more take half a second");
        assert_eq!(bucket.take(LIMIT, 50, 0), Ok(()), "what was refused took nothing");
        assert_eq!(bucket.take(LIMIT, 100, 999), Err(1));
        assert_eq!(bucket.take(LIMIT, 100, 1000), Ok(()));
        assert_eq!(bucket.take(LIMIT, 200, 9_000), Ok(()), "it never holds more than the burst");
        assert_eq!(bucket.take(LIMIT, 1, 9_000), Err(10));
        assert_eq!(bucket.take(LIMIT, 1, 8_000), Err(10), "the clock was set back");
    }

    #[test]
    fn a_batch_above_the_burst_is_taken_from_a_full_bucket_and_paid_for_later() {
        let mut bucket = RateBucket::default();
        assert_eq!(bucket.take(LIMIT, 1000, 0), Ok(()));
        assert_eq!(bucket.take(LIMIT, 1, 0), Err(8010));
        assert_eq!(bucket.take(LIMIT, 1, 8010), Ok(()));
    }
}
