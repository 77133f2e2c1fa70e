//! The source tree obeys its own rules: module docs, directions, format documents.

use std::path::Path;

use mytsdb_tools::tidy;

#[test]
fn the_source_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MYTSDB_TIDY_REFRESH").is_some() {
        tidy::refresh(root).unwrap();
    }
    let problems = tidy::check(root).unwrap();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "\n{}", text.join("\n"));
}
