//! The metrics of one worker: batches of points, each patched as a whole.

use super::assemble::{Assembled, GENERATION_DIGITS, assemble, metric_of};
use super::links::{Link, Links};
use super::options::ReplayOptions;
use super::patches::{put, put_digits};
use super::points::{Moment, Points};
use super::wires::Translator;
use crate::telemetry::model::curve::Curves;
use crate::telemetry::model::epoch::{Epoch, Epochs};
use crate::telemetry::model::walk::{Walks, fold};
use crate::telemetry::model::{PHASES, Phases};
use crate::telemetry::template::{Metric, Model, Place, Template};

const MS_NS: u64 = 1_000_000;

/// The metrics of one worker.
#[derive(Debug)]
pub(super) struct MetricsReplay {
    batches: Vec<Batch>,
    metrics: Vec<Metric>,
    models: Models,
}

/// What values are computed from.
#[derive(Debug)]
pub(super) struct Models {
    pub(super) curves: Curves,
    pub(super) walks: Walks,
    pub(super) epochs: Epochs,
}

/// Which points a request has, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) batch: usize,
    /// Time of its series' last points; 0 if these are the first.
    pub(super) before_ns: u64,
    pub(super) time_ns: u64,
}

#[derive(Debug)]
struct Batch {
    template: Vec<u8>,
    events: u64,
    times: Vec<u32>,
    targets: Vec<Target>,
    exemplars: Vec<Exemplar>,
    has_deltas: bool,
    /// When its series begin: after a part of the ramp.
    active_ns: u64,
    last_ns: u64,
}

/// The points of one target in a batch.
#[derive(Debug)]
struct Target {
    resource: u32,
    generation_at: u32,
    epoch: Epoch,
    /// Curves at the start of the epoch.
    base: Phases,
    cumulative: Points,
    delta: Points,
}

#[derive(Debug, Clone, Copy)]
struct Exemplar {
    time_at: u32,
    value_at: u32,
    link: Link,
    value: f64,
    shift: f64,
}

impl MetricsReplay {
    /// Builds the batches of `items`; `translator` gets them too.
    pub(super) fn new(
        template: &Template,
        items: &[usize],
        options: &ReplayOptions,
        has_links: bool,
        mut translator: Option<&mut Translator>,
    ) -> Self {
        let models = Models::new(template, options.started_ns);
        let batch_count = items.len().div_ceil(options.batch.metrics);
        let batches = items
            .chunks(options.batch.metrics)
            .enumerate()
            .map(|(index, items)| {
                let assembled = assemble(template, items, &options.instance, has_links);
                if let Some(translator) = &mut translator {
                    translator.add(template, &assembled, &options.instance);
                }
                let active_ns = options.started_ns.saturating_add(ramp_ns(template, index, batch_count));
                Batch::new(template, assembled, has_links, active_ns)
            })
            .collect();
        Self { batches, metrics: template.metrics.clone(), models }
    }

    pub(super) fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// Takes the next time of a batch; nothing if its series do not exist yet.
    pub(super) fn slot(&mut self, batch: usize, now_ns: u64) -> Option<Slot> {
        let found = self.batches.get_mut(batch)?;
        if batch > 0 && now_ns <= found.active_ns {
            return None;
        }
        let before_ns = found.last_ns;
        let time_ns = now_ns.max(before_ns.max(found.active_ns).saturating_add(MS_NS));
        found.last_ns = time_ns;
        Some(Slot { batch, before_ns, time_ns })
    }

    /// Returns the bytes to copy for a batch, and its points.
    pub(super) fn template(&self, batch: usize) -> (&[u8], u64) {
        self.batches.get(batch).map_or((&[], 0), |batch| (&batch.template, batch.events))
    }

    /// Patches a copy of the batch's bytes.
    pub(super) fn patch(&mut self, slot: &Slot, body: &mut [u8], links: &mut Links) {
        let Some(batch) = self.batches.get_mut(slot.batch) else { return };
        for time_at in &batch.times {
            put(body, *time_at, slot.time_ns);
        }
        let curves = self.models.curves.at(slot.time_ns);
        let walks = self.models.walks.at(slot.time_ns);
        let curves_before =
            if batch.has_deltas { self.models.curves.at(slot.before_ns) } else { [0.0; PHASES] };
        for target in &mut batch.targets {
            if !target.epoch.has(slot.time_ns) {
                target.enter(&self.models, batch.active_ns, slot.time_ns);
                put_digits::<GENERATION_DIGITS>(
                    &mut batch.template,
                    target.generation_at,
                    target.epoch.generation,
                );
                put_digits::<GENERATION_DIGITS>(body, target.generation_at, target.epoch.generation);
            }
            let start_ns = target.epoch.start_ns;
            let now = since(&curves, &target.base);
            let moment =
                Moment { start_ns, now: &now, before: &[0.0; PHASES], walks: &walks, metrics: &self.metrics };
            target.cumulative.patch::<false>(body, &moment);
            if !target.delta.is_empty() {
                let is_first = slot.before_ns <= start_ns;
                let before = if is_first { [0.0; PHASES] } else { since(&curves_before, &target.base) };
                let moment = Moment { start_ns: start_ns.max(slot.before_ns), before: &before, ..moment };
                target.delta.patch::<true>(body, &moment);
            }
        }
        for exemplar in &batch.exemplars {
            put(body, exemplar.time_at, slot.time_ns);
            let value = exemplar.value * (0.5 + fold(walks[0] + exemplar.shift));
            put(body, exemplar.value_at, value.to_bits());
            links.patch(body, &exemplar.link);
        }
    }
}

impl Models {
    pub(super) fn new(template: &Template, started_ns: u64) -> Self {
        Self {
            curves: Curves::new(&template.settings, started_ns),
            walks: Walks::new(template.settings.seed),
            epochs: Epochs::new(&template.settings, started_ns),
        }
    }
}

fn ramp_ns(template: &Template, index: usize, count: usize) -> u64 {
    let share = index as f64 / count as f64;
    let ramp_ns = (template.settings.ramp_ns as f64 * share) as u64;
    ramp_ns - ramp_ns % MS_NS
}

fn since(now: &Phases, base: &Phases) -> Phases {
    std::array::from_fn(|phase| now[phase] - base[phase])
}

impl Target {
    fn enter(&mut self, models: &Models, active_ns: u64, time_ns: u64) {
        self.epoch = models.epochs.at(self.resource, time_ns);
        self.epoch.start_ns = self.epoch.start_ns.max(active_ns);
        self.base = models.curves.at(self.epoch.start_ns);
    }
}

impl Batch {
    fn new(template: &Template, assembled: Assembled, has_links: bool, active_ns: u64) -> Self {
        let mut batch = Self {
            events: assembled.items.len() as u64,
            times: Vec::with_capacity(assembled.items.len()),
            targets: Vec::with_capacity(assembled.resources.len()),
            exemplars: Vec::new(),
            has_deltas: false,
            active_ns,
            last_ns: 0,
            template: assembled.bytes,
        };
        let mut items = assembled.items.into_iter();
        for resource in assembled.resources {
            let mut target = Target {
                resource: resource.resource,
                generation_at: resource.generation_at,
                // Nothing is within, so the first patch enters the right one.
                epoch: Epoch { start_ns: u64::MAX, until_ns: 0, generation: 0 },
                base: [0.0; PHASES],
                cumulative: Points::default(),
                delta: Points::default(),
            };
            for (item, begin) in items.by_ref().take(resource.item_count) {
                batch.add(template, &mut target, item, begin, has_links);
            }
            batch.has_deltas |= !target.delta.is_empty();
            batch.targets.push(target);
        }
        batch
    }

    fn add(&mut self, template: &Template, target: &mut Target, item: usize, begin: u32, has_links: bool) {
        let Some(item) = template.items.get(item) else { return };
        let Some((_, metric)) = metric_of(template, item) else { return };
        let patches = template.layouts.get(item.layout as usize).map_or(&[][..], Vec::as_slice);
        let cut = item.cut(has_links) as u32;
        let at = |place: Place| {
            let patch = patches.iter().find(|patch| patch.place == place)?;
            patch.offset.checked_sub(cut).map(|offset| begin + offset)
        };
        self.times.extend(at(Place::Time));
        let points = if metric.is_delta { &mut target.delta } else { &mut target.cumulative };
        points.add(metric, item.model, patches, begin, cut);
        let places = (at(Place::ExemplarTime), at(Place::ExemplarValue), Link::find(patches, begin));
        if let (true, (Some(time_at), Some(value_at), Some(link))) = (has_links, places) {
            let shift = match item.model {
                Model::Series { shift, .. } => shift,
                Model::Span { .. } | Model::Record => 0.0,
            };
            let value = if metric.shape.fast_mean > 0.0 { metric.shape.fast_mean } else { 1.0 };
            self.exemplars.push(Exemplar { time_at, value_at, link, value, shift });
        }
    }
}
