//! What became of the points of a request, before a transport puts it into its own codes.
//!
//! Input: what was refused while decoding and by the storage. Output: a [`Verdict`] with the words for the sender.

use std::collections::BTreeSet;

use mytsdb_storage::WriteReport;

use super::columns::Columns;
use super::tally::{Entry, Tally};

/// Reasons and metrics that a message names; the counters have all reasons.
const ENTRY_COUNT_MAX: usize = 8;
/// The word of series above a tenant's limit.
const SERIES_LIMIT: &str = "series_limit";
/// Longest message in characters: a response must stay small.
const MESSAGE_LENGTH_MAX: usize = 2_000;

/// What became of a request's points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Points in the request.
    point_count: usize,
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
        let mut points = BTreeSet::new();
        for rejection in &report.rejections {
            // A series of several that a point makes counts for the point once, under the first reason.
            let Some(point) = columns.point_of(rejection.series_index) else { continue };
            if points.insert(point) {
                let reason = &rejection.reason;
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
        Self { point_count: columns.point_count, refused, refused_exemplars, losses }
    }

    /// Reasons and counts of refused points and exemplars, for the server's own metrics.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.refused_entries().map(|entry| (entry.reason, entry.count))
    }

    /// Refused points and exemplars by reason and metric.
    pub(super) fn refused_entries(&self) -> impl Iterator<Item = &Entry> {
        self.refused.entries().iter().chain(self.refused_exemplars.entries())
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
        shortened(&format!("{refused} of {all} data points rejected: {causes}{between}{warning}"))
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
