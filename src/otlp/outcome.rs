//! What became of the points of a request, before a transport puts it into its own codes.
//!
//! Input: what was refused while decoding and by the storage. Output: a [`Verdict`] with the words for the sender.

use std::collections::BTreeSet;

use mytsdb_storage::WriteReport;

use super::decode::Decoded;

/// Reasons that a message names; the counters have them all.
const REASON_COUNT_MAX: usize = 3;
/// The word of series above a tenant's limit.
const SERIES_LIMIT: &str = "series_limit";
/// Longest message in characters: a response must stay small.
const MESSAGE_LENGTH_MAX: usize = 2_000;

/// What became of a request's points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Points in the request.
    pub(super) point_count: usize,
    /// Points of which at least one series was refused.
    pub(super) refused_point_count: usize,
    /// Per reason: short fixed word, points, and what was wrong with the first.
    pub(super) reasons: Vec<(&'static str, usize, String)>,
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
    /// Puts together what the decoder and the storage refused.
    pub(super) fn new(decoded: &Decoded<'_>, report: &WriteReport) -> Self {
        let mut reasons: Vec<(&'static str, usize, String)> = decoded
            .refused
            .by_reason
            .iter()
            .map(|(reason, (count, message))| (*reason, *count, message.clone()))
            .collect();
        let mut points = BTreeSet::new();
        for rejection in &report.rejections {
            // A series of several that a point makes counts for the point once, under the first reason.
            let Some(point) = decoded.point_of(rejection.series_index) else { continue };
            if !points.insert(point) {
                continue;
            }
            let word = rejection.reason.label();
            match reasons.iter_mut().find(|(known, ..)| *known == word) {
                Some((_, count, _)) => *count += 1,
                None => reasons.push((word, 1, rejection.reason.to_string())),
            }
        }
        let refused_point_count = decoded.refused.point_count() + points.len();
        Self { point_count: decoded.point_count, refused_point_count, reasons }
    }

    /// What the sender is told.
    pub(super) fn verdict(&self) -> Verdict {
        if self.refused_point_count == 0 {
            return Verdict::Full { warning: String::new() };
        }
        let message = self.message();
        if self.refused_point_count < self.point_count {
            return Verdict::Partial { refused_point_count: self.refused_point_count, message };
        }
        let is_limit = self.reasons.iter().all(|(word, ..)| *word == SERIES_LIMIT);
        Verdict::AllRefused { message, is_limit }
    }

    fn message(&self) -> String {
        let listed = self.reasons.iter().take(REASON_COUNT_MAX);
        let mut parts: Vec<String> =
            listed.map(|(word, count, message)| format!("{count} {word} ({message})")).collect();
        if self.reasons.len() > REASON_COUNT_MAX {
            parts.push(format!("{} more reasons", self.reasons.len() - REASON_COUNT_MAX));
        }
        let (refused, all) = (self.refused_point_count, self.point_count);
        let text = format!("{refused} of {all} data points rejected: {}", parts.join("; "));
        text.chars().take(MESSAGE_LENGTH_MAX).collect()
    }
}
