//! One condition on one label.

use std::fmt;
use std::sync::Arc;

use crate::model::pattern::Pattern;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A regular expression that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp {pattern:?}: {reason}")]
pub struct MatcherError {
    /// The pattern given.
    pub pattern: String,
    /// What the regex engine says.
    pub reason: String,
}

/// One condition on one label; a label that is absent has the value `""`.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Arc<Pattern>>,
}

impl Matcher {
    /// Creates a matcher; regular expressions are anchored at both ends and `.` matches newlines.
    ///
    /// # Errors
    /// [`MatcherError`] if `op` is a regex operator and `value` does not compile.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(
                Pattern::new(value).map_err(|reason| MatcherError { pattern: value.to_owned(), reason })?,
            )),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// Creates an equality matcher, which cannot fail.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), pattern: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether a label with this value satisfies the condition.
    #[inline]
    pub fn matches(&self, value: &str) -> bool {
        self.is_negated() != self.matches_positively(value)
    }

    /// Returns whether the operator is `!=` or `!~`.
    pub(crate) fn is_negated(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// Returns whether the value or pattern itself matches, whatever the operator makes of it.
    pub(crate) fn matches_positively(&self, value: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => value == self.value,
        }
    }

    /// Bytes that the compiled pattern of a regex operator takes in memory; 0 for `=` and `!=`.
    pub fn pattern_bytes(&self) -> usize {
        self.pattern.as_ref().map_or(0, |pattern| pattern.memory_bytes())
    }

    /// The analysed pattern of a regex operator; `None` for `=` and `!=`.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_deref()
    }

    /// Returns whether a series without the label satisfies the condition.
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.op, &self.name, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_anchored_and_dot_matches_newline() {
        let matcher = Matcher::new(MatchOp::Regex, "a", "x.*|y").unwrap();
        assert!(matcher.matches("x\n1") && matcher.matches("y"));
        assert!(!matcher.matches("ay") && !matcher.matches("yx"));
    }

    #[test]
    fn broken_regex_is_named() {
        let error = Matcher::new(MatchOp::Regex, "a", "(").unwrap_err();
        assert_eq!(error.pattern, "(");
    }
}
