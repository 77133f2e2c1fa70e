//! Remote write 1.0: what is stored, what is refused and with which answer.

use prost::Message;
use serde_json::json;

use crate::support::client::{Response, call};
use crate::support::request::{self, Metadata};
use crate::support::{TestServer, now_ms};

fn post(server: &TestServer, headers: &[(&str, &str)], body: &[u8]) -> Response {
    call(server.addr(), "POST", "/api/v1/write", headers, body)
}

fn metric_names(server: &TestServer) -> serde_json::Value {
    server.data("/api/v1/label/__name__/values")
}

#[test]
fn a_write_is_acknowledged_with_what_was_written() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let response = server.write(&[
        (&[("__name__", "up"), ("job", "a")], &[(1.0, now_ms - 1), (2.0, now_ms)]),
        (&[("__name__", "up"), ("job", "b")], &[(f64::NAN, now_ms)]),
    ]);
    assert_eq!((response.status, response.text().as_str()), (204, ""));
    assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("3"));
    assert_eq!(response.header("x-prometheus-remote-write-histograms-written"), Some("0"));
    assert_eq!(response.header("x-prometheus-remote-write-exemplars-written"), Some("0"));
    assert_eq!(
        server.data("/api/v1/series?match[]=up"),
        json!([{"__name__": "up", "job": "a"}, {"__name__": "up", "job": "b"}])
    );
}

#[test]
fn bad_series_are_refused_by_name_and_their_neighbours_are_kept() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let response = server.write(&[
        (&[("__name__", "good")], &[(1.0, now_ms)]),
        (&[("job", "nameless")], &[(1.0, now_ms), (2.0, now_ms)]),
        (&[("__name__", "twice"), ("x", "1"), ("x", "2")], &[(1.0, now_ms)]),
    ]);
    assert_eq!(response.status, 400);
    assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("1"));
    let text = response.text();
    for part in ["1 samples stored, 3 refused", "invalid_labels: 3 samples", "series 1", "no __name__ label"]
    {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(metric_names(&server), json!(["good"]));
    let metrics = server.get("/metrics").text();
    let line = "mytsdb_rejected_points_total{protocol=\"remote_write\",reason=\"invalid_labels\",tenant=\"anonymous\"} 3";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn one_bad_series_among_ten_thousand_costs_itself() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let names: Vec<String> = (0..10_000).map(|index| format!("i{index}")).collect();
    let labels: Vec<[(&str, &str); 2]> =
        names.iter().map(|name| [("__name__", "many"), ("i", name.as_str())]).collect();
    let sample = [(1.0, now_ms)];
    let mut series: Vec<request::Series<'_>> =
        labels.iter().map(|labels| (&labels[..], &sample[..])).collect();
    series[7_000].0 = &[("__name__", "many"), ("i", "1"), ("i", "2")];
    let response = server.write(&series);
    assert_eq!(response.status, 400);
    assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("9999"));
    let expected = "9999 samples stored, 1 refused\ninvalid_labels: 1 samples of 1 series, first at series 7000 of the \
                    request: invalid labels: label name \"i\" occurs twice\n";
    assert_eq!(response.text(), expected);
    let count = server.data(&format!("/api/v1/query?query=count(many)&time={}", now_ms as f64 / 1000.0));
    assert_eq!(count["result"][0]["value"][1], json!("9999"));
}

#[test]
fn absurd_times_and_values_are_answered_and_the_server_goes_on() {
    let server = TestServer::start(&[]);
    let absurd = [(f64::NAN, i64::MIN), (f64::INFINITY, i64::MAX), (-0.0, -1), (5e-324, 0)];
    for (index, sample) in absurd.iter().enumerate() {
        let response = server.write(&[(&[("__name__", "absurd")], &[*sample])]);
        assert!([204, 400].contains(&response.status), "{index}: {}", response.text());
    }
    assert_eq!(server.write(&[(&[("__name__", "up")], &[(1.0, now_ms())])]).status, 204);
    assert!(metric_names(&server).as_array().unwrap().contains(&json!("up")));
}

#[test]
fn exemplars_never_fail_a_write_and_bad_histograms_do() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let labels = &[("__name__", "latency"), ("job", "a")];
    let mut request = request::write_request(&[(labels, &[(1.0, now_ms)])]);
    let exemplar = |value: &str| {
        let labels = vec![request::Label { name: "trace_id".to_owned(), value: value.to_owned() }];
        request::Exemplar { labels, value: 0.25, timestamp: now_ms }.encode_to_vec()
    };
    request.timeseries[0].exemplars = vec![exemplar("abc"), exemplar(&"x".repeat(5_000)), vec![0xff]];
    let response = post(&server, &[], &request::compressed(&request));
    assert_eq!(response.status, 204);
    assert_eq!(response.header("x-prometheus-remote-write-exemplars-written"), Some("1"));
    let seconds = now_ms / 1000;
    let path =
        format!("/api/v1/query_exemplars?query=rate(latency[5m])&start={}&end={}", seconds - 9, seconds + 9);
    let expected = json!([{
        "seriesLabels": {"__name__": "latency", "job": "a"},
        "exemplars": [{"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": now_ms as f64 / 1000.0}],
    }]);
    assert_eq!(server.data(&path), expected);

    let native = request::write_request(&[(&[("__name__", "native")], &[])]);
    let mut series = native.timeseries[0].clone();
    // count_int 0, timestamp now: an empty histogram; and one whose bytes are none.
    let mut histogram = vec![0x08, 0, 0x78];
    prost::encoding::encode_varint(now_ms as u64, &mut histogram);
    series.histograms = vec![histogram, vec![0xff]];
    let request = request::WriteRequest { timeseries: vec![series], ..native };
    let response = post(&server, &[], &request::compressed(&request));
    assert_eq!(response.status, 400);
    assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("0"));
    assert_eq!(response.header("x-prometheus-remote-write-histograms-written"), Some("1"));
    assert!(response.text().contains("invalid_histogram: 1 samples"), "{}", response.text());
    let path = format!("/api/v1/query?query=native&time={}", now_ms as f64 / 1000.0);
    let histogram = json!([now_ms as f64 / 1000.0, {"count": "0", "sum": "0"}]);
    let expected = json!([{"metric": {"__name__": "native"}, "histogram": histogram}]);
    assert_eq!(server.data(&path)["result"], expected);
    let path = format!("/api/v1/query?query=histogram_count(native)&time={}", now_ms as f64 / 1000.0);
    assert_eq!(server.data(&path)["result"][0]["value"][1], json!("0"));
}

#[test]
fn metadata_of_a_write_can_be_asked_for() {
    let server = TestServer::start(&[]);
    let mut request = request::write_request(&[]);
    request.metadata = ["b_total", "a_total"]
        .map(|name| Metadata {
            kind: 1,
            metric_family_name: name.to_owned(),
            help: "How many.".to_owned(),
            unit: "things".to_owned(),
        })
        .to_vec();
    assert_eq!(post(&server, &[], &request::compressed(&request)).status, 204);
    let entry = json!([{"type": "counter", "help": "How many.", "unit": "things"}]);
    assert_eq!(server.data("/api/v1/metadata"), json!({"a_total": entry, "b_total": entry}));
    assert_eq!(server.data("/api/v1/metadata?metric=b_total"), json!({"b_total": entry}));
    assert_eq!(server.data("/api/v1/metadata?limit=1"), json!({"a_total": entry}));
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let server = TestServer::start(&["--write-max-bytes=1MiB"]);
    let whole = request::compressed(&request::write_request(&[(&[("__name__", "up")], &[(1.0, now_ms())])]));
    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).unwrap();
    let no_protobuf = snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap();
    let cases: [(&str, &[u8], u16, &str); 7] = [
        ("truncated snappy", &whole[..whole.len() - 3], 400, "body is no snappy block"),
        ("empty", b"", 400, "body is no snappy block"),
        (
            "4 GiB declared",
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0],
            413,
            "4294967295 bytes after decompression",
        ),
        ("1 MiB declared", &[0xff, 0xff, 0x3f, 0, 0], 400, "cannot hold"),
        ("zeros above the limit", &zeros, 413, "the limit of --write-max-bytes is 1048576"),
        ("too large as sent", &vec![0; (1 << 20) + 1], 413, "more than 1048576 bytes"),
        ("no protobuf", &no_protobuf, 400, "body is no remote write request"),
    ];
    for (name, body, status, part) in cases {
        let response = post(&server, &[], body);
        assert_eq!(response.status, status, "{name}: {}", response.text());
        assert!(response.text().contains(part), "{name}: {}", response.text());
        assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("0"), "{name}");
    }
    assert_eq!(post(&server, &[], &whole).status, 204);
}

#[test]
fn only_the_formats_of_remote_write_are_taken() {
    let server = TestServer::start(&[]);
    let body = request::compressed(&request::write_request(&[(&[("__name__", "up")], &[(1.0, now_ms())])]));
    for (name, value, status) in [
        ("content-type", "application/x-protobuf", 204),
        ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest", 204),
        ("content-type", "application/x-protobuf; proto=prometheus.WriteRequest", 204),
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request", 415),
        ("content-type", "application/json", 415),
        ("content-encoding", "snappy", 204),
        ("content-encoding", "gzip", 415),
    ] {
        assert_eq!(post(&server, &[(name, value)], &body).status, status, "{name}: {value}");
    }
    assert_eq!(call(server.addr(), "GET", "/api/v1/write", &[], b"").status, 405);
}

#[test]
fn large_writes_take_the_blocking_way_and_arrive_too() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let samples: Vec<(f64, i64)> = (0..40_000).map(|index| ((index as f64).sin(), now_ms - index)).collect();
    let request = request::write_request(&[(&[("__name__", "large")], &samples)]);
    let body = request::compressed(&request);
    assert!(body.len() > 256 << 10);
    let response = post(&server, &[], &body);
    assert_eq!(response.header("x-prometheus-remote-write-samples-written"), Some("40000"));
}

#[test]
fn tenants_see_only_what_is_theirs() {
    let server = TestServer::start(&[]);
    let tenant = [("x-scope-orgid", "team-a")];
    assert_eq!(server.write_as(&[(&[("__name__", "theirs")], &[(1.0, now_ms())])], &tenant).status, 204);
    assert_eq!(metric_names(&server), json!([]));
    let path = "/api/v1/label/__name__/values";
    let response = call(server.addr(), "GET", path, &tenant, b"");
    assert_eq!(response.json()["data"], json!(["theirs"]));
    let bad = [("x-scope-orgid", "../etc")];
    assert_eq!(server.write_as(&[], &bad).status, 400);
    let response = call(server.addr(), "GET", path, &bad, b"");
    assert_eq!((response.status, response.json()["errorType"].clone()), (400, json!("bad_data")));
}
