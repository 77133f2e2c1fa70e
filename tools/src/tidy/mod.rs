//! Checks facts about the source tree that the compiler does not: module docs, directions, format documents.
//!
//! Input: the root of the repository. Output: a list of [`Problem`]s, empty when all is well. Called from the
//! integration tests, so that `cargo test` is the whole law. Sizes are not checked: they are a matter of judgement.

mod directions;
mod formats;
mod module_docs;
mod source;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use formats::refresh;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In which file, relative to the root.
    pub path: PathBuf,
    /// What is wrong, and what to do about it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.text)
    }
}

/// Checks the whole tree below `root`.
///
/// # Errors
/// If a file cannot be read.
pub fn check(root: &Path) -> io::Result<Vec<Problem>> {
    let files = source::rust_files(root)?;
    let mut problems = module_docs::check(&files);
    problems.extend(directions::check(root, &files)?);
    problems.extend(formats::check(root, &files)?);
    Ok(problems)
}
