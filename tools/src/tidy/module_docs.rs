//! Every Rust file begins with a module doc: what it is, what goes in and out, what is not here.

use super::Problem;
use super::source::SourceFile;

pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    files
        .iter()
        .filter(|file| {
            let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            !first.starts_with("//! ")
        })
        .map(|file| Problem {
            path: file.path.clone(),
            text: "does not begin with a module doc (`//! …`)".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::source::SourceFile;

    #[test]
    fn a_file_without_module_doc_is_named() {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
        let problems = check(&[file("a.rs", "//! Doc.\n"), file("b.rs", "use std::fs;\n//! Late.\n")]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path.to_str(), Some("b.rs"));
    }
}
