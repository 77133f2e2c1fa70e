//! Templates → requests: a copy of encoded bytes, patched with times, values and ids.
//!
//! One [`Replay`] a worker. Workers own disjoint series, and a worker's requests are in time order (but for the detours
//! that were asked for), so every series stays in order if a worker's requests are answered one after the other.
//! Bodies are copied and patched, never encoded again.
//!
//! The time of a request is the time handed to [`Replay::next`], but at least a millisecond after the last request of the
//! same series: servers keep milliseconds, and points that share one would be lost without anybody's fault.

mod assemble;
mod catalog;
mod columns;
mod links;
mod logs;
mod metrics;
mod options;
mod patches;
mod points;
mod pool;
mod remote;
mod samples;
#[cfg(test)]
mod tests;
mod traces;
mod turns;
mod wires;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

pub use catalog::{Catalog, MetricInfo, Tally};
pub use columns::schema as columns_schema;
pub use options::{BatchSizes, Detours, ReplayOptions, Wire};

use self::links::Links;
use self::logs::LogsReplay;
use self::metrics::{MetricsReplay, Slot};
use self::pool::Pool;
use self::traces::TracesReplay;
use self::turns::{Detoured, Fate, Turns};
use self::wires::Translator;
use super::template::{Item, Model, Signal, Template, TemplateError, file};
use crate::k8s::model::rng::hash;

/// One request to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it carries.
    pub signal: Signal,
    /// The message, not compressed; empty for [`Wire::Flight`].
    pub body: Bytes,
    /// The rows, for [`Wire::Flight`] only.
    pub columns: Option<RecordBatch>,
    /// Points, spans or log records; for other wires than OTLP the samples that the points come to.
    pub events: u64,
    /// Which batch of the worker's template this is, for the [`Tally`].
    pub batch: usize,
    /// Time of its points.
    pub time_ns: u64,
    /// Whether it repeats a request handed out before.
    pub is_repeat: bool,
}

/// Hands out the requests of one worker.
#[derive(Debug)]
pub struct Replay {
    catalog: Arc<Catalog>,
    metrics: Option<MetricsReplay>,
    traces: Option<TracesReplay>,
    logs: Option<LogsReplay>,
    turns: Turns,
    detoured: Detoured,
    repeats: VecDeque<Request>,
    links: Links,
    pool: Pool,
    /// For other wires than OTLP.
    translator: Option<Translator>,
}

impl Replay {
    /// Reads the templates of `folder` and prepares the share of this worker.
    ///
    /// # Errors
    /// [`TemplateError`] if there is no template, one is damaged, or the options are outside their limits.
    pub fn open(folder: &Path, options: ReplayOptions) -> Result<Self, TemplateError> {
        options.check()?;
        Self::new(&read(folder, &options)?, &options)
    }

    /// Reads the templates of `folder` once and prepares the shares of all workers; `options.worker` says nothing.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn open_all(folder: &Path, options: &ReplayOptions) -> Result<Vec<Self>, TemplateError> {
        let of_worker = |worker| ReplayOptions { worker, ..options.clone() };
        of_worker(0).check()?;
        let templates = read(folder, options)?;
        (0..options.workers).map(|worker| Self::new(&templates, &of_worker(worker))).collect()
    }

    /// Prepares the share of this worker of templates, at most one a signal.
    ///
    /// # Errors
    /// [`TemplateError`] if the options are outside their limits.
    pub fn new(templates: &[Template], options: &ReplayOptions) -> Result<Self, TemplateError> {
        options.check()?;
        let mut replay = Self {
            catalog: Arc::default(),
            metrics: None,
            traces: None,
            logs: None,
            turns: Turns::new([(Signal::Metrics, 0), (Signal::Traces, 0), (Signal::Logs, 0)], 0),
            detoured: Detoured::new(Detours::default(), 0, 0),
            repeats: VecDeque::new(),
            links: Links::default(),
            pool: Pool::default(),
            translator: (options.wire != Wire::Otlp).then(|| Translator::new(options.wire)),
        };
        let find = |signal| {
            let can_travel = options.wire == Wire::Otlp || signal == Signal::Metrics;
            templates.iter().find(|template| can_travel && template.signal == signal)
        };
        if let Some(template) = find(Signal::Traces) {
            let share = share_of_traces(template, options);
            replay.traces = (!share.is_empty()).then(|| TracesReplay::new(template, share, options));
        }
        let has_links = replay.traces.is_some();
        if let Some(template) = find(Signal::Metrics) {
            let is_otlp = options.wire == Wire::Otlp;
            let travels = |item: &Item| is_otlp || samples::can_travel(template, item);
            let all = template.items.iter().enumerate().filter(|(_, item)| travels(item));
            let all: Vec<usize> = all.map(|(position, _)| position).collect();
            let items = all.get(share(all.len(), options)).unwrap_or_default();
            replay.catalog = Arc::new(Catalog::new(template, items.chunks(options.batch.metrics)));
            let seed = hash(template.settings.seed, &[options.worker as u64, options.started_ns]);
            let metrics = MetricsReplay::new(template, items, options, has_links, replay.translator.as_mut());
            replay.detoured = Detoured::new(options.detours, seed, metrics.batch_count());
            replay.metrics = Some(metrics);
        }
        if let Some(template) = find(Signal::Logs) {
            let share = share(template.items.len(), options);
            replay.logs = Some(LogsReplay::new(template, share, options, has_links));
        }
        let batch_counts = [
            (Signal::Metrics, replay.metrics.as_ref().map_or(0, MetricsReplay::batch_count)),
            (Signal::Traces, replay.traces.as_ref().map_or(0, TracesReplay::batch_count)),
            (Signal::Logs, replay.logs.as_ref().map_or(0, LogsReplay::batch_count)),
        ];
        replay.turns = Turns::new(batch_counts, options.multiplier);
        Ok(replay)
    }

    /// Returns what this worker sends.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Returns the next request at `now_ns`, nanoseconds since the Unix epoch; nothing once all was replayed as often as
    /// asked, or if this worker has no share.
    ///
    /// The time may also be one of the past, for a backfill, but should not go back from call to call.
    pub fn next(&mut self, now_ns: u64) -> Option<Request> {
        if let Some(repeat) = self.repeats.pop_front() {
            return Some(repeat);
        }
        if let Some(slot) = self.detoured.due(now_ns) {
            return self.metrics_request(&slot);
        }
        while let Some((signal, batch, cycle)) = self.turns.next() {
            match signal {
                Signal::Traces => return self.traces_request(batch, cycle, now_ns),
                Signal::Logs => return self.logs_request(batch, now_ns),
                Signal::Metrics => {}
            }
            let Some(slot) = self.metrics.as_mut().and_then(|metrics| metrics.slot(batch, now_ns)) else {
                continue;
            };
            match self.detoured.decide(slot) {
                Fate::Keep => {}
                Fate::Send => return self.metrics_request(&slot),
                Fate::SendTwice => {
                    let request = self.metrics_request(&slot)?;
                    self.repeats.push_back(Request { is_repeat: true, ..request.clone() });
                    return Some(request);
                }
            }
        }
        let slot = self.detoured.rest()?;
        self.metrics_request(&slot)
    }

    fn metrics_request(&mut self, slot: &Slot) -> Option<Request> {
        let metrics = self.metrics.as_mut()?;
        let (template, events) = metrics.template(slot.batch);
        if let Some(translator) = &mut self.translator {
            let mut otlp = translator.scratch(template);
            metrics.patch(slot, &mut otlp, &mut self.links);
            let (body, columns, events) = translator.translate(slot, otlp, &mut self.pool)?;
            let request = plain_request(Signal::Metrics, body, events, slot.batch, slot.time_ns);
            return Some(Request { columns, ..request });
        }
        let mut body = self.pool.copy(template);
        metrics.patch(slot, &mut body, &mut self.links);
        let body = self.pool.freeze(body);
        Some(plain_request(Signal::Metrics, body, events, slot.batch, slot.time_ns))
    }

    fn traces_request(&mut self, batch: usize, cycle: u64, now_ns: u64) -> Option<Request> {
        let traces = self.traces.as_mut()?;
        let (template, events) = traces.template(batch);
        let mut body = self.pool.copy(template);
        traces.patch(batch, cycle, now_ns, &mut body, &mut self.links);
        let body = self.pool.freeze(body);
        Some(plain_request(Signal::Traces, body, events, batch, now_ns))
    }

    fn logs_request(&mut self, batch: usize, now_ns: u64) -> Option<Request> {
        let logs = self.logs.as_ref()?;
        let (template, events) = logs.template(batch);
        let mut body = self.pool.copy(template);
        logs.patch(batch, now_ns, &mut body, &mut self.links);
        let body = self.pool.freeze(body);
        Some(plain_request(Signal::Logs, body, events, batch, now_ns))
    }
}

/// Reads the templates that are asked for and can travel.
fn read(folder: &Path, options: &ReplayOptions) -> Result<Vec<Template>, TemplateError> {
    let mut templates = Vec::new();
    for signal in Signal::ALL {
        let can_travel = options.wire == Wire::Otlp || signal == Signal::Metrics;
        if options.signals.contains(&signal) && can_travel {
            templates.extend(file::read(folder, signal)?);
        }
    }
    if templates.is_empty() {
        return Err(TemplateError::NoTemplates { folder: folder.to_owned() });
    }
    Ok(templates)
}

fn plain_request(signal: Signal, body: Bytes, events: u64, batch: usize, time_ns: u64) -> Request {
    Request { signal, body, columns: None, events, batch, time_ns, is_repeat: false }
}

/// Returns the worker's part of `count` things: neighbours, disjoint, complete, of sizes that differ by one at most.
fn share(count: usize, options: &ReplayOptions) -> Range<usize> {
    let begin = |worker: usize| (count as u128 * worker as u128 / options.workers as u128) as usize;
    begin(options.worker)..begin(options.worker + 1)
}

/// Returns the items of the worker's part of the traces.
fn share_of_traces(template: &Template, options: &ReplayOptions) -> Range<usize> {
    let trace_of = |model: Model| match model {
        Model::Span { trace, .. } => trace as usize,
        Model::Series { .. } | Model::Record => 0,
    };
    let trace_count = template.items.last().map_or(0, |item| trace_of(item.model) + 1);
    let traces = share(trace_count, options);
    let first_of = |trace: usize| template.items.partition_point(|item| trace_of(item.model) < trace);
    first_of(traces.start)..first_of(traces.end)
}
