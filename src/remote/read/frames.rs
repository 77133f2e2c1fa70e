//! The response type STREAMED_XOR_CHUNKS: a frame per series, made while the client reads.
//!
//! A frame is: length of the message as uvarint, CRC-32C of the message (4 bytes, big-endian), the message. Series come
//! sorted by labels; one with many chunks spans frames.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::try_unfold;
use mytsdb_storage::Snapshot;
use mytsdb_storage::coding::crc32c;
use mytsdb_storage::read::{SampleColumns, SeriesSet};
use prost::Message as _;

use super::{ReadFailure, Selection, histogram, proto, xor};
use crate::core::Core;
use crate::queries::{CancelOnDrop, Place};

const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Samples of a chunk, as in Prometheus.
const CHUNK_SAMPLE_COUNT: usize = 120;

/// A frame is closed once its message has this many bytes.
const FRAME_BYTES: usize = 1 << 20;

/// Frames are handed on in parts of at least this size, unless the series end.
const PART_BYTES: usize = 64 << 10;

const ENCODING_XOR: i32 = 1;
const ENCODING_HISTOGRAM: i32 = 2;
const ENCODING_FLOAT_HISTOGRAM: i32 = 3;

/// What is still to be sent.
struct Frames {
    snapshot: Snapshot,
    /// With the index of the query in the request.
    selections: VecDeque<(usize, Selection)>,
    /// The series of the first selection and the next one of them.
    current: Option<(SeriesSet, usize)>,
    columns: SampleColumns,
    place: Place,
    _guard: CancelOnDrop,
}

/// Answers with all frames.
pub(super) fn stream(
    core: Arc<Core>,
    place: Place,
    guard: CancelOnDrop,
    snapshot: Snapshot,
    selections: Vec<Selection>,
) -> Response {
    let frames = Frames {
        snapshot,
        selections: selections.into_iter().enumerate().collect(),
        current: None,
        columns: SampleColumns::default(),
        place,
        _guard: guard,
    };
    let body = try_unfold(frames, move |mut frames| {
        let core = Arc::clone(&core);
        async move {
            let (part, frames) = core.blocking.run(move || (frames.next_part(), frames)).await?;
            let part = part?;
            Ok::<_, ReadFailure>((!part.is_empty()).then_some((Bytes::from(part), frames)))
        }
    });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::from_stream(body)).into_response()
}

impl Frames {
    /// The next frames; nothing at the end.
    fn next_part(&mut self) -> Result<Vec<u8>, ReadFailure> {
        let mut out = Vec::new();
        while out.len() < PART_BYTES {
            self.place.check_cancelled()?;
            let Some((query_index, selection)) = self.selections.front() else { break };
            let (set, next) = match &mut self.current {
                Some((set, next)) => (set, next),
                none => {
                    let set = selection.select(&self.snapshot)?;
                    let largest = set.series_sample_count_max().saturating_mul(16);
                    drop(self.place.budget().reserve(largest, || selection.describe())?);
                    let (set, next) = none.insert((set, 0));
                    (set, next)
                }
            };
            if *next >= set.len() {
                self.selections.pop_front();
                self.current = None;
                continue;
            }
            set.read(*next, selection.range, &mut self.columns)?;
            push_series(&mut out, *query_index, proto::labels(set.labels(*next)), &self.columns);
            *next += 1;
        }
        Ok(out)
    }
}

/// Writes the frames of one series.
fn push_series(out: &mut Vec<u8>, query_index: usize, labels: Vec<proto::Label>, columns: &SampleColumns) {
    let mut chunks = Vec::new();
    let mut bytes = 0;
    let runs = Chunks { columns, position: 0, histogram_index: 0 };
    for chunk in runs {
        bytes += chunk.data.len();
        chunks.push(chunk);
        if bytes >= FRAME_BYTES {
            push_frame(out, query_index, &labels, std::mem::take(&mut chunks));
            bytes = 0;
        }
    }
    if !chunks.is_empty() {
        push_frame(out, query_index, &labels, chunks);
    }
}

fn push_frame(out: &mut Vec<u8>, query_index: usize, labels: &[proto::Label], chunks: Vec<proto::Chunk>) {
    let series = proto::ChunkedSeries { labels: labels.to_vec(), chunks };
    let message =
        proto::ChunkedReadResponse { chunked_series: vec![series], query_index: query_index as i64 };
    let message = message.encode_to_vec();
    prost::encoding::encode_varint(message.len() as u64, out);
    // Go writes big-endian.
    out.extend_from_slice(&crc32c(&message).swap_bytes().to_le_bytes());
    out.extend_from_slice(&message);
}

/// The chunks of one series: runs of floats, and histograms one by one.
struct Chunks<'a> {
    columns: &'a SampleColumns,
    position: usize,
    histogram_index: usize,
}

impl Iterator for Chunks<'_> {
    type Item = proto::Chunk;

    fn next(&mut self) -> Option<proto::Chunk> {
        let SampleColumns { timestamps_ms, values, histograms, .. } = self.columns;
        let start = self.position;
        let first_ms = *timestamps_ms.get(start)?;
        let next = histograms.get(self.histogram_index);
        if let Some((_, found)) = next.filter(|(position, _)| *position as usize == start) {
            self.position += 1;
            self.histogram_index += 1;
            let encoding =
                if found.layout.is_integer { ENCODING_HISTOGRAM } else { ENCODING_FLOAT_HISTOGRAM };
            let data = histogram::encode(first_ms, found);
            return Some(proto::Chunk { min_time_ms: first_ms, max_time_ms: first_ms, encoding, data });
        }
        let floats_end = next.map_or(timestamps_ms.len(), |(position, _)| *position as usize);
        let end = floats_end.min(start + CHUNK_SAMPLE_COUNT);
        self.position = end;
        Some(proto::Chunk {
            min_time_ms: first_ms,
            max_time_ms: timestamps_ms[end - 1],
            encoding: ENCODING_XOR,
            data: xor::encode(&timestamps_ms[start..end], &values[start..end]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mytsdb_storage::model::Histogram;

    #[test]
    fn series_are_cut_into_chunks_and_frames_carry_their_sum() {
        let mut columns = SampleColumns::default();
        columns.timestamps_ms = (0..250).collect();
        columns.values = (0..250).map(f64::from).collect();
        columns.histograms = vec![(130, Arc::new(Histogram::default()))];
        let mut out = Vec::new();
        push_series(&mut out, 3, vec![proto::Label { name: "a".into(), value: "b".into() }], &columns);
        let mut rest = &out[..];
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        let (sum, message) = rest.split_at(4);
        assert_eq!(message.len(), length);
        assert_eq!(sum, crc32c(message).swap_bytes().to_le_bytes());
        let message = proto::ChunkedReadResponse::decode(message).unwrap();
        assert_eq!(message.query_index, 3);
        let spans: Vec<(i64, i64, i32)> = message.chunked_series[0]
            .chunks
            .iter()
            .map(|chunk| (chunk.min_time_ms, chunk.max_time_ms, chunk.encoding))
            .collect();
        assert_eq!(spans, [(0, 119, 1), (120, 129, 1), (130, 130, 3), (131, 249, 1)]);
        let decoded = xor::tests::decode(&message.chunked_series[0].chunks[1].data);
        assert_eq!(decoded[9], (129, 129_f64.to_bits()));
    }
}
