//! The MyTSDB server: protocols at the rim, around the storage engine and PromQL.

pub mod blocking;
pub mod core;
pub mod flight;
mod grpc;
pub mod otlp;
pub mod telemetry;
