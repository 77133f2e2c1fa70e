//! Integration tests: a real server on port 0, asked over the network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod lifecycle;
mod prom_api;
mod queries;
mod remote_write;
mod support;
mod tidy;
