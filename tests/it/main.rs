//! Integration tests: a real server on port 0, asked over the network.

#![expect(clippy::unwrap_used, reason = "tests fail loudly, their helpers included")]

mod flight;
mod grpc_server;
mod otlp;
