//! Tools around MyTSDB: seeding, load and replay.
//!
//! Each binary under `bin/` is thin: it parses flags and calls a module here, so that tests run the same code.
//! Not here: anything the server needs to run.

pub mod bench_load;
pub mod flight_client;
pub mod gpu;
pub mod http_query;
pub mod k8s;
pub mod log_load;
pub mod raw_codec;
pub mod stop;
pub mod telemetry;
pub mod tidy;
