//! What became of the points of a request, before a transport puts it into its own codes.
//!
//! Input: what was refused while decoding and by the storage. Output: a [`Verdict`] with the words for the sender.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use mytsdb_storage::{RejectReason, WriteReport};

use super::columns::Columns;
use super::signal::Signal;
use super::tally::Tally;

/// Reasons and metrics that a message names; the counters have all reasons.
const ENTRY_COUNT_MAX: usize = 8;
/// The word of series above a tenant's limit.
const SERIES_LIMIT: &str = "series_limit";
/// Longest message in characters: a response must stay small.
const MESSAGE_LENGTH_MAX: usize = 2_000;

/// What became of a request's points (or spans, or log records).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What the points are.
    signal: Signal,
    /// Points in the request.
    point_count: usize,
    /// Points that the storage refused: place in the request, and why.
    refused_by_storage: BTreeMap<u32, RejectReason>,
    /// Points of which at least one series was refused.
    refused: Tally,
    /// Exemplars that are not kept; their points are.
    refused_exemplars: Tally,
    /// What is stored otherwise than it was sent.
    losses: Tally,
}

/// What the sender is told about a request whose accepted points are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every point is stored; the warning says what was lost of them, if anything.
    Full {
        /// Empty if there is nothing to say.
        warning: String,
    },
    /// Some points are stored. The client must not send the request again.
    Partial {
        /// Points refused.
        refused_point_count: usize,
        /// Which and why.
        message: String,
    },
    /// No point is stored. The client must not send the request again as it is.
    AllRefused {
        /// Which and why.
        message: String,
        /// Whether a limit of the tenant is the only reason: nothing is wrong with the points themselves.
        is_limit: bool,
    },
}

impl Outcome {
    /// Puts together what the decoder and the storage refused; takes the tallies out of `columns`.
    pub(super) fn new(columns: &mut Columns<'_>, report: &WriteReport) -> Self {
        let mut refused = std::mem::take(&mut columns.refused);
        let mut refused_by_storage = BTreeMap::new();
        for rejection in &report.rejections {
            // A series of several that a point makes counts for the point once, under the first reason.
            let Some(point) = columns.point_of(rejection.series_index) else { continue };
            if let Entry::Vacant(free) = refused_by_storage.entry(point) {
                let reason = free.insert(rejection.reason.clone());
                refused.add(reason.label(), columns.metric_name_of(point), 1, || reason.to_string());
            }
        }
        let mut refused_exemplars = std::mem::take(&mut columns.refused_exemplars);
        for rejection in &report.exemplar_rejections {
            let Some(point) = columns.point_of(rejection.series_index) else { continue };
            let (reason, name) = (&rejection.reason, columns.metric_name_of(point));
            refused_exemplars.add(reason.label(), name, rejection.sample_count, || reason.to_string());
        }
        let losses = std::mem::take(&mut columns.losses);
        let (signal, point_count) = (Signal::Metrics, columns.point_count);
        Self { signal, point_count, refused_by_storage, refused, refused_exemplars, losses }
    }

    /// The outcome of events that were counted, from that of the points that say the counts.
    ///
    /// `refused`: events that were not counted. `events_of`: place of a point → what stands for its events (several
    /// points may have the same events), and how many they are.
    pub(super) fn of_events(
        signal: Signal,
        event_count: usize,
        mut refused: Tally,
        of_points: &Self,
        events_of: impl Fn(usize) -> (usize, usize),
    ) -> Self {
        let mut seen = BTreeSet::new();
        for (point, reason) in &of_points.refused_by_storage {
            let (events, count) = events_of(*point as usize);
            if seen.insert(events) {
                refused.add(reason.label(), "", count, || reason.to_string());
            }
        }
        Self {
            signal,
            point_count: event_count,
            refused_by_storage: BTreeMap::new(),
            refused,
            refused_exemplars: Tally::default(),
            losses: Tally::default(),
        }
    }

    /// Reasons and counts of refused points and exemplars, for the server's own metrics.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let entries = self.refused.entries().iter().chain(self.refused_exemplars.entries());
        entries.map(|entry| (entry.reason, entry.count))
    }

    /// What the sender is told.
    pub(super) fn verdict(&self) -> Verdict {
        let refused_point_count = self.refused.total();
        if refused_point_count == 0 {
            return Verdict::Full { warning: self.warning() };
        }
        let message = self.message();
        if refused_point_count < self.point_count {
            return Verdict::Partial { refused_point_count, message };
        }
        let is_limit = self.refused.entries().iter().all(|entry| entry.reason == SERIES_LIMIT);
        Verdict::AllRefused { message, is_limit }
    }

    fn message(&self) -> String {
        let (refused, all) = (self.refused.total(), self.point_count);
        let warning = self.warning();
        let between = if warning.is_empty() { "" } else { "; " };
        let causes = self.refused.text(ENTRY_COUNT_MAX);
        let noun = self.signal.noun();
        shortened(&format!("{refused} of {all} {noun} rejected: {causes}{between}{warning}"))
    }

    /// What is stored, but not whole; empty if all is.
    fn warning(&self) -> String {
        let mut parts = Vec::new();
        if self.losses.total() > 0 {
            parts.push(format!("accepted with loss: {}", self.losses.text(ENTRY_COUNT_MAX)));
        }
        if self.refused_exemplars.total() > 0 {
            parts.push(format!("exemplars not kept: {}", self.refused_exemplars.text(ENTRY_COUNT_MAX)));
        }
        shortened(&parts.join("; "))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_LENGTH_MAX).collect()
}
