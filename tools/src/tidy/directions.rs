//! The core knows no network, no runtime and no clock: what its manifests and its code must not contain.

use std::fs;
use std::io;
use std::path::Path;

use super::Problem;
use super::source::SourceFile;

/// A crate, the dependencies it must not have, the text its code must not contain.
struct Rule {
    crate_folder: &'static str,
    dependencies: &'static [&'static str],
    code: &'static [&'static str],
}

const RULES: [Rule; 2] = [
    Rule {
        crate_folder: "storage",
        dependencies: &[
            "arrow-flight",
            "axum",
            "hyper",
            "mytsdb-promql",
            "opentelemetry-proto",
            "prost",
            "serde_json",
            "tokio",
            "tonic",
        ],
        code: &["async fn", "SystemTime", "std::net"],
    },
    Rule {
        crate_folder: "promql",
        dependencies: &[
            "arrow-flight",
            "axum",
            "hyper",
            "memmap2",
            "opentelemetry-proto",
            "prost",
            "serde_json",
            "tokio",
            "tonic",
        ],
        code: &["async fn", "SystemTime", "std::fs", "std::net"],
    },
];

pub(super) fn check(root: &Path, files: &[SourceFile]) -> io::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for rule in &RULES {
        let manifest_path = Path::new(rule.crate_folder).join("Cargo.toml");
        let manifest = fs::read_to_string(root.join(&manifest_path))?;
        for name in dependencies(&manifest).filter(|name| rule.dependencies.contains(name)) {
            problems.push(Problem {
                path: manifest_path.clone(),
                text: format!("must not depend on {name} (ARCHITECTURE.md, invariants 1 and 2)"),
            });
        }
        let source_folder = Path::new(rule.crate_folder).join("src");
        for file in files.iter().filter(|file| file.path.starts_with(&source_folder) && !file.is_test()) {
            problems.extend(code_problems(rule, file));
        }
    }
    Ok(problems)
}

fn code_problems(rule: &Rule, file: &SourceFile) -> Vec<Problem> {
    file.production_lines()
        .flat_map(|(number, line)| rule.code.iter().map(move |text| (number, line, *text)))
        .filter(|(_, line, text)| line.contains(text))
        .map(|(number, _, text)| Problem {
            path: file.path.clone(),
            text: format!("line {number}: {text:?} has no place in {}", rule.crate_folder),
        })
        .collect()
}

/// Names in `[dependencies]`; those for tests are free.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{RULES, code_problems, dependencies};
    use crate::tidy::source::SourceFile;

    #[test]
    fn only_the_dependencies_of_production_count() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\ntokio.workspace = true\nsnap = \"1\"\n\n[dev-dependencies]\nprost = \"1\"\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["tokio", "snap"]);
    }

    #[test]
    fn a_clock_in_the_storage_is_named_with_its_line() {
        let text = "//! Doc.\nfn now() { SystemTime::now(); }\n";
        let file = SourceFile { path: "storage/src/a.rs".into(), text: text.to_owned() };
        let problems = code_problems(&RULES[0], &file);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].text.starts_with("line 2: \"SystemTime\""), "{}", problems[0]);
    }
}
