//! Every expression of Prometheus' own test scripts parses and survives printing.

use std::path::{Path, PathBuf};

use super::{assert_prints_to_itself, parsed};

/// The scripts, if a folder `shared/promqltest` stands beside the repository or above it.
fn scripts() -> Option<Vec<PathBuf>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let Some(folder) = above.map(|folder| folder.join("shared/promqltest")).find(|folder| folder.is_dir())
    else {
        eprintln!("skipped: there is no folder shared/promqltest beside the repository");
        return None;
    };
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    Some(paths)
}

/// The expression of an `eval` line.
fn expression(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("eval")?;
    // `_fail` and the like.
    let rest = rest.trim_start_matches(|character: char| !character.is_whitespace()).trim_start();
    let skip_words = |text: &'_ str, count: usize| {
        let mut text = text;
        for _ in 0..count {
            text = text.trim_start();
            text = &text[text.find(char::is_whitespace).unwrap_or(text.len())..];
        }
        text.trim_start().len()
    };
    let left = if rest.starts_with("instant at ") {
        skip_words(rest, 3)
    } else if rest.starts_with("range from ") {
        skip_words(rest, 7)
    } else {
        return None;
    };
    Some(&rest[rest.len() - left..])
}

pub(super) fn expressions() -> Vec<String> {
    let mut found = Vec::new();
    for path in scripts().unwrap_or_default() {
        let text = std::fs::read_to_string(&path).unwrap();
        found.extend(text.lines().filter_map(expression).map(str::to_owned));
    }
    found
}

#[test]
fn every_expression_of_the_corpus_parses_and_prints_to_itself() {
    let expressions = expressions();
    for query in &expressions {
        assert_prints_to_itself(query);
    }
    if !expressions.is_empty() {
        assert_eq!(expressions.len(), 2214);
    }
}

#[test]
fn types_of_the_corpus_follow_from_their_roots() {
    for query in expressions() {
        let expr = parsed(&query);
        assert_eq!(expr.unwrap_parens().value_type(), expr.value_type(), "{query}");
    }
}
