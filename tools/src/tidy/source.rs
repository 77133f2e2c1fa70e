//! Finds the Rust files of the repository and reads them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders at the root that hold Rust code.
const FOLDERS: [&str; 7] = ["benches", "fuzz", "promql", "src", "storage", "tests", "tools"];

/// A Rust file.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// Relative to the root.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl SourceFile {
    /// The lines that run in production, with their numbers: no comments, nothing after the first test module.
    pub(super) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let test_module = lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]"
                && pair[1].trim_start().starts_with("mod ")
                && pair[1].ends_with('{')
        });
        let end = test_module.unwrap_or(lines.len());
        lines
            .into_iter()
            .take(end)
            .enumerate()
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// Whether the whole file is test code.
    pub(super) fn is_test(&self) -> bool {
        let name = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let in_test_folder = self.path.components().any(|part| {
            matches!(part.as_os_str().to_str(), Some("tests" | "testing" | "benches" | "fuzz" | "examples"))
        });
        in_test_folder || name == "tests" || name.ends_with("_test") || name.ends_with("_tests")
    }
}

/// Reads all Rust files of the repository, sorted by path.
pub(super) fn rust_files(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = root.join(folder);
        if folder.is_dir() {
            walk(root, &folder, &mut files)?;
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                walk(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push(SourceFile { path: relative, text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    #[test]
    fn production_lines_have_neither_comments_nor_test_modules() {
        let text = "//! Doc.\nlet a = 1; // async fn\n#[cfg(test)]\nmod tests {\n    let b = 2;\n}\n";
        let file = SourceFile { path: "src/a.rs".into(), text: text.to_owned() };
        let lines: Vec<_> = file.production_lines().collect();
        assert_eq!(lines, [(1, ""), (2, "let a = 1; ")]);
    }

    #[test]
    fn test_files_are_known_by_their_name_or_folder() {
        let is_test = |path: &str| SourceFile { path: path.into(), text: String::new() }.is_test();
        assert!(is_test("storage/tests/model.rs") && is_test("src/otlp/decode_test.rs"));
        assert!(!is_test("storage/src/latest.rs"));
    }
}
