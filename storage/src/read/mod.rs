//! Reading: from matchers to series, from series to columns.
//!
//! `select` merges the series of blocks and head by label set; [`SeriesSet::read`] decodes one series into
//! [`SampleColumns`], merging overlapping sources so that the latest write wins.
//! Not here: which data a query sees (see `snapshot`), PromQL's windows and lookback.

mod columns;
mod decode;
mod select;
mod series_set;

pub use columns::{SampleColumns, TimesId};
pub(crate) use decode::{decode_pieces, merge_halves, merge_samples};
pub(crate) use select::{Source, select, visit_selected};
pub use series_set::SeriesSet;

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Bytes on disk are not what was written.
    #[error("corrupt data in {path}: {reason}")]
    Corrupt {
        /// The damaged file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The answer is larger than the caller takes.
    #[error("more than {limit} exemplars match, take a shorter time range or a narrower selector")]
    TooManyExemplars {
        /// Most exemplars.
        limit: usize,
    },
    /// A section of a block is not what was written.
    #[error("corrupt block {path}: section {section} at byte {offset} of the file: {reason}")]
    CorruptBlock {
        /// The damaged file.
        path: String,
        /// The section's name in `docs/format/block.md`.
        section: &'static str,
        /// Offset inside the file.
        offset: u64,
        /// What was found.
        reason: String,
    },
}
