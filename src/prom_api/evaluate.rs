//! Runs a query off the async threads: gate, time limit, cancellation, evaluation, the beginning of the answer.
//!
//! Input: a [`Question`]. Output: a response whose body is written while it is sent.
//! Not here: parameters (see `query`, `query_range`), the JSON itself (see `result_json`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use mytsdb_promql::parse::ast::{Expr, ValueType};
use mytsdb_promql::{Annotations, CancelReason, EvalError, QueryOutput, Reservation, Severity, Value, parse};
use mytsdb_storage::model::TenantId;
use tokio::sync::oneshot;

use super::call::Call;
use super::error::ApiError;
use super::response::TRUNCATED;
use super::result_json::{Remarks, ResultJson};
use super::stats::Timings;
use crate::blocking::BlockingError;
use crate::core::Core;
use crate::queries::{CancelOnDrop, Place};

/// The part of an answer that is written before it is sent; most answers are smaller.
const FIRST_CHUNK_BYTES: usize = 256 << 10;

/// The parts after it, written on an async thread while the client reads: some 100 µs of work each.
const CHUNK_BYTES: usize = 64 << 10;

/// Most warnings, and most infos, that an answer carries.
const REMARK_COUNT_MAX: usize = 10;

/// Times at which a query is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Times {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// A query with everything that the call says about it.
#[derive(Debug)]
pub(super) struct Question {
    query: String,
    times: Times,
    limit: Option<usize>,
    timeout: Duration,
    lookback_ms: Option<i64>,
    /// The value of `stats`; empty = none are asked for.
    stats: String,
}

impl Question {
    /// Reads the parameters that instant and range queries share.
    pub(super) fn of(call: &Call, times: Times, limit: Option<usize>) -> Result<Self, ApiError> {
        let longest = call.state.config.query.timeout;
        let timeout = match call.params.duration_ms("timeout")? {
            Some(timeout_ms) => Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)).min(longest),
            None => longest,
        };
        let lookback_ms = match call.params.get("lookback_delta") {
            Some(text) => Some(super::params::parse_duration_param_ms(text).map_err(|reason| {
                ApiError::bad_data(format!("error parsing lookback delta duration: {reason}"))
            })?),
            None => None,
        };
        Ok(Self {
            query: call.params.get("query").unwrap_or_default().to_owned(),
            times,
            limit,
            timeout,
            // As in Prometheus, 0 and less mean the default.
            lookback_ms: lookback_ms.filter(|lookback_ms| *lookback_ms > 0),
            stats: call.params.get("stats").unwrap_or_default().to_owned(),
        })
    }
}

/// Evaluates and answers.
pub(super) async fn evaluate(call: &Call, question: Question) -> Result<Response, ApiError> {
    let outcome = run(call, question).await;
    match outcome {
        Ok((answer, samples_read)) => {
            call.state.metrics.query("success", samples_read);
            Ok(answer.into_response())
        }
        Err(error) => {
            call.state.metrics.query(error.kind.as_str(), 0);
            Err(error)
        }
    }
}

/// Waits for a place, then works on a thread that evaluates. The place stays taken until the work ends.
async fn run(call: &Call, question: Question) -> Result<(Answer, u64), ApiError> {
    let (path, times_ms) = match question.times {
        Times::Instant { time_ms } => ("/api/v1/query", (time_ms, time_ms, 0)),
        Times::Range { start_ms, end_ms, step_ms } => ("/api/v1/query_range", (start_ms, end_ms, step_ms)),
    };
    let description = call.describe(path, question.query.clone(), times_ms);
    let asked = Instant::now();
    let timeout = question.timeout;
    let core = Arc::clone(&call.core);
    let place = match core.queries.start(description.clone(), timeout, core.now_ms()).await {
        Ok(place) => place,
        Err(error) => {
            let text = error.to_string();
            let work = move || core.queries.log_end(&description, Some(&text), None, core.now_ms());
            call.core.blocking.run(work).await?;
            return Err(error.into());
        }
    };
    let cancellation = place.cancellation().clone();
    let _guard = CancelOnDrop(cancellation.clone());
    let tenant = call.tenant.clone();
    let engine = core.engine.clone();
    let (sender, receiver) = oneshot::channel();
    // PERF: straight to the threads that evaluate; a blocking thread in between would be woken twice to do nothing.
    engine.spawn(move || {
        let mut timings = Timings { queued: place.queued(), ..Timings::default() };
        let answer = answer(&core, &tenant, &question, &place, &mut timings);
        let error = answer.as_ref().err().map(|error| error.text.as_str());
        core.queries.log_end(&description, error, Some(timings.to_json()), core.now_ms());
        // Whoever hears of the answer finds the place free.
        drop(place);
        // Nobody listens if the client is gone or the time is up.
        let _unheard = sender.send(answer);
    })?;
    tokio::select! {
        answer = receiver => answer.map_err(|_gone| BlockingError::Panicked)?,
        () = tokio::time::sleep(timeout.saturating_sub(asked.elapsed())) => {
            // The evaluation notices soon; its client need not wait for that.
            cancellation.cancel(CancelReason::TimedOut);
            Err(EvalError::TimedOut.into())
        }
    }
}

/// Parses, evaluates and writes the beginning.
fn answer(
    core: &Core,
    tenant: &TenantId,
    question: &Question,
    place: &Place,
    timings: &mut Timings,
) -> Result<(Answer, u64), ApiError> {
    let expr = parse(&question.query, &core.parse_options).map_err(|error| ApiError::parse(&error))?;
    if let Times::Range { .. } = question.times {
        check_range_type(&expr)?;
    }
    timings.prepared = place.started().elapsed();
    let output = eval(core, tenant, question, &expr, place);
    timings.evaluated = place.started().elapsed() - timings.prepared;
    let QueryOutput { mut value, annotations, stats, memory } = output?;
    timings.samples = stats;
    let mut remarks = remarks(&annotations, &question.query);
    if question.limit.is_some_and(|limit| truncate(&mut value, limit)) {
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    if !question.stats.is_empty() {
        if !matches!(question.stats.as_str(), "true" | "all") {
            remarks.warnings.push(format!(
                "value {:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
                question.stats
            ));
        }
        remarks.stats = Some(timings.to_json().to_string());
    }
    let mut rest = ResultJson::new(value, &remarks);
    if let Some(parts) = rest.write_in_parallel(core.engine.options().thread_count) {
        let written = parts.into_iter().map(Bytes::from).collect();
        return Ok((Answer { written, rest: None, memory }, stats.samples_read));
    }
    let mut first = Vec::with_capacity(4096);
    let has_more = rest.fill(&mut first, FIRST_CHUNK_BYTES);
    let written = vec![first.into()];
    Ok((Answer { written, rest: has_more.then_some(rest), memory }, stats.samples_read))
}

fn eval(
    core: &Core,
    tenant: &TenantId,
    question: &Question,
    expr: &Expr,
    place: &Place,
) -> Result<QueryOutput, EvalError> {
    let engine = place.engine(&core.engine, question.lookback_ms);
    let snapshot = core.storage.reader(tenant);
    match question.times {
        Times::Instant { time_ms } => engine.instant(&snapshot, expr, time_ms, place.cancellation()),
        Times::Range { start_ms, end_ms, step_ms } => {
            engine.range(&snapshot, expr, start_ms, end_ms, step_ms, place.cancellation())
        }
    }
}

/// Range queries take scalars and instant vectors only.
fn check_range_type(expr: &Expr) -> Result<(), ApiError> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        found => Err(ApiError::parameter(
            "query",
            format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                found.describe()
            ),
        )),
    }
}

/// Cuts the result; returns whether something was cut off.
fn truncate(value: &mut Value, limit: usize) -> bool {
    let given = match value {
        Value::Vector(samples) => {
            let given = samples.len();
            samples.truncate(limit);
            given
        }
        Value::Matrix(series) => {
            let given = series.len();
            series.truncate(limit);
            given
        }
        Value::Scalar { .. } | Value::String { .. } => 0,
    };
    given > limit
}

/// Renders the remarks, the first ten of each kind and how many more there are.
fn remarks(annotations: &Annotations, query: &str) -> Remarks {
    let rendered = |severity: Severity, word: &str| {
        let mut texts: Vec<String> = annotations
            .iter()
            .filter(|annotation| annotation.severity == severity)
            .map(|annotation| annotation.render(query))
            .collect();
        if texts.len() > REMARK_COUNT_MAX {
            let omitted_count = texts.len() - REMARK_COUNT_MAX;
            texts.truncate(REMARK_COUNT_MAX);
            texts.push(format!("{omitted_count} more {word} annotations omitted"));
        }
        texts
    };
    Remarks {
        warnings: rendered(Severity::Warning, "warning"),
        infos: rendered(Severity::Info, "info"),
        stats: None,
    }
}

/// An answer whose beginning is written.
#[derive(Debug)]
struct Answer {
    written: Vec<Bytes>,
    /// What is still to be written.
    rest: Option<ResultJson>,
    /// What the result takes.
    memory: Reservation,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let memory = self.memory;
        let body = match (<[Bytes; 1]>::try_from(self.written), self.rest) {
            (Ok([whole]), None) => Body::from(whole),
            (written, rest) => {
                let written = written.map_or_else(|many| many, |[one]| vec![one]);
                let written = stream::iter(written.into_iter().map(Ok::<_, Infallible>));
                // The memory counts against the limits until everything is sent.
                let rest = stream::unfold((rest, memory), |(rest, memory)| async {
                    let mut rest = rest?;
                    let mut chunk = Vec::with_capacity(CHUNK_BYTES + 1024);
                    let has_more = rest.fill(&mut chunk, CHUNK_BYTES);
                    Some((Ok(chunk.into()), (has_more.then_some(rest), memory)))
                });
                Body::from_stream(futures::StreamExt::chain(written, rest))
            }
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_ten_remarks_of_each_kind_are_shown() {
        let mut annotations = Annotations::default();
        for index in 0..12 {
            annotations.warn(None, format!("w{index}"));
        }
        annotations.info(None, "i");
        let remarks = remarks(&annotations, "");
        assert_eq!(remarks.warnings.len(), 11);
        assert_eq!(remarks.warnings[10], "2 more warning annotations omitted");
        assert_eq!(remarks.infos, ["PromQL info: i"]);
    }
}
