//! Why appends do not become durable, and which never did.

use std::sync::Arc;

use crate::fs::space::DiskFull;

/// Lost stretches of the log that are remembered; what lies before them counts as lost.
const STRETCH_COUNT_MAX: usize = 1_024;

/// Why an append was refused or lost, or a segment was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WalFailure {
    /// The disk has no room. Appends are refused until [`super::WalWriter::resume`].
    #[error("disk is full: {} bytes are free, {} are kept in reserve", .0.free_bytes, .0.reserve_bytes)]
    DiskFull(DiskFull),
    /// A write or sync failed: appends are refused until a restart.
    #[error("{0}")]
    ReadOnly(Arc<str>),
    /// A new segment could not be begun; the one before still takes appends.
    #[error("{0}")]
    Segment(Arc<str>),
}

/// Which stretches of the log were dropped before they were durable.
#[derive(Debug, Default)]
pub(super) struct LostStretches {
    /// First position before, last position inside, why; ascending.
    stretches: Vec<(u64, u64, WalFailure)>,
    /// Positions up to here count as lost: what is known about them was forgotten.
    forgotten: u64,
}

impl LostStretches {
    /// Notes that the positions after `durable` and up to `appended` are lost.
    pub(super) fn add(&mut self, durable: u64, appended: u64, failure: &WalFailure) {
        if let Some((_, end, _)) = self.stretches.last_mut()
            && *end >= durable
        {
            *end = appended;
            return;
        }
        if self.stretches.len() >= STRETCH_COUNT_MAX {
            self.forgotten = self.stretches.remove(0).1;
        }
        self.stretches.push((durable, appended, failure.clone()));
    }

    /// Why a position is lost, if it is.
    pub(super) fn reason(&self, position: u64) -> Option<WalFailure> {
        if self.forgotten > 0 && position <= self.forgotten {
            return Some(WalFailure::ReadOnly("the outcome of this write was forgotten".into()));
        }
        let stretch =
            self.stretches.iter().rev().find(|(start, end, _)| *start < position && position <= *end);
        stretch.map(|(_, _, failure)| failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_positions_stay_lost_after_later_ones_are_durable() {
        let failure = WalFailure::ReadOnly("x".into());
        let mut lost = LostStretches::default();
        lost.add(10, 20, &failure);
        lost.add(10, 25, &failure);
        lost.add(40, 50, &failure);
        let is_lost =
            |lost: &LostStretches| (0..60).filter(|p| lost.reason(*p).is_some()).collect::<Vec<_>>();
        assert_eq!(is_lost(&lost), (11..=25).chain(41..=50).collect::<Vec<_>>());
        for number in 0..STRETCH_COUNT_MAX as u64 {
            lost.add(100 + number * 10, 105 + number * 10, &failure);
        }
        assert!(is_lost(&lost).starts_with(&[0, 1]), "what was forgotten counts as lost");
        assert_eq!((lost.reason(108), lost.reason(115)), (None, Some(failure)));
    }
}
