//! What every protocol is handed: the storage, the PromQL engine, the clock, the bridge to blocking work.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mytsdb_promql::{Engine, ParseOptions};
use mytsdb_storage::Storage;

use crate::blocking::Blocking;
use crate::queries::Queries;
use crate::telemetry::Metrics;

/// Shared by all protocols of one server.
#[derive(Debug)]
pub struct Core {
    /// The one write door and the one read door.
    pub storage: Arc<Storage>,
    /// Evaluates queries.
    pub engine: Engine,
    /// What the parser accepts.
    pub parse_options: ParseOptions,
    /// Which queries run, and what they may hold.
    pub queries: Queries,
    /// Runs what may block or compute for long.
    pub blocking: Blocking,
    /// The server's own metrics.
    pub metrics: Arc<Metrics>,
}

impl Core {
    /// The clock: milliseconds since the Unix epoch. The only place where the server reads it.
    pub fn now_ms(&self) -> i64 {
        now_ms()
    }
}

/// The clock, for the moment before there is a [`Core`].
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
