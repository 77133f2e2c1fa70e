//! The template of traces: trees of spans over services.
//!
//! A span lies within its parent. A trace whose root is missing keeps the parent ids of the root's children.

use super::options::{GeneratorOptions, TracesOptions};
use super::point::Message;
use super::{Share, below, words};
use crate::k8s::model::rng::{Rng, hash};
use crate::telemetry::template::protobuf::{put_bytes, put_uint};
use crate::telemetry::template::{Model, Place, Signal, Template};

const KIND_INTERNAL: u64 = 1;
const KIND_SERVER: u64 = 2;
const KIND_CLIENT: u64 = 3;
const STATUS_ERROR: u64 = 2;
/// Shortest span.
const SPAN_NS_MIN: u64 = 1_000;

/// A span of the tree; its position is its number.
struct Span {
    parent: Option<usize>,
    depth: u32,
    service: u32,
    begin_back_ns: u64,
    end_back_ns: u64,
}

/// Returns the template.
pub(super) fn template(options: &GeneratorOptions) -> Template {
    let settings = &options.traces;
    let mut template = Template::new(Signal::Traces, options.model_settings());
    template.resources = (0..options.services).map(words::resource).collect();
    let mut rng = Rng::new(hash(options.seed, &[3]));
    let mut shares = Shares {
        errors: Share::new(settings.error_fraction),
        fat: Share::new(settings.fat_fraction),
        missing_roots: Share::new(settings.missing_root_fraction),
    };
    let high = (0..settings.high_span_count).map(|_| settings.high_span_spans);
    let lengths: Vec<u32> = (0..settings.count).map(|_| span_count(&mut rng, settings)).chain(high).collect();
    for (trace, length) in lengths.into_iter().enumerate() {
        let spans = tree(&mut rng, settings, options.services, length);
        let is_root_missing = spans.len() > 1 && shares.missing_roots.pick();
        for (number, span) in spans.iter().enumerate() {
            if number == 0 && is_root_missing {
                continue;
            }
            let message = message(&mut rng, settings, span, &mut shares);
            let layout = template.layout(&message.patches);
            let model = Model::Span {
                trace: trace as u32,
                span: number as u32,
                parent: span.parent.map(|parent| parent as u32),
                begin_back_ns: span.begin_back_ns,
                end_back_ns: span.end_back_ns,
            };
            template.push(span.service, layout, 0, model, &message.bytes);
        }
    }
    template
}

struct Shares {
    errors: Share,
    fat: Share,
    missing_roots: Share,
}

fn span_count(rng: &mut Rng, settings: &TracesOptions) -> u32 {
    let spread = f64::from(settings.spans_deviation) * rng.normal();
    (f64::from(settings.spans_mean) + spread + 0.5).max(1.0) as u32
}

fn tree(rng: &mut Rng, settings: &TracesOptions, services: u32, length: u32) -> Vec<Span> {
    let duration_ns = settings.duration.as_nanos() as u64;
    // Half to one and a half of the duration asked for.
    let root_ns = (duration_ns / 2 + rng.bits() % duration_ns).max(SPAN_NS_MIN);
    let mut spans = Vec::with_capacity(length as usize);
    spans.push(Span {
        parent: None,
        depth: 1,
        service: below(rng, services),
        begin_back_ns: root_ns,
        end_back_ns: 0,
    });
    for _ in 1..length {
        let mut parent = below(rng, spans.len() as u32) as usize;
        while spans[parent].depth >= settings.depth && spans[parent].parent.is_some() {
            parent = spans[parent].parent.unwrap_or_default();
        }
        let of = &spans[parent];
        let room_ns = of.begin_back_ns - of.end_back_ns;
        let span_ns = (rng.bits() % (room_ns / 2 + 1)).max(SPAN_NS_MIN).min(room_ns);
        let end_back_ns = of.end_back_ns + rng.bits() % (room_ns - span_ns + 1);
        let service = if rng.bits().is_multiple_of(2) { of.service } else { below(rng, services) };
        let depth = of.depth + 1;
        spans.push(Span {
            parent: Some(parent),
            depth,
            service,
            begin_back_ns: end_back_ns + span_ns,
            end_back_ns,
        });
    }
    spans
}

fn message(rng: &mut Rng, settings: &TracesOptions, span: &Span, shares: &mut Shares) -> Message {
    let mut message = Message::default();
    message.room(1, Place::TraceId, 16);
    message.room(2, Place::SpanId, 8);
    if span.parent.is_some() {
        message.room(4, Place::ParentId, 8);
    }
    message.fixed(7, Place::Begin);
    message.fixed(8, Place::End);
    let has_error = shares.errors.pick();
    if has_error {
        message.nested(11, &exception());
    }
    let route = below(rng, 30);
    let (kind, name) = match (span.parent, rng.bits() % 3) {
        (None, _) | (_, 0) => (KIND_SERVER, format!("GET /v1/route-{route:05}")),
        (_, 1) => (KIND_CLIENT, format!("SELECT shop.table_{route}")),
        _ => (KIND_INTERNAL, format!("compute-{route}")),
    };
    put_bytes(&mut message.bytes, 5, name.as_bytes());
    put_uint(&mut message.bytes, 6, kind);
    let attribute_count = if shares.fat.pick() { settings.fat_attributes } else { settings.attributes };
    words::put_attributes(&mut message.bytes, 9, attribute_count, rng.bits());
    if has_error {
        let mut status = Vec::new();
        put_bytes(&mut status, 2, b"upstream answered with an internal error");
        put_uint(&mut status, 3, STATUS_ERROR);
        put_bytes(&mut message.bytes, 15, &status);
    }
    message
}

/// The event of a span that failed, at its end.
fn exception() -> Message {
    let mut event = Message::default();
    event.fixed(1, Place::End);
    put_bytes(&mut event.bytes, 2, b"exception");
    event
}
