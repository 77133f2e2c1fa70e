//! `DoGet`: PromQL and table scans as streams of record batches.
//!
//! A query is evaluated whole before the first batch, so that its errors come as the status of the call; its batches
//! and those of a table scan are then built one at a time as the client takes them. Dropping the call stops it.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::{BoxStream, Stream, StreamExt, try_unfold};
use mytsdb_promql::{CancelReason, EvalError, MatrixSeries, QueryOutput, Value};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{LabelSet, METRIC_NAME, MatchOp, Matcher, TenantId, TimeRange};
use mytsdb_storage::read::{ReadError, SampleColumns};
use tonic::Status;

use super::FlightOptions;
use super::rows::{Batches, ReadSeries, SeriesRows};
use super::schema::Table;
use super::ticket::{Query, Source};
use crate::core::Core;
use crate::queries::{CancelOnDrop, Description, Place, StartError};

/// Runs `query` and returns its rows as Flight messages.
pub(super) async fn stream(
    core: Arc<Core>,
    tenant: TenantId,
    query: Query,
    options: &FlightOptions,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let (asked, timeout) = (Instant::now(), options.query_timeout);
    let (query_text, times_ms) = query.source.describe(core.now_ms());
    let description = Description {
        tenant: tenant.clone(),
        query: query_text,
        times_ms,
        client: None,
        method: "DoGet".to_owned(),
        path: "/arrow.flight.protocol.FlightService/DoGet",
    };
    let place = core
        .queries
        .start(description.clone(), timeout, core.now_ms())
        .await
        .map_err(|error| start_status(&error))?;
    let cancellation = place.cancellation().clone();
    let _guard = CancelOnDrop(cancellation.clone());
    let schema = query.columns.schema();
    let columns = query.columns;
    let worker = Arc::clone(&core);
    let work = move || {
        let rows = run(&worker, &tenant, query.source, &place);
        let error = rows.as_ref().err().map(Status::message);
        worker.queries.log_end(&description, error, None, worker.now_ms());
        rows
    };
    let series = tokio::select! {
        rows = core.blocking.run(work) => rows.map_err(|error| Status::unavailable(error.to_string()))??,
        () = tokio::time::sleep(timeout.saturating_sub(asked.elapsed())) => {
            cancellation.cancel(CancelReason::TimedOut);
            return Err(eval_status(EvalError::TimedOut));
        }
    };
    let batches = batch_stream(core, Batches::new(series, columns, options.read_row_count_max));
    let messages = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Ok(messages.map(|message| message.map_err(Status::from)).boxed())
}

fn batch_stream(
    core: Arc<Core>,
    batches: Batches,
) -> impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static {
    try_unfold(batches, move |mut batches| {
        let core = Arc::clone(&core);
        async move {
            let (next, batches) = core
                .blocking
                .run(move || (batches.next(), batches))
                .await
                .map_err(|error| FlightError::from(Status::unavailable(error.to_string())))?;
            match next.transpose().map_err(FlightError::from)? {
                Some(batch) => Ok(Some((batch, batches))),
                None => Ok(None),
            }
        }
    })
}

fn run(core: &Core, tenant: &TenantId, source: Source, place: &Place) -> Result<SeriesRows, Status> {
    let engine = place.engine(&core.engine, None);
    let cancellation = place.cancellation();
    let snapshot = core.storage.reader(tenant);
    let parse = |promql: &str| {
        mytsdb_promql::parse(promql, &core.parse_options)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    };
    let output = match source {
        Source::Table { table, range } => return scan(&snapshot, &table, range),
        Source::Instant { promql, time_ms } => {
            let time_ms = time_ms.unwrap_or_else(|| core.now_ms());
            engine.instant(&snapshot, &parse(&promql)?, time_ms, cancellation)
        }
        Source::Range { promql, start_ms, end_ms, step_ms } => {
            engine.range(&snapshot, &parse(&promql)?, start_ms, end_ms, step_ms, cancellation)
        }
    };
    let QueryOutput { value, memory, .. } = output.map_err(eval_status)?;
    let rows = rows_of(value)?;
    // The result counts against the limits until its last row is sent.
    Ok(Box::new(rows.inspect(move |_| {
        let _held = &memory;
    })))
}

/// A value column has room for numbers only.
fn no_histograms(labels: &LabelSet) -> Status {
    Status::unimplemented(format!(
        "the result has native histograms (series {labels}), which have no place in a value column: ask for \
         histogram_count, histogram_sum, histogram_quantile … of them"
    ))
}

fn rows_of(value: Value) -> Result<SeriesRows, Status> {
    let with_histograms = match &value {
        Value::Matrix(matrix) => {
            matrix.iter().find(|series| !series.histograms.is_empty()).map(|series| &series.labels)
        }
        Value::Vector(samples) => {
            samples.iter().find(|sample| sample.histogram.is_some()).map(|sample| &sample.labels)
        }
        Value::Scalar { .. } | Value::String { .. } => None,
    };
    if let Some(labels) = with_histograms {
        return Err(no_histograms(labels));
    }
    match value {
        Value::Matrix(matrix) => Ok(Box::new(matrix.into_iter().map(|series| Ok(series.into())))),
        Value::Vector(samples) => Ok(Box::new(samples.into_iter().map(|sample| {
            Ok(MatrixSeries {
                labels: sample.labels,
                timestamps_ms: vec![sample.timestamp_ms],
                values: vec![sample.value],
                histograms: Vec::new(),
            }
            .into())
        }))),
        Value::Scalar { timestamp_ms, value } => {
            let labels = LabelSet::empty();
            let (timestamps_ms, values) = (vec![timestamp_ms], vec![value]);
            let row = MatrixSeries { labels, timestamps_ms, values, histograms: Vec::new() };
            Ok(Box::new(std::iter::once(Ok(row.into()))))
        }
        Value::String { .. } => {
            Err(Status::invalid_argument("the query gives a string, which has no place in a value column"))
        }
    }
}

fn eval_status(error: EvalError) -> Status {
    match error {
        EvalError::Canceled => Status::cancelled(error.to_string()),
        EvalError::TimedOut => Status::deadline_exceeded(error.to_string()),
        EvalError::TooManyBytes { .. } => Status::resource_exhausted(error.to_string()),
        EvalError::Read(error) => read_status(&error),
        _ => Status::invalid_argument(error.to_string()),
    }
}

fn start_status(error: &StartError) -> Status {
    match error {
        StartError::Gate(_) => Status::resource_exhausted(error.to_string()),
        StartError::Canceled => Status::cancelled(error.to_string()),
        StartError::TimedOut => Status::deadline_exceeded(error.to_string()),
    }
}

fn read_status(error: &ReadError) -> Status {
    Status::data_loss(error.to_string())
}

fn scan(snapshot: &Snapshot, table: &Table, range: TimeRange) -> Result<SeriesRows, Status> {
    let matchers = match table {
        Table::Samples => Vec::new(),
        Table::Metric(name) => vec![
            Matcher::new(MatchOp::Equal, METRIC_NAME, name)
                .map_err(|error| Status::invalid_argument(error.to_string()))?,
        ],
    };
    let set = snapshot.select(&matchers, range).map_err(|error| read_status(&error))?;
    Ok(Box::new((0..set.len()).map(move |index| {
        let mut columns = SampleColumns::default();
        set.read(index, range, &mut columns).map_err(|error| read_status(&error))?;
        if !columns.histograms.is_empty() {
            let series = set.labels(index);
            return Err(Status::unimplemented(format!(
                "reading native histograms (series {series}) as rows"
            )));
        }
        let labels = set.labels(index).clone();
        let timestamps_ms = std::mem::take(&mut columns.timestamps_ms);
        let values = std::mem::take(&mut columns.values);
        let series = MatrixSeries { labels, timestamps_ms, values, histograms: Vec::new() };
        Ok(ReadSeries { series, starts: std::mem::take(&mut columns.starts) })
    })))
}
