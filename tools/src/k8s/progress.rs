//! Shows how far a run is: a bar with rate and time left on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str =
    "{bar:40} {percent:>3} % · {human_pos} of {human_len} samples · {per_sec} · {eta} left";

/// Where progress is shown; all of it goes to the standard error.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nowhere,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

#[derive(Debug)]
struct Lines {
    started: Instant,
    last_line: Instant,
    done: u64,
    total: u64,
}

impl Progress {
    /// Shows nothing, for tests.
    pub fn silent() -> Self {
        Self { shown: Shown::Nowhere }
    }

    /// Shows a bar if the standard error is a terminal, else lines.
    pub fn visible(total: u64) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            return Self { shown: Shown::Bar(bar) };
        }
        let now = Instant::now();
        Self { shown: Shown::Lines(Mutex::new(Lines { started: now, last_line: now, done: 0, total })) }
    }

    /// Counts `sample_count` more samples.
    pub fn add(&self, sample_count: u64) {
        match &self.shown {
            Shown::Nowhere => {}
            Shown::Bar(bar) => bar.inc(sample_count),
            Shown::Lines(lines) => {
                if let Ok(mut lines) = lines.lock() {
                    lines.add(sample_count);
                }
            }
        }
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        match &self.shown {
            Shown::Nowhere => {}
            Shown::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Shown::Lines(_) => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn add(&mut self, sample_count: u64) {
        self.done += sample_count;
        if self.last_line.elapsed() < LINE_INTERVAL {
            return;
        }
        self.last_line = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds;
        eprintln!(
            "{} of {} samples ({:.0} %), {:.2} M samples/s, {:.0} s left",
            self.done,
            self.total,
            self.done as f64 / self.total as f64 * 100.0,
            rate / 1e6,
            (self.total.saturating_sub(self.done)) as f64 / rate
        );
    }
}
