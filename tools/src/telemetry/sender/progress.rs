//! How far a run is: a bar on a terminal, a line of JSON now and then elsewhere; both on the standard error.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::stats::SignalCounts;
use super::worker::Shared;

/// Time between updates of the bar.
const BAR_INTERVAL: Duration = Duration::from_millis(200);
const BAR: &str = "{bar:40} {elapsed} of {msg}";
const SPINNER: &str = "{spinner} {elapsed} {msg}";

/// Shows progress for as long as it is polled; `duration` is how long the run takes, if that is known.
pub async fn show(shared: Arc<Shared>, line_interval: Duration, duration: Option<Duration>) {
    if std::io::stderr().is_terminal() {
        show_bar(&shared, duration).await;
    } else {
        write_lines(&shared, line_interval).await;
    }
}

async fn show_bar(shared: &Shared, duration: Option<Duration>) {
    let bar = ProgressBar::new(duration.map_or(0, |duration| duration.as_millis() as u64));
    let template = if duration.is_some() { BAR } else { SPINNER };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let mut ticks = interval(BAR_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut window = Window::new(shared.started);
    loop {
        ticks.tick().await;
        let total = shared.stats.total();
        let rate = window.rate(&total);
        bar.set_position(shared.started.elapsed().as_millis() as u64);
        let whole = duration.map(|duration| format!("{duration:?} · ")).unwrap_or_default();
        let troubles = [("rejected", total.rejected), ("retried", total.retried), ("failed", total.failed)];
        let troubles: String = troubles
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!(" · {count} {name}"))
            .collect();
        bar.set_message(format!("{whole}{} events accepted · {rate:.0}/s{troubles}", total.accepted));
    }
}

async fn write_lines(shared: &Shared, line_interval: Duration) {
    let mut ticks = interval(line_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut window = Window::new(shared.started);
    loop {
        ticks.tick().await;
        let counts = shared.stats.counts();
        let total = counts.total();
        let line = json!({
            "elapsed_s": round(shared.started.elapsed().as_secs_f64()),
            "sent": total.sent,
            "accepted": total.accepted,
            "rejected": total.rejected,
            "retried": total.retried,
            "failed": total.failed,
            "in_flight": total.in_flight(),
            "events_per_s": round(window.rate(&total)),
            "latency_ms_p50": round(counts.latency.quantile(0.5).as_secs_f64() * 1e3),
            "latency_ms_p99": round(counts.latency.quantile(0.99).as_secs_f64() * 1e3),
        });
        eprintln!("{line}");
    }
}

fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The rate since the last look.
#[derive(Debug)]
struct Window {
    since: Instant,
    accepted: u64,
}

impl Window {
    fn new(started: Instant) -> Self {
        Self { since: started, accepted: 0 }
    }

    fn rate(&mut self, total: &SignalCounts) -> f64 {
        let (seconds, accepted) = (self.since.elapsed().as_secs_f64(), total.accepted - self.accepted);
        *self = Self { since: Instant::now(), accepted: total.accepted };
        accepted as f64 / seconds.max(1e-9)
    }
}
