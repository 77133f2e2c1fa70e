//! What all nodes of one evaluation share: the snapshot, limits, cancellation, remarks, and counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashSet;
use mytsdb_storage::Snapshot;

use crate::annotation::Annotations;
use crate::budget::{BudgetScope, MemoryBudget, Reservation};
use crate::engine::{CancelReason, Cancellation, EngineOptions, EvalError, QueryStats};
use crate::parse::ast::{Expr, ExprKind, Span, VectorSelector};
use crate::stop;

/// One evaluation.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The data.
    pub(crate) snapshot: &'a Snapshot,
    /// The settings.
    pub(crate) options: &'a EngineOptions,
    /// First evaluation time of the whole query (`start()`).
    pub(crate) start_ms: i64,
    /// Last evaluation time of the whole query as it was asked for (`end()`).
    pub(crate) end_ms: i64,
    /// Step of the whole query (`step()`), 0 for an instant query.
    pub(crate) step_ms: i64,
    cancellation: &'a Cancellation,
    annotations: Mutex<Annotations>,
    budget: Arc<MemoryBudget>,
    samples_read: AtomicU64,
    /// Addresses of the selectors for which [`Self::finds_resets`] holds.
    reset_finders: HashSet<usize>,
}

/// The addresses of selectors of which only count and sum are looked at in the end.
///
/// Source: Prometheus `promql/engine.go` (`detectHistogramStatsDecoding`).
fn reset_finders(expr: &Expr) -> HashSet<usize> {
    let mut found = HashSet::new();
    // Each with: is it inside of a function that wants count and sum, and of something that wants more.
    let mut pending = vec![(expr, false, false)];
    while let Some((expr, mut wants_totals, mut wants_more)) = pending.pop() {
        match &expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. }
                if wants_totals && !wants_more =>
            {
                found.insert(std::ptr::from_ref::<VectorSelector>(selector) as usize);
            }
            ExprKind::Subquery { .. } => wants_more = true,
            ExprKind::Binary(_) => (wants_totals, wants_more) = (false, false),
            ExprKind::Call { function, .. } => match *function {
                "histogram_count" | "histogram_sum" | "histogram_avg" => wants_totals = true,
                "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => wants_more = true,
                _ => {}
            },
            _ => {}
        }
        pending.extend(expr.children().into_iter().map(|child| (child, wants_totals, wants_more)));
    }
    found
}

impl<'a> Context<'a> {
    /// Starts an evaluation of `expr` over `[start_ms, end_ms]`.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        options: &'a EngineOptions,
        cancellation: &'a Cancellation,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
    ) -> Self {
        Self {
            snapshot,
            options,
            start_ms,
            end_ms,
            step_ms,
            cancellation,
            annotations: Mutex::default(),
            budget: Arc::new(MemoryBudget::new(
                BudgetScope::Query,
                options.query_bytes_max,
                options.shared_budget.clone(),
            )),
            samples_read: AtomicU64::new(0),
            reset_finders: reset_finders(expr),
        }
    }

    /// Whether the histograms of a selector say where their counters were reset: Prometheus finds that out while it
    /// reads histograms of which only count and sum are wanted, and tells when sums mix such with others.
    pub(crate) fn finds_resets(&self, selector: &VectorSelector) -> bool {
        !self.reset_finders.is_empty()
            && self.reset_finders.contains(&(std::ptr::from_ref(selector) as usize))
    }

    /// Until the result is dropped, kernels of this thread give up when the query is stopped.
    pub(crate) fn watch(&self) -> stop::Watch {
        stop::watch(self.cancellation)
    }

    /// Fails if the query was stopped from outside. Called per node and per batch of series.
    pub(crate) fn check_cancelled(&self) -> Result<(), EvalError> {
        match self.cancellation.reason() {
            None => Ok(()),
            Some(CancelReason::Canceled) => Err(EvalError::Canceled),
            Some(CancelReason::TimedOut) => Err(EvalError::TimedOut),
        }
    }

    /// Takes `bytes` from the query's limit and from those it shares. `selector` names the selector that needs them, or is empty.
    ///
    /// # Errors
    /// [`EvalError::TooManyBytes`].
    pub(crate) fn reserve(
        &self,
        bytes: usize,
        selector: impl FnOnce() -> String,
    ) -> Result<Reservation, EvalError> {
        self.budget.reserve(bytes, selector)
    }

    /// Takes what `cell_count` numbers need, without overflow.
    pub(crate) fn reserve_numbers(
        &self,
        row_count: usize,
        step_count: usize,
        selector: impl FnOnce() -> String,
    ) -> Result<Reservation, EvalError> {
        self.reserve(row_count.saturating_mul(step_count).saturating_mul(8), selector)
    }

    /// Bytes that the query may still take.
    pub(crate) fn bytes_left(&self) -> usize {
        self.budget.bytes_left()
    }

    /// Counts samples that were decoded.
    pub(crate) fn count_samples(&self, sample_count: usize) {
        self.samples_read.fetch_add(sample_count as u64, Ordering::Relaxed);
    }

    /// Adds a warning about `span`.
    pub(crate) fn warn(&self, span: Span, text: impl Into<String>) {
        self.with_annotations(|annotations| annotations.warn(Some(span), text));
    }

    /// Adds a warning about the data, which no part of the query is to blame for.
    pub(crate) fn warn_of_data(&self, text: impl Into<String>) {
        self.with_annotations(|annotations| annotations.warn(None, text));
    }

    /// Adds an info about `span`.
    pub(crate) fn info(&self, span: Span, text: impl Into<String>) {
        self.with_annotations(|annotations| annotations.info(Some(span), text));
    }

    fn with_annotations(&self, change: impl FnOnce(&mut Annotations)) {
        // A panic of another thread ends the query anyway; what was collected so far is whole.
        change(&mut self.annotations.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the evaluation: remarks and counters.
    pub(crate) fn finish(self) -> (Annotations, QueryStats) {
        let stats = QueryStats {
            samples_read: self.samples_read.into_inner(),
            peak_bytes: self.budget.peak_bytes() as u64,
        };
        (self.annotations.into_inner().unwrap_or_else(PoisonError::into_inner), stats)
    }
}

/// An error of the query itself.
pub(crate) fn execution(text: impl Into<String>) -> EvalError {
    EvalError::Execution(text.into())
}
