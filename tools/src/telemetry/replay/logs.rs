//! The log records of one worker.

use std::ops::Range;

use super::assemble::assemble;
use super::links::{Link, Links};
use super::options::ReplayOptions;
use super::patches::put;
use crate::telemetry::template::{Place, Template};

/// The log records of one worker.
#[derive(Debug)]
pub(super) struct LogsReplay {
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    template: Vec<u8>,
    events: u64,
    times: Vec<u32>,
    links: Vec<Link>,
}

impl LogsReplay {
    /// Builds the batches of the items in `share`.
    pub(super) fn new(
        template: &Template,
        share: Range<usize>,
        options: &ReplayOptions,
        has_links: bool,
    ) -> Self {
        let items: Vec<usize> = share.collect();
        let batches = items.chunks(options.batch.logs).map(|items| {
            let mut by_resource = items.to_vec();
            by_resource.sort_by_key(|at| template.items.get(*at).map(|item| item.resource));
            Batch::new(template, &by_resource, options, has_links)
        });
        Self { batches: batches.collect() }
    }

    pub(super) fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// Returns the bytes to copy for a batch, and its records.
    pub(super) fn template(&self, batch: usize) -> (&[u8], u64) {
        self.batches.get(batch).map_or((&[], 0), |batch| (&batch.template, batch.events))
    }

    /// Patches a copy of the batch's bytes.
    pub(super) fn patch(&self, batch: usize, now_ns: u64, body: &mut [u8], links: &mut Links) {
        let Some(batch) = self.batches.get(batch) else { return };
        for time_at in &batch.times {
            put(body, *time_at, now_ns);
        }
        for link in &batch.links {
            links.patch(body, link);
        }
    }
}

impl Batch {
    fn new(template: &Template, items: &[usize], options: &ReplayOptions, has_links: bool) -> Self {
        let assembled = assemble(template, items, &options.instance, has_links);
        let mut times = Vec::new();
        let mut links = Vec::new();
        for (position, begin) in &assembled.items {
            let Some(item) = template.items.get(*position) else { continue };
            let patches = template.layouts.get(item.layout as usize).map_or(&[][..], Vec::as_slice);
            let cut = item.cut(has_links) as u32;
            let of_time = patches.iter().filter(|patch| patch.place == Place::Time);
            times.extend(
                of_time.filter_map(|patch| patch.offset.checked_sub(cut)).map(|offset| begin + offset),
            );
            if has_links {
                links.extend(Link::find(patches, *begin));
            }
        }
        Self { events: assembled.items.len() as u64, template: assembled.bytes, times, links }
    }
}
