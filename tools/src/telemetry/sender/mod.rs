//! `telemetry-sender`: replays templates to an endpoint at a rate, and is honest about what became of them.
//!
//! Reading order: [`options`], [`config`] (settings) → [`run`] (one run) → [`worker`] (one request after the other, on the
//! [`schedule`]) → [`transport`] (protocols) → [`answer`], [`backoff`] (what an answer means, when to try again) → [`stats`],
//! [`latency`] (counting) → [`progress`], [`metrics`], [`report`], [`slo`] (showing) → [`verify`], [`probe`] (asking back).
//! Not here: what requests hold (see [`super::replay`]).
//!
//! Invariants: a worker has one request in flight, so series stay in order; latencies count from when a request was due; sent
//! = accepted + rejected + failed + in flight; nothing that was refused is counted as accepted.

pub mod answer;
pub mod asker;
pub mod backoff;
pub mod config;
pub mod endpoint;
pub mod latency;
pub mod metrics;
pub mod options;
pub mod probe;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod slo;
pub mod stats;
pub mod stop;
pub mod transport;
pub mod verify;
pub mod worker;
