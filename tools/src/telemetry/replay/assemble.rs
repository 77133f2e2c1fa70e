//! Items → the bytes of one request, and where in it every item begins.
//!
//! The messages around the items are built once, when a template is opened: only now are the identity, the worker's share
//! and the size of requests known. The three signals nest alike: request → resource → scope → (metric →) items.

use crate::telemetry::template::protobuf::{put_attribute, put_bytes, put_head};
use crate::telemetry::template::{Item, Metric, Model, Signal, Template};

const SCOPE_NAME: &str = "mytsdb.telemetry-sender";
/// Digits of the generation at the end of `service.instance.id`.
pub(super) const GENERATION_DIGITS: usize = 6;

/// A request, or a part of one.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub(super) bytes: Vec<u8>,
    /// Position of the item in the template, first byte in the request.
    pub(super) items: Vec<(usize, u32)>,
    /// A resource in the request.
    pub(super) resources: Vec<Resource>,
}

/// A resource in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resource {
    /// Position in the template.
    pub(super) resource: u32,
    /// First digit of its generation.
    pub(super) generation_at: u32,
    /// How many of the request's items are its own; they follow each other.
    pub(super) item_count: usize,
}

impl Assembled {
    /// Appends another part as a field.
    fn nest(&mut self, field: u32, inner: Assembled) {
        put_head(&mut self.bytes, field, inner.bytes.len());
        let begin = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&inner.bytes);
        self.items.extend(inner.items.into_iter().map(|(item, offset)| (item, begin + offset)));
        let moved = inner.resources.into_iter();
        self.resources.extend(moved.map(|one| Resource { generation_at: begin + one.generation_at, ..one }));
    }
}

/// Returns the request of some items, those of a resource together.
pub(super) fn assemble(template: &Template, items: &[usize], instance: &str, has_links: bool) -> Assembled {
    let mut request = Assembled::default();
    let resource_of = |item: &usize| template.items.get(*item).map(|item| item.resource);
    for of_resource in items.chunk_by(|left, right| resource_of(left) == resource_of(right)) {
        let Some(resource) = of_resource.first().and_then(resource_of) else { continue };
        let mut scope = Assembled::default();
        let mut name = Vec::new();
        put_bytes(&mut name, 1, SCOPE_NAME.as_bytes());
        put_bytes(&mut scope.bytes, 1, &name);
        match template.signal {
            Signal::Metrics => nest_metrics(&mut scope, template, of_resource, has_links),
            Signal::Traces | Signal::Logs => nest_items(&mut scope, 2, template, of_resource, has_links),
        }
        let mut around = resource_part(template, resource, instance, of_resource.len());
        around.nest(2, scope);
        request.nest(1, around);
    }
    request
}

/// Returns the field `resource` of the message around the scopes of a resource.
fn resource_part(template: &Template, resource: u32, instance: &str, item_count: usize) -> Assembled {
    let mut inner = Assembled { bytes: attributes_of(template, resource).to_vec(), ..Assembled::default() };
    let id = format!("{}-{:0GENERATION_DIGITS$}", identity(instance, resource), 0);
    put_attribute(&mut inner.bytes, 1, "service.instance.id", &id);
    let generation_at = (inner.bytes.len() - GENERATION_DIGITS) as u32;
    inner.resources.push(Resource { resource, generation_at, item_count });
    let mut around = Assembled::default();
    around.nest(1, inner);
    around
}

pub(super) fn attributes_of(template: &Template, resource: u32) -> &[u8] {
    template.resources.get(resource as usize).map_or(&[], Vec::as_slice)
}

/// Returns `service.instance.id` up to the generation.
pub(super) fn identity(instance: &str, resource: u32) -> String {
    format!("{instance}-{resource:04}")
}

fn nest_metrics(scope: &mut Assembled, template: &Template, items: &[usize], has_links: bool) {
    let metric_of = |item: &usize| template.items.get(*item).and_then(|item| metric_of(template, item));
    let is_same =
        |left: &usize, right: &usize| metric_of(left).map(|(at, _)| at) == metric_of(right).map(|(at, _)| at);
    for of_metric in items.chunk_by(is_same) {
        let Some((_, metric)) = of_metric.first().and_then(metric_of) else { continue };
        let mut points = Assembled::default();
        nest_items(&mut points, 1, template, of_metric, has_links);
        points.bytes.extend_from_slice(&metric.tail);
        let mut message = Assembled { bytes: metric.head.clone(), ..Assembled::default() };
        message.nest(metric.metric_type.field(), points);
        scope.nest(2, message);
    }
}

/// Returns position and metric of a point.
pub(super) fn metric_of<'t>(template: &'t Template, item: &Item) -> Option<(u32, &'t Metric)> {
    match item.model {
        Model::Series { metric, .. } => template.metrics.get(metric as usize).map(|found| (metric, found)),
        Model::Span { .. } | Model::Record => None,
    }
}

fn nest_items(around: &mut Assembled, field: u32, template: &Template, items: &[usize], has_links: bool) {
    for (position, item) in items.iter().filter_map(|at| template.items.get(*at).map(|item| (*at, item))) {
        let message = template.message(item, has_links);
        put_head(&mut around.bytes, field, message.len());
        around.items.push((position, around.bytes.len() as u32));
        around.bytes.extend_from_slice(message);
    }
}
