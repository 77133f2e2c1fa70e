//! Points → samples of series, for wires that know no points.
//!
//! The OTLP bytes of a batch are patched as ever; a sample then takes its value from the place in them where it is. So
//! restarts, replacements and detours are those of OTLP, and nothing is computed twice.
//! Names and labels are those that a server stores by default: `job`, `instance`, `le`, `quantile`, `_bucket`, `_sum`, `_count`.
//! What has no samples stays behind: exponential histograms and delta temporality (see [`can_travel`]).

use super::assemble::{Assembled, GENERATION_DIGITS, attributes_of, identity, metric_of};
use super::catalog::stored_name;
use crate::telemetry::template::protobuf::attributes;
use crate::telemetry::template::{Item, Metric, MetricType, Place, QUANTILE_STRIDE, Template};

/// A sample of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Labels with the name, sorted; the last digits of `instance` are the generation.
    pub(super) labels: Vec<(String, String)>,
    /// Where its value is in the OTLP bytes.
    pub(super) source: Source,
    /// Where its start is; absent for gauges.
    pub(super) start_at: Option<u32>,
    /// Where the generation of its target is.
    pub(super) generation_at: u32,
    pub(super) metric_type: MetricType,
}

/// Where a value is, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Integer(u32),
    Double(u32),
    /// A bucket; its value is the sum of all up to it.
    Bucket {
        at: u32,
        is_first: bool,
    },
}

/// Whether a point can be said in samples.
pub(super) fn can_travel(template: &Template, item: &Item) -> bool {
    metric_of(template, item)
        .is_some_and(|(_, metric)| metric.metric_type != MetricType::ExponentialHistogram && !metric.is_delta)
}

/// Returns the samples of a batch that was assembled without links.
pub(super) fn samples(template: &Template, assembled: &Assembled, instance: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut items = assembled.items.iter();
    for resource in &assembled.resources {
        let id = format!("{}-{:0GENERATION_DIGITS$}", identity(instance, resource.resource), 0);
        let of_resource = attributes(attributes_of(template, resource.resource), 1);
        let job = of_resource.into_iter().find(|(key, _)| key == "service.name").map(|(_, name)| name);
        for (position, begin) in items.by_ref().take(resource.item_count) {
            let Some(item) = template.items.get(*position) else { continue };
            let Some((_, metric)) = metric_of(template, item) else { continue };
            let mut labels = vec![("instance".to_owned(), id.clone())];
            labels.extend(job.iter().map(|job| ("job".to_owned(), job.clone())));
            let of_point = attributes(template.message(item, false), metric.metric_type.attributes_field());
            labels.extend(of_point.into_iter().map(|(key, value)| (key.replace('.', "_"), value)));
            let point = PointPlaces { template, item, begin: *begin };
            let of_metric = sources(metric, &point).into_iter().map(|(suffix, extra, source)| {
                let mut labels = labels.clone();
                labels.push(("__name__".to_owned(), stored_name(metric) + suffix));
                labels.extend(extra.map(|(name, value)| (name.to_owned(), value)));
                labels.sort();
                let start_at = point.at(Place::Start);
                let (generation_at, metric_type) = (resource.generation_at, metric.metric_type);
                Sample { labels, source, start_at, generation_at, metric_type }
            });
            samples.extend(of_metric);
        }
    }
    samples
}

struct PointPlaces<'a> {
    template: &'a Template,
    item: &'a Item,
    begin: u32,
}

impl PointPlaces<'_> {
    fn at(&self, place: Place) -> Option<u32> {
        let layout = self.template.layouts.get(self.item.layout as usize)?;
        let patch = layout.iter().find(|patch| patch.place == place)?;
        patch.offset.checked_sub(self.item.cut(false) as u32).map(|offset| self.begin + offset)
    }
}

/// Suffix of the name, further label, and value.
type OfMetric = (&'static str, Option<(&'static str, String)>, Source);

fn sources(metric: &Metric, point: &PointPlaces<'_>) -> Vec<OfMetric> {
    let mut sources = Vec::new();
    let number = if metric.is_integer { Source::Integer } else { Source::Double };
    sources.extend(point.at(Place::Number).map(|at| ("", None, number(at))));
    if let Some(first) = point.at(Place::Buckets) {
        let bounds = metric.shape.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        sources.extend(bounds.zip(0..).map(|(bound, index)| {
            let bucket = Source::Bucket { at: first + 8 * index, is_first: index == 0 };
            ("_bucket", Some(("le", bound)), bucket)
        }));
    }
    if let Some(first) = point.at(Place::Quantiles) {
        sources.extend(metric.shape.bounds.iter().zip(0..).map(|(quantile, index)| {
            let at = first + QUANTILE_STRIDE as u32 * index;
            ("", Some(("quantile", quantile.to_string())), Source::Double(at))
        }));
    }
    sources.extend(point.at(Place::Sum).map(|at| ("_sum", None, Source::Double(at))));
    sources.extend(point.at(Place::Count).map(|at| ("_count", None, Source::Integer(at))));
    sources
}

/// Appends the values of samples, in their order.
pub(super) fn values(otlp: &[u8], samples: &[Sample], values: &mut Vec<f64>) {
    let mut running = 0;
    values.extend(samples.iter().map(|sample| match sample.source {
        Source::Integer(at) => get(otlp, at) as i64 as f64,
        Source::Double(at) => f64::from_bits(get(otlp, at)),
        Source::Bucket { at, is_first } => {
            let bucket = get(otlp, at);
            running = if is_first { bucket } else { bucket.wrapping_add(running) };
            running as f64
        }
    }));
}

/// Returns eight bytes of a body.
#[inline]
pub(super) fn get(body: &[u8], offset: u32) -> u64 {
    let begin = offset as usize;
    body.get(begin..begin + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Returns the generation's digits.
pub(super) fn generation(body: &[u8], offset: u32) -> [u8; GENERATION_DIGITS] {
    let begin = offset as usize;
    let digits = body.get(begin..begin + GENERATION_DIGITS).and_then(|digits| digits.try_into().ok());
    digits.unwrap_or([b'0'; GENERATION_DIGITS])
}
