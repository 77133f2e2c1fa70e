//! `log-load`: log lines at a fixed rate of bytes, to a file or the standard output, for a collector to pick up.
//!
//! Reading order: [`options`] → [`lines`] (made-up lines of an exact length) → [`output`] (file with rotation, standard
//! output) → [`run`] (holds the rate). Not here: sending anything over a network; that is the collector's part.

pub mod lines;
pub mod options;
pub mod output;
pub mod run;
