//! `GET /api/v1/gpus/{id}/telemetry`: the samples of one GPU, by time.
//!
//! `start_time` and `end_time` are inclusive; the first `limit` rows from `start_time` on are given, and whether there are
//! more. Not here: rows with a column per metric (see [`super::pivot`]).

use axum::extract::Path;
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{LabelSet, TimeRange, is_stale};
use mytsdb_storage::read::{SampleColumns, SeriesSet};
use serde::Serialize;
use serde_json::Value;

use super::call::Call;
use super::error::GatewayError;
use super::gpu::{Gpu, find, whole};
use super::pivot::{metric_of_column, pivot};
use super::reply::Json;
use crate::queries::{Place, rfc3339};

const PATH: &str = "/api/v1/gpus/{id}/telemetry";
const LIMIT_DEFAULT: usize = 100;
/// Most rows of one answer.
const LIMIT_MAX: usize = 10_000;
/// Bytes of a decoded sample.
const SAMPLE_BYTES: usize = 16;
/// Bytes of a row while the answer is made, about.
const ROW_BYTES: usize = 400;

/// What is asked for.
#[derive(Debug)]
struct Question {
    id: String,
    range: TimeRange,
    limit: usize,
    /// Metric names; empty = all.
    metrics: Vec<String>,
    is_pivot: bool,
}

impl Question {
    fn of(call: &Call, id: String) -> Result<Self, GatewayError> {
        let start_ms = call.time_ms("start_time")?.unwrap_or(whole().start_ms);
        let end_ms = call.time_ms("end_time")?.unwrap_or(whole().end_ms);
        if end_ms < start_ms {
            return Err(GatewayError::RangeBackwards);
        }
        let is_pivot = match call.get("format").unwrap_or("raw") {
            "raw" => false,
            "pivot" => true,
            given => {
                let reason = format!("{given:?} is no format; allowed are raw and pivot");
                return Err(GatewayError::Parameter { name: "format", reason });
            }
        };
        Ok(Self {
            id,
            range: TimeRange::from_inclusive(start_ms, end_ms),
            limit: limit(call.get("limit"))?,
            metrics: call.list("metric").into_iter().map(|name| metric_of_column(name).to_owned()).collect(),
            is_pivot,
        })
    }
}

fn limit(text: Option<&str>) -> Result<usize, GatewayError> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => {
            let reason = format!("{text:?} is no number from 1 to {LIMIT_MAX}");
            Err(GatewayError::Parameter { name: "limit", reason })
        }
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(skip)]
    pub(super) time_ms: i64,
    pub(super) timestamp: String,
    pub(super) metric: String,
    /// `null` if it is no number.
    pub(super) value: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) gpu_instance_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    container: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pod: String,
}

impl Row {
    pub(super) fn new(labels: &LabelSet, time_ms: i64, value: f64) -> Self {
        let text = |name: &str| labels.get(name).unwrap_or_default().to_owned();
        Self {
            time_ms,
            timestamp: rfc3339(time_ms),
            metric: labels.metric_name().to_owned(),
            value,
            gpu_instance_id: text("GPU_I_ID"),
            container: text("container"),
            namespace: text("namespace"),
            pod: text("pod"),
        }
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Telemetry {
    success: bool,
    count: usize,
    /// Whether `limit` cut something off; go on with `start_time` = the last timestamp.
    has_more: bool,
    gpu: Gpu,
    data: Value,
}

pub(super) async fn telemetry(Path(id): Path<String>, call: Call) -> Result<Json<Telemetry>, GatewayError> {
    let question = Question::of(&call, id)?;
    let times_ms = (question.range.start_ms, question.range.end_ms.saturating_sub(1));
    call.read(PATH, times_ms, move |snapshot, place| answer(snapshot, place, &question)).await.map(Json)
}

fn answer(snapshot: &Snapshot, place: &Place, question: &Question) -> Result<Telemetry, GatewayError> {
    let (gpu, sets) = find(snapshot, &question.id, question.range)?;
    let mut rows = Vec::new();
    let mut memory = Vec::new();
    let mut columns = SampleColumns::default();
    for (set, index) in sets.iter().flat_map(|set| (0..set.len()).map(move |index| (set, index))) {
        let metric = set.labels(index).metric_name();
        if !question.metrics.is_empty() && !question.metrics.iter().any(|wanted| wanted == metric) {
            continue;
        }
        place.check_cancelled()?;
        let describe = || format!("{{UUID={:?}}}", gpu.uuid);
        let sample_count = set.estimated_sample_count(index, question.range);
        // The bytes of the columns are free again after each series, those of its rows are not.
        let _decoded = place.budget().reserve(sample_count.saturating_mul(SAMPLE_BYTES), describe)?;
        memory.push(place.budget().reserve(sample_count.min(question.limit + 1) * ROW_BYTES, describe)?);
        push_rows(set, index, question, &mut columns, &mut rows)?;
    }
    rows.sort_by(|left, right| left.time_ms.cmp(&right.time_ms).then_with(|| left.metric.cmp(&right.metric)));
    let (data, has_more): (Vec<Value>, bool) = if question.is_pivot {
        pivot(rows, question.limit)
    } else {
        let has_more = rows.len() > question.limit;
        rows.truncate(question.limit);
        // A struct of texts and numbers always serialises.
        (rows.into_iter().map(|row| serde_json::to_value(row).unwrap_or_default()).collect(), has_more)
    };
    Ok(Telemetry { success: true, count: data.len(), has_more, gpu, data: Value::Array(data) })
}

/// Appends the first rows of a series: one more than the limit, to know whether there is more.
fn push_rows(
    set: &SeriesSet,
    index: usize,
    question: &Question,
    columns: &mut SampleColumns,
    rows: &mut Vec<Row>,
) -> Result<(), GatewayError> {
    set.read(index, question.range, columns)?;
    let mut histograms = columns.histograms.iter().map(|(position, _)| *position as usize).peekable();
    let samples = columns.timestamps_ms.iter().zip(&columns.values).enumerate();
    let numbers = samples
        .filter(|(position, (_, value))| histograms.next_if_eq(position).is_none() && !is_stale(**value));
    let labels = set.labels(index);
    rows.extend(
        numbers.take(question.limit + 1).map(|(_, (time_ms, value))| Row::new(labels, *time_ms, *value)),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn the_limit_is_a_hundred_unless_it_is_a_number_that_is_allowed() {
        assert_eq!(limit(None).unwrap(), 100);
        assert_eq!(limit(Some("10000")).unwrap(), 10_000);
        for text in ["0", "-1", "10001", "many", "1.5"] {
            let message = limit(Some(text)).unwrap_err().to_string();
            assert!(message.contains("limit") && message.contains("from 1 to 10000"), "{message}");
        }
    }
}
