//! What every protocol is handed: the storage, the PromQL engine, the clock, the bridge to blocking work.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mytsdb_promql::{Engine, ParseOptions};
use mytsdb_storage::Storage;

use crate::blocking::Blocking;
use crate::http::security::Security;
use crate::queries::Queries;
use crate::rejections::RejectionLog;
use crate::reload::LimitsReload;
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
    /// The last points that were refused.
    pub rejections: RejectionLog,
    /// The file with limits by tenant, if there is one.
    pub limits_file: Option<LimitsReload>,
    /// TLS and accounts, if there are any.
    pub security: Option<Arc<Security>>,
    /// The server's own metrics.
    pub metrics: Arc<Metrics>,
}

impl Core {
    /// The clock: milliseconds since the Unix epoch. The only place where the server reads it.
    pub fn now_ms(&self) -> i64 {
        now_ms()
    }

    /// Reads the files with limits, TLS and accounts again if they have changed, or if `is_forced`. May block.
    ///
    /// # Errors
    /// What is wrong with a file; what it said before stays in force then.
    pub fn reload_files(&self, is_forced: bool) -> Result<(), String> {
        let limits = self.limits_file.as_ref();
        let limits = limits.map_or(Ok(()), |file| file.check(is_forced, &self.metrics, &self.storage));
        let security = self.security.as_ref();
        let security = security.map_or(Ok(()), |security| security.check(is_forced, &self.metrics));
        limits.and(security)
    }
}

/// The clock, for the moment before there is a [`Core`].
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
