//! The response type SAMPLES: everything in one snappy block.

use mytsdb_promql::Reservation;
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::Histogram;
use mytsdb_storage::read::SampleColumns;
use prost::Message as _;

use super::histogram::deltas;
use super::{ReadFailure, Selection, proto};
use crate::queries::Place;

/// Most samples of one answer, as Prometheus' `storage.remote.read-sample-limit`.
const SAMPLE_COUNT_MAX: usize = 50_000_000;

/// Bytes of a sample in memory while the answer is made: once as a value, once encoded.
const SAMPLE_BYTES: usize = 48;

/// The answer and the memory that it takes.
pub(super) fn encode(
    snapshot: &Snapshot,
    selections: &[Selection],
    place: &Place,
) -> Result<(Vec<u8>, Vec<Reservation>), ReadFailure> {
    let mut response = proto::ReadResponse::default();
    let mut memory = Vec::new();
    let mut columns = SampleColumns::default();
    let mut sample_count = 0;
    for selection in selections {
        let set = selection.select(snapshot)?;
        let mut result = proto::QueryResult::default();
        for index in 0..set.len() {
            place.check_cancelled()?;
            set.read(index, selection.range, &mut columns)?;
            sample_count += columns.len();
            if sample_count > SAMPLE_COUNT_MAX {
                return Err(ReadFailure::TooManySamples { limit: SAMPLE_COUNT_MAX });
            }
            if columns.is_empty() {
                continue;
            }
            let bytes = columns.len() * SAMPLE_BYTES + set.labels(index).encoded().len();
            memory.push(place.budget().reserve(bytes, || selection.describe())?);
            result.timeseries.push(series(&columns, proto::labels(set.labels(index))));
        }
        response.results.push(result);
    }
    let bytes = response.encode_to_vec();
    let compressed = snap::raw::Encoder::new()
        .compress_vec(&bytes)
        .map_err(|error| ReadFailure::Request(format!("the answer is too large: {error}")))?;
    Ok((compressed, memory))
}

fn series(columns: &SampleColumns, labels: Vec<proto::Label>) -> proto::TimeSeries {
    let mut histograms = columns.histograms.iter().peekable();
    let mut series = proto::TimeSeries { labels, ..proto::TimeSeries::default() };
    for (index, (time_ms, value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
        match histograms.next_if(|(position, _)| *position as usize == index) {
            Some((_, histogram)) => series.histograms.push(native(*time_ms, histogram)),
            None => series.samples.push(proto::Sample { value: *value, timestamp: *time_ms }),
        }
    }
    series
}

fn native(time_ms: i64, histogram: &Histogram) -> proto::Histogram {
    let layout = &histogram.layout;
    let spans = |spans: &[mytsdb_storage::model::BucketSpan]| {
        spans.iter().map(|span| proto::BucketSpan { offset: span.offset, length: span.length }).collect()
    };
    let mut native = proto::Histogram {
        sum: histogram.sum,
        schema: i32::from(layout.schema),
        zero_threshold: layout.zero_threshold,
        negative_spans: spans(&layout.negative_spans),
        positive_spans: spans(&layout.positive_spans),
        reset_hint: histogram.reset_hint as i32,
        timestamp: time_ms,
        custom_values: layout.custom_bounds.clone(),
        ..proto::Histogram::default()
    };
    if layout.is_integer {
        native.count_int = Some(histogram.count as u64);
        native.zero_count_int = Some(histogram.zero_count as u64);
        native.negative_deltas = deltas(&histogram.negative_counts).collect();
        native.positive_deltas = deltas(&histogram.positive_counts).collect();
    } else {
        native.count_float = Some(histogram.count);
        native.zero_count_float = Some(histogram.zero_count);
        native.negative_counts.clone_from(&histogram.negative_counts);
        native.positive_counts.clone_from(&histogram.positive_counts);
    }
    native
}
