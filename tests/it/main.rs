//! Integration tests: a real server on port 0, asked over the network.

mod lifecycle;
mod prom_api;
mod queries;
mod remote_write;
mod support;
