//! Damaged files: the server starts, says what is missing, and answers from the rest.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{TestServer, now_ms};

/// The files below `folder` whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_block_is_named_and_the_rest_is_answered() {
    let day_ms = 86_400_000;
    let now_ms = now_ms();
    let server = TestServer::start(&[]);
    for (time_ms, value) in [(now_ms - 2 * day_ms, 1.0), (now_ms, 2.0)] {
        assert_eq!(server.write(&[(&[("__name__", "up")], &[(value, time_ms)])]).status, 204);
    }
    let directory = server.stop();
    let mut blocks = files(directory.path(), ".mtb");
    // The folder is the day.
    blocks.sort();
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    let mut bytes = std::fs::read(&blocks[0]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&blocks[0], &bytes).unwrap();

    let server = TestServer::start_in(directory, &[]);
    let seconds = |time_ms: i64| time_ms as f64 / 1000.0;
    let new = server.get(&format!("/api/v1/query?query=up&time={}", seconds(now_ms))).json();
    assert_eq!(new["data"]["result"][0]["value"][1], json!("2"), "{new}");
    assert_eq!(new["warnings"], json!(null), "the damaged day is not asked for");
    let old = server.get(&format!("/api/v1/query?query=up&time={}", seconds(now_ms - 2 * day_ms))).json();
    assert_eq!((&old["status"], &old["data"]["result"]), (&json!("success"), &json!([])));
    let name = blocks[0].file_name().unwrap().to_str().unwrap();
    let warning = old["warnings"][0].as_str().unwrap();
    assert!(warning.contains("samples may be missing") && warning.contains(name), "{warning}");

    let status = server.data("/api/v1/status/tsdb");
    assert!(status["damagedFiles"][0]["path"].as_str().unwrap().ends_with(name), "{status}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("\nmytsdb_storage_damaged_files 1\n"), "{metrics}");
    assert!(metrics.contains("\nmytsdb_storage_writes_refused 0\n"), "{metrics}");
    assert_eq!(std::fs::read(&blocks[0]).unwrap(), bytes, "a damaged file is left as it is");
}
