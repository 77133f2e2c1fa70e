//! `gpu-csv-replay`: recorded GPU telemetry (CSV files of DCGM) is sent again, for ever if wanted.
//!
//! Reading order: [`options`] (flags) → [`columns`], [`read`] (file → [`recording`]) → [`share`] (which rows are this
//! worker's) → [`player`] (when a row is sent, with which time and value, see [`evolve`]) → [`send`] (protocols) → [`run`]
//! (workers, checkpoint, report). [`sample`] writes a file to replay.
//!
//! Invariants: names are DCGM's, verbatim; samples of a series are sent in order of time by one worker of one pod; a row
//! counts as sent when the server has acknowledged it, and only then does the checkpoint pass it.

pub mod checkpoint;
pub mod columns;
pub mod evolve;
pub mod labels_raw;
pub mod metric;
pub mod metrics_port;
pub mod options;
pub mod player;
pub mod read;
pub mod recording;
pub mod report;
pub mod run;
pub mod sample;
pub mod send;
pub mod share;
