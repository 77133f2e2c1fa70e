//! The engine from outside: only its public doors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must end")]

mod compaction;
mod deletes;
mod fixture;
mod histograms;
mod limits;
mod model;
mod scenarios;
mod snapshots;
mod starts;
mod torture;
