//! The MyTSDB server: protocols at the rim, around the storage engine and PromQL.
//!
//! Reading order: [`config`] → [`server`] → [`http`] → one folder per protocol → [`core`].

pub mod blocking;
pub mod commands;
pub mod config;
pub mod core;
pub mod features;
pub mod flight;
pub mod gateway;
mod grpc;
pub mod health;
pub mod http;
pub mod inflight;
pub mod limits_file;
mod maintenance;
pub mod otlp;
pub mod prom_api;
pub mod queries;
pub mod rejections;
pub mod reload;
pub mod remote;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod tenant;
pub mod units;
pub mod wire;

pub use config::{Config, ConfigError};
pub use server::{Running, Server, ShutdownError, StartError};

/// Stack of the threads that parse and evaluate: deep queries recurse.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// Builds the runtime that a server runs on.
///
/// # Errors
/// What the system says when it gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(THREAD_STACK_BYTES).build()
}
