//! Load for the comparison benchmark: the same requests for every server.
//!
//! Input: a data set's size. Output: a file of encoded requests ([`encode`]), and later a report of how a server
//! took them ([`send`], [`send_otlp`]). Encoding and sending are separate so that every server gets the same bytes and the
//! client's share of the CPU while measuring is a few system calls per request.
//! Not here: starting servers, reading their CPU, queries (see `bench/compare.py`).

pub mod container;
pub mod encode;
pub mod file;
pub mod otlp;
pub mod random;
pub mod send;
pub mod send_otlp;
pub mod wire;
