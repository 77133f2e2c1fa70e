//! The symbols of a request: every text once, referred to by its number.
//!
//! A symbol is hashed once a request; keys of series are made of these hashes. Texts are checked only where they are
//! used: one that is not UTF-8 costs the series that refer to it, nobody else.

use super::super::columns::{SYMBOL_COUNT_MAX, check_room};
use super::super::refusals::DecodeError;

/// All symbols of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Symbols {
    /// Per symbol: halves of its hash. Apart from the spans, as they are looked at most.
    hashes: Vec<[u64; 2]>,
    /// Per symbol: where it lies in the body.
    spans: Vec<(usize, usize)>,
}

impl Symbols {
    /// Forgets all, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.spans.clear();
    }

    /// Bytes of memory held.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<[u64; 2]>() + self.spans.capacity() * size_of::<(usize, usize)>()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Adds the symbol that begins at `start` of the body.
    ///
    /// # Errors
    /// [`DecodeError::FirstSymbol`], [`DecodeError::TooMany`].
    #[inline]
    pub(super) fn push(&mut self, start: usize, text: &[u8], hash: u128) -> Result<(), DecodeError> {
        if self.hashes.is_empty() && !text.is_empty() {
            return Err(DecodeError::FirstSymbol { length_bytes: text.len() });
        }
        check_room(self.hashes.len(), SYMBOL_COUNT_MAX, "symbols")?;
        self.hashes.push([hash as u64, (hash >> 64) as u64]);
        self.spans.push((start, start + text.len()));
        Ok(())
    }

    /// The halves of the hash of a symbol, if there is one.
    #[inline]
    pub(super) fn hash(&self, reference: u32) -> Option<[u64; 2]> {
        self.hashes.get(reference as usize).copied()
    }

    /// The bytes of a symbol, if there is one; `body` is what was read.
    #[inline]
    pub(super) fn text<'a>(&self, body: &'a [u8], reference: u32) -> Option<&'a [u8]> {
        let (start, end) = *self.spans.get(reference as usize)?;
        body.get(start..end)
    }
}
