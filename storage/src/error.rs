//! Errors as texts: a typed error whose cause is of another room keeps the whole chain in words.

/// The text of an error with those of its causes.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open")]
    struct Outer(#[source] io::Error);

    #[test]
    fn every_cause_is_told() {
        let error = Outer(io::Error::other("the disk is on fire"));
        assert_eq!(with_sources(&error), "cannot open: the disk is on fire");
        assert_eq!(with_sources(&io::Error::other("alone")), "alone");
    }
}
