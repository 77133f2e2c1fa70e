//! The template of logs.

use super::options::GeneratorOptions;
use super::point::Message;
use super::{Share, below, words};
use crate::k8s::model::rng::{Rng, hash};
use crate::telemetry::template::protobuf::{put_bytes, put_uint};
use crate::telemetry::template::{Model, Place, Signal, Template};

/// Returns the template.
pub(super) fn template(options: &GeneratorOptions) -> Template {
    let settings = &options.logs;
    let mut template = Template::new(Signal::Logs, options.model_settings());
    template.resources = (0..options.services).map(words::resource).collect();
    let mut rng = Rng::new(hash(options.seed, &[4]));
    let mut correlated = Share::new(settings.correlated_fraction);
    for _ in 0..settings.count {
        let message = message(&mut rng, options, correlated.pick());
        let layout = template.layout(&message.patches);
        let service = below(&mut rng, options.services);
        template.push(service, layout, message.link_bytes, Model::Record, &message.bytes);
    }
    template
}

fn message(rng: &mut Rng, options: &GeneratorOptions, is_correlated: bool) -> Message {
    let settings = &options.logs;
    let mut message = Message::default();
    if is_correlated {
        message.room(9, Place::LinkedTrace, 16);
        message.room(10, Place::LinkedSpan, 8);
        message.link_bytes = message.bytes.len() as u32;
    }
    message.fixed(1, Place::Time);
    message.fixed(11, Place::Time);
    let (number, text, line) = words::SEVERITIES[severity(rng, &settings.severities)];
    put_uint(&mut message.bytes, 2, number);
    put_bytes(&mut message.bytes, 3, text.as_bytes());
    let mut body = Vec::new();
    put_bytes(&mut body, 1, self::body(rng, line, settings.body_bytes as usize).as_bytes());
    put_bytes(&mut message.bytes, 5, &body);
    words::put_attributes(&mut message.bytes, 6, settings.attributes, rng.bits());
    message
}

fn severity(rng: &mut Rng, weights: &[u32]) -> usize {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let mut rest = rng.bits() % total.max(1);
    for (position, weight) in weights.iter().enumerate() {
        match rest.checked_sub(u64::from(*weight)) {
            Some(left) => rest = left,
            None => return position.min(words::SEVERITIES.len() - 1),
        }
    }
    0
}

/// A line and fields after it, as long as asked for.
fn body(rng: &mut Rng, line: &str, body_bytes: usize) -> String {
    let mut body = line.to_owned();
    while body.len() < body_bytes {
        body.push_str(&format!(" request_id={:016x} user={}", rng.bits(), below(rng, 100_000)));
    }
    body.truncate(body_bytes);
    body
}
