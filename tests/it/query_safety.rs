//! What queries may hold, who waits, and how a query is listed, stopped and logged.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Response, call, connect, escape, receive, send};
use crate::support::{TestServer, now_ms};

/// Thousands of subqueries, no two the same, one after the other: minutes of work in little memory.
fn slow() -> String {
    let terms = (0..5000).map(|index| format!("sum_over_time(m[1h:1s] offset {index}s)"));
    terms.collect::<Vec<String>>().join(" + ")
}

/// What should happen soon has failed after this.
const WAIT: Duration = Duration::from_secs(60);

const LIST: &str = "/api/v1/status/active_queries";

fn with_sample(flags: &[&str]) -> TestServer {
    let server = TestServer::start(flags);
    let end_ms = now_ms() - 60_000;
    let samples: Vec<(f64, i64)> = (0..240).map(|index| (1.0, end_ms - index * 15_000)).rev().collect();
    assert_eq!(server.write(&[(&[("__name__", "m")], &samples)]).status, 204);
    server
}

/// Asks in a thread of its own.
fn ask(server: &TestServer, query: &str) -> std::thread::JoinHandle<Response> {
    let (addr, form) = (server.addr(), format!("query={}", escape(query)));
    std::thread::spawn(move || {
        let mut stream = connect(addr);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        send(&mut stream, "POST", "/api/v1/query", &headers, form.as_bytes());
        receive(&mut stream)
    })
}

/// The listed queries once there are `count`.
fn wait_for(server: &TestServer, count: usize) -> Vec<Value> {
    let asked = Instant::now();
    while asked.elapsed() < WAIT {
        let listed = server.data(LIST)["activeQueries"].as_array().unwrap().clone();
        if listed.len() == count {
            return listed;
        }
        std::thread::yield_now();
    }
    panic!("there were never {count} active queries");
}

#[test]
fn active_queries_are_listed_and_can_be_canceled() {
    let server = with_sample(&["--query-max-concurrency=1"]);
    assert_eq!(server.data(LIST)["activeQueries"], json!([]));
    let running = ask(&server, &slow());
    wait_for(&server, 1);
    let waiting = ask(&server, "m + 1");
    let listed = wait_for(&server, 2);
    assert_eq!(
        (listed[0]["state"].as_str(), listed[0]["query"].as_str()),
        (Some("running"), Some(slow().as_str()))
    );
    assert_eq!(listed[1]["state"], "waiting");
    assert_eq!(listed[1]["clientIP"], "127.0.0.1");
    let id = |index: usize| listed[index]["id"].as_str().unwrap().to_owned();
    // Another tenant neither sees nor stops them.
    let stranger = [("x-scope-orgid", "stranger")];
    let seen = call(server.addr(), "GET", LIST, &stranger, b"").json();
    assert_eq!(seen["data"]["activeQueries"], json!([]));
    let path = format!("{LIST}/{}", id(1));
    assert_eq!(call(server.addr(), "DELETE", &path, &stranger, b"").status, 404);
    // Stopped while it waits.
    assert_eq!(call(server.addr(), "DELETE", &path, &[], b"").status, 204);
    let response = waiting.join().unwrap();
    let expected =
        json!({"status": "error", "errorType": "canceled", "error": "query was canceled in query queue"});
    assert_eq!((response.status, response.json()), (499, expected));
    // Stopped while it runs.
    let path = format!("{LIST}/{}/cancel", id(0));
    assert_eq!(call(server.addr(), "POST", &path, &[], b"").status, 204);
    let response = running.join().unwrap();
    let error = "query was canceled in expression evaluation";
    assert_eq!((response.status, response.json()["error"].as_str()), (499, Some(error)));
    wait_for(&server, 0);
    let response = call(server.addr(), "POST", &path, &[], b"");
    assert_eq!((response.status, response.json()["errorType"].as_str()), (404, Some("not_found")));
}

#[test]
fn more_queries_than_may_wait_are_refused() {
    let server = with_sample(&["--query-max-concurrency=1", "--query-max-waiting=1"]);
    let running = ask(&server, &slow());
    wait_for(&server, 1);
    let waiting = ask(&server, "m");
    let listed = wait_for(&server, 2);
    let error = "too many queries: 1 run and 1 wait; at most 1 may wait";
    server.check_error("/api/v1/query?query=m", 503, "unavailable", error);
    let path = format!("{LIST}/{}", listed[0]["id"].as_str().unwrap());
    assert_eq!(call(server.addr(), "DELETE", &path, &[], b"").status, 204);
    assert_eq!(running.join().unwrap().status, 499);
    assert_eq!(waiting.join().unwrap().status, 200);
}

#[test]
fn a_query_that_waits_for_too_long_says_where() {
    let server = with_sample(&["--query-max-concurrency=1"]);
    let running = ask(&server, &slow());
    let listed = wait_for(&server, 1);
    let error = "query timed out in query queue";
    server.check_error("/api/v1/query?query=m&timeout=10ms", 503, "timeout", error);
    let path = format!("{LIST}/{}", listed[0]["id"].as_str().unwrap());
    assert_eq!(call(server.addr(), "DELETE", &path, &[], b"").status, 204);
    running.join().unwrap();
}

#[test]
fn too_many_bytes_are_refused_with_need_limit_and_selector() {
    let steps = 10_001;
    let path = "/api/v1/query_range?query=m&start=0&end=10000&step=1";
    let text = |scope: &str, limit: usize| {
        format!(
            "query processing would load too many samples into memory in query execution: {} bytes needed, \
             the limit{scope} is {limit} by selector {{__name__=\"m\"}}",
            steps * 8
        )
    };
    for (flag, scope) in [
        ("--query-max-bytes=50000", ""),
        ("--query-max-tenant-bytes=50000", " for all queries of the tenant together"),
        ("--query-max-total-bytes=50000", " for all queries together"),
    ] {
        let server = with_sample(&[flag]);
        let time_s = now_ms() / 1000;
        let path = path.replace("start=0", &format!("start={}", time_s - 10_000));
        let path = path.replace("end=10000", &format!("end={time_s}"));
        server.check_error(&path, 422, "execution", &text(scope, 50_000));
        assert_eq!(server.data(LIST)["usedBytes"], 0);
    }
}

#[test]
fn finished_queries_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("query.log");
    let server = with_sample(&[&format!("--query-log-file={}", path.display())]);
    assert_eq!(server.get("/api/v1/query_range?query=m&start=60&end=90&step=15").status, 200);
    assert_eq!(server.get("/api/v1/query?query=m%7B").status, 400);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let params = json!({
        "query": "m", "start": "1970-01-01T00:01:00.000Z", "end": "1970-01-01T00:01:30.000Z", "step": 15,
    });
    assert_eq!(lines[0]["params"], params);
    assert!(lines[0]["stats"]["timings"]["execTotalTime"].is_number());
    let request = json!({"clientIP": "127.0.0.1", "method": "GET", "path": "/api/v1/query_range"});
    assert_eq!((&lines[0]["httpRequest"], &lines[0]["error"]), (&request, &Value::Null));
    assert!(lines[1]["error"].as_str().unwrap().contains("parse error"), "{}", lines[1]);
}
