//! The writing half: many threads append, one thread writes and syncs for all of them.
//!
//! Data in: framed records ([`super::RecordBuilder`]). Data out: segments, and for every append a moment at which
//! it is durable. One `fdatasync` serves all appends that came in while the one before was running.
//! Invariants: the log's order is the order of [`WalWriter::append`]; what was dropped is never acknowledged.
//!
//! After a failed sync nobody knows what is on disk: the segment is sealed, nothing is appended until a restart. After
//! a write for which the disk had no room the segment is cut back and everything that waits is dropped; appends are
//! refused until [`WalWriter::resume`], as later records may build on dropped ones.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{error, warn};

use super::failure::{LostStretches, WalFailure};
use super::segment::Segment;
use crate::engine::WalSync;
use crate::fs::space::DiskWatch;
use crate::fs::{FileSystem, is_disk_full};

/// Bytes that may wait for the disk before appends wait, too.
const PENDING_BYTES_MAX: usize = 128 << 20;
/// Memory of the swapped buffers that is kept between writes.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// How the log is written.
#[derive(Debug, Clone)]
pub(crate) struct WalOptions {
    /// When appends count as durable.
    pub(crate) sync: WalSync,
    /// Bytes after which the next write opens a new segment.
    pub(crate) segment_bytes_max: u64,
    /// Is told when the disk has no room.
    pub(crate) disk: Arc<DiskWatch>,
}

/// Position in the log: bytes appended since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(u64);

/// Called once with the outcome of an append.
pub(crate) type DurableCallback = Box<dyn FnOnce(Result<(), WalFailure>) + Send>;

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

/// What the thread is asked for beside writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Begin a segment and with it an epoch.
    Rotate,
    /// Take appends again.
    Resume,
}

#[derive(Default)]
struct State {
    /// Appended, not yet taken by the thread.
    pending: Vec<u8>,
    /// Bytes appended ever.
    appended: u64,
    /// Bytes up to which everything that was not lost is durable.
    durable: u64,
    lost: LostStretches,
    /// Callbacks with the position they wait for.
    callbacks: Vec<(u64, DurableCallback)>,
    request: Option<Request>,
    /// The answer to the last request: the sequence number of the open segment.
    answer: Option<Result<u64, WalFailure>>,
    /// Bytes in all segments since the last rotation.
    epoch_bytes: u64,
    failure: Option<WalFailure>,
    is_closing: bool,
}

impl State {
    fn check(&self) -> Result<(), WalFailure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// The outcome of an append, if it is known.
    fn outcome(&self, lsn: Lsn) -> Option<Result<(), WalFailure>> {
        match self.lost.reason(lsn.0) {
            Some(failure) => Some(Err(failure)),
            None => (self.durable >= lsn.0).then_some(Ok(())),
        }
    }
}

impl WalWriter {
    /// Opens a new segment `sequence` and starts the WAL's thread. `epoch_bytes`: what older segments hold. On a full
    /// disk there is no segment yet: appends are refused until [`WalWriter::resume`].
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
        let mut state = State { epoch_bytes, ..State::default() };
        let segment = match Segment::create(fs.as_ref(), directory, sequence) {
            Err(error) if is_disk_full(&error) => {
                state.failure = Some(WalFailure::DiskFull(options.disk.refused()));
                None
            }
            outcome => Some(outcome?),
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new() });
        let mut thread = WriterThread {
            shared: Arc::clone(&shared),
            fs: Arc::clone(fs),
            directory: directory.to_owned(),
            next_sequence: if segment.is_some() { sequence + 1 } else { sequence },
            full_at_bytes: options.segment_bytes_max,
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
        loop {
            if let Some(outcome) = state.outcome(lsn) {
                return outcome;
            }
            self.shared.progress.wait(&mut state);
        }
    }

    /// Calls `callback` once `lsn` is durable or never will be.
    pub(crate) fn on_durable(&self, lsn: Lsn, callback: DurableCallback) {
        let mut state = self.shared.state.lock();
        match state.outcome(lsn) {
            Some(outcome) => {
                drop(state);
                callback(outcome);
            }
            None => state.callbacks.push((lsn.0, callback)),
        }
    }

    /// Makes everything durable, opens a new segment and returns its sequence number: a new epoch begins, in which
    /// appends are taken even if the disk was full before. The caller makes sure that nobody appends meanwhile.
    ///
    /// # Errors
    /// [`WalFailure`]; unless it is [`WalFailure::ReadOnly`], everything is as it was.
    pub(crate) fn rotate(&self) -> Result<u64, WalFailure> {
        self.ask(Request::Rotate)
    }

    /// Takes appends again after the disk was full. The caller makes sure that nobody appends meanwhile, and that
    /// from now on everything is named again that records refer to: names may be among what was dropped.
    ///
    /// # Errors
    /// [`WalFailure`], if the disk is still full or the WAL does not work any more.
    pub(crate) fn resume(&self) -> Result<(), WalFailure> {
        self.ask(Request::Resume).map(|_sequence| ())
    }

    fn ask(&self, request: Request) -> Result<u64, WalFailure> {
        let mut state = self.shared.state.lock();
        state.request = Some(request);
        state.answer = None;
        self.shared.work.notify_one();
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            if let Some(failure @ WalFailure::ReadOnly(_)) = &state.failure {
                return Err(failure.clone());
            }
            self.shared.progress.wait(&mut state);
        }
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
    /// `None` while the disk is too full for one.
    segment: Option<Segment>,
    next_sequence: u64,
    /// Length of the segment at which the next one is begun.
    full_at_bytes: u64,
    options: WalOptions,
    /// Since when written bytes wait for a sync in interval mode.
    unsynced_since: Option<Instant>,
}

/// What the thread took from the state in one turn.
struct Turn {
    bytes: Vec<u8>,
    appended: u64,
    request: Option<Request>,
    is_closing: bool,
}

impl WriterThread {
    fn run(&mut self) {
        let mut spare = Vec::new();
        loop {
            let turn = self.take_turn(spare);
            let mut outcome = self.write(&turn);
            let answer = match (&outcome, turn.request) {
                (Err(failure @ WalFailure::ReadOnly(_)), Some(_)) => Some(Err(failure.clone())),
                (_, Some(request)) => Some(self.serve(request)),
                (_, None) => None,
            };
            if let Some(Err(failure @ WalFailure::ReadOnly(_))) = &answer {
                outcome = Err(failure.clone());
            }
            let is_over = turn.is_closing || matches!(outcome, Err(WalFailure::ReadOnly(_)));
            self.publish(&turn, outcome, answer);
            if is_over {
                return;
            }
            spare = turn.bytes;
            spare.clear();
            spare.shrink_to(SPARE_BYTES_MAX);
        }
    }

    fn take_turn(&self, spare: Vec<u8>) -> Turn {
        let mut state = self.shared.state.lock();
        while state.pending.is_empty() && state.request.is_none() && !state.is_closing {
            if self.wait_for_work(&mut state) {
                break;
            }
        }
        Turn {
            bytes: std::mem::replace(&mut state.pending, spare),
            appended: state.appended,
            request: state.request.take(),
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

    /// Writes what was appended, and syncs if that is due.
    fn write(&mut self, turn: &Turn) -> Result<(), WalFailure> {
        if !turn.bytes.is_empty() {
            self.append(&turn.bytes)?;
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        let is_due = match self.options.sync {
            WalSync::Group => true,
            WalSync::Interval(interval) => {
                self.unsynced_since.is_some_and(|since| since.elapsed() >= interval)
            }
            WalSync::None => false,
        };
        if is_due || turn.request.is_some() || turn.is_closing { self.sync() } else { Ok(()) }
    }

    fn append(&mut self, records: &[u8]) -> Result<(), WalFailure> {
        if self.segment.as_ref().is_some_and(|segment| segment.length_bytes > self.full_at_bytes) {
            self.sync()?;
            if let Err(error) = self.next_segment() {
                // The open segment is as good as it was, only long.
                warn!(%error, "cannot begin the next WAL segment, the present one goes on");
                self.full_at_bytes = self.full_at_bytes.saturating_add(self.options.segment_bytes_max);
            }
        }
        let Some(segment) = &mut self.segment else {
            return Err(WalFailure::DiskFull(self.options.disk.refused()));
        };
        match segment.append(records) {
            Err(error) if is_disk_full(&error) => match segment.cut_back() {
                Ok(()) => Err(WalFailure::DiskFull(self.options.disk.refused())),
                Err(error) => Err(self.broken("cut back", &error)),
            },
            outcome => outcome.map_err(|error| self.broken("write to", &error)),
        }
    }

    fn sync(&mut self) -> Result<(), WalFailure> {
        if let (Some(segment), true) = (&self.segment, self.unsynced_since.is_some()) {
            // Never tried twice: the kernel may have forgotten what it could not write.
            segment.sync().map_err(|error| self.broken("sync", &error))?;
            self.unsynced_since = None;
        }
        Ok(())
    }

    fn broken(&self, action: &str, error: &io::Error) -> WalFailure {
        let reason = format!("cannot {action} the WAL in {}: {error}", self.directory.display());
        error!(%reason, "the store is read-only until it is restarted");
        WalFailure::ReadOnly(reason.into())
    }

    /// Everything that was appended is durable, or lost, when this is called.
    fn serve(&mut self, request: Request) -> Result<u64, WalFailure> {
        self.sync()?;
        if request == Request::Rotate || self.segment.is_none() {
            self.next_segment().map_err(|error| {
                if is_disk_full(&error) {
                    return WalFailure::DiskFull(self.options.disk.refused());
                }
                let directory = self.directory.display();
                WalFailure::Segment(format!("cannot begin a WAL segment in {directory}: {error}").into())
            })?;
        }
        Ok(self.next_sequence - 1)
    }

    /// Goes over to a new segment; after an error the present one is still open.
    fn next_segment(&mut self) -> io::Result<()> {
        self.segment = Some(Segment::create(self.fs.as_ref(), &self.directory, self.next_sequence)?);
        self.next_sequence += 1;
        self.full_at_bytes = self.options.segment_bytes_max;
        Ok(())
    }

    fn publish(&self, turn: &Turn, outcome: Result<(), WalFailure>, answer: Option<Result<u64, WalFailure>>) {
        let mut state = self.shared.state.lock();
        match outcome {
            Ok(()) => {
                state.durable = turn.appended;
                state.epoch_bytes += turn.bytes.len() as u64;
            }
            Err(failure) => {
                // What waits may build on what was lost.
                state.pending.clear();
                let (durable, appended) = (state.durable, state.appended);
                state.lost.add(durable, appended, &failure);
                state.failure = Some(failure);
            }
        }
        if let (Some(Ok(_)), Some(request)) = (&answer, turn.request) {
            state.failure = None;
            if request == Request::Rotate {
                state.epoch_bytes = 0;
            }
        }
        if answer.is_some() {
            state.answer = answer;
        }
        let (known, waiting) = std::mem::take(&mut state.callbacks)
            .into_iter()
            .map(|(position, callback)| (position, state.outcome(Lsn(position)), callback))
            .partition::<Vec<_>, _>(|(_, outcome, _)| outcome.is_some());
        state.callbacks = waiting.into_iter().map(|(position, _, callback)| (position, callback)).collect();
        drop(state);
        self.shared.progress.notify_all();
        for (_, outcome, callback) in known {
            callback(outcome.unwrap_or(Ok(())));
        }
    }
}
