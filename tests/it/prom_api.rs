//! The Prometheus API without evaluation: envelopes, parameters, labels, series, status.

use std::io::Read;

use serde_json::{Value, json};

use crate::support::client::{call, escape};
use crate::support::request::Series;
use crate::support::{TestServer, now_ms};

fn with_series() -> TestServer {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let old_ms = now_ms - 24 * 3_600_000;
    let response = server.write(&[
        (&[("__name__", "up"), ("job", "a"), ("http.code", "200")], &[(1.0, now_ms)]),
        (&[("__name__", "up"), ("job", "b")], &[(0.0, now_ms)]),
        (&[("__name__", "down"), ("job", "c")], &[(1.0, old_ms)]),
    ]);
    assert_eq!(response.status, 204, "{}", response.text());
    server
}

#[test]
fn series_are_found_by_any_of_several_selectors() {
    let server = with_series();
    let path = format!("/api/v1/series?match[]=down&match[]={}", escape("{job=~\"a|c\"}"));
    let expected =
        json!([{"__name__": "down", "job": "c"}, {"__name__": "up", "http.code": "200", "job": "a"}]);
    assert_eq!(server.data(&path), expected);
    let form = format!("match[]=down&match[]={}", escape("{job=~\"a|c\"}"));
    assert_eq!(server.post_form("/api/v1/series", &form).json()["data"], expected);
}

#[test]
fn label_names_and_values_are_sorted_and_restricted_by_selectors_and_time() {
    let server = with_series();
    assert_eq!(server.data("/api/v1/labels"), json!(["__name__", "http.code", "job"]));
    assert_eq!(server.data("/api/v1/labels?match[]=down"), json!(["__name__", "job"]));
    assert_eq!(server.data("/api/v1/label/job/values"), json!(["a", "b", "c"]));
    assert_eq!(server.data("/api/v1/label/job/values?match[]=up&match[]=down"), json!(["a", "b", "c"]));
    let start_s = now_ms() / 1000 - 3600;
    assert_eq!(server.data(&format!("/api/v1/label/job/values?start={start_s}")), json!(["a", "b"]));
    assert_eq!(server.data(&format!("/api/v1/label/job/values?end={start_s}")), json!(["c"]));
    assert_eq!(server.data("/api/v1/label/U__http_2e_code/values"), json!(["200"]));
}

#[test]
fn limits_cut_and_say_so() {
    let server = with_series();
    for path in ["/api/v1/labels", "/api/v1/label/job/values", "/api/v1/series?match[]=up"] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let cut = server.get(&format!("{path}{separator}limit=1")).json();
        assert_eq!(cut["data"].as_array().map(Vec::len), Some(1), "{path}");
        assert_eq!(cut["warnings"], json!(["results truncated due to limit"]), "{path}");
        let whole = server.get(&format!("{path}{separator}limit=3")).json();
        assert_eq!(whole["warnings"], Value::Null, "{path}");
    }
}

#[test]
fn bad_parameters_are_named_in_prometheus_words() {
    let server = TestServer::start(&[]);
    let long = "/api/v1/query_range?query=up&start=0&end=11001&step=1";
    for (path, error) in [
        (
            "/api/v1/query?query=up&time=noon",
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "noon" to a valid timestamp"#,
        ),
        ("/api/v1/query?query=up&limit=-1", r#"invalid parameter "limit": limit must be non-negative"#),
        (
            "/api/v1/query?query=up&limit=x",
            r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#,
        ),
        (
            "/api/v1/query?query=up&timeout=x",
            r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#,
        ),
        (
            "/api/v1/query?query=up&lookback_delta=x",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        ),
        (
            "/api/v1/query_range?query=up&end=1&step=1",
            r#"invalid parameter "start": cannot parse "" to a valid timestamp"#,
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1",
            r#"invalid parameter "step": cannot parse "" to a valid duration"#,
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            long,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/api/v1/query_range?query=up[5m]&start=0&end=1&step=1",
            r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
        ),
        (
            "/api/v1/query_range?query=%22x%22&start=0&end=1&step=1",
            r#"invalid parameter "query": invalid expression type "string" for range query, must be Scalar or instant Vector"#,
        ),
        ("/api/v1/series", "no match[] parameter provided"),
        (
            "/api/v1/series?match[]={job=~%22.*%22}",
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        ),
        ("/api/v1/metadata?limit=x", "limit must be a number"),
        ("/api/v1/status/tsdb?limit=0", "limit must be a positive number"),
        ("/api/v1/status/tsdb?limit=10001", "limit must not exceed 10000"),
    ] {
        server.check_error(path, 400, "bad_data", error);
    }
}

#[test]
fn queries_that_do_not_parse_are_refused_with_their_position() {
    let server = TestServer::start(&[]);
    let deep = "(".repeat(20_000);
    let calls = "abs(".repeat(20_000);
    for query in ["up{", "foo[1e400]", "", "sum(", "up[5m", "\u{fffd}", &deep, &calls] {
        let response = server.post_form("/api/v1/query", &format!("query={}", escape(query)));
        let shown: String = query.chars().take(20).collect();
        assert_eq!(response.status, 400, "{shown}: {}", response.text());
        let error = response.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("invalid parameter \"query\": "), "{shown}: {error}");
        assert!(error.contains("parse error: "), "{shown}: {error}");
        assert_eq!(response.json()["errorType"], "bad_data");
    }
    assert_eq!(server.get("/-/ready").status, 200);
}

#[test]
fn what_grafana_asks_at_its_start_is_answered() {
    let server = TestServer::start(&[]);
    let build = server.data("/api/v1/status/buildinfo");
    assert_eq!(build["version"], "3.14.0");
    assert_eq!(build["features"], Value::Null);
    // Milliseconds in a field of seconds: Grafana really does.
    let path = "/api/v1/query_exemplars?query=test&start=1700000000000&end=1700000060000";
    assert_eq!(server.data(path), json!([]));
    assert_eq!(server.data("/api/v1/rules"), json!({"groups": []}));
    assert_eq!(server.data("/api/v1/alerts"), json!({"alerts": []}));
    assert_eq!(server.data("/api/v1/metadata"), json!({}));
    assert_eq!(server.data("/api/v1/label/__name__/values"), json!([]));
    assert_eq!(server.data("/api/v1/targets")["activeTargets"], json!([]));
}

#[test]
fn exemplar_queries_are_checked() {
    let server = TestServer::start(&[]);
    let error = "end timestamp must not be before start timestamp";
    server.check_error("/api/v1/query_exemplars?query=up&start=2&end=1", 400, "bad_data", error);
    assert_eq!(server.get("/api/v1/query_exemplars?query=up{&start=1&end=2").status, 400);
}

#[test]
fn queries_are_formatted() {
    let server = TestServer::start(&[]);
    let path = format!("/api/v1/format_query?query={}", escape("sum  by(job)(rate(up[ 5m ]))"));
    assert_eq!(server.data(&path), json!("sum by (job) (rate(up[5m]))"));
}

#[test]
fn status_shows_flags_configuration_and_cardinality() {
    let server = with_series();
    assert_eq!(server.data("/api/v1/status/flags")["retention"], "15d");
    let yaml = server.data("/api/v1/status/config")["yaml"].as_str().unwrap().to_owned();
    assert!(yaml.contains("wal-sync: \"group\"\n"), "{yaml}");
    assert_eq!(server.data("/api/v1/status/runtimeinfo")["storageRetention"], "15d");
    let tsdb = server.data("/api/v1/status/tsdb");
    assert_eq!(tsdb["headStats"]["numSeries"], 3);
    assert!(tsdb["seriesCountByMetricName"].is_array());
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let server = with_series();
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/-/ready").status, 200);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    for line in [
        "mytsdb_accepted_samples_total{protocol=\"remote_write\"} 3",
        "mytsdb_http_requests_total{route=\"/api/v1/write\",status=\"204\"} 1",
        "# TYPE mytsdb_http_request_duration_seconds histogram",
        "mytsdb_storage_head_series 3",
        "mytsdb_storage_head_samples 3",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn other_origins_may_read_but_not_write() {
    let server = TestServer::start(&[]);
    let origin = [("origin", "https://example.org")];
    let read = call(server.addr(), "GET", "/api/v1/labels", &origin, b"");
    assert_eq!(read.header("access-control-allow-origin"), Some("*"));
    assert_eq!(read.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    assert_eq!(call(server.addr(), "OPTIONS", "/api/v1/query", &origin, b"").status, 204);
    assert_eq!(server.get("/api/v1/labels").header("access-control-allow-origin"), None);
    let write = call(server.addr(), "POST", "/api/v1/write", &origin, b"");
    assert_eq!(write.header("access-control-allow-origin"), None);
    let server = TestServer::start(&["--http-cors-origin=https?://(a|b).example.org"]);
    for (origin, expected) in
        [("http://b.example.org", Some("http://b.example.org")), ("http://b.example.org.c", None)]
    {
        let read = call(server.addr(), "GET", "/api/v1/labels", &[("origin", origin)], b"");
        assert_eq!(read.header("access-control-allow-origin"), expected);
    }
    assert_eq!(call(server.addr(), "OPTIONS", "/api/v1/metadata", &origin, b"").status, 204);
    let server = TestServer::start(&["--http-cors-origin=none"]);
    let read = call(server.addr(), "GET", "/api/v1/labels", &origin, b"");
    assert_eq!(read.header("access-control-allow-origin"), None);
}

#[test]
fn long_answers_are_compressed_when_the_client_can_read_that() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let names: Vec<String> = (0..500).map(|index| format!("metric_{index:03}")).collect();
    let labels: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("__name__", name.as_str())]).collect();
    let samples = [(1.0, now_ms)];
    let series: Vec<Series<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
    assert_eq!(server.write(&series).status, 204);
    let path = "/api/v1/label/__name__/values";
    let plain = server.get(path);
    assert_eq!(plain.header("content-encoding"), None);
    for encoding in ["gzip", "zstd", "deflate"] {
        let packed = call(server.addr(), "GET", path, &[("accept-encoding", encoding)], b"");
        assert_eq!(packed.header("content-encoding"), Some(encoding));
        assert!(packed.body.len() < plain.body.len() / 2, "{encoding}: {}", packed.body.len());
        if encoding == "gzip" {
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, plain.body);
        }
    }
}
