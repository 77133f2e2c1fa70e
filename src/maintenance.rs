//! The clock behind the storage: asks it once a second to do what is due, and every few seconds to compact.
//!
//! Not here: what is due (see `mytsdb_storage::Storage::maintain` and `compact_one`).

use std::sync::Arc;
use std::time::Duration;

use mytsdb_storage::{CompactError, CompactScope};
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::core::Core;
use crate::shutdown::Shutdown;

/// How often the storage is asked.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the storage is asked to compact, while there is nothing to do.
const COMPACTION_PERIOD: Duration = Duration::from_secs(5);

/// Compacts, one step after the other, until the server goes down. Beside [`run`], as a step may take minutes and must
/// not hold up a flush; one that is under way when the server goes down is stopped by closing the storage.
pub(crate) async fn compact(core: Arc<Core>, shutdown: Shutdown) {
    let stopping = shutdown.stopping();
    tokio::pin!(stopping);
    let mut ticks = interval(COMPACTION_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            _ = ticks.tick() => {}
        }
        let storage = Arc::clone(&core.storage);
        let now_ms = core.now_ms();
        let step = tokio::task::spawn_blocking(move || storage.compact_one(now_ms, CompactScope::Due));
        let outcome = tokio::select! {
            () = &mut stopping => return,
            outcome = step => outcome,
        };
        match outcome {
            Ok(Ok(true)) => ticks.reset_immediately(),
            Ok(Ok(false)) => {}
            Ok(Err(CompactError::Stopped)) => return,
            // The storage leaves that day alone for a while, so this does not flood the log.
            Ok(Err(failure)) => error!(%failure, "compaction failed"),
            Err(panic) => error!(%panic, "compaction failed"),
        }
    }
}

/// Runs until the server goes down. A failure is logged once until it changes or is over, and tried again.
pub(crate) async fn run(core: Arc<Core>, shutdown: Shutdown) {
    let stopping = shutdown.stopping();
    tokio::pin!(stopping);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_failure = String::new();
    loop {
        tokio::select! {
            () = &mut stopping => return,
            _ = ticks.tick() => {}
        }
        let (storage, now_ms) = (Arc::clone(&core.storage), core.now_ms());
        let files = Arc::clone(&core);
        // Not on the pool of `core.blocking`: queries must not be able to hold up a flush.
        let outcome = tokio::task::spawn_blocking(move || {
            // What is wrong with a file is in the log, and tried again when the file changes.
            let _logged = files.reload_files(false);
            storage.maintain(now_ms)
        })
        .await;
        let failure = match outcome {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if !failure.is_empty() && failure != last_failure {
            error!(%failure, "storage maintenance failed and is tried again");
        }
        last_failure = failure;
    }
}
