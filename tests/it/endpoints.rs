//! Every endpoint of the Prometheus API beside queries: what is answered to what is asked.

use prost::Message;
use serde_json::{Value, json};

use crate::support::client::{call, escape};
use crate::support::{TestServer, now_ms};

#[test]
fn questions_about_what_is_not_there_have_empty_answers() {
    let server = TestServer::start(&[]);
    for (path, data) in [
        ("/api/v1/rules?type=alert&exclude_alerts=true&group_limit=10", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
        (
            "/api/v1/targets?state=active",
            json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}),
        ),
        ("/api/v1/targets/metadata?metric=up", json!([])),
        ("/api/v1/scrape_pools", json!({"scrapePools": []})),
        ("/api/v1/alertmanagers", json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})),
        ("/api/v1/notifications", json!([])),
        ("/api/v1/status/tsdb/blocks", json!({"blocks": []})),
        ("/api/v1/metadata?limit=0&limit_per_metric=1", json!({})),
    ] {
        assert_eq!(server.data(path), data, "{path}");
    }
    for path in ["/api/v1/query_exemplars?query=1", "/api/v1/query_exemplars?query=time()"] {
        assert_eq!(server.get(path).status, 204, "{path}");
    }
}

#[test]
fn mistakes_are_answered_in_prometheus_words() {
    let server = TestServer::start(&[]);
    for (path, status, error_type, error) in [
        ("/api/v1/rules?type=foo", 400, "bad_data", r#"invalid parameter "type": not supported value "foo""#),
        (
            "/api/v1/rules?exclude_alerts=x",
            400,
            "bad_data",
            r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax"#,
        ),
        (
            "/api/v1/rules?group_limit=0",
            400,
            "bad_data",
            r#"invalid parameter "group_limit": group_limit needs to be greater than 0"#,
        ),
        (
            "/api/v1/rules?group_next_token=a",
            400,
            "bad_data",
            r#"invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups"#,
        ),
        ("/api/v1/targets/metadata?limit=x", 400, "bad_data", "limit must be a number"),
        (
            "/api/v1/labels?match[]=%7B%7D",
            400,
            "bad_data",
            "match[] must contain at least one non-empty matcher",
        ),
        (
            "/api/v1/series?match[]=%7B%7D",
            400,
            "bad_data",
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        ),
        (
            "/api/v1/label/job/values?match[]=up%7B",
            400,
            "bad_data",
            "1:4: parse error: unexpected end of input inside braces",
        ),
        (
            "/api/v1/query_exemplars?query=up%7B",
            400,
            "bad_data",
            "1:4: parse error: unexpected end of input inside braces",
        ),
        (
            "/api/v1/parse_query?query=up%7B",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces",
        ),
    ] {
        server.check_error(path, status, error_type, error);
    }
    let response = server.get("/api/v1/nothing");
    assert_eq!((response.status, response.text().as_str()), (404, "404 page not found\n"));
    let response = call(server.addr(), "PUT", "/api/v1/query", &[], b"");
    assert_eq!((response.status, response.text().as_str()), (405, "Method Not Allowed\n"));
    let response = call(server.addr(), "DELETE", "/api/v1/series?match[]=up", &[], b"");
    assert_eq!((response.status, response.json()["error"].as_str()), (500, Some("not implemented")));
    let refused = call(server.addr(), "POST", "/api/v1/admin/tsdb/snapshot", &[], b"");
    assert_eq!((refused.status, refused.json()["errorType"].as_str()), (500, Some("unavailable")));
}

#[test]
fn versions_features_and_lifecycle_are_those_of_prometheus() {
    let server = TestServer::start(&["--enable-feature=promql-delayed-name-removal"]);
    assert_eq!(server.get("/version").json()["version"], "3.14.0");
    let features = server.data("/api/v1/features");
    assert_eq!(features["promql"]["delayed_name_removal"], true);
    assert_eq!(features["promql"]["use_start_timestamps"], false);
    assert_eq!(server.get("/-/healthy").text(), "Prometheus Server is Healthy.\n");
    assert_eq!(server.get("/-/ready").text(), "Prometheus Server is Ready.\n");
    assert_eq!(call(server.addr(), "HEAD", "/-/ready", &[], b"").status, 200);
    for path in ["/-/reload", "/-/quit"] {
        let response = call(server.addr(), "POST", path, &[], b"");
        assert_eq!((response.status, response.text().as_str()), (403, "Lifecycle API is not enabled."));
        assert_eq!(server.get(path).status, 405);
    }
    let server = TestServer::start(&["--enable-lifecycle"]);
    assert_eq!(call(server.addr(), "PUT", "/-/reload", &[], b"").status, 200);
    let response = call(server.addr(), "POST", "/-/quit", &[], b"");
    assert_eq!((response.status, response.text().as_str()), (200, "Requesting termination... Goodbye!"));
    server.block_on(server.quit_asked());
}

#[test]
fn queries_are_parsed_and_formatted_by_get_and_post() {
    let server = TestServer::start(&[]);
    let query = escape("1 + up");
    let tree = server.data(&format!("/api/v1/parse_query?query={query}"));
    assert_eq!((&tree["type"], &tree["rhs"]["name"]), (&json!("binaryExpr"), &json!("up")));
    assert_eq!(server.post_form("/api/v1/parse_query", &format!("query={query}")).json()["data"], tree);
    let long = format!("sum(rate({}[5m]))", "x".repeat(100));
    let formatted = server.post_form("/api/v1/format_query", &format!("query={}", escape(&long))).json();
    let expected = format!("sum(\n  rate(\n    {}[5m]\n  )\n)", "x".repeat(100));
    assert_eq!(formatted["data"], expected.as_str());
}

#[test]
fn blocks_are_shown_once_the_head_is_flushed() {
    let server = TestServer::start(&["--enable-admin-api"]);
    let now_ms = now_ms();
    assert_eq!(server.write(&[(&[("__name__", "m")], &[(1.0, now_ms - 1000), (2.0, now_ms)])]).status, 204);
    assert_eq!(call(server.addr(), "POST", "/api/v1/admin/tsdb/flush", &[], b"").status, 204);
    let blocks = server.data("/api/v1/status/tsdb/blocks")["blocks"].as_array().unwrap().clone();
    let samples: u64 = blocks.iter().map(|block| block["stats"]["numSamples"].as_u64().unwrap()).sum();
    assert_eq!(samples, 2);
    assert_eq!(blocks[0]["minTime"], now_ms - 1000);
    assert_eq!(blocks[0]["ulid"].as_str().unwrap().len(), 26);
}

#[test]
fn the_newest_samples_are_federated() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let response = server.write(&[
        (&[("__name__", "b"), ("job", "x")], &[(1.0, now_ms - 20_000), (2.0, now_ms - 10_000)]),
        (&[("__name__", "a"), ("instance", "i")], &[(0.5, now_ms - 10_000)]),
        (&[("__name__", "gone")], &[(1.0, now_ms - 20_000), (stale, now_ms - 10_000)]),
        (&[("__name__", "old")], &[(1.0, now_ms - 3_600_000)]),
    ]);
    assert_eq!(response.status, 204);
    assert_eq!(server.get("/federate").text(), "");
    let path = format!("/federate?match[]=b&match[]={}", escape("{__name__=~\".*\"}"));
    let response = server.get(&path);
    let time_ms = now_ms - 10_000;
    let expected = format!(
        "# TYPE a untyped\na{{instance=\"i\"}} 0.5 {time_ms}\n# TYPE b untyped\nb{{job=\"x\",instance=\"\"}} 2 {time_ms}\n"
    );
    assert_eq!((response.status, response.text()), (200, expected));
    let response = server.get("/federate?match[]=a%7B");
    assert_eq!((response.status, response.text().starts_with("1:3: parse error")), (400, true));
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_ms: i64,
    #[prost(int64, tag = "2")]
    end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<crate::support::request::TimeSeries>,
}

fn read_request(start_ms: i64, end_ms: i64, accepted: &[i32]) -> Vec<u8> {
    let matcher = Matcher { kind: 2, name: "__name__".to_owned(), value: "a|b".to_owned() };
    let query = Query { start_ms, end_ms, matchers: vec![matcher] };
    let request = ReadRequest { queries: vec![query], accepted: accepted.to_vec() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[test]
fn remote_read_gives_samples_or_chunks() {
    let server = TestServer::start(&[]);
    let end_ms = now_ms();
    let samples = [(1.0, end_ms - 30_000), (2.0, end_ms - 20_000), (3.0, end_ms - 10_000)];
    assert_eq!(
        server.write(&[(&[("__name__", "b")], &samples), (&[("__name__", "a")], &samples[..1])]).status,
        204
    );
    let read = |body: &[u8]| call(server.addr(), "POST", "/api/v1/read", &[], body);
    // Both ends are inside.
    let response = read(&read_request(end_ms - 30_000, end_ms - 20_000, &[]));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(response.header("content-encoding"), Some("snappy"));
    let bytes = snap::raw::Decoder::new().decompress_vec(&response.body).unwrap();
    let series = ReadResponse::decode(&bytes[..]).unwrap().results.remove(0).timeseries;
    let found: Vec<(&str, usize)> =
        series.iter().map(|series| (series.labels[0].value.as_str(), series.samples.len())).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
    assert_eq!(series[1].samples[1].value, 2.0);
    // Frames: the first type of the list that is known.
    let response = read(&read_request(0, end_ms, &[7, 1, 0]));
    let content_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!((response.status, response.header("content-type")), (200, Some(content_type)));
    let mut rest = &response.body[..];
    let mut frame_count = 0;
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        rest = &rest[4 + length..];
        frame_count += 1;
    }
    assert_eq!(frame_count, 2);
    let unknown = read(&read_request(0, end_ms, &[7]));
    assert_eq!(unknown.status, 400);
    let text = "server does not support any of the requested response types: [7]; \
                supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]\n";
    assert_eq!(unknown.text(), text);
    assert_eq!(read(b"no snappy").status, 400);
    assert_eq!(server.get("/api/v1/read").status, 405);
    assert_eq!(server.data("/api/v1/status/active_queries")["activeQueries"], Value::Array(Vec::new()));
}
