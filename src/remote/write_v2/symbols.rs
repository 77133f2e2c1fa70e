//! The symbols of a request: every text once, referred to by its number.
//!
//! A symbol is hashed once a request; keys of series are made of these hashes. Texts are checked only where they are
//! used: one that is not UTF-8 costs the series that refer to it, nobody else.

use super::super::columns::{SYMBOL_COUNT_MAX, check_room};
use super::super::refusals::DecodeError;

/// Where a symbol lies in the body, and its hash.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    length_bytes: usize,
    hash: u128,
}

/// All symbols of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Symbols {
    list: Vec<Symbol>,
}

impl Symbols {
    /// Forgets all, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Bytes of memory held.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Symbol>()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds the symbol that begins at `start` of the body.
    ///
    /// # Errors
    /// [`DecodeError::FirstSymbol`], [`DecodeError::TooMany`].
    #[inline]
    pub(super) fn push(&mut self, start: usize, text: &[u8], hash: u128) -> Result<(), DecodeError> {
        if self.list.is_empty() && !text.is_empty() {
            return Err(DecodeError::FirstSymbol { length_bytes: text.len() });
        }
        check_room(self.list.len(), SYMBOL_COUNT_MAX, "symbols")?;
        self.list.push(Symbol { start, length_bytes: text.len(), hash });
        Ok(())
    }

    /// The hash of a symbol, if there is one.
    #[inline]
    pub(super) fn hash(&self, reference: u32) -> Option<u128> {
        self.list.get(reference as usize).map(|symbol| symbol.hash)
    }

    /// The bytes of a symbol, if there is one; `body` is what was read.
    pub(super) fn text<'a>(&self, body: &'a [u8], reference: u32) -> Option<&'a [u8]> {
        let symbol = self.list.get(reference as usize)?;
        body.get(symbol.start..symbol.start.checked_add(symbol.length_bytes)?)
    }
}
