//! `DoGet`: PromQL and table scans as streams of record batches.
//!
//! A query is evaluated whole before the first batch, and a table's series are found, so that errors come as the status of
//! the call; batches are then built one at a time as the client takes them. Dropping the call stops it.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::{BoxStream, Stream, StreamExt, try_unfold};
use mytsdb_promql::{CancelReason, EvalError, QueryOutput, Value};
use mytsdb_storage::model::{LabelSet, TenantId};
use tonic::Status;

use super::FlightOptions;
use super::rows::{Batches, ReadSeries, RowColumns, SeriesRows};
use super::scan::{self, BatchRows, Held, eval_status};
use super::shape::Shape;
use super::ticket::{Query, Source};
use crate::core::Core;
use crate::queries::{CancelOnDrop, Description, Place, StartError};

/// Messages of a read.
pub(super) type Rows = BoxStream<'static, Result<FlightData, Status>>;

/// Runs `query` and returns its rows as Flight messages.
pub(super) async fn stream(
    core: Arc<Core>,
    tenant: TenantId,
    query: Query,
    options: &FlightOptions,
) -> Result<Rows, Status> {
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
    // It goes with the rows: a client that drops them, or the call before, stops the read.
    let guard = CancelOnDrop(cancellation.clone());
    let schema = query.shape.schema();
    let row_count_max = options.read_row_count_max.max(1);
    let worker = Arc::clone(&core);
    let work = move || {
        let rows = run(&worker, &tenant, query, place, row_count_max);
        let error = rows.as_ref().err().map(Status::message);
        worker.queries.log_end(&description, error, None, worker.now_ms());
        rows
    };
    let batches = tokio::select! {
        rows = core.blocking.run(work) => rows.map_err(|error| Status::unavailable(error.to_string()))??,
        () = tokio::time::sleep(timeout.saturating_sub(asked.elapsed())) => {
            cancellation.cancel(CancelReason::TimedOut);
            return Err(eval_status(EvalError::TimedOut));
        }
    };
    Ok(messages(schema, batch_stream(core, batches, guard)))
}

/// Batches that are there already as Flight messages.
pub(super) fn of_batch(batch: RecordBatch) -> Rows {
    messages(batch.schema(), futures::stream::iter([Ok(batch)]))
}

fn messages(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Rows {
    let messages = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    messages.map(|message| message.map_err(Status::from)).boxed()
}

fn batch_stream(
    core: Arc<Core>,
    batches: BatchRows,
    guard: CancelOnDrop,
) -> impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static {
    try_unfold((batches, guard), move |(mut batches, guard)| {
        let core = Arc::clone(&core);
        async move {
            let (next, batches) = core
                .blocking
                .run(move || (batches.next(), batches))
                .await
                .map_err(|error| FlightError::from(Status::unavailable(error.to_string())))?;
            match next.transpose().map_err(FlightError::from)? {
                Some(batch) => Ok(Some((batch, (batches, guard)))),
                None => Ok(None),
            }
        }
    })
}

fn run(
    core: &Core,
    tenant: &TenantId,
    query: Query,
    place: Place,
    row_count_max: usize,
) -> Result<BatchRows, Status> {
    let engine = place.engine(&core.engine, None);
    let cancellation = place.cancellation();
    let snapshot = core.storage.reader(tenant);
    let parse = |promql: &str| {
        mytsdb_promql::parse(promql, &core.parse_options)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    };
    let output = match query.source {
        Source::Table(selection) => {
            let held = Held::new(place, core.engine.options().query_bytes_max);
            let options = &core.parse_options;
            return scan::batches(&snapshot, &selection, query.shape, options, held, row_count_max);
        }
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
    let rows = rows.inspect(move |_| {
        let _held = &memory;
    });
    let columns = match query.shape {
        Shape::Samples(columns) => columns,
        _ => RowColumns::default(),
    };
    Ok(Box::new(Batches::new(Box::new(rows), columns, row_count_max)))
}

/// A value column has room for numbers only.
fn no_histograms(labels: &LabelSet) -> Status {
    Status::unimplemented(format!(
        "the result has native histograms (series {labels}), which have no place in a value column: ask for \
         histogram_count, histogram_sum, histogram_quantile … of them, or for the samples themselves by an export"
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
            Ok(ReadSeries {
                labels: sample.labels,
                timestamps_ms: vec![sample.timestamp_ms],
                values: vec![sample.value],
                ..ReadSeries::default()
            })
        }))),
        Value::Scalar { timestamp_ms, value } => {
            let (timestamps_ms, values) = (vec![timestamp_ms], vec![value]);
            let row = ReadSeries { timestamps_ms, values, ..ReadSeries::default() };
            Ok(Box::new(std::iter::once(Ok(row))))
        }
        Value::String { .. } => {
            Err(Status::invalid_argument("the query gives a string, which has no place in a value column"))
        }
    }
}

fn start_status(error: &StartError) -> Status {
    match error {
        StartError::Gate(_) => Status::resource_exhausted(error.to_string()),
        StartError::Canceled => Status::cancelled(error.to_string()),
        StartError::TimedOut => Status::deadline_exceeded(error.to_string()),
    }
}
