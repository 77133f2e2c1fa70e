//! The template of metrics: targets × names × series of a name, in this order.

use super::options::{GeneratorOptions, MetricsOptions};
use super::point::{self, Message};
use super::words::{self, MetricWords};
use super::{Share, below, between};
use crate::k8s::model::rng::{Rng, hash};
use crate::telemetry::model::{PHASES, mixture};
use crate::telemetry::template::protobuf::put_attribute;
use crate::telemetry::template::{Metric, MetricType, Model, Shape, Signal, Template};

/// Share of a histogram's observations that are slow.
const SLOW_SHARE: f64 = 0.1;
/// Share of observations of exponential histograms that are zero.
const ZERO_SHARE: f64 = 0.02;
/// First bound of explicit histograms, in seconds.
const FIRST_BOUND: f64 = 0.005;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Returns the template.
pub(super) fn template(options: &GeneratorOptions) -> Template {
    let settings = &options.metrics;
    let mut template = Template::new(Signal::Metrics, options.model_settings());
    template.resources =
        (0..settings.targets).map(|target| words::resource(target % options.services)).collect();
    let named = metrics(settings);
    let mut exemplars = Share::new(settings.exemplar_fraction);
    let mut rng = Rng::new(hash(options.seed, &[1]));
    for target in 0..settings.targets {
        for (metric_index, (metric, metric_words)) in named.iter().enumerate() {
            for series in 0..settings.series_per_name {
                // The attributes of a series are the same on every target, as those of instances of a service are.
                let seed = hash(options.seed, &[2, metric_index as u64, u64::from(series)]);
                let mut attributes = Vec::new();
                let field = metric.metric_type.attributes_field();
                put_attribute(&mut attributes, field, "http.route", &format!("/v1/route-{series:05}"));
                words::put_attributes(&mut attributes, field, settings.attributes, seed);
                let has_exemplar = has_exemplars(metric.metric_type) && exemplars.pick();
                let Message { bytes, patches, link_bytes } = point::point(metric, &attributes, has_exemplar);
                let layout = template.layout(&patches);
                let model = model(&mut rng, settings, metric_index, metric, metric_words);
                template.push(target, layout, link_bytes, model, &bytes);
            }
        }
    }
    template.metrics = named.into_iter().map(|(metric, _)| metric).collect();
    template
}

fn has_exemplars(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Counter | MetricType::Histogram | MetricType::ExponentialHistogram)
}

fn metrics(settings: &MetricsOptions) -> Vec<(Metric, MetricWords)> {
    let mut deltas = Share::new(settings.delta_fraction);
    let mut integers = Share::new(settings.integer_fraction);
    let mut of_type = [0; MetricType::ALL.len()];
    (0..settings.names)
        .map(|index| {
            let metric_type = type_of(settings, index);
            let position = &mut of_type[metric_type as usize];
            let of_words = words_of(metric_type, *position);
            *position += 1;
            let is_delta = has_exemplars(metric_type) && deltas.pick();
            let has_numbers =
                matches!(metric_type, MetricType::Gauge | MetricType::Counter | MetricType::UpDownCounter);
            let is_integer = has_numbers && integers.pick();
            (metric(settings, index, metric_type, is_delta, is_integer, of_words), of_words)
        })
        .collect()
}

/// The types in the shares of their weights, each in one run.
fn type_of(settings: &MetricsOptions, index: u32) -> MetricType {
    let weights = settings.type_weights();
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    // The middle of the name's share of all weights, times two to stay with integers.
    let position = (2 * u64::from(index) + 1) * total / (2 * u64::from(settings.names));
    let mut end = 0;
    for (metric_type, weight) in MetricType::ALL.into_iter().zip(weights) {
        end += u64::from(weight);
        if position < end {
            return metric_type;
        }
    }
    MetricType::Gauge
}

fn words_of(metric_type: MetricType, position: usize) -> MetricWords {
    let list: &[MetricWords] = match metric_type {
        MetricType::Gauge => &words::GAUGES,
        MetricType::Counter => &words::COUNTERS,
        MetricType::UpDownCounter => &words::UP_DOWN_COUNTERS,
        MetricType::Histogram | MetricType::ExponentialHistogram => &words::HISTOGRAMS,
        MetricType::Summary => &words::SUMMARIES,
    };
    list[position % list.len()]
}

fn metric(
    settings: &MetricsOptions,
    index: u32,
    metric_type: MetricType,
    is_delta: bool,
    is_integer: bool,
    (word, unit, low, high): MetricWords,
) -> Metric {
    let name = format!("{word}.{index:04}");
    let shape = match metric_type {
        MetricType::Histogram => mixture::explicit(settings.buckets as usize, FIRST_BOUND, low, high),
        MetricType::ExponentialHistogram => mixture::exponential(
            settings.exponential_buckets as usize,
            settings.exponential_scale,
            low,
            high,
            ZERO_SHARE,
        ),
        MetricType::Summary => mixture::summary(&QUANTILES, low),
        _ => Shape::default(),
    };
    Metric {
        head: point::head(&name, unit),
        tail: point::tail(metric_type, is_delta),
        unit: unit.to_owned(),
        name,
        metric_type,
        is_delta,
        is_integer,
        shape,
    }
}

fn model(
    rng: &mut Rng,
    settings: &MetricsOptions,
    metric_index: usize,
    metric: &Metric,
    (_, _, low, high): &MetricWords,
) -> Model {
    let phase = below(rng, PHASES as u32) as u8;
    let shift = between(rng, 0.0, 1.0);
    let rate = between(rng, settings.rate_min, settings.rate_max);
    let (first, second) = match metric.metric_type {
        MetricType::Gauge | MetricType::UpDownCounter => (*low, *high),
        MetricType::Counter | MetricType::Summary => (rate, 0.0),
        MetricType::Histogram | MetricType::ExponentialHistogram => {
            (rate * (1.0 - SLOW_SHARE), rate * SLOW_SHARE)
        }
    };
    Model::Series { metric: metric_index as u32, phase, first, second, shift }
}
