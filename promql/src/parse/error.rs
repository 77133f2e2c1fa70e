//! Why a text is no query.

use super::ast::{Position, Span};

/// A query that does not parse or does not type-check.
///
/// Displays as Prometheus does: `1:5: parse error: unexpected …` (1-based line and column).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// Where it starts.
    pub position: Position,
    /// The bytes it is about.
    pub span: Span,
    /// Prometheus' text.
    pub message: String,
}

impl ParseError {
    /// Creates an error about `span` of `query`.
    pub fn new(query: &str, span: Span, message: String) -> Self {
        Self { position: span.start_position(query), span, message }
    }
}
