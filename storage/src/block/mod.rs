//! The immutable block on disk, and the list of the blocks that count.
//!
//! Rooms: [`writer`] turns sorted series and their encoded chunks into one `.mtb` file, [`reader`] answers from it
//! where it lies, [`format`] says what the bytes are; [`layout`] names files and directories; [`manifest`] is the
//! commit point; [`tombstones`] is what was deleted from a block, and [`view`] the block without it. Not here: what
//! the bytes of a chunk mean (see `chunk`) and when blocks are made (see the engine).
//!
//! Format: docs/format/block.md, docs/format/manifest.md, docs/format/tombstones.md

#[cfg(feature = "bench")]
pub(crate) mod door;
pub(crate) mod exemplars;
pub(crate) mod format;
pub(crate) mod layout;
pub(crate) mod manifest;
pub(crate) mod reader;
#[cfg(test)]
mod tests;
pub(crate) mod tombstones;
pub(crate) mod view;
pub(crate) mod writer;
