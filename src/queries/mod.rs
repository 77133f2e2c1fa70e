//! Which queries run: who may start when, what they may hold, how they are listed, stopped and logged.
//!
//! Input: a [`Description`] of a query. Output: a [`Place`] with which it may be evaluated. Every protocol that
//! evaluates PromQL or reads samples goes through here. Not here: evaluation (see `mytsdb_promql`), answers.

mod active;
mod budgets;
mod gate;
mod log;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mytsdb_promql::{CancelReason, Cancellation, Engine, EngineOptions, EvalError, MemoryBudget};
use mytsdb_storage::model::TenantId;

pub use active::{Active, ActiveQuery};
pub use budgets::Budgets;
pub use gate::{Gate, GateError, Permit};
pub use log::{QueryLog, rfc3339};

use log::Logged;

/// What a query is, for lists and logs.
#[derive(Debug, Clone)]
pub struct Description {
    /// Whose it is.
    pub tenant: TenantId,
    /// The text of the query, or the selectors of a read.
    pub query: String,
    /// First and last evaluation time and the step; all 0 if it has none.
    pub times_ms: (i64, i64, i64),
    /// Address of the client, if it is known.
    pub client: Option<String>,
    /// Method of the call, such as `GET`.
    pub method: String,
    /// Path of the call, such as `/api/v1/query`.
    pub path: &'static str,
}

/// Settings of [`Queries`].
#[derive(Debug, Clone, Copy)]
pub struct QueriesOptions {
    /// Most queries at a time.
    pub concurrency_max: usize,
    /// Most queries that wait.
    pub waiting_count_max: usize,
    /// Most bytes of one tenant's queries together.
    pub tenant_bytes_max: usize,
    /// Most bytes of all queries together.
    pub bytes_max: usize,
}

/// Why a query did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Too many wait already.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// It was stopped while it waited.
    #[error("query was canceled in query queue")]
    Canceled,
    /// It waited for as long as it may take.
    #[error("query timed out in query queue")]
    TimedOut,
}

/// All queries of one server.
#[derive(Debug)]
pub struct Queries {
    gate: Arc<Gate>,
    active: Arc<Active>,
    budgets: Budgets,
    log: Option<QueryLog>,
}

impl Queries {
    /// Creates the registry; `log` gets every query that ends.
    pub fn new(options: QueriesOptions, log: Option<QueryLog>) -> Self {
        Self {
            gate: Gate::new(options.concurrency_max, options.waiting_count_max),
            active: Arc::default(),
            budgets: Budgets::new(options.tenant_bytes_max, options.bytes_max),
            log,
        }
    }

    /// The queries that wait and run.
    pub fn active(&self) -> &Active {
        &self.active
    }

    /// The budget that all queries of a tenant share.
    pub fn budget_of(&self, tenant: &TenantId) -> Arc<MemoryBudget> {
        self.budgets.of(tenant)
    }

    /// Bytes that all queries hold.
    pub fn used_bytes(&self) -> usize {
        self.budgets.used_bytes()
    }

    /// How many queries run and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        self.gate.counts()
    }

    /// The log, if there is one.
    pub fn log(&self) -> Option<&QueryLog> {
        self.log.as_ref()
    }

    /// Writes the log, if there is one, that a query has ended. Call it where blocking is allowed.
    pub fn log_end(
        &self,
        description: &Description,
        error: Option<&str>,
        stats: Option<serde_json::Value>,
        now_ms: i64,
    ) {
        if let Some(log) = &self.log {
            log.write(&Logged { description, error, stats }, now_ms);
        }
    }

    /// Lists a query and waits until it may run, at most `timeout`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        &self,
        description: Description,
        timeout: Duration,
        now_ms: i64,
    ) -> Result<Place, StartError> {
        let asked = Instant::now();
        let cancellation = Cancellation::default();
        let tenant = description.tenant.clone();
        let listed = Arc::clone(&self.active).list(description, cancellation.clone(), now_ms);
        let permit = tokio::select! {
            permit = self.gate.enter(&tenant) => permit?,
            () = listed.stopped() => return Err(StartError::Canceled),
            () = tokio::time::sleep(timeout) => return Err(StartError::TimedOut),
        };
        listed.set_running();
        Ok(Place {
            cancellation,
            budget: self.budgets.of(&tenant),
            queued: asked.elapsed(),
            started: Instant::now(),
            permit: Some(permit),
            _listed: listed,
        })
    }
}

/// The right to evaluate one query: until it is dropped, the query is listed, and counts as running if it has not given up
/// its turn.
#[derive(Debug)]
pub struct Place {
    cancellation: Cancellation,
    budget: Arc<MemoryBudget>,
    queued: Duration,
    started: Instant,
    permit: Option<Permit>,
    _listed: active::Listed,
}

impl Place {
    /// What stops the query.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Fails if the query was stopped from outside.
    ///
    /// # Errors
    /// [`EvalError::Canceled`] or [`EvalError::TimedOut`].
    pub fn check_cancelled(&self) -> Result<(), EvalError> {
        match self.cancellation.reason() {
            None => Ok(()),
            Some(CancelReason::Canceled) => Err(EvalError::Canceled),
            Some(CancelReason::TimedOut) => Err(EvalError::TimedOut),
        }
    }

    /// What the query's bytes are taken of beside its own limit.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// How long it waited.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// Since when it runs.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Lets another query run while this one's rows are sent: it stays listed and can be stopped.
    pub fn give_up_turn(&mut self) {
        drop(self.permit.take());
    }

    /// The engine whose queries take from the tenant's budget.
    pub fn engine(&self, engine: &Engine, lookback_ms: Option<i64>) -> Engine {
        let options = engine.options().clone();
        engine.with_options(EngineOptions {
            lookback_ms: lookback_ms.unwrap_or(options.lookback_ms),
            shared_budget: Some(Arc::clone(&self.budget)),
            ..options
        })
    }
}

/// Stops a query when it is dropped, because nobody waits for its answer any more.
#[derive(Debug)]
pub struct CancelOnDrop(pub Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel(CancelReason::Canceled);
    }
}
