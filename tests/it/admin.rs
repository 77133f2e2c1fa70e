//! The admin API, and the commands on what it leaves: deletes, snapshots, `mytsdb check`, `mytsdb restore`.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{call, escape};
use crate::support::request::Series;
use crate::support::{TestServer, now_ms};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// All samples of a selector's series within two hours: per `host` the times and values as they are answered.
fn samples(server: &TestServer, selector: &str, headers: &[(&str, &str)]) -> Vec<(String, Value)> {
    let path = format!("/api/v1/query?query={}", escape(&format!("{selector}[2h]")));
    let response = call(server.addr(), "GET", &path, headers, b"");
    assert_eq!(response.status, 200, "{}", response.text());
    let result = response.json()["data"]["result"].clone();
    let series = result.as_array().unwrap().iter();
    let mut found: Vec<(String, Value)> = series
        .map(|one| (one["metric"]["host"].as_str().unwrap().to_owned(), one["values"].clone()))
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

fn mytsdb(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mytsdb")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_endpoint_is_off_unless_it_is_switched_on() {
    let server = TestServer::start(&[]);
    let disabled = json!({"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"});
    for endpoint in ["delete_series?match[]=up", "clean_tombstones", "snapshot", "compact", "flush"] {
        for method in ["POST", "PUT"] {
            let path = format!("/api/v1/admin/tsdb/{endpoint}");
            let refused = call(server.addr(), method, &path, &[], b"");
            assert_eq!((refused.status, refused.json()), (500, disabled.clone()), "{method} {endpoint}");
        }
    }
}

#[test]
fn what_is_deleted_is_gone_for_its_tenant_until_it_is_written_again() {
    let server = TestServer::start(&["--enable-admin-api"]);
    let now_ms = now_ms();
    let times_ms: Vec<i64> = (0..60).rev().map(|second| now_ms - 1000 * second).collect();
    let values: Vec<(f64, i64)> = times_ms.iter().map(|time_ms| (1.0, *time_ms)).collect();
    let hosts = ["a", "b", "c"].map(|host| [("__name__", "up"), ("host", host)]);
    let all: Vec<Series<'_>> = hosts.iter().map(|labels| (labels.as_slice(), values.as_slice())).collect();
    let other = [("x-scope-orgid", "other")];
    assert_eq!(server.write(&all).status, 204);
    assert_eq!(server.write_as(&all, &other).status, 204);

    let form = "match[]=up%7Bhost%3D%22a%22%7D&match[]=up%7Bhost%3D%22none%22%7D";
    assert_eq!(server.post_form("/api/v1/admin/tsdb/delete_series", form).status, 204);
    let start = (now_ms - 30_000) as f64 / 1000.0;
    let form = format!("match[]=up%7Bhost%3D%22b%22%7D&start={start}");
    let put = call(server.addr(), "PUT", "/api/v1/admin/tsdb/delete_series", &[FORM], form.as_bytes());
    assert_eq!((put.status, put.text()), (204, String::new()));
    let found = samples(&server, "up", &[]);
    let counts: Vec<(&str, usize)> =
        found.iter().map(|(host, values)| (host.as_str(), values.as_array().unwrap().len())).collect();
    assert_eq!(counts, [("b", 29), ("c", 60)]);
    assert_eq!(samples(&server, "up", &other).len(), 3);
    assert_eq!(server.data("/api/v1/label/host/values"), json!(["b", "c"]));
    assert_eq!(server.data("/api/v1/series?match[]=up").as_array().unwrap().len(), 2);

    assert_eq!(server.post_form("/api/v1/admin/tsdb/clean_tombstones", "").status, 204);
    assert_eq!(samples(&server, "up", &[]), found);
    assert_eq!(server.post_form("/api/v1/admin/tsdb/compact", "").status, 204);
    assert_eq!(samples(&server, "up", &[]), found);
    assert_eq!(server.write(&[(&hosts[0], &[(7.0, now_ms - 500)])]).status, 204);
    assert_eq!(samples(&server, "up{host=\"a\"}", &[])[0].1.as_array().unwrap().len(), 1);
    assert_eq!(samples(&server, "up", &other).len(), 3);
}

#[test]
fn mistakes_are_named() {
    let server = TestServer::start(&["--enable-admin-api"]);
    for (endpoint, form, part) in [
        ("delete_series", "", "no match[] parameter provided"),
        ("delete_series", "match[]=up%7B", "invalid parameter \"match[]\""),
        ("delete_series", "match[]=%7Bhost%3D~%22.*%22%7D", "at least one non-empty matcher"),
        ("delete_series", "match[]=up&start=yesterday", "invalid parameter \"start\""),
        ("snapshot", "skip_head=maybe", "unable to parse boolean"),
    ] {
        let refused = server.post_form(&format!("/api/v1/admin/tsdb/{endpoint}"), form);
        assert_eq!((refused.status, refused.json()["errorType"].as_str()), (400, Some("bad_data")), "{form}");
        assert!(refused.text().contains(&part.replace('"', "\\\"")), "{}", refused.text());
    }
    assert_eq!(server.get("/api/v1/admin/tsdb/snapshot").status, 405);
}

#[test]
fn a_snapshot_under_load_is_whole_and_a_server_on_its_restored_copy_answers_the_same() {
    let server = TestServer::start(&["--enable-admin-api", "--head-max-bytes=64KiB"]);
    let hosts = ["a", "b", "c", "d"].map(|host| [("__name__", "load"), ("host", host)]);
    let start_ms = now_ms() - 3_600_000;
    let (acknowledged, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let write = |position: usize| {
        let sample = [(position as f64 / 8.0, start_ms + 100 * position as i64)];
        let series: Vec<Series<'_>> =
            hosts.iter().map(|labels| (labels.as_slice(), sample.as_slice())).collect();
        assert_eq!(server.write(&series).status, 204);
        acknowledged.store(position + 1, Ordering::Release);
    };
    (0..50).for_each(write);
    let gone = "match[]=load%7Bhost%3D%22d%22%7D";
    assert_eq!(server.post_form("/api/v1/admin/tsdb/delete_series", gone).status, 204);
    let (before, name) = std::thread::scope(|scope| {
        scope.spawn(|| (50..3000).take_while(|_| !is_over.load(Ordering::Acquire)).for_each(write));
        while acknowledged.load(Ordering::Acquire) < 80 {
            std::thread::yield_now();
        }
        let before = acknowledged.load(Ordering::Acquire);
        let answer = server.post_form("/api/v1/admin/tsdb/snapshot", "");
        is_over.store(true, Ordering::Release);
        assert_eq!(answer.json()["status"], "success", "{}", answer.text());
        (before, answer.json()["data"]["name"].as_str().unwrap().to_owned())
    });
    let live = samples(&server, "load", &[]);
    let directory = server.stop();
    let data_dir = directory.path().join("data");
    let snapshot = data_dir.join("snapshots").join(&name);

    for (checked, block_text) in [(&snapshot, "checked"), (&data_dir, "checked")] {
        let output = mytsdb(&["check", text(checked)]);
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{lines}");
        assert!(lines.starts_with(block_text) && lines.contains("0 damaged"), "{lines}");
    }
    let restored = TempDir::new().unwrap();
    let target = restored.path().join("data");
    let output = mytsdb(&["restore", text(&snapshot), text(&target)]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(mytsdb(&["restore", text(&snapshot), text(&target)]).status.code(), Some(2));

    let server = TestServer::start_in(restored, &[]);
    let copy = samples(&server, "load", &[]);
    assert_eq!(mytsdb(&["check", text(&target)]).status.code(), Some(2), "a server uses it");
    assert_eq!(copy.len(), 4);
    for ((host, found), (live_host, expected)) in copy.iter().zip(&live) {
        let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
        // What was deleted before is not in it; what came later may be, from the first on and in every series alike.
        let deleted = if host == "d" { 50 } else { 0 };
        assert!(found.len() + deleted >= before, "{host}: {} of {before}", found.len());
        assert_eq!(found.len() + deleted, copy[0].1.as_array().unwrap().len(), "{host}");
        assert_eq!((host, found.as_slice()), (live_host, &expected[..found.len()]));
    }
}

#[test]
fn a_damaged_snapshot_is_told_and_not_restored() {
    let server = TestServer::start(&["--enable-admin-api"]);
    assert_eq!(server.write(&[(&[("__name__", "up"), ("host", "a")], &[(1.0, now_ms())])]).status, 204);
    let answer = server.post_form("/api/v1/admin/tsdb/snapshot", "").json();
    let directory = server.stop();
    let snapshot = directory.path().join("data/snapshots").join(answer["data"]["name"].as_str().unwrap());
    let days = snapshot.join("tenants/anonymous/blocks");
    let day = std::fs::read_dir(days).unwrap().next().unwrap().unwrap().path();
    let block = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&block).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&block, bytes).unwrap();
    let output = mytsdb(&["check", text(&snapshot)]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{lines}");
    assert!(lines.starts_with(&format!("damage {}: ", block.display())), "{lines}");
    let target = directory.path().join("new");
    let output = mytsdb(&["restore", text(&snapshot), text(&target), "--link"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!target.exists());
}
