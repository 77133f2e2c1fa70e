//! Turns the samples of one series into bytes and back: the value and timestamp codecs.
//!
//! Input: a column of floats, of native histograms or of strictly ascending millisecond timestamps. Output: one self-describing run of
//! bytes without its sample count, which the caller keeps. Every float comes back bit by bit, NaN payloads and `-0.0`
//! included. Not here: where chunks live (head, blocks), which samples share a chunk, checksums.
//!
//! A chunk's encoding is chosen by contest: each encoding estimates its size, the smallest writes its id byte.
//!
//! | file | does |
//! |---|---|
//! | `constant` | one value for all samples |
//! | `decimal` | floats that are decimal fractions, as integers, by exact division |
//! | `float_bits` | any floats, as order-preserving integers |
//! | `exceptions` | samples that are no such integers, stale markers above all |
//! | `integers` | a column of integers: greatest common divisor, then offsets, deltas or deltas of deltas |
//! | `miniblock` | 128 integers: nothing, sparse, or packed with patched exceptions |
//! | `paged` | the same integers for data at rest: pages under one prefix code |
//! | `huffman` | that code |
//! | `bitpack` | the packing kernels |
//! | `histogram`, `histogram_decoder` | native histograms of one layout, a column per bucket |
//! | `starts` | start times, as a prefix to the values |
//! | `timestamps` | a grid and the distance from it |
//!
//! Format: `docs/format/chunk.md`.

mod bitpack;
mod constant;
mod decimal;
mod decoder;
mod encoder;
mod error;
mod exceptions;
mod float_bits;
mod format;
mod histogram;
mod histogram_decoder;
mod huffman;
mod integers;
mod miniblock;
mod paged;
mod starts;
mod timestamps;

#[cfg(test)]
mod histogram_tests;
#[cfg(test)]
mod tests;

pub use decoder::ChunkDecoder;
pub use encoder::ChunkEncoder;
pub use error::ChunkError;
pub use format::SAMPLE_COUNT_MAX;
pub use histogram::{histogram_run_length, is_histogram_chunk};
pub(crate) use paged::PAGED_SAMPLE_COUNT_MIN;
