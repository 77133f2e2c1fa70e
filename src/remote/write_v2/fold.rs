//! The key of a series from the hashes of its symbols, folded as the references come.
//!
//! Two lanes, each a polynomial in a secret number whose coefficients are hashes with a secret seed: who knows neither
//! cannot make two series with one key, and by chance nobody does. Names and values differ by a rotation, so that swapped
//! they make another key; the count of references is part of it.

use super::super::wire::{Key, LENGTH_DELIMITED, Reader, VARINT, WireError};
use super::symbols::Symbols;

/// What the multipliers are made of.
const MULTIPLIERS: &[u8] = b"multipliers of folded symbol hashes";

/// References of the series that is being read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fold {
    multipliers: [u64; 2],
    lanes: [u64; 2],
    /// Hash of the name whose value comes next.
    name: [u64; 2],
    count: usize,
    /// The first pair.
    first: [u32; 2],
    /// The first reference without symbol.
    missing: Option<u32>,
}

impl Fold {
    /// For the series of one request; `key_of` is the storage's key of any bytes.
    pub(super) fn new(key_of: impl Fn(&[u8]) -> u128) -> Self {
        let secret = key_of(MULTIPLIERS);
        Self { multipliers: [secret as u64 | 1, (secret >> 64) as u64 | 1], ..Self::default() }
    }

    /// Forgets the series before.
    #[inline]
    pub(super) fn begin(&mut self) {
        *self = Self { multipliers: self.multipliers, ..Self::default() };
    }

    /// How many references there were.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The first pair of references; zeros if there is none.
    #[inline]
    pub(super) fn first(&self) -> [u32; 2] {
        self.first
    }

    /// The first reference without symbol.
    #[inline]
    pub(super) fn missing(&self) -> Option<u32> {
        self.missing
    }

    /// The key so far; `more` are bytes that make it another one.
    #[inline]
    pub(super) fn key(&self, more: Option<[u8; 17]>, key_of: impl Fn(&[u8]) -> u128) -> u128 {
        let mut bytes = [0; 41];
        for (place, word) in bytes.chunks_exact_mut(8).zip([self.lanes[0], self.lanes[1], self.count as u64])
        {
            place.copy_from_slice(&word.to_le_bytes());
        }
        match more {
            None => key_of(&bytes[..24]),
            Some(more) => {
                bytes[24..].copy_from_slice(&more);
                key_of(&bytes)
            }
        }
    }

    /// Reads references, packed or not.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub(super) fn read(
        &mut self,
        key: Key,
        reader: &mut Reader<'_>,
        symbols: &Symbols,
    ) -> Result<(), WireError> {
        if key.wire_type != LENGTH_DELIMITED {
            key.expect(VARINT)?;
            self.push(reader.varint()? as u32, symbols);
            return Ok(());
        }
        let mut rest = reader.payload()?;
        // PERF: pairs of numbers of one or two bytes, in registers; see bench `rim`, `decode/v2`.
        if self.count.is_multiple_of(2) {
            let (mut lanes, mut pair_count) = (self.lanes, 0);
            while let Some((name_ref, after)) = short_varint(rest)
                && let Some((value_ref, after)) = short_varint(after)
                && let (Some(name), Some(value)) = (symbols.hash(name_ref), symbols.hash(value_ref))
            {
                if self.count + pair_count == 0 {
                    self.first = [name_ref, value_ref];
                }
                lanes = add_pair(lanes, name, value, self.multipliers);
                pair_count += 1;
                rest = after;
            }
            self.lanes = lanes;
            self.count += 2 * pair_count;
        }
        let mut long = Reader::new(rest);
        while !long.is_at_end() {
            // What is above 32 bits is dropped, as every reader of the format does.
            self.push(long.varint()? as u32, symbols);
        }
        Ok(())
    }

    /// Takes one reference.
    fn push(&mut self, reference: u32, symbols: &Symbols) {
        let Some(hash) = symbols.hash(reference) else {
            self.missing.get_or_insert(reference);
            self.count += 1;
            return;
        };
        if self.count < 2 {
            self.first[self.count] = reference;
        }
        if self.count.is_multiple_of(2) {
            self.name = hash;
        } else {
            self.lanes = add_pair(self.lanes, self.name, hash, self.multipliers);
        }
        self.count += 1;
    }
}

/// Takes a name and a value into both lanes.
#[inline]
fn add_pair(lanes: [u64; 2], name: [u64; 2], value: [u64; 2], multipliers: [u64; 2]) -> [u64; 2] {
    std::array::from_fn(|lane| {
        let pair = name[lane].wrapping_add(value[lane].rotate_left(32));
        lanes[lane].wrapping_add(pair).wrapping_mul(multipliers[lane])
    })
}

/// The varint at the front, if it has one or two bytes, and what comes after it.
#[inline]
fn short_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match *bytes {
        [low, ref after @ ..] if low < 0x80 => Some((u32::from(low), after)),
        [low, high, ref after @ ..] if high < 0x80 => {
            Some((u32::from(low & 0x7f) | u32::from(high) << 7, after))
        }
        _ => None,
    }
}
