//! A replay from file to report: reads, shares out, plays with the wanted rate, tries again, keeps the position.
//!
//! Input: flags, and a signal that ends it. Output: how it ended; the counters are in [`Progress`].
//! A worker waits for the answer to a request before it sends the next one, so that series stay in order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::evolve::Evolution;
use super::metrics_port;
use super::options::ReplayOptions;
use super::player::{Next, Player, Sample, Score, TimeMode};
use super::read::{FileError, ReadOptions, read_file};
use super::recording::Recording;
use super::report::{Progress, Scope};
use super::send::{SendError, Sender, Target};
use super::share::shares;

const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest pause that a server may ask for.
const SERVER_PAUSE_MAX: Duration = Duration::from_secs(60);
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);
/// Refusals that are told with their reason; all are counted.
const TOLD_REFUSAL_COUNT_MAX: u64 = 5;

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is nothing to play.
    #[error(transparent)]
    File(#[from] FileError),
    /// The position cannot be read or kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The shard is not known.
    #[error("{0}")]
    Shard(String),
    /// The file has no times.
    #[error("--time {mode} needs a column with times; {path} has none")]
    NoTimes {
        /// The mode.
        mode: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The port of the metrics is taken.
    #[error("cannot listen on {addr}: {source}")]
    MetricsPort {
        /// The address.
        addr: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server was not there for too long.
    #[error("gave up after {tried:?}: {reason}")]
    GaveUp {
        /// How long it was tried.
        tried: Duration,
        /// The last reason.
        reason: String,
    },
    /// The server will not take it.
    #[error("{0}")]
    Refused(String),
    /// A worker panicked.
    #[error("a worker died: {0}")]
    Worker(#[from] JoinError),
}

/// How a replay ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All loops are over.
    Finished,
    /// It was told to stop.
    Stopped,
}

/// A replay that is ready to begin.
#[derive(Debug)]
pub struct Replay {
    options: ReplayOptions,
    score: Score,
    shares: Vec<Vec<u32>>,
    checkpoint: Checkpoint,
    progress: Arc<Progress>,
}

/// What the workers share.
#[derive(Debug)]
struct Shared {
    progress: Arc<Progress>,
    checkpoint: Mutex<Checkpoint>,
    stop: watch::Receiver<bool>,
    options: ReplayOptions,
    say: fn(serde_json::Value),
}

/// The clock: milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Replay {
    /// Reads the file and the checkpoint. `host` is the name of this machine, for `--shard auto/COUNT`.
    ///
    /// # Errors
    /// [`RunError`]; nothing is sent yet.
    pub fn open(options: &ReplayOptions, host: &str) -> Result<Self, RunError> {
        let path = options.csv.clone().unwrap_or_default();
        let shard = options.shard.of_host(host).map_err(RunError::Shard)?;
        let read_options = ReadOptions {
            mapped: options.map.clone(),
            hostname_label: options.hostname_label,
            job: options.job.clone(),
        };
        let recording = Arc::new(read_file(&path, &read_options)?);
        match options.time {
            TimeMode::Original if !recording.has_times => {
                return Err(RunError::NoTimes { mode: "original", path });
            }
            TimeMode::Shift if !recording.has_times => return Err(RunError::NoTimes { mode: "shift", path }),
            _ => {}
        }
        let shares = shares(&recording, shard, options.workers);
        let shard = format!("{}/{}", shard.ordinal, shard.count);
        let fresh = Checkpoint::new(recording.digest, shard, now_ms() - recording.end_ms(), options.workers);
        let checkpoint = match &options.checkpoint {
            Some(path) => Checkpoint::read(path, &fresh)?.unwrap_or(fresh),
            None => fresh,
        };
        let progress = Arc::new(Progress::new(scope(&recording, &shares), recording.skipped.clone()));
        let longest = shares.iter().map(Vec::len).max().unwrap_or(0) as f64;
        let loop_seconds = match options.time {
            TimeMode::Now if options.rate > 0.0 => longest / options.rate,
            _ => recording.loop_ms() as f64 / 1e3,
        };
        let score = Score {
            time: options.time,
            offset_ms: checkpoint.offset_ms,
            loop_count: options.loop_count(),
            evolution: Evolution { evolve: options.evolve, seed: options.seed, loop_seconds },
            recording,
        };
        Ok(Self { options: options.clone(), score, shares, checkpoint, progress })
    }

    /// The counters.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Sends until all is over, `stop` turns true, or something fails; `say` hears lines of JSON.
    ///
    /// # Errors
    /// [`RunError`]; the checkpoint holds what was acknowledged.
    pub async fn run(
        self,
        stop: watch::Receiver<bool>,
        say: fn(serde_json::Value),
    ) -> Result<Ended, RunError> {
        let Self { options, score, shares, checkpoint, progress } = self;
        let target = Target {
            protocol: options.protocol,
            endpoint: options.endpoint().to_owned(),
            tenant: options.tenant.clone(),
        };
        let positions = checkpoint.positions.clone();
        let path = options.checkpoint.clone();
        // Tells that the place can be written to before anything is sent.
        if let Some(path) = &path {
            checkpoint.write(path)?;
        }
        let mut beside = JoinSet::new();
        if let Some(addr) = options.metrics_address {
            let listener =
                metrics_port::bind(addr).await.map_err(|source| RunError::MetricsPort { addr, source })?;
            beside.spawn(metrics_port::serve(listener, Arc::clone(&progress)));
        }
        beside.spawn(tell(Arc::clone(&progress), options.report_interval, say));
        let checkpoint = Mutex::new(checkpoint);
        let shared = Arc::new(Shared { progress, checkpoint, stop: stop.clone(), options, say });
        let mut workers = JoinSet::new();
        for (worker, (rows, position)) in shares.into_iter().zip(positions).enumerate() {
            let sender = Sender::new(&target, Arc::clone(&score.recording))
                .map_err(|error| RunError::Refused(error.to_string()))?;
            let player = Player::new(score.clone(), rows, position);
            workers.spawn(work(worker, player, sender, Arc::clone(&shared)));
        }
        let outcome = join(workers, &shared).await;
        if let Some(path) = &path {
            shared.write_checkpoint(path)?;
        }
        beside.abort_all();
        outcome?;
        Ok(if *stop.borrow() { Ended::Stopped } else { Ended::Finished })
    }
}

fn scope(recording: &Recording, shares: &[Vec<u32>]) -> Scope {
    let rows = shares.iter().flatten().filter_map(|row| recording.rows.get(*row as usize));
    let series: BTreeSet<u32> = rows.map(|row| row.series).collect();
    let of_series = |series: &u32| recording.series.get(*series as usize).map(|series| series.gpu);
    let gpus: BTreeSet<usize> = series.iter().filter_map(of_series).collect();
    let row_count = shares.iter().map(Vec::len).sum();
    Scope { series_count: series.len(), gpu_count: gpus.len(), row_count }
}

async fn tell(progress: Arc<Progress>, interval: Duration, say: fn(serde_json::Value)) {
    loop {
        sleep(interval).await;
        say(progress.line("progress"));
    }
}

/// Waits for all workers, and keeps the position meanwhile; the first one that fails ends the others.
async fn join(mut workers: JoinSet<Result<(), RunError>>, shared: &Shared) -> Result<(), RunError> {
    let path = shared.options.checkpoint.as_ref();
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => return Ok(()),
                Some(outcome) => outcome??,
            },
            () = sleep(CHECKPOINT_INTERVAL) => {
                if let Some(path) = path {
                    shared.write_checkpoint(path)?;
                }
            }
        }
    }
}

impl Shared {
    fn write_checkpoint(&self, path: &std::path::Path) -> Result<(), CheckpointError> {
        let checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checkpoint.write(path)
    }

    fn keep(&self, worker: usize, player: &Player) {
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = checkpoint.positions.get_mut(worker) {
            *position = player.position();
        }
        self.progress.loops.fetch_max(player.position().loop_index, Ordering::Relaxed);
    }

    /// Waits; comes back early, with true, if the replay is told to stop.
    async fn pause(&self, pause: Duration) -> bool {
        let mut stop = self.stop.clone();
        let stopped = async {
            // Without a sender nobody will ever stop it.
            if stop.wait_for(|is_stopped| *is_stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stopped => true,
            () = sleep(pause) => false,
        }
    }
}

/// So many rows a second, whatever single requests take; a server that was away is not overrun afterwards.
#[derive(Debug)]
struct Pace {
    rate: f64,
    interval: Duration,
    started: Instant,
    taken: f64,
}

impl Pace {
    fn new(rate: f64, interval: Duration, now: Instant) -> Self {
        Self { rate, interval, started: now, taken: 0.0 }
    }

    /// Rows that may be sent now.
    fn due(&mut self, now: Instant) -> usize {
        if self.rate == 0.0 {
            return usize::MAX;
        }
        let allowed = now.duration_since(self.started).as_secs_f64() * self.rate;
        let most = (2.0 * self.interval.as_secs_f64() * self.rate).max(1.0);
        if allowed - self.taken > most {
            self.taken = allowed - most;
        }
        (allowed - self.taken) as usize
    }

    fn take(&mut self, row_count: usize) {
        self.taken += row_count as f64;
    }

    /// How long to wait for the next rows.
    fn pause(&self) -> Duration {
        self.interval.max(Duration::from_secs_f64((1.0 / self.rate.max(1e-6)).min(3_600.0)))
    }
}

async fn work(
    worker: usize,
    mut player: Player,
    mut sender: Sender,
    shared: Arc<Shared>,
) -> Result<(), RunError> {
    let options = &shared.options;
    let mut pace = Pace::new(options.rate, options.flush_interval, Instant::now());
    while !*shared.stop.borrow() {
        let wait = match player.next() {
            Next::Over => break,
            Next::NotBefore(time_ms) if time_ms > now_ms() => {
                let early_ms = (time_ms - now_ms()).clamp(1, 60_000);
                Some(Duration::from_millis(early_ms.unsigned_abs()).min(options.flush_interval))
            }
            Next::Ready | Next::NotBefore(_) => {
                let is_early = pace.due(Instant::now()) == 0;
                is_early.then(|| pace.pause())
            }
        };
        if let Some(wait) = wait {
            if shared.pause(wait).await {
                break;
            }
            continue;
        }
        let count = pace.due(Instant::now()).min(options.batch_rows);
        let samples = player.take(count, now_ms());
        pace.take(samples.len());
        if !deliver(&mut sender, &samples, &shared).await? {
            break;
        }
        shared.keep(worker, &player);
    }
    Ok(())
}

/// Sends until it is acknowledged; false if the replay was told to stop before that.
async fn deliver(sender: &mut Sender, samples: &[Sample], shared: &Shared) -> Result<bool, RunError> {
    let progress = &shared.progress;
    let (began, mut pause, mut is_first) = (Instant::now(), RETRY_PAUSE_MIN, true);
    loop {
        let (reason, after) = match sender.send(samples).await {
            Ok(outcome) => {
                progress.requests.fetch_add(1, Ordering::Relaxed);
                progress.accepted.fetch_add(outcome.accepted, Ordering::Relaxed);
                let before = progress.rejected.fetch_add(outcome.rejected, Ordering::Relaxed);
                if outcome.rejected > 0 && before < TOLD_REFUSAL_COUNT_MAX {
                    let reason = outcome.reason.as_deref().unwrap_or("it gave no reason");
                    (shared.say)(
                        serde_json::json!({"event": "rejected", "rows": outcome.rejected, "reason": reason}),
                    );
                }
                return Ok(true);
            }
            Err(SendError::Never { reason }) => return Err(RunError::Refused(reason)),
            Err(SendError::Later { reason, after }) => (reason, after),
        };
        let retry_for = shared.options.retry_for;
        if !retry_for.is_zero() && began.elapsed() + pause > retry_for {
            progress.unacknowledged.fetch_add(samples.len() as u64, Ordering::Relaxed);
            return Err(RunError::GaveUp { tried: retry_for, reason });
        }
        if std::mem::replace(&mut is_first, false) {
            (shared.say)(serde_json::json!({"event": "retrying", "reason": reason}));
        }
        progress.retries.fetch_add(1, Ordering::Relaxed);
        if shared.pause(after.map_or(pause, |after| after.min(SERVER_PAUSE_MAX))).await {
            progress.unacknowledged.fetch_add(samples.len() as u64, Ordering::Relaxed);
            return Ok(false);
        }
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_so_many_rows_a_second_and_never_catches_up_by_more_than_two_intervals() {
        let started = Instant::now();
        let mut pace = Pace::new(10.0, Duration::from_secs(1), started);
        let mut total = 0;
        for second in 1..=60 {
            let due = pace.due(started + Duration::from_secs(second));
            pace.take(due);
            total += due;
        }
        assert_eq!(total, 600);
        assert_eq!(pace.due(started + Duration::from_secs(160)), 20);
        let mut slow = Pace::new(0.5, Duration::from_secs(1), started);
        assert_eq!((slow.due(started + Duration::from_secs(1)), slow.pause()), (0, Duration::from_secs(2)));
        assert_eq!(slow.due(started + Duration::from_secs(2)), 1);
        assert_eq!(Pace::new(0.0, Duration::from_secs(1), started).due(started), usize::MAX);
    }
}
