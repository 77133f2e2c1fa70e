//! Every call to the file system fails once, and every call fails for good: nothing acknowledged is lost, nothing
//! panics, every error says what failed.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fs::faulty::{Call, Fault, FaultyFs};
use crate::fs::memory::MemoryFs;

/// What fails in one run.
#[derive(Debug, Clone, Copy)]
struct Mode {
    call: Option<Call>,
    times: usize,
    kind: ErrorKind,
}

/// An error must name the failure that was injected, or say that an earlier one made the storage refuse.
fn explain(error: &str, injected: &[String]) {
    let named = injected.iter().any(|text| error.contains(text.as_str()));
    let refused = ["disk is full", "is closed for changes", "page cannot be read from disk"]
        .iter()
        .any(|text| error.contains(text));
    assert!(named || refused, "{error:?} does not say which of {injected:?} it was");
}

/// Runs a scenario while call number `after` fails; returns whether it came to that.
fn run(mode: Mode, after: usize) -> bool {
    let memory = MemoryFs::default();
    let faulty = FaultyFs::new(Arc::new(memory.clone()));
    let calls = mode.call.map_or_else(|| Call::ALL.to_vec(), |call| vec![call]);
    faulty.inject(Fault { calls, after, times: mode.times, kind: mode.kind });
    let mut ledger = Ledger::default();
    let mut fates = Vec::new();
    let mut expired_ms = i64::MIN;
    let mut now_ms = NOW_MS;
    let mut batches = Batches::new(7);
    let mut storage = None;
    for step in 0..16 {
        if storage.is_none() {
            storage = open(Arc::new(faulty.clone()), now_ms)
                .inspect_err(|error| explain(error, &faulty.injected()))
                .ok();
        }
        let Some(open) = &storage else { continue };
        let batch = batches.next(now_ms);
        ledger.note(&batch);
        fates.push(match write(open, &batch, now_ms) {
            Ok(()) => Fate::Acknowledged,
            Err(error) => {
                explain(&error.to_string(), &faulty.injected());
                assert!(error.is_retryable(), "{error}");
                Fate::Doubtful
            }
        });
        if step == 12 {
            now_ms += 4 * DAY_MS;
            expired_ms = now_ms - RETENTION_MS;
        }
        let outcome = match step {
            3 | 10 => open.flush(now_ms).map_err(|error| error.to_string()),
            8 => open.snapshot("s", now_ms, false).map(|_| ()).map_err(|error| error.to_string()),
            11 | 14 => open.compact_all(now_ms).map_err(|error| error.to_string()),
            _ => open.maintain(now_ms).map_err(|error| error.to_string()),
        };
        if let Err(error) = outcome {
            explain(&error, &faulty.injected());
        }
        if step == 6 {
            storage = None;
        }
    }
    let fate = |number: usize| fates[number];
    let context = || format!("{mode:?} after {after}: {:?}", faulty.injected());
    if let Some(storage) = storage
        && !faulty.injected().iter().any(|text| text.contains("Map") || text.contains("Populate"))
    {
        faulty.heal();
        ledger
            .check(&storage, fate, expired_ms)
            .unwrap_or_else(|problem| panic!("{}: live: {problem}", context()));
    }
    let healthy = open(Arc::new(memory), now_ms).unwrap_or_else(|error| panic!("{}: {error}", context()));
    ledger.check(&healthy, fate, expired_ms).unwrap_or_else(|problem| panic!("{}: {problem}", context()));
    assert_eq!(healthy.damage(), [], "{}", context());
    !faulty.injected().is_empty()
}

/// Fails call after call until a run needs none of them; returns how many that were.
fn run_all(mode: Mode) -> usize {
    (0..).take_while(|after| run(mode, *after)).count()
}

#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost() {
    let mut modes = Vec::new();
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        modes.push(Mode { call: None, times: 1, kind });
        modes.push(Mode { call: None, times: usize::MAX, kind });
        for call in [Call::Write, Call::SyncFile, Call::Create, Call::SetLength, Call::Rename, Call::Remove] {
            modes.push(Mode { call: Some(call), times: 3, kind });
        }
    }
    modes.push(Mode { call: Some(Call::SyncDirectory), times: usize::MAX, kind: ErrorKind::Other });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mode) = modes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let count = run_all(*mode);
                    println!("{mode:?}: {count} failures");
                }
            });
        }
    });
}
