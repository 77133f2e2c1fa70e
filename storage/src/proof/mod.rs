//! Foreign bytes in the place of each kind of file, and what the readers make of them. For tests and fuzzing only.
//!
//! [`samples`] makes a small whole file of each kind, [`read`] asks a reader everything, [`forge`] makes checksums fit
//! again so that damage gets past them, `flips` (tests) flips every single bit.

#[allow(unreachable_pub, reason = "public under the feature fuzzing")]
pub mod doors;
pub(crate) mod forge;
#[cfg_attr(not(test), allow(dead_code, reason = "fuzz targets need less"))]
pub(crate) mod read;
#[cfg_attr(not(test), allow(dead_code, reason = "fuzz targets need less"))]
pub(crate) mod samples;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod flips;
