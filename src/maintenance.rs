//! The clock behind the storage: asks it once a second to do what is due.
//!
//! Not here: what is due (see `mytsdb_storage::Storage::maintain`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::core::Core;
use crate::shutdown::Shutdown;

/// How often the storage is asked.
const PERIOD: Duration = Duration::from_secs(1);

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
        let storage = Arc::clone(&core.storage);
        let now_ms = core.now_ms();
        // Not on the pool of `core.blocking`: queries must not be able to hold up a flush.
        let outcome = tokio::task::spawn_blocking(move || storage.maintain(now_ms)).await;
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
