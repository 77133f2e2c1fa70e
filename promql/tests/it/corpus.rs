//! The evaluator against Prometheus' own scripts (if they are there) and against ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::script::runner::{Report, run};

/// Evals of Prometheus' scripts that pass: all. Only goes up.
const PASSING_FLOOR: usize = 2214;

fn scripts_in(folder: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The folder with Prometheus' scripts, beside the repository or above it.
fn corpus() -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.map(|folder| folder.join("shared/promqltest")).find(|folder| folder.is_dir())
}

/// Prints past the test harness, which hides what passing tests print: the count is to be seen in every run.
fn say(line: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn prometheus_scripts_pass() {
    let Some(folder) = corpus() else {
        say("skipped: there is no folder shared/promqltest beside the repository");
        return;
    };
    let mut total = Report::default();
    for (name, text) in scripts_in(&folder) {
        let report = run(&name, &text);
        say(&format!("{name}: {} of {} evals pass", report.passed, report.run()));
        total.add(report);
    }
    say(&format!(
        "corpus: {} of {} evals pass ({} re-evaluations)",
        total.passed,
        total.run(),
        total.repeated
    ));
    let failures = total.failures.join("\n");
    assert!(total.passed >= PASSING_FLOOR, "{} evals pass, {PASSING_FLOOR} did\n{failures}", total.passed);
}

#[test]
fn own_scripts_pass() {
    let scripts = scripts_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"));
    assert!(!scripts.is_empty(), "testdata is empty");
    let mut total = Report::default();
    for (name, text) in scripts {
        let report = run(&name, &text);
        assert!(report.run() > 0, "{name} evaluates nothing");
        total.add(report);
    }
    assert!(total.failures.is_empty(), "{}", total.failures.join("\n"));
}
