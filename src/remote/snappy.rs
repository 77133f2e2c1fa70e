//! The snappy block format around every body, with a look at what it declares before memory is taken.
//!
//! Source: <https://github.com/google/snappy/blob/main/format_description.txt>.

/// A block cannot grow by more than this: 3 bytes copy at most 64.
const EXPANSION_MAX: usize = 32;

/// Why bytes are no block that can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnappyError {
    /// They are no such block.
    #[error("body is no snappy block: {0}")]
    Block(#[from] snap::Error),
    /// The block is larger than a body may be.
    #[error("body declares {given} bytes after decompression, the limit of --write-max-bytes is {limit}")]
    TooLarge {
        /// Bytes that it declares.
        given: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The block declares more than so few bytes can hold.
    #[error("body is no snappy block: {given} bytes cannot hold the {declared} they declare")]
    Lie {
        /// Bytes of the block.
        given: usize,
        /// Bytes that it declares.
        declared: usize,
    },
}

/// Decompresses into the front of `body` and returns how many bytes that are. `body` never shrinks, so that its
/// memory is cleared once and not per request.
///
/// # Errors
/// [`SnappyError`].
pub fn decompress(compressed: &[u8], body: &mut Vec<u8>, limit: usize) -> Result<usize, SnappyError> {
    let declared = snap::raw::decompress_len(compressed)?;
    if declared > limit {
        return Err(SnappyError::TooLarge { given: declared, limit });
    }
    if declared > compressed.len().saturating_mul(EXPANSION_MAX) {
        return Err(SnappyError::Lie { given: compressed.len(), declared });
    }
    if body.len() < declared {
        body.resize(declared, 0);
    }
    Ok(snap::raw::Decoder::new().decompress(compressed, &mut body[..declared])?)
}
