//! The door of the evaluator: runs a tree over one snapshot.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use mytsdb_storage::Snapshot;
use mytsdb_storage::model::LabelSet;
use mytsdb_storage::read::ReadError;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::annotation::Annotations;
use crate::budget::{BudgetScope, MemoryBudget, Reservation};
use crate::eval::{self, Context, Operand, execution};
use crate::grid::StepGrid;
use crate::parse::ast::{Expr, ValueType};
use crate::value::{MatrixSeries, Value, VectorSample};

/// Settings of the evaluator, with Prometheus' names and defaults.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// Step of subqueries that name none.
    pub default_subquery_step_ms: i64,
    /// Most bytes that the samples of one query may take in memory.
    pub query_bytes_max: usize,
    /// Whether `__name__` is dropped at the very end instead of at each node.
    pub delayed_name_removal: bool,
    /// Whether `rate`, `increase`, `irate`, `resets` and `start_timestamp` look at start times.
    pub use_start_timestamps: bool,
    /// Whether `rate` and `increase` tell counters by `__type__` instead of the name.
    pub type_and_unit_labels: bool,
    /// What the query's bytes are taken of, too: its tenant's budget, for example.
    pub shared_budget: Option<Arc<MemoryBudget>>,
    /// Threads that one query may use.
    pub thread_count: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60_000,
            default_subquery_step_ms: 60_000,
            query_bytes_max: 1 << 30,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            shared_budget: None,
            thread_count: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Why a query was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The client went away or an operator stopped it.
    Canceled,
    /// It took longer than it may.
    TimedOut,
}

/// A switch that stops a query; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    state: Arc<AtomicU8>,
}

impl Cancellation {
    /// Stops the query; the first reason counts.
    pub fn cancel(&self, reason: CancelReason) {
        let code = match reason {
            CancelReason::Canceled => 1,
            CancelReason::TimedOut => 2,
        };
        let _first_wins = self.state.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why the query must stop, if it must.
    #[inline]
    pub fn reason(&self) -> Option<CancelReason> {
        match self.state.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(CancelReason::Canceled),
            _ => Some(CancelReason::TimedOut),
        }
    }
}

/// Why a query failed. Displays Prometheus' texts where Prometheus has one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The query itself cannot be evaluated (matching errors, duplicate label sets, bad parameters …).
    #[error("{0}")]
    Execution(String),
    /// It was stopped by its client.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// It took longer than it may.
    #[error("query timed out in expression evaluation")]
    TimedOut,
    /// It needs more memory than it may have.
    #[error(
        "query processing would load too many samples into memory in query execution: {needed} bytes needed, the limit{scope} is {limit}{selector}"
    )]
    TooManyBytes {
        /// Bytes needed, as far as known, with what is held under this limit already.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
        /// Whose limit.
        scope: BudgetScope,
        /// ` by selector …`, or empty.
        selector: String,
    },
    /// A part of PromQL that is not there yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Stored data is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Facts about one evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples that selectors read.
    pub samples_read: u64,
    /// Most bytes that samples took at one time.
    pub peak_bytes: u64,
}

/// A result with the remarks about it.
#[derive(Debug)]
pub struct QueryOutput {
    /// The result.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// Facts about the evaluation.
    pub stats: QueryStats,
    /// The bytes of `value`; they count against the limits until this is dropped.
    pub memory: Reservation,
}

/// Evaluates trees over snapshots. Holds no data; cheap to share: clones share the threads.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: EngineOptions,
    threads: Arc<OnceLock<ThreadPool>>,
}

/// Stack of one thread. Evaluation recurses as deep as the parser lets expressions nest; only touched pages count.
const STACK_BYTES: usize = 64 << 20;

impl Engine {
    /// Creates an engine. Its threads start with the first query.
    pub fn new(options: EngineOptions) -> Self {
        Self { options, threads: Arc::default() }
    }

    /// The settings.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The same threads with other settings.
    pub fn with_options(&self, options: EngineOptions) -> Self {
        Self { options, threads: Arc::clone(&self.threads) }
    }

    /// The threads that evaluate.
    fn threads(&self) -> Result<&ThreadPool, EvalError> {
        if let Some(threads) = self.threads.get() {
            return Ok(threads);
        }
        let threads = ThreadPoolBuilder::new()
            .num_threads(self.options.thread_count.max(1))
            .stack_size(STACK_BYTES)
            .thread_name(|index| format!("promql-{index}"))
            // Without a handler a panic of spawned work ends the process; the panic itself is in the log.
            .panic_handler(|_panic| {})
            .build()
            .map_err(|error| execution(format!("cannot start threads: {error}")))?;
        Ok(self.threads.get_or_init(|| threads))
    }

    /// Hands work to the threads that evaluate and comes back at once: queries inside of it, and parallel iterators of
    /// `rayon`, need no other thread to wait for them. What the work panics with is dropped; whoever waits for a message
    /// of it sees that its end of the channel is gone.
    ///
    /// # Errors
    /// [`EvalError`] if there are no threads.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<(), EvalError> {
        self.threads()?.spawn(work);
        Ok(())
    }

    /// Evaluates `expr` at one time.
    ///
    /// # Errors
    /// [`EvalError`].
    pub fn instant(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        time_ms: i64,
        cancellation: &Cancellation,
    ) -> Result<QueryOutput, EvalError> {
        self.threads()?.install(|| {
            let ctx = Context::new(snapshot, &self.options, cancellation, expr, (time_ms, time_ms, 0));
            let (value, memory) = instant_value(&ctx, expr, time_ms)?;
            // What was computed while the query was stopped is not whole.
            ctx.check_cancelled()?;
            let (annotations, stats) = ctx.finish();
            Ok(QueryOutput { value, annotations, stats, memory })
        })
    }

    /// Evaluates `expr` at `start_ms`, `start_ms + step_ms` … up to `end_ms`; the result is a matrix.
    ///
    /// # Units
    /// All in milliseconds; `step_ms > 0`, `end_ms >= start_ms`.
    ///
    /// # Errors
    /// [`EvalError`].
    pub fn range(
        &self,
        snapshot: &Snapshot,
        expr: &Expr,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        cancellation: &Cancellation,
    ) -> Result<QueryOutput, EvalError> {
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(execution(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                value_type.describe()
            )));
        }
        self.threads()?.install(|| {
            let times = (start_ms, end_ms, step_ms);
            let ctx = Context::new(snapshot, &self.options, cancellation, expr, times);
            let grid = StepGrid::new(start_ms, end_ms, step_ms);
            let (series, memory) = range_value(&ctx, expr, &grid)?;
            // What was computed while the query was stopped is not whole.
            ctx.check_cancelled()?;
            let (annotations, stats) = ctx.finish();
            Ok(QueryOutput { value: Value::Matrix(series), annotations, stats, memory })
        })
    }
}

/// The result and its memory.
type Held<T> = (T, Reservation);

fn instant_value(ctx: &Context<'_>, expr: &Expr, time_ms: i64) -> Result<Held<Value>, EvalError> {
    if expr.value_type() == ValueType::Matrix {
        let series = eval::matrix(ctx, expr, time_ms)?;
        let point_count: usize = series.iter().map(|series| series.values.len()).sum();
        let memory = ctx.reserve_numbers(2, point_count, String::new)?;
        return Ok((Value::Matrix(series), memory));
    }
    Ok(match eval::eval(ctx, expr, &StepGrid::single(time_ms))? {
        Operand::Scalar(scalars) => {
            (Value::Scalar { timestamp_ms: time_ms, value: scalars.at(0) }, ctx.reserve(0, String::new)?)
        }
        Operand::String(text) => {
            let memory = ctx.reserve(text.len(), String::new)?;
            (
                Value::String { timestamp_ms: time_ms, text: String::from_utf8_lossy(&text).into_owned() },
                memory,
            )
        }
        Operand::Vector(mut block) => {
            block.finish_names()?;
            let bytes = block.len().saturating_mul(size_of::<VectorSample>());
            let memory = ctx.reserve(bytes.saturating_add(block.histogram_bytes()), String::new)?;
            let sample = |index: usize| VectorSample {
                labels: block.labels[index].set.clone(),
                timestamp_ms: time_ms,
                value: block.row(index)[0],
                histogram: block.histogram(index, 0).cloned(),
            };
            (Value::Vector((0..block.len()).map(sample).collect()), memory)
        }
    })
}

fn range_value(
    ctx: &Context<'_>,
    expr: &Expr,
    grid: &StepGrid,
) -> Result<Held<Vec<MatrixSeries>>, EvalError> {
    match eval::eval(ctx, expr, grid)? {
        Operand::Scalar(scalars) => {
            let memory = ctx.reserve_numbers(2, grid.count, String::new)?;
            let (timestamps_ms, values) =
                (0..grid.count).map(|step_index| (grid.time_ms(step_index), scalars.at(step_index))).unzip();
            let labels = LabelSet::empty();
            let series = MatrixSeries { labels, timestamps_ms, values, histograms: Vec::new() };
            Ok((if grid.count == 0 { Vec::new() } else { vec![series] }, memory))
        }
        Operand::String(_) => Err(execution("expected type instant vector, got string")),
        Operand::Vector(mut block) => {
            block.finish_names()?;
            let point_count: usize = block.rows().map(|(_, row)| eval::present_count(row)).sum();
            let bytes = point_count.saturating_mul(16).saturating_add(block.histogram_bytes());
            let memory = ctx.reserve(bytes, String::new)?;
            let mut series: Vec<MatrixSeries> =
                (0..block.len()).map(|index| eval::series_of(&block, index, grid)).collect();
            series.sort_by(|left, right| left.labels.cmp(&right.labels));
            Ok((series, memory))
        }
    }
}
