//! The spans of one worker.
//!
//! A trace ends at the time of its request; one that is longer than a request keeps the time of its first.

use std::collections::BTreeMap;
use std::ops::Range;

use super::assemble::assemble;
use super::links::Links;
use super::options::ReplayOptions;
use super::patches::{put, put_array};
use crate::telemetry::model::ids::Ids;
use crate::telemetry::template::{Model, Place, Template};

/// The spans of one worker.
#[derive(Debug)]
pub(super) struct TracesReplay {
    batches: Vec<Batch>,
    ids: Ids,
    /// Traces and numbers of spans in one replay of all.
    trace_count: u64,
    span_number_count: u64,
    /// Time of the trace that the last request ended with.
    carried_ns: u64,
}

#[derive(Debug)]
struct Batch {
    template: Vec<u8>,
    spans: Vec<Span>,
    /// Number of the trace that the batch before ended with, if this one goes on with it.
    continued: Option<u32>,
}

#[derive(Debug, Clone)]
struct Span {
    trace_at: u32,
    span_at: u32,
    parent_at: Option<u32>,
    begin_at: u32,
    /// The end of the span, and times of events at its end.
    end_at: u32,
    event_at: Option<u32>,
    /// Numbers among those of this worker.
    trace: u32,
    number: u64,
    parent: u64,
    begin_back_ns: u64,
    end_back_ns: u64,
}

impl TracesReplay {
    /// Builds the batches of the items in `share`, which are whole traces.
    pub(super) fn new(template: &Template, share: Range<usize>, options: &ReplayOptions) -> Self {
        let numbers = Numbers::new(template, share.clone());
        let items: Vec<usize> = share.collect();
        let mut last_trace = None;
        let batches = items
            .chunks(options.batch.traces)
            .map(|items| {
                let trace_of = |at: Option<&usize>| at.and_then(|at| numbers.trace_of(template, *at));
                let first = trace_of(items.first());
                let continued = first.filter(|first| Some(*first) == last_trace);
                last_trace = trace_of(items.last());
                let mut by_resource = items.to_vec();
                by_resource.sort_by_key(|at| template.items.get(*at).map(|item| item.resource));
                Batch::new(template, &by_resource, &numbers, options, continued)
            })
            .collect();
        Self {
            batches,
            ids: Ids::new(template.settings.seed, &options.instance, options.started_ns, options.worker),
            trace_count: numbers.trace_count(),
            span_number_count: numbers.span_number_count,
            carried_ns: 0,
        }
    }

    pub(super) fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// Returns the bytes to copy for a batch, and its spans.
    pub(super) fn template(&self, batch: usize) -> (&[u8], u64) {
        self.batches.get(batch).map_or((&[], 0), |batch| (&batch.template, batch.spans.len() as u64))
    }

    /// Patches a copy of the batch's bytes in replay number `cycle`.
    pub(super) fn patch(
        &mut self,
        batch: usize,
        cycle: u64,
        now_ns: u64,
        body: &mut [u8],
        links: &mut Links,
    ) {
        let Some(batch) = self.batches.get(batch) else { return };
        let first_trace = cycle * self.trace_count;
        let first_number = cycle * self.span_number_count;
        let carried_ns = if batch.continued.is_some() { self.carried_ns } else { now_ns };
        let mut last_trace = batch.continued.unwrap_or_default();
        links.begin();
        for span in &batch.spans {
            let is_continued = batch.continued == Some(span.trace);
            let end_ns = if is_continued { carried_ns } else { now_ns };
            last_trace = last_trace.max(span.trace);
            let trace = self.ids.trace(first_trace + u64::from(span.trace));
            let id = self.ids.span(first_number + span.number);
            put_array(body, span.trace_at, trace);
            put_array(body, span.span_at, id);
            if let Some(parent_at) = span.parent_at {
                put_array(body, parent_at, self.ids.span(first_number + span.parent));
            }
            put(body, span.begin_at, end_ns.saturating_sub(span.begin_back_ns));
            let end_ns = end_ns.saturating_sub(span.end_back_ns);
            put(body, span.end_at, end_ns);
            if let Some(event_at) = span.event_at {
                put(body, event_at, end_ns);
            }
            if links.has_room() {
                links.add(trace, id);
            }
        }
        self.carried_ns = if batch.continued == Some(last_trace) { carried_ns } else { now_ns };
    }
}

/// Numbers of the worker's traces and spans.
struct Numbers {
    first_trace: u32,
    /// By trace of the worker: number of its first span.
    first_spans: BTreeMap<u32, u64>,
    /// Numbers in all, those of spans that are missing included.
    span_number_count: u64,
}

impl Numbers {
    fn new(template: &Template, share: Range<usize>) -> Self {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for item in template.items.get(share).unwrap_or_default() {
            if let Model::Span { trace, span, parent, .. } = item.model {
                let count = counts.entry(trace).or_default();
                *count = (*count).max(u64::from(span.max(parent.unwrap_or_default())) + 1);
            }
        }
        let first_trace = counts.keys().next().copied().unwrap_or_default();
        let mut span_number_count = 0;
        for count in counts.values_mut() {
            let first = span_number_count;
            span_number_count += *count;
            *count = first;
        }
        Self { first_trace, first_spans: counts, span_number_count }
    }

    fn trace_count(&self) -> u64 {
        self.first_spans.len() as u64
    }

    fn trace_of(&self, template: &Template, item: usize) -> Option<u32> {
        match template.items.get(item)?.model {
            Model::Span { trace, .. } => Some(trace - self.first_trace),
            Model::Series { .. } | Model::Record => None,
        }
    }
}

impl Batch {
    fn new(
        template: &Template,
        items: &[usize],
        numbers: &Numbers,
        options: &ReplayOptions,
        continued: Option<u32>,
    ) -> Self {
        let assembled = assemble(template, items, &options.instance, true);
        let spans = assembled.items.iter().filter_map(|(item, begin)| span(template, *item, *begin, numbers));
        Self { spans: spans.collect(), template: assembled.bytes, continued }
    }
}

fn span(template: &Template, item: usize, begin: u32, numbers: &Numbers) -> Option<Span> {
    let item = template.items.get(item)?;
    let patches = template.layouts.get(item.layout as usize)?;
    let mut ends = patches.iter().filter(|patch| patch.place == Place::End).map(|patch| begin + patch.offset);
    let at = |place| patches.iter().find(|patch| patch.place == place).map(|patch| begin + patch.offset);
    let Model::Span { trace, span, parent, begin_back_ns, end_back_ns } = item.model else { return None };
    let first = numbers.first_spans.get(&trace)?;
    Some(Span {
        trace_at: at(Place::TraceId)?,
        span_at: at(Place::SpanId)?,
        parent_at: at(Place::ParentId),
        begin_at: at(Place::Begin)?,
        end_at: ends.next()?,
        event_at: ends.next(),
        trace: trace - numbers.first_trace,
        number: first + u64::from(span),
        parent: first + u64::from(parent.unwrap_or_default()),
        begin_back_ns,
        end_back_ns,
    })
}
