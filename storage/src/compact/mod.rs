//! Compaction: the blocks of a day become fewer, and at last one in which every chunk is as small as it gets.
//!
//! [`planner`] chooses from facts alone; [`merge_blocks`] reads the inputs series by series in order of their label
//! sets and writes one block: memory holds the index of the output and the samples of one series. Where sources
//! overlap the one of higher precedence wins; what was deleted is not written again. Not here: when to choose, and
//! the commit (see `engine::compact`).

mod merge;
mod pace;
mod pending;
pub(crate) mod planner;
mod series;
#[cfg(test)]
mod tests;

pub(crate) use merge::{MergeError, MergeTarget, merge_blocks};
pub(crate) use pace::Pace;

/// Level of a block whose chunks are in their final form: long, and paged where that is smaller.
pub(crate) const FINAL_LEVEL: u8 = 8;
