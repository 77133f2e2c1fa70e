//! OTLP/HTTP over the network: every encoding in, the same series out; every refusal with its code.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use serde_json::{Value, json};

use crate::support::client::{Response, call, connect, escape, receive};
use crate::support::otlp::{JSON, PROTOBUF, gauges, post};
use crate::support::{TestServer, now_ms};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn packed(encoding: &str, body: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(body, 1).unwrap(),
        _ => body.to_vec(),
    }
}

/// The same gauge as JSON.
fn gauge_json(name: &str, value: f64, time_ms: i64) -> Value {
    let point = json!({"timeUnixNano": (time_ms * 1_000_000).to_string(), "asDouble": value});
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "api"}},
            {"key": "host.name", "value": {"stringValue": "h1"}},
        ]},
        "scopeMetrics": [{"metrics": [{"name": name, "unit": "By", "gauge": {"dataPoints": [point]}}]}],
    }]})
}

/// Checks that a refusal is told in the encoding of the request.
fn check_status(response: &Response, encoding: &str, status: u16, code: i32, part: &str) {
    let told = match encoding {
        PROTOBUF => RpcStatus::decode(&*response.body).unwrap(),
        _ => {
            let json = response.json();
            let code = json["code"].as_i64().unwrap() as i32;
            RpcStatus { code, message: json["message"].as_str().unwrap().to_owned() }
        }
    };
    assert_eq!((response.status, told.code), (status, code), "{told:?}");
    assert_eq!(response.header("content-type"), Some(encoding));
    assert!(told.message.contains(part), "{part:?} is not in {:?}", told.message);
}

#[test]
fn every_encoding_at_every_path_gives_the_same_series() {
    let server = TestServer::start(&[]);
    let time_ms = now_ms();
    let doors = [
        (server.otlp_addr(), "/v1/metrics"),
        (server.addr(), "/api/v1/otlp/v1/metrics"),
        (server.addr(), "/otlp/v1/metrics"),
        (server.addr(), "/opentelemetry/v1/metrics"),
    ];
    let mut value = 0.0;
    for (addr, path) in doors {
        for content_type in [PROTOBUF, JSON, "application/json; charset=utf-8"] {
            for encoding in ["", "identity", "gzip", "zstd", "deflate"] {
                value += 1.0;
                let body = match content_type {
                    PROTOBUF => gauges(&[("memory.used", value, time_ms)]).encode_to_vec(),
                    _ => gauge_json("memory.used", value, time_ms).to_string().into_bytes(),
                };
                let headers = [("content-encoding", encoding)];
                let headers = if encoding.is_empty() { &[][..] } else { &headers[..] };
                let response = post(addr, path, content_type, headers, &packed(encoding, &body));
                let expected: &[u8] = if content_type == PROTOBUF { b"" } else { b"{}" };
                assert_eq!(
                    (response.status, &*response.body),
                    (200, expected),
                    "{path} {content_type} {encoding}"
                );
                // The last write of a time wins.
                assert_eq!(server.value("memory_used_bytes"), value, "{path} {content_type} {encoding}");
            }
        }
    }
    assert_eq!(server.value("count({__name__=~\".+\"})"), 2.0, "the gauge and its target_info");
    assert_eq!(server.value("target_info{host_name=\"h1\",job=\"api\"}"), 1.0);
}

#[test]
fn refusals_have_their_status_and_code_in_the_encoding_of_the_request() {
    let server = TestServer::start(&["--grpc-max-bytes=10KiB"]);
    let good = gauges(&[("g", 1.0, now_ms())]).encode_to_vec();
    let large = vec![0_u8; 10 * 1024 + 1];
    let tenant = ("x-scope-orgid", "../etc");
    for path in ["/v1/metrics", "/v1/traces", "/v1/logs"] {
        let post = |content_type: &str, headers: &[(&str, &str)], body: &[u8]| {
            post(server.otlp_addr(), path, content_type, headers, body)
        };
        check_status(&post(PROTOBUF, &[], b"\xff\xff"), PROTOBUF, 400, 3, "malformed");
        check_status(
            &post(JSON, &[], b"{\"resourceMetrics\": 1, \"resourceSpans\": 1, \"resourceLogs\": 1}"),
            JSON,
            400,
            3,
            "array",
        );
        check_status(&post(JSON, &[], b"no json"), JSON, 400, 3, "malformed JSON");
        check_status(
            &post("text/plain", &[], &good),
            JSON,
            415,
            3,
            "application/x-protobuf and application/json",
        );
        check_status(
            &post(PROTOBUF, &[("content-encoding", "br")], &good),
            PROTOBUF,
            415,
            3,
            "gzip, zstd, deflate",
        );
        check_status(&post(JSON, &[("content-encoding", "snappy")], &good), JSON, 415, 3, "snappy");
        check_status(&post(PROTOBUF, &[("content-encoding", "gzip")], &good), PROTOBUF, 400, 3, "gzip");
        check_status(&post(PROTOBUF, &[("content-encoding", "zstd")], &good), PROTOBUF, 400, 3, "zstd");
        check_status(&post(PROTOBUF, &[tenant], &good), PROTOBUF, 400, 3, "tenant");
        check_status(&post(PROTOBUF, &[], &large), PROTOBUF, 413, 8, "--grpc-max-bytes");
        for encoding in ["gzip", "zstd", "deflate"] {
            let bomb = packed(encoding, &vec![0; 1 << 20]);
            check_status(
                &post(PROTOBUF, &[("content-encoding", encoding)], &bomb),
                PROTOBUF,
                413,
                8,
                "decompression",
            );
            check_status(
                &post(JSON, &[("content-encoding", encoding)], &bomb),
                JSON,
                413,
                8,
                "decompression",
            );
        }
    }
    let encodings = post(server.otlp_addr(), "/v1/logs", PROTOBUF, &[("content-encoding", "br")], b"");
    assert_eq!(encodings.header("accept-encoding"), Some("gzip, zstd, deflate, identity"));
    let missing = call(server.otlp_addr(), "POST", "/v1/metrics", &[], &good);
    assert_eq!(missing.status, 415);
    let got = call(server.otlp_addr(), "GET", "/v1/metrics", &[], b"");
    assert_eq!(got.status, 405);
    assert_eq!(post(server.otlp_addr(), "/v2/metrics", PROTOBUF, &[], &good).status, 404);
    assert_eq!(server.value("count({__name__=~\".+\"}) or vector(0)"), 0.0);
}

#[test]
fn an_empty_request_is_a_success() {
    let server = TestServer::start(&[]);
    for path in ["/v1/metrics", "/v1/traces", "/v1/logs"] {
        for (content_type, body, answer) in [(PROTOBUF, &b""[..], &b""[..]), (JSON, b"{}", b"{}")] {
            let response = post(server.otlp_addr(), path, content_type, &[], body);
            assert_eq!((response.status, &*response.body), (200, answer), "{path} {content_type}");
            assert_eq!(response.header("content-type"), Some(content_type));
        }
    }
}

#[test]
fn a_refused_part_is_a_partial_success_and_a_refused_whole_an_error() {
    let server = TestServer::start(&[]);
    let (now, old) = (now_ms(), now_ms() - 400 * 86_400_000);
    let mixed = gauges(&[("good", 1.0, now), ("bad", 1.0, old)]).encode_to_vec();
    let response = post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &[], &mixed);
    assert_eq!(response.status, 200);
    let partial = ExportMetricsServiceResponse::decode(&*response.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("too_old"), "{partial:?}");
    assert_eq!(server.value("good_bytes"), 1.0);

    let mut json = gauge_json("good", 2.0, now);
    json["resourceMetrics"]
        .as_array_mut()
        .unwrap()
        .push(gauge_json("bad", 1.0, old)["resourceMetrics"][0].clone());
    let response = post(server.otlp_addr(), "/v1/metrics", JSON, &[], json.to_string().as_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["partialSuccess"]["rejectedDataPoints"], "1");
    assert_eq!(server.value("good_bytes"), 2.0);

    let bad = gauges(&[("bad", 1.0, old)]).encode_to_vec();
    let response = post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &[], &bad);
    check_status(&response, PROTOBUF, 400, 3, "too_old");
}

#[test]
fn writes_beyond_what_may_be_in_flight_are_told_to_come_back() {
    let server = TestServer::start(&["--write-max-bytes=1KiB", "--write-max-inflight-bytes=1KiB"]);
    let points: Vec<(String, f64, i64)> =
        (0..200).map(|index| (format!("g{index}"), 1.0, now_ms())).collect();
    let points: Vec<(&str, f64, i64)> =
        points.iter().map(|(name, value, at)| (name.as_str(), *value, *at)).collect();
    let body = gauges(&points).encode_to_vec();
    let small = gauges(&points[..2]).encode_to_vec();
    let (encoded, json) = (packed("gzip", &body), gauge_json("g", 1.0, now_ms()).to_string().repeat(2));
    let headers = [("content-encoding", "gzip")];
    for response in [
        post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &[], &body),
        post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &headers, &encoded),
        post(server.otlp_addr(), "/v1/metrics", JSON, &[], json.as_bytes()),
    ] {
        assert_eq!(
            (response.status, response.header("retry-after")),
            (503, Some("5")),
            "{}",
            response.text()
        );
    }
    // What was taken is given back.
    assert_eq!(post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &[], &small).status, 200);
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let server = TestServer::start(&["--http-read-timeout=200ms"]);
    let mut stream = connect(server.otlp_addr());
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    check_status(&receive(&mut stream), JSON, 408, 4, "--http-read-timeout");
}

#[test]
fn tenants_have_their_own_options_and_a_reload_changes_the_names_of_known_series() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |section: &str| std::fs::write(file.path(), section).unwrap();
    write(
        "otlp:\n  tenants:\n    raw: {translation_strategy: NoTranslation, promote_all_resource_attributes: true}\n",
    );
    let config = format!("--config={}", file.path().display());
    let server = TestServer::start(&[&config, "--enable-lifecycle"]);
    let body = gauges(&[("memory.used", 1.0, now_ms())]).encode_to_vec();
    let send = |tenant: &str| {
        let headers = [("x-scope-orgid", tenant)];
        assert_eq!(post(server.otlp_addr(), "/v1/metrics", PROTOBUF, &headers, &body).status, 200);
    };
    let series = |tenant: &str| -> Vec<String> {
        let matcher = escape("{__name__!=\"target_info\",__name__=~\".+\"}");
        let path = format!("/api/v1/series?match[]={matcher}");
        let response = call(server.addr(), "GET", &path, &[("x-scope-orgid", tenant)], b"");
        response.json()["data"].as_array().unwrap_or(&Vec::new()).iter().map(Value::to_string).collect()
    };
    send("raw");
    send("plain");
    let raw = r#"{"__name__":"memory.used","host.name":"h1","job":"api","service.name":"api"}"#;
    let plain = r#"{"__name__":"memory_used_bytes","job":"api"}"#;
    assert_eq!(series("raw"), [raw]);
    assert_eq!(series("plain"), [plain]);

    write(
        "otlp: {translation_strategy: UnderscoreEscapingWithoutSuffixes, promote_resource_attributes: [host.name]}\n",
    );
    assert_eq!(server.post_form("/-/reload", "").status, 200);
    send("plain");
    let reloaded = r#"{"__name__":"memory_used","host_name":"h1","job":"api"}"#;
    assert_eq!(series("plain"), [reloaded, plain]);

    write("otlp: {translation_strategy: Snake}\n");
    let refused = server.post_form("/-/reload", "");
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("Snake") && refused.text().contains("NoTranslation"),
        "{}",
        refused.text()
    );
    send("plain");
    assert_eq!(series("plain"), [reloaded, plain]);
}
