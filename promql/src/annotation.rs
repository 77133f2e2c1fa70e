//! Warnings and infos that come with a result: text, position, deduplicated by text.
//!
//! Source: Prometheus `util/annotations`.

use crate::parse::ast::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The result may be wrong or incomplete.
    Warning,
    /// The query may not mean what its author thinks.
    Info,
}

/// One remark about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// How bad it is.
    pub severity: Severity,
    /// The text without prefix and position.
    pub text: String,
    /// The part of the query it is about, if any.
    pub span: Option<Span>,
}

impl Annotation {
    /// Renders as Prometheus does: `PromQL warning: … (line:column)`, both 1-based, the column in bytes.
    pub fn render(&self, query: &str) -> String {
        let prefix = match self.severity {
            Severity::Warning => "PromQL warning",
            Severity::Info => "PromQL info",
        };
        match self.span {
            Some(span) => format!("{prefix}: {} ({})", self.text, span.start_position(query)),
            None => format!("{prefix}: {}", self.text),
        }
    }
}

/// The remarks of one query, each text once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    list: Vec<Annotation>,
}

impl Annotations {
    /// Adds a warning unless its text is there already.
    pub fn warn(&mut self, span: Option<Span>, text: impl Into<String>) {
        self.add(Annotation { severity: Severity::Warning, text: text.into(), span });
    }

    /// Adds an info unless its text is there already.
    pub fn info(&mut self, span: Option<Span>, text: impl Into<String>) {
        self.add(Annotation { severity: Severity::Info, text: text.into(), span });
    }

    /// Adds `annotation` unless one of the same severity, text and position is there already.
    pub fn add(&mut self, annotation: Annotation) {
        if !self.list.contains(&annotation) {
            self.list.push(annotation);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Annotations) {
        for annotation in other.list {
            self.add(annotation);
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All remarks in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.list.iter()
    }
}
