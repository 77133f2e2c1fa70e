//! How long to wait before an attempt is repeated.
//!
//! Input: what the answer asks for. Output: pauses that double up to a limit, each shortened by a random part so that senders
//! that failed together do not come back together; never shorter than what the server asked for.

use std::time::Duration;

use super::answer::Retry;
use crate::bench_load::random::Random;

/// How retries go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// First pause.
    pub initial: Duration,
    /// Longest pause of the sender's own choice.
    pub longest: Duration,
    /// Time from the first attempt after which a request has failed; zero = never.
    pub give_up_after: Duration,
}

/// The pauses of one request.
#[derive(Debug)]
pub struct Backoff<'a> {
    settings: RetrySettings,
    random: &'a mut Random,
    next: Duration,
}

impl<'a> Backoff<'a> {
    /// Starts with the first pause.
    pub fn new(settings: RetrySettings, random: &'a mut Random) -> Self {
        Self { settings, random, next: settings.initial }
    }

    /// Returns the pause before the next attempt, `elapsed` after the first one; `None`: do not try again.
    pub fn pause(&mut self, retry: Retry, elapsed: Duration) -> Option<Duration> {
        let asked = match retry {
            Retry::Never => return None,
            Retry::Backoff => Duration::ZERO,
            Retry::After(asked) => asked,
        };
        // Between a half and the whole.
        let own = self.next.mul_f64(0.5 + self.random.unit() / 2.0);
        self.next = (self.next * 2).min(self.settings.longest);
        // What the server asked for is the least; the jitter comes on top.
        let pause = if asked.is_zero() { own } else { asked + own.min(asked / 4) };
        let is_given_up =
            !self.settings.give_up_after.is_zero() && elapsed + pause > self.settings.give_up_after;
        (!is_given_up).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RetrySettings = RetrySettings {
        initial: Duration::from_millis(100),
        longest: Duration::from_secs(1),
        give_up_after: Duration::from_secs(10),
    };

    #[test]
    fn pauses_double_up_to_the_limit_and_are_jittered() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut backoff = Backoff::new(SETTINGS, &mut random);
            for whole_ms in [100, 200, 400, 800, 1_000, 1_000] {
                let pause_ms = backoff.pause(Retry::Backoff, Duration::ZERO).unwrap().as_millis();
                assert!(
                    (whole_ms / 2..=whole_ms).contains(&pause_ms),
                    "seed {seed}: {pause_ms} of {whole_ms}"
                );
            }
        }
        let first =
            |seed| Backoff::new(SETTINGS, &mut Random::new(seed)).pause(Retry::Backoff, Duration::ZERO);
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let asked = Duration::from_secs(3);
            let pause =
                Backoff::new(SETTINGS, &mut random).pause(Retry::After(asked), Duration::ZERO).unwrap();
            assert!(pause >= asked && pause <= asked.mul_f64(1.25), "seed {seed}: {pause:?}");
        }
    }

    #[test]
    fn it_ends_when_the_time_is_over_or_trying_is_useless() {
        let mut random = Random::new(3);
        let mut backoff = Backoff::new(SETTINGS, &mut random);
        assert_eq!(backoff.pause(Retry::Never, Duration::ZERO), None);
        assert_eq!(backoff.pause(Retry::Backoff, Duration::from_secs(10)), None);
        assert_eq!(backoff.pause(Retry::After(Duration::from_secs(9)), Duration::from_secs(2)), None);
        let mut for_ever =
            Backoff::new(RetrySettings { give_up_after: Duration::ZERO, ..SETTINGS }, &mut random);
        assert!(for_ever.pause(Retry::Backoff, Duration::from_secs(1_000_000)).is_some());
    }
}
