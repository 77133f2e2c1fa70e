//! Holds the rate: what is due by the clock is written, then it waits for the next moment.
//!
//! The schedule is that of the start, so that slow writes do not add up. Who cannot keep up for more than a second does not
//! catch up for ever: the bytes are counted as missed.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use super::lines::Lines;
use super::options::LogOptions;

/// Time between two writes.
const TICK: Duration = Duration::from_millis(10);
/// Most bytes of one write, about.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// How much may be caught up.
const CATCH_UP_SECONDS: f64 = 1.0;

/// How far it is; shared between the thread that writes and those who report.
#[derive(Debug)]
pub struct Written {
    started: Instant,
    bytes_per_second: u64,
    bytes: AtomicU64,
    lines: AtomicU64,
    missed_bytes: AtomicU64,
    /// Set to end it.
    pub stop: AtomicBool,
}

impl Written {
    /// Begins to count.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            started: Instant::now(),
            bytes_per_second,
            bytes: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            missed_bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// A line of JSON about it.
    pub fn line(&self, event: &str) -> Value {
        let seconds = self.started.elapsed().as_secs_f64();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let rate = bytes as f64 / seconds.max(1e-3);
        let wanted = self.bytes_per_second as f64;
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        json!({
            "event": event,
            "seconds": rounded(seconds),
            "bytes": bytes,
            "lines": self.lines.load(Ordering::Relaxed),
            "bytes_per_second": rate.round(),
            "deviation_percent": rounded((rate / wanted - 1.0) * 100.0),
            "missed_bytes": self.missed_bytes.load(Ordering::Relaxed),
        })
    }
}

/// What is due. Pure: it is told how much time has passed.
#[derive(Debug)]
struct Schedule {
    bytes_per_second: f64,
    line_bytes: usize,
    /// Bytes that are written, or were missed.
    done: f64,
    /// Bytes after which it is over.
    total: f64,
}

/// What to do next.
#[derive(Debug, PartialEq)]
enum Step {
    Write { line_count: usize, missed_bytes: u64 },
    Wait,
    Over,
}

impl Schedule {
    fn new(options: &LogOptions) -> Self {
        let bytes_per_second = options.bytes_per_second as f64;
        let total = match options.duration {
            Duration::ZERO => f64::INFINITY,
            duration => bytes_per_second * duration.as_secs_f64(),
        };
        Self { bytes_per_second, line_bytes: options.line_bytes, done: 0.0, total }
    }

    fn step(&mut self, elapsed: Duration) -> Step {
        let line_bytes = self.line_bytes as f64;
        let allowed = (elapsed.as_secs_f64() * self.bytes_per_second).min(self.total);
        let missed = (allowed - self.done - CATCH_UP_SECONDS * self.bytes_per_second).max(0.0);
        self.done += missed;
        let line_count = ((allowed - self.done) / line_bytes) as usize;
        if line_count == 0 {
            return if self.done + line_bytes > self.total { Step::Over } else { Step::Wait };
        }
        let line_count = line_count.min((WRITE_BYTES_MAX / self.line_bytes).max(1));
        self.done += line_count as f64 * line_bytes;
        Step::Write { line_count, missed_bytes: missed as u64 }
    }
}

/// Writes until the duration is over or `written.stop` is set. Blocks.
///
/// # Errors
/// What the output says; [`io::ErrorKind::BrokenPipe`] if its reader went away.
pub fn run(options: &LogOptions, out: &mut impl Write, written: &Written) -> io::Result<()> {
    let mut lines = Lines::new(options.format, options.line_bytes, options.seed);
    let mut schedule = Schedule::new(options);
    let mut buffer = Vec::with_capacity(WRITE_BYTES_MAX + options.line_bytes);
    while !written.stop.load(Ordering::Relaxed) {
        match schedule.step(written.started.elapsed()) {
            Step::Over => break,
            Step::Wait => std::thread::sleep(TICK),
            Step::Write { line_count, missed_bytes } => {
                buffer.clear();
                let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
                (0..line_count).for_each(|_| lines.push(&mut buffer, &time));
                out.write_all(&buffer)?;
                out.flush()?;
                written.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                written.lines.fetch_add(line_count as u64, Ordering::Relaxed);
                written.missed_bytes.fetch_add(missed_bytes, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn schedule(flags: &[&str]) -> Schedule {
        Schedule::new(&LogOptions::parse_from(["log-load"].iter().chain(flags)))
    }

    /// Lines written by the end of `until_ms`, looking every 10 ms; bytes missed.
    fn play(schedule: &mut Schedule, from_ms: u64, until_ms: u64) -> (usize, u64, bool) {
        let (mut lines, mut missed) = (0, 0);
        for now_ms in (from_ms..=until_ms).step_by(10) {
            loop {
                match schedule.step(Duration::from_millis(now_ms)) {
                    Step::Wait => break,
                    Step::Over => return (lines, missed, true),
                    Step::Write { line_count, missed_bytes } => {
                        lines += line_count;
                        missed += missed_bytes;
                    }
                }
            }
        }
        (lines, missed, false)
    }

    #[test]
    fn the_rate_is_held_exactly_over_time() {
        let mut schedule = schedule(&["--bytes-per-second", "5MB", "--line-bytes", "200"]);
        assert_eq!(play(&mut schedule, 0, 1_000), (25_000, 0, false));
        assert_eq!(play(&mut schedule, 1_010, 61_000), (1_500_000, 0, false));
    }

    #[test]
    fn a_duration_ends_it_with_as_many_lines_as_fit() {
        let mut schedule =
            schedule(&["--bytes-per-second", "1MB", "--line-bytes", "300", "--duration", "2s"]);
        assert_eq!(play(&mut schedule, 0, 9_000), (6_666, 0, true));
    }

    #[test]
    fn who_was_blocked_catches_up_a_second_and_misses_the_rest() {
        let mut schedule = schedule(&["--bytes-per-second", "1MB", "--line-bytes", "200"]);
        let (lines, missed, _) = play(&mut schedule, 10_000, 10_000);
        assert_eq!((lines * 200, missed), (1_000_000, 9_000_000));
    }
}
