//! OpenTelemetry in: OTLP over gRPC and HTTP, translated into series as Prometheus does it.
//!
//! Way of a write: bytes ([`http`] makes protobuf of [`json`]) → [`door`] → [`ingest`] → [`read`] (nothing is built) →
//! [`columns`] (points become columns, labels are made only for new series) → `Storage::submit` → [`outcome`] → [`reply`]
//! when durable. What repeats an earlier metric is not read again ([`templates`]). Spans and log records are counted
//! first ([`events`]). Names follow Prometheus' translation strategies ([`naming`]), as the tenant's [`OtlpOptions`] say.
//! Not here: storage.

pub mod columns;
mod door;
mod events;
pub mod grpc;
pub mod http;
mod ingest;
mod json;
pub mod known;
mod labels;
pub mod naming;
mod options;
mod outcome;
pub mod read;
mod reply;
mod signal;
mod tally;
mod templates;
mod units;

pub use door::Otlp;
pub use options::{DeltaTemporality, OtlpOptions, OtlpSettings, SectionError};
