//! A deterministic day of Kubernetes metrics: who exists, which series they have, what the values are, how they travel.
//!
//! Reading order: [`topology`] (clusters, nodes, pods) → [`plan`] (which 90 series each container accounts for,
//! labels from [`metrics`]) → [`model`] (values) → [`batch`] (Arrow) → [`seed`] (sends and verifies)
//! → [`follow`] (goes on in real time).
//! [`expected`] computes the answers to the dashboard's queries from the model alone, as an oracle for tests.
//!
//! Invariants: every value is a function of (seed, topology, series, step index) and, for the few series that hold a
//! point in time, of the first step's time; series = pods × containers per pod × metrics per container.

pub mod batch;
pub mod expected;
pub mod follow;
mod histogram_quantile;
pub mod metrics;
pub mod model;
pub mod options;
pub mod plan;
pub mod progress;
pub mod seed;
pub mod topology;
pub mod verify;
