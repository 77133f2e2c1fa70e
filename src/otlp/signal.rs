//! The three signals of OpenTelemetry, and in which words they are told of.

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Data points.
    Metrics,
    /// Spans; they are counted.
    Traces,
    /// Log records; they are counted.
    Logs,
}

impl Signal {
    /// What a request has many of.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Metrics => "data points",
            Self::Traces => "spans",
            Self::Logs => "log records",
        }
    }

    /// The signal's name, which is also its key in the `otlp:` section.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    /// The field of a partial success that counts what was refused.
    pub(super) fn rejected_key(self) -> &'static str {
        match self {
            Self::Metrics => "rejectedDataPoints",
            Self::Traces => "rejectedSpans",
            Self::Logs => "rejectedLogRecords",
        }
    }
}
