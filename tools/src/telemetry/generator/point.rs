//! The messages of points, with the places that are patched.
//!
//! What points at a span comes first, so that it can be cut off; then fields of fixed width; attributes last. So all points
//! of a metric with exemplars have the same places, and so have all without.
//! Source: opentelemetry-proto, metrics/v1/metrics.proto.

use crate::telemetry::template::protobuf::{
    WIDE_VARINT_BYTES, put_bytes, put_fixed64, put_head, put_room, put_sint, put_uint, wide_varint,
};
use crate::telemetry::template::{Metric, MetricType, Patch, Place};

const CUMULATIVE: u64 = 2;
const DELTA: u64 = 1;

/// A message with its places.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) patches: Vec<Patch>,
    pub(super) link_bytes: u32,
}

impl Message {
    pub(super) fn fixed(&mut self, field: u32, place: Place) {
        let offset = put_fixed64(&mut self.bytes, field, 0);
        self.patches.push(Patch { place, offset });
    }

    pub(super) fn room(&mut self, field: u32, place: Place, len: usize) {
        let offset = put_room(&mut self.bytes, field, len);
        self.patches.push(Patch { place, offset });
    }

    /// Appends another message as a field, with its places.
    pub(super) fn nested(&mut self, field: u32, inner: &Message) {
        put_head(&mut self.bytes, field, inner.bytes.len());
        let begin = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&inner.bytes);
        let moved = inner.patches.iter();
        self.patches.extend(moved.map(|patch| Patch { offset: begin + patch.offset, ..*patch }));
    }
}

/// Fields of `Metric` before the points: name, description, unit.
pub(super) fn head(name: &str, unit: &str) -> Vec<u8> {
    let mut head = Vec::new();
    put_bytes(&mut head, 1, name.as_bytes());
    put_bytes(&mut head, 2, format!("Synthetic load: {name}.").as_bytes());
    if !unit.is_empty() {
        put_bytes(&mut head, 3, unit.as_bytes());
    }
    head
}

/// Fields after the points: temporality, and whether a sum is monotonic.
pub(super) fn tail(metric_type: MetricType, is_delta: bool) -> Vec<u8> {
    let mut tail = Vec::new();
    match metric_type {
        MetricType::Gauge | MetricType::Summary => return tail,
        _ => put_uint(&mut tail, 2, if is_delta { DELTA } else { CUMULATIVE }),
    }
    if metric_type == MetricType::Counter {
        put_uint(&mut tail, 3, 1);
    }
    tail
}

/// Returns a point of a metric; `attributes` are encoded for its type.
pub(super) fn point(metric: &Metric, attributes: &[u8], has_exemplar: bool) -> Message {
    let mut message = Message::default();
    if has_exemplar && let Some(field) = exemplars_field(metric.metric_type) {
        message.nested(field, &exemplar());
        message.link_bytes = message.bytes.len() as u32;
    }
    if metric.metric_type != MetricType::Gauge {
        message.fixed(2, Place::Start);
    }
    message.fixed(3, Place::Time);
    match metric.metric_type {
        MetricType::Gauge | MetricType::Counter | MetricType::UpDownCounter => {
            message.fixed(if metric.is_integer { 6 } else { 4 }, Place::Number);
        }
        MetricType::Histogram => put_histogram(&mut message, metric),
        MetricType::ExponentialHistogram => put_exponential(&mut message, metric),
        MetricType::Summary => put_summary(&mut message, metric),
    }
    message.bytes.extend_from_slice(attributes);
    message
}

fn exemplars_field(metric_type: MetricType) -> Option<u32> {
    match metric_type {
        MetricType::Counter => Some(5),
        MetricType::Histogram => Some(8),
        MetricType::ExponentialHistogram => Some(11),
        MetricType::Gauge | MetricType::UpDownCounter | MetricType::Summary => None,
    }
}

fn exemplar() -> Message {
    let mut message = Message::default();
    message.fixed(2, Place::ExemplarTime);
    message.fixed(3, Place::ExemplarValue);
    message.room(4, Place::LinkedSpan, 8);
    message.room(5, Place::LinkedTrace, 16);
    message
}

fn put_histogram(message: &mut Message, metric: &Metric) {
    let shape = &metric.shape;
    message.fixed(4, Place::Count);
    message.fixed(5, Place::Sum);
    message.room(6, Place::Buckets, 8 * shape.fast.len());
    let bounds: Vec<u8> = shape.bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
    put_bytes(&mut message.bytes, 7, &bounds);
}

fn put_exponential(message: &mut Message, metric: &Metric) {
    let shape = &metric.shape;
    message.fixed(4, Place::Count);
    message.fixed(5, Place::Sum);
    put_sint(&mut message.bytes, 6, shape.scale);
    message.fixed(7, Place::ZeroCount);
    let mut positive = Message::default();
    put_sint(&mut positive.bytes, 1, shape.offset);
    positive.room(2, Place::ExponentialBuckets, WIDE_VARINT_BYTES * shape.fast.len());
    // Zeros as wide as every other number.
    let begin = positive.bytes.len() - WIDE_VARINT_BYTES * shape.fast.len();
    for bucket in positive.bytes[begin..].chunks_exact_mut(WIDE_VARINT_BYTES) {
        bucket.copy_from_slice(&wide_varint(0).to_le_bytes()[..WIDE_VARINT_BYTES]);
    }
    message.nested(8, &positive);
}

fn put_summary(message: &mut Message, metric: &Metric) {
    message.fixed(4, Place::Count);
    message.fixed(5, Place::Sum);
    for (index, quantile) in metric.shape.bounds.iter().enumerate() {
        let mut of_quantile = Message::default();
        put_fixed64(&mut of_quantile.bytes, 1, quantile.to_bits());
        let offset = put_fixed64(&mut of_quantile.bytes, 2, 0);
        if index == 0 {
            of_quantile.patches.push(Patch { place: Place::Quantiles, offset });
        }
        message.nested(6, &of_quantile);
    }
}
