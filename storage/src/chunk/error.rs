//! What can be wrong with the bytes of a chunk.

use super::format::SAMPLE_COUNT_MAX;
use crate::coding::CodingError;

/// The bytes are no chunk of the given number of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// No chunk holds that many samples.
    #[error("a chunk holds 1 to {SAMPLE_COUNT_MAX} samples, not {given}")]
    SampleCount {
        /// The count asked for.
        given: usize,
    },
    /// The id byte names no encoding this version knows.
    #[error("unknown chunk encoding {id:#04x}")]
    UnknownEncoding {
        /// The id byte.
        id: u8,
    },
    /// The bytes end early or hold an impossible number.
    #[error(transparent)]
    Malformed(#[from] CodingError),
    /// A page of prefix codes is damaged.
    #[error("page of prefix codes at offset {offset} is damaged")]
    PrefixCode {
        /// Where the page begins.
        offset: usize,
    },
    /// The bytes hold something that no histogram can be.
    #[error("impossible histogram: {reason}")]
    ImpossibleHistogram {
        /// What was found.
        reason: &'static str,
    },
    /// All samples were read and bytes are left over: the count or the bytes are wrong.
    #[error("{length} bytes are left at offset {offset} after the last sample")]
    TrailingBytes {
        /// Where the samples ended.
        offset: usize,
        /// How many bytes are left.
        length: usize,
    },
    /// A timestamp is not above the one before it, or leaves the range of `i64`.
    #[error("timestamps do not ascend at sample {index}")]
    NotAscending {
        /// The first sample that is out of order.
        index: usize,
    },
}
