//! Template files: encoded OTLP messages in parts, and where in them something is patched when they are sent.
//!
//! A folder holds up to three: `metrics.template`, `traces.template`, `logs.template`.

mod error;

pub use error::TemplateError;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Points of metrics.
    Metrics,
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals, in the order of their numbers in files.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// Returns the name of the signal's template in its folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics.template",
            Self::Traces => "traces.template",
            Self::Logs => "logs.template",
        }
    }
}
