//! The writing half: many threads append, one thread writes and syncs for all of them.
//!
//! Data in: framed records ([`super::RecordBuilder`]). Data out: segments, and for every append a moment at which
//! it is durable. One `fdatasync` serves all appends that came in while the one before was running.
//! Invariants: the log's order is the order of [`WalWriter::append`]; after a failed write or sync nothing is
//! acknowledged any more and nothing is written after the damage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::error;

use super::segment::Segment;
use crate::engine::WalSync;
use crate::fs::FileSystem;

/// Bytes that may wait for the disk before appends wait, too.
const PENDING_BYTES_MAX: usize = 128 << 20;
/// Memory of the swapped buffers that is kept between writes.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// How the log is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WalOptions {
    /// When appends count as durable.
    pub(crate) sync: WalSync,
    /// Bytes after which the next write opens a new segment.
    pub(crate) segment_bytes_max: u64,
}

/// Position in the log: bytes appended since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(u64);

/// Called once with the outcome of an append.
pub(crate) type DurableCallback = Box<dyn FnOnce(Result<(), WalFailure>) + Send>;

/// The WAL does not work any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct WalFailure {
    /// What went wrong first.
    pub(crate) reason: Arc<str>,
}

/// Appends records and makes them durable.
#[derive(Debug)]
pub(crate) struct WalWriter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the WAL's thread.
    work: Condvar,
    /// Wakes those who wait for durability, for room, or for a rotation.
    progress: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Appended, not yet taken by the thread.
    pending: Vec<u8>,
    /// Bytes appended ever.
    appended: u64,
    /// Bytes that count as durable.
    durable: u64,
    /// Callbacks with the position they wait for.
    callbacks: Vec<(u64, DurableCallback)>,
    /// Whether somebody waits for a new segment.
    is_rotation_wanted: bool,
    /// Sequence number of the open segment.
    sequence: u64,
    /// Bytes in all segments since the last rotation.
    epoch_bytes: u64,
    failure: Option<WalFailure>,
    is_closing: bool,
}

impl State {
    fn check(&self) -> Result<(), WalFailure> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl WalWriter {
    /// Opens a new segment `sequence` and starts the WAL's thread. `epoch_bytes`: what older segments hold.
    ///
    /// # Errors
    /// What the system says when it creates the segment or the thread.
    pub(crate) fn open(
        fs: &Arc<dyn FileSystem>,
        directory: &Path,
        sequence: u64,
        epoch_bytes: u64,
        options: WalOptions,
    ) -> io::Result<Self> {
        let segment = Segment::create(fs.as_ref(), directory, sequence)?;
        let state = State { sequence, epoch_bytes, ..State::default() };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new() });
        let mut thread = WriterThread {
            shared: Arc::clone(&shared),
            fs: Arc::clone(fs),
            directory: directory.to_owned(),
            segment,
            options,
            unsynced_since: None,
        };
        let handle = std::thread::Builder::new().name("wal".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(handle)) })
    }

    /// Appends framed records as one piece. Waits only while too many bytes are pending.
    ///
    /// # Errors
    /// [`WalFailure`] if the WAL does not work any more.
    pub(crate) fn append(&self, records: &[u8]) -> Result<Lsn, WalFailure> {
        let mut state = self.shared.state.lock();
        while state.pending.len() > PENDING_BYTES_MAX && state.failure.is_none() {
            self.shared.progress.wait(&mut state);
        }
        state.check()?;
        state.pending.extend_from_slice(records);
        state.appended += records.len() as u64;
        let lsn = Lsn(state.appended);
        drop(state);
        self.shared.work.notify_one();
        Ok(lsn)
    }

    /// Blocks until everything up to `lsn` is durable.
    ///
    /// # Errors
    /// [`WalFailure`] if that will not happen.
    pub(crate) fn wait(&self, lsn: Lsn) -> Result<(), WalFailure> {
        let mut state = self.shared.state.lock();
        while state.durable < lsn.0 {
            state.check()?;
            self.shared.progress.wait(&mut state);
        }
        Ok(())
    }

    /// Calls `callback` once `lsn` is durable or never will be.
    pub(crate) fn on_durable(&self, lsn: Lsn, callback: DurableCallback) {
        let mut state = self.shared.state.lock();
        if state.durable >= lsn.0 {
            drop(state);
            callback(Ok(()));
        } else if let Err(failure) = state.check() {
            drop(state);
            callback(Err(failure));
        } else {
            state.callbacks.push((lsn.0, callback));
        }
    }

    /// Makes everything durable, opens a new segment and returns its sequence number: a new epoch begins.
    /// The caller makes sure that nobody appends meanwhile.
    ///
    /// # Errors
    /// [`WalFailure`].
    pub(crate) fn rotate(&self) -> Result<u64, WalFailure> {
        let mut state = self.shared.state.lock();
        state.check()?;
        state.is_rotation_wanted = true;
        self.shared.work.notify_one();
        while state.is_rotation_wanted {
            state.check()?;
            self.shared.progress.wait(&mut state);
        }
        Ok(state.sequence)
    }

    /// Bytes in the log since the last rotation.
    pub(crate) fn epoch_bytes(&self) -> u64 {
        self.shared.state.lock().epoch_bytes
    }

    /// Why the WAL does not work any more, if so.
    pub(crate) fn failure(&self) -> Option<WalFailure> {
        self.shared.state.lock().failure.clone()
    }
}

/// Makes durable what was appended, then ends the thread.
impl Drop for WalWriter {
    fn drop(&mut self) {
        self.shared.state.lock().is_closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            error!("the WAL's thread panicked");
        }
    }
}

struct WriterThread {
    shared: Arc<Shared>,
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    segment: Segment,
    options: WalOptions,
    /// Since when written bytes wait for a sync in interval mode.
    unsynced_since: Option<Instant>,
}

/// What the thread took from the state in one turn.
struct Turn {
    bytes: Vec<u8>,
    appended: u64,
    is_rotation_wanted: bool,
    is_closing: bool,
}

impl WriterThread {
    fn run(&mut self) {
        let mut spare = Vec::new();
        loop {
            let turn = self.take_turn(spare);
            let outcome = self.write(&turn);
            let is_closing = turn.is_closing;
            let is_failed = outcome.is_err();
            self.publish(&turn, outcome);
            if is_closing || is_failed {
                return;
            }
            spare = turn.bytes;
            spare.clear();
            spare.shrink_to(SPARE_BYTES_MAX);
        }
    }

    fn take_turn(&self, spare: Vec<u8>) -> Turn {
        let mut state = self.shared.state.lock();
        while state.pending.is_empty() && !state.is_rotation_wanted && !state.is_closing {
            if self.wait_for_work(&mut state) {
                break;
            }
        }
        Turn {
            bytes: std::mem::replace(&mut state.pending, spare),
            appended: state.appended,
            is_rotation_wanted: state.is_rotation_wanted,
            is_closing: state.is_closing,
        }
    }

    /// Waits for work; returns whether the interval's sync is due.
    fn wait_for_work(&self, state: &mut MutexGuard<'_, State>) -> bool {
        match (self.options.sync, self.unsynced_since) {
            (WalSync::Interval(interval), Some(since)) => {
                self.shared.work.wait_until(state, since + interval).timed_out()
            }
            _ => {
                self.shared.work.wait(state);
                false
            }
        }
    }

    fn write(&mut self, turn: &Turn) -> io::Result<Option<u64>> {
        if !turn.bytes.is_empty() {
            if self.segment.length_bytes > self.options.segment_bytes_max {
                self.next_segment()?;
            }
            self.segment.append(&turn.bytes)?;
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        let is_due = match self.options.sync {
            WalSync::Group => true,
            WalSync::Interval(interval) => self.is_older_than(interval),
            WalSync::None => false,
        };
        if self.unsynced_since.is_some() && (is_due || turn.is_rotation_wanted || turn.is_closing) {
            self.segment.sync()?;
            self.unsynced_since = None;
        }
        if turn.is_rotation_wanted {
            return self.next_segment().map(Some);
        }
        Ok(None)
    }

    fn is_older_than(&self, interval: Duration) -> bool {
        self.unsynced_since.is_some_and(|since| since.elapsed() >= interval)
    }

    fn next_segment(&mut self) -> io::Result<u64> {
        self.segment.sync()?;
        let mut state = self.shared.state.lock();
        state.sequence += 1;
        let sequence = state.sequence;
        drop(state);
        self.segment = Segment::create(self.fs.as_ref(), &self.directory, sequence)?;
        Ok(sequence)
    }

    fn publish(&self, turn: &Turn, outcome: io::Result<Option<u64>>) {
        let mut state = self.shared.state.lock();
        let result = match outcome {
            Ok(rotated_to) => {
                state.durable = turn.appended;
                state.epoch_bytes += turn.bytes.len() as u64;
                if rotated_to.is_some() {
                    state.is_rotation_wanted = false;
                    state.epoch_bytes = 0;
                }
                Ok(())
            }
            Err(source) => {
                let reason = format!("cannot write the WAL in {}: {source}", self.directory.display());
                error!(%reason, "the store is read-only from here on");
                let failure = WalFailure { reason: reason.into() };
                state.failure = Some(failure.clone());
                Err(failure)
            }
        };
        let durable = state.durable;
        let due = match &result {
            Ok(()) => state.callbacks.extract_if(.., |(position, _)| *position <= durable).collect(),
            Err(_) => std::mem::take(&mut state.callbacks),
        };
        drop(state);
        self.shared.progress.notify_all();
        for (_, callback) in due {
            callback(result.clone());
        }
    }
}
