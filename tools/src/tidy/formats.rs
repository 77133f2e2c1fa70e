//! Every `format.rs` has its document in `docs/format/`, tied to it by a hash.
//!
//! A document says which code it describes with a line `<!-- format: storage/src/wal/format.rs 0123456789abcdef -->`.
//! When the code changes, its document is read again, corrected if bytes changed, and the hash refreshed:
//! `MYTSDB_TIDY_REFRESH=1 cargo test --test it tidy`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Problem;
use super::source::{SourceFile, rust_files};

const DOCUMENTS: &str = "docs/format";
const LINE_BEGIN: &str = "<!-- format: ";

/// What the documents say: path of the code → (path of the document, hash).
type Ties = BTreeMap<PathBuf, (PathBuf, String)>;

pub(super) fn check(root: &Path, files: &[SourceFile]) -> io::Result<Vec<Problem>> {
    let documents = documents(root)?;
    let ties = ties(&documents);
    let mut problems = Vec::new();
    for file in format_files(files) {
        let text = match ties.get(&file.path) {
            None => format!(
                "no document in {DOCUMENTS} has the line `{LINE_BEGIN}{} … -->`; write one, then refresh (see tools/src/tidy/formats.rs)",
                file.path.display()
            ),
            Some((document, hash)) if *hash != hash_of(&file.text) => format!(
                "changed since {} was last read over; correct the document if bytes changed, then refresh (see tools/src/tidy/formats.rs)",
                document.display()
            ),
            Some(_) => continue,
        };
        problems.push(Problem { path: file.path.clone(), text });
    }
    for (code, (document, _)) in &ties {
        if !root.join(code).is_file() {
            let text = format!("describes {}, which does not exist", code.display());
            problems.push(Problem { path: document.clone(), text });
        }
    }
    Ok(problems)
}

/// Writes the present hashes into the documents; where there is no tie yet, code is tied to the document it names.
///
/// # Errors
/// If a file cannot be read or written.
pub fn refresh(root: &Path) -> io::Result<()> {
    let files = rust_files(root)?;
    for file in format_files(&files) {
        let documents = documents(root)?;
        let tied = ties(&documents).get(&file.path).map(|(document, _)| document.clone());
        let Some(path) = tied.or_else(|| document_of(file, &documents)) else { continue };
        let line = format!("{LINE_BEGIN}{} {} -->", file.path.display(), hash_of(&file.text));
        let old = documents.get(&path).map(String::as_str).unwrap_or_default();
        let begin = format!("{LINE_BEGIN}{} ", file.path.display());
        let mut lines: Vec<&str> = old.lines().filter(|line| !line.starts_with(&begin)).collect();
        while lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        if !lines.last().is_some_and(|last| last.starts_with(LINE_BEGIN)) {
            lines.push("");
        }
        lines.push(&line);
        fs::write(root.join(&path), lines.join("\n") + "\n")?;
    }
    Ok(())
}

fn format_files(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.path.ends_with("format.rs"))
}

fn documents(root: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let folder = root.join(DOCUMENTS);
    let mut documents = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(entry.path())?;
                documents.insert(Path::new(DOCUMENTS).join(entry.file_name()), text);
            }
        }
    }
    Ok(documents)
}

fn ties(documents: &BTreeMap<PathBuf, String>) -> Ties {
    let mut ties = Ties::new();
    for (document, text) in documents {
        for line in text.lines() {
            let words = line.strip_prefix(LINE_BEGIN).and_then(|rest| rest.strip_suffix(" -->"));
            if let Some((code, hash)) = words.and_then(|words| words.split_once(' ')) {
                ties.insert(code.into(), (document.clone(), hash.to_owned()));
            }
        }
    }
    ties
}

/// The document that the code names (`//! Format: docs/format/wal.md`), else that of its room.
fn document_of(file: &SourceFile, documents: &BTreeMap<PathBuf, String>) -> Option<PathBuf> {
    let named = file.text.lines().find_map(|line| line.strip_prefix("//! Format: ")).map(|rest| {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        PathBuf::from(&rest[..end])
    });
    let room = file.path.parent()?.file_name()?.to_str()?;
    let of_room = Path::new(DOCUMENTS).join(format!("{room}.md"));
    named.into_iter().chain([of_room]).find(|document| documents.contains_key(document))
}

/// FNV-1a over the text; a tie, not a protection.
fn hash_of(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{check, refresh};
    use crate::tidy::source::rust_files;

    #[test]
    fn a_changed_format_is_a_problem_until_its_document_is_refreshed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("storage/src/wal")).unwrap();
        fs::create_dir_all(root.join("docs/format")).unwrap();
        let code = root.join("storage/src/wal/format.rs");
        fs::write(&code, "//! One.\n").unwrap();
        let problem_count = || check(root, &rust_files(root).unwrap()).unwrap().len();
        refresh(root).unwrap();
        assert_eq!(problem_count(), 1, "no document");
        fs::write(root.join("docs/format/wal.md"), "# WAL\n").unwrap();
        refresh(root).unwrap();
        assert_eq!(problem_count(), 0);
        fs::write(&code, "//! Two.\n").unwrap();
        assert_eq!(problem_count(), 1, "changed");
        refresh(root).unwrap();
        refresh(root).unwrap();
        assert_eq!(problem_count(), 0);
        let document = fs::read_to_string(root.join("docs/format/wal.md")).unwrap();
        assert_eq!(document.matches("<!-- format: ").count(), 1, "{document}");
        fs::remove_file(&code).unwrap();
        assert_eq!(problem_count(), 1, "gone");
    }
}
