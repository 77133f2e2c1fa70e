//! The inverted index: from label pairs to series.
//!
//! Rooms: [`select`] evaluates matchers over any [`select::Terms`]; [`memory`] is the mutable index of the
//! head with its label sets;
//! [`writer`] encodes an index, [`reader`] evaluates its bytes, [`format`] says what the bytes are.
//! Not here: files, checksums and chunks (see `block`).
//!
//! Format: docs/format/block.md

pub(crate) mod format;
pub(crate) mod memory;
mod postings;
pub(crate) mod reader;
pub(crate) mod select;
#[cfg(test)]
mod tests;
pub(crate) mod writer;
