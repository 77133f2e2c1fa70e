//! Remote write 2.0: a sender that goes through its specification case by case.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, 2.0-rc.4.

use serde_json::{Value, json};

use crate::support::client::{Response, call, escape};
use crate::support::request_v2::{
    BucketSpan, CONTENT_TYPE, Count, Exemplar, Histogram, Metadata, Request, Sample, TimeSeries, ZeroCount,
};
use crate::support::{TestServer, now_ms, request};

fn post(server: &TestServer, request: &Request) -> Response {
    post_as(server, &[CONTENT_TYPE, ("content-encoding", "snappy")], &request.compressed())
}

fn post_as(server: &TestServer, headers: &[(&str, &str)], body: &[u8]) -> Response {
    call(server.addr(), "POST", "/api/v1/write", headers, body)
}

/// Samples, histograms and exemplars that an answer says were written.
fn written(response: &Response) -> (u64, u64, u64) {
    let [samples, histograms, exemplars] = ["samples", "histograms", "exemplars"].map(|what| {
        let name = format!("x-prometheus-remote-write-{what}-written");
        response.header(&name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    });
    (samples, histograms, exemplars)
}

/// Fails unless everything was written.
fn check_written(response: &Response, expected: (u64, u64, u64)) {
    assert_eq!((response.status, response.text().as_str()), (204, ""));
    assert_eq!(written(response), expected);
}

fn query(server: &TestServer, query: &str, time_ms: i64) -> Value {
    let path = format!("/api/v1/query?query={}&time={}", escape(query), time_ms as f64 / 1000.0);
    server.data(&path)["result"].clone()
}

/// The only number of a query.
fn number(server: &TestServer, text: &str, time_ms: i64) -> f64 {
    let result = query(server, text, time_ms);
    assert_eq!(result.as_array().map(Vec::len), Some(1), "{text}: {result}");
    result[0]["value"][1].as_str().unwrap().parse().unwrap()
}

/// 23 observations in five buckets, three below zero, one at zero.
fn histogram(time_ms: i64) -> Histogram {
    Histogram {
        count: Some(Count::Integer(27)),
        sum: 12.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Integer(1)),
        positive_spans: vec![BucketSpan { offset: 0, length: 3 }, BucketSpan { offset: 2, length: 2 }],
        positive_deltas: vec![1, 2, 1, 3, 1],
        negative_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_deltas: vec![1, 1],
        timestamp: time_ms,
        ..Histogram::default()
    }
}

/// Eleven observations below the bounds 0.1 and 1 and above.
fn custom_histogram(time_ms: i64) -> Histogram {
    Histogram {
        count: Some(Count::Integer(11)),
        sum: 7.5,
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
        positive_deltas: vec![5, -1, -2],
        timestamp: time_ms,
        custom_values: vec![0.1, 1.0],
        ..Histogram::default()
    }
}

fn with_histograms(request: &mut Request, labels: &[(&str, &str)], histograms: Vec<Histogram>) -> usize {
    request.series(labels, &[]).histograms = histograms;
    request.timeseries.len() - 1
}

#[test]
fn a_write_is_acknowledged_with_what_was_written_and_can_be_queried() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let mut request = Request::new();
    let metadata = request.metadata(1, "How many.", "requests");
    let trace = request.refs(&[("trace_id", "abc")]);
    let series =
        request.series(&[("__name__", "seen_total"), ("job", "a")], &[(1.0, now_ms - 9), (2.0, now_ms)]);
    series.metadata = metadata;
    series.exemplars = vec![Exemplar { labels_refs: trace, value: 0.25, timestamp: now_ms }];
    request.series(&[("__name__", "seen_total"), ("job", "b")], &[(f64::INFINITY, now_ms)]);
    let index = with_histograms(&mut request, &[("__name__", "latency")], vec![histogram(now_ms)]);
    request.timeseries[index].metadata = request.metadata(3, "How long.", "seconds");
    check_written(&post(&server, &request), (3, 1, 1));

    assert_eq!(number(&server, "seen_total{job=\"a\"}", now_ms), 2.0);
    assert_eq!(number(&server, "seen_total{job=\"b\"}", now_ms), f64::INFINITY);
    assert_eq!(number(&server, "histogram_count(latency)", now_ms), 27.0);
    let metadata = json!({
        "latency": [{"type": "histogram", "help": "How long.", "unit": "seconds"}],
        "seen_total": [{"type": "counter", "help": "How many.", "unit": "requests"}],
    });
    assert_eq!(server.data("/api/v1/metadata"), metadata);
    let seconds = now_ms / 1000;
    let path = format!("/api/v1/query_exemplars?query=seen_total&start={}&end={}", seconds - 9, seconds + 9);
    let exemplars = &server.data(&path)[0]["exemplars"];
    assert_eq!(exemplars[0]["labels"], json!({"trace_id": "abc"}));
    // A request without anything is one, too.
    check_written(&post(&server, &Request::new()), (0, 0, 0));
    check_written(&post(&server, &Request::default()), (0, 0, 0));
}

#[test]
fn the_content_type_chooses_the_message_and_others_are_refused_with_what_is_allowed() {
    let server = TestServer::start(&[]);
    let mut request = Request::new();
    request.series(&[("__name__", "up")], &[(1.0, now_ms())]);
    let body = request.compressed();
    for (content_type, status, samples) in [
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", 204, 1),
        ("application/x-protobuf; proto=io.prometheus.write.v2.Request", 204, 1),
        // The fields of 2.0 mean nothing in 1.0: nothing was written, and that is said.
        ("application/x-protobuf;proto=prometheus.WriteRequest", 204, 0),
        ("application/x-protobuf", 204, 0),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", 415, 0),
        ("application/x-protobuf;proto=", 415, 0),
        ("application/json;proto=io.prometheus.write.v2.Request", 415, 0),
        ("image/png", 415, 0),
    ] {
        let response = post_as(&server, &[("content-type", content_type)], &body);
        assert_eq!((response.status, written(&response)), (status, (samples, 0, 0)), "{content_type}");
        if status == 415 {
            assert!(response.text().contains("proto=io.prometheus.write.v2.Request"), "{}", response.text());
        }
    }
    // And the other way round.
    let first = request::compressed(&request::write_request(&[(&[("__name__", "up")], &[(1.0, now_ms())])]));
    check_written(&post_as(&server, &[CONTENT_TYPE], &first), (0, 0, 0));
    for (encoding, status) in
        [("snappy", 204), ("Snappy", 204), ("gzip", 415), ("zstd", 415), ("identity", 415)]
    {
        let response = post_as(&server, &[CONTENT_TYPE, ("content-encoding", encoding)], &body);
        assert_eq!(response.status, status, "{encoding}");
        if status == 415 {
            assert!(response.text().contains("allowed is snappy"), "{}", response.text());
        }
    }
    assert_eq!(call(server.addr(), "GET", "/api/v1/write", &[CONTENT_TYPE], &body).status, 405);
}

#[test]
fn bodies_that_are_no_request_are_refused_with_nothing_written() {
    let server = TestServer::start(&["--write-max-bytes=16MiB"]);
    let compress = |body: &[u8]| snap::raw::Encoder::new().compress_vec(body).unwrap();
    let mut first = Request::new();
    first.symbols[0] = b"up".to_vec();
    let many = [0x2a, 0].repeat((1 << 20) + 1);
    for (name, body, status, part) in [
        ("no snappy", b"0000".to_vec(), 400, "body is no snappy block"),
        ("no protobuf", compress(b"\x2a\xff"), 400, "body is no remote write request: protobuf"),
        ("wrong type of a field", compress(&[0x28, 1]), 400, "field 5 has wire type 0, expected 2"),
        ("first symbol", first.compressed(), 400, "first symbol has 2 bytes, it must be the empty string"),
        ("series", compress(&many), 413, "more than 1048576 series, the limit of one request"),
    ] {
        let response = post_as(&server, &[CONTENT_TYPE], &body);
        assert_eq!((response.status, written(&response)), (status, (0, 0, 0)), "{name}: {}", response.text());
        assert!(response.text().contains(part), "{name}: {}", response.text());
    }
}

#[test]
fn one_bad_series_among_ten_thousand_costs_itself() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let mut request = Request::new();
    let many = request.refs(&[("__name__", "many"), ("i", "")]);
    for index in 0..10_000_u32 {
        // Looking for known symbols would take long.
        request.symbols.push(format!("i{index}").into_bytes());
        let value = request.symbols.len() as u32 - 1;
        let labels_refs = vec![many[0], many[1], many[2], value];
        let samples = vec![Sample { value: 1.0, timestamp: now_ms, start_timestamp: 0 }];
        request.timeseries.push(TimeSeries { labels_refs, samples, ..TimeSeries::default() });
    }
    request.timeseries[7_000].labels_refs.push(0);
    let response = post(&server, &request);
    assert_eq!((response.status, written(&response)), (400, (9_999, 0, 0)));
    let expected = "9999 samples stored, 1 refused\ninvalid_labels: 1 samples of 1 series, first at series 7000 of the \
                    request: 5 label references, an even number is needed\n";
    assert_eq!(response.text(), expected);
    assert_eq!(number(&server, "count(many)", now_ms), 9_999.0);
    let metrics = server.get("/metrics").text();
    let line = "mytsdb_rejected_points_total{protocol=\"remote_write\",reason=\"invalid_labels\",tenant=\"anonymous\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

/// A way to spoil the second of three series, and what the answer must say.
type Spoiled = (&'static str, fn(&mut Request), &'static str);

#[test]
fn what_makes_no_series_is_refused_by_itself_with_its_reason() {
    let cases: [Spoiled; 11] = [
        ("no references", |r| r.timeseries[1].labels_refs.clear(), "series {} has no __name__ label"),
        ("odd references", |r| r.timeseries[1].labels_refs.push(0), "5 label references"),
        (
            "outside",
            |r| r.timeseries[1].labels_refs[3] = 99,
            "label reference 99 is outside of the 7 symbols",
        ),
        ("no name", |r| drop(r.timeseries[1].labels_refs.drain(..2)), "has no __name__ label"),
        ("empty name", |r| r.timeseries[1].labels_refs[1] = 0, "has no __name__ label"),
        ("twice", |r| r.timeseries[1].labels_refs.extend([3, 4]), "label name \"job\" occurs twice"),
        ("nameless", |r| r.timeseries[1].labels_refs[2] = 0, "has an empty name"),
        ("no text", |r| r.symbols[5] = vec![b'x', 0xff], "label value \"x\u{fffd}\" is not UTF-8"),
        ("neither", |r| r.timeseries[1].samples.clear(), "neither samples nor histograms, one of either"),
        (
            "both",
            |r| r.timeseries[1].histograms = vec![histogram(now_ms())],
            "1 samples and 1 histograms in one series, allowed are either",
        ),
        (
            "too many",
            |r| r.timeseries[1].labels_refs = [1, 2].repeat(1_025),
            "1025 labels, the limit of a request is 1024",
        ),
    ];
    let server = TestServer::start(&[]);
    for (name, spoil, reason) in cases {
        let now_ms = now_ms();
        let mut request = Request::new();
        for job in ["a", "b", "c"] {
            request.series(&[("__name__", "up"), ("job", job)], &[(1.0, now_ms)]);
        }
        // Only the second series refers to it.
        assert_eq!(request.symbols[5], b"b");
        spoil(&mut request);
        let response = post(&server, &request);
        let text = response.text();
        assert_eq!((response.status, written(&response)), (400, (2, 0, 0)), "{name}: {text}");
        assert!(text.contains("first at series 1 of the request"), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {reason:?} is not in {text:?}");
        assert_eq!(number(&server, "count(up)", now_ms), 2.0, "{name}");
    }
}

#[test]
fn labels_may_be_any_text_in_any_order() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let mut request = Request::new();
    request.series(
        &[("job", "x\ny"), ("__name__", "cpu usage.rate"), ("größe 🚀", "ü"), ("none", "")],
        &[(1.0, now_ms)],
    );
    check_written(&post(&server, &request), (1, 0, 0));
    let found = query(&server, "{\"cpu usage.rate\"}", now_ms);
    let labels = json!({"__name__": "cpu usage.rate", "größe 🚀": "ü", "job": "x\ny"});
    assert_eq!(found[0]["metric"], labels);
}

#[test]
fn special_values_and_stale_markers_arrive_bit_by_bit() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let mut request = Request::new();
    for (name, value) in [("odd", f64::NAN), ("low", f64::NEG_INFINITY), ("zero", 0.0), ("gone", stale)] {
        request.series(&[("__name__", name)], &[(1.0, now_ms - 1_000), (value, now_ms)]);
    }
    let marker = Histogram { sum: stale, timestamp: now_ms, ..Histogram::default() };
    with_histograms(&mut request, &[("__name__", "gone_native")], vec![histogram(now_ms - 1_000), marker]);
    check_written(&post(&server, &request), (8, 2, 0));
    let value = |name: &str| query(&server, name, now_ms)[0]["value"][1].clone();
    assert_eq!((value("odd"), value("low"), value("zero")), (json!("NaN"), json!("-Inf"), json!("0")));
    assert_eq!(query(&server, "{__name__=~\"gone.*\"}", now_ms), json!([]));
    assert_eq!(query(&server, "{__name__=~\"gone.*\"}", now_ms - 1).as_array().map(Vec::len), Some(2));
}

#[test]
fn a_repeat_changes_nothing_so_that_senders_may_retry() {
    let server = TestServer::start(&["--limit-active-series=2"]);
    let now_ms = now_ms();
    let mut request = Request::new();
    for job in ["a", "b", "c"] {
        request.series(&[("__name__", "up"), ("job", job)], &[(1.0, now_ms - 1), (2.0, now_ms)]);
    }
    for _ in 0..2 {
        let response = post(&server, &request);
        // Later there may be room: the sender may try again.
        assert_eq!((response.status, written(&response)), (429, (4, 0, 0)), "{}", response.text());
        assert!(response.text().contains("series limit reached"), "{}", response.text());
    }
    assert_eq!(number(&server, "sum(count_over_time(up[1m]))", now_ms), 4.0);
    // What will never do is said first.
    request.timeseries[0].labels_refs.push(0);
    assert_eq!(post(&server, &request).status, 400);
}

#[test]
fn histograms_are_stored_or_refused_one_by_one() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let float = Histogram {
        count: Some(Count::Float(4.5)),
        sum: 9.0,
        zero_count: Some(ZeroCount::Float(0.5)),
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }],
        positive_counts: vec![1.5, 2.5],
        timestamp: now_ms,
        reset_hint: 3,
        ..Histogram::default()
    };
    let bad = [
        Histogram { schema: 9, ..histogram(now_ms + 1) },
        Histogram { count: Some(Count::Integer(99)), ..histogram(now_ms + 2) },
        Histogram { positive_deltas: vec![1, -2, 1, 3, 1], ..histogram(now_ms + 3) },
        Histogram { custom_values: vec![1.0, 0.1], ..custom_histogram(now_ms + 4) },
        Histogram { negative_deltas: vec![1], ..histogram(now_ms + 5) },
    ];
    let mut request = Request::new();
    with_histograms(&mut request, &[("__name__", "exponential")], vec![histogram(now_ms)]);
    with_histograms(&mut request, &[("__name__", "custom")], vec![custom_histogram(now_ms)]);
    with_histograms(&mut request, &[("__name__", "float")], vec![float]);
    let spoiled = [bad.as_slice(), &[histogram(now_ms + 6)]].concat();
    with_histograms(&mut request, &[("__name__", "spoiled")], spoiled);
    let response = post(&server, &request);
    assert_eq!((response.status, written(&response)), (400, (0, 4, 0)), "{}", response.text());
    let text = response.text();
    assert!(text.contains("invalid_histogram: 5 samples"), "{text}");
    assert!(text.contains("first at series 3 of the request"), "{text}");

    let check = |server: &TestServer| {
        for (name, count, sum) in
            [("exponential", 27.0, 12.5), ("custom", 11.0, 7.5), ("float", 4.5, 9.0), ("spoiled", 27.0, 12.5)]
        {
            assert_eq!(number(server, &format!("histogram_count({name})"), now_ms + 6), count, "{name}");
            assert_eq!(number(server, &format!("histogram_sum({name})"), now_ms + 6), sum, "{name}");
        }
        assert_eq!(number(server, "histogram_fraction(-Inf, 0.1, custom)", now_ms), 5.0 / 11.0);
        assert_eq!(number(server, "histogram_quantile(1, custom)", now_ms), 1.0);
    };
    check(&server);
    let server = TestServer::start_in(server.stop(), &[]);
    check(&server);
}

#[test]
fn exemplars_that_are_refused_fail_the_request_and_nothing_else() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let exemplar = |labels_refs: Vec<u32>| Exemplar { labels_refs, value: 0.5, timestamp: now_ms };
    let mut request = Request::new();
    let good = request.refs(&[("trace_id", "abc")]);
    let long = request.refs(&[("trace_id", &"x".repeat(5_000))]);
    let series = request.series(&[("__name__", "up")], &[(1.0, now_ms)]);
    series.exemplars = vec![exemplar(good.clone()), exemplar(vec![]), exemplar(vec![good[0]])];
    let series = request.series(&[("__name__", "down")], &[(1.0, now_ms)]);
    series.exemplars = vec![exemplar(vec![good[0], 99]), exemplar(long)];
    let response = post(&server, &request);
    assert_eq!((response.status, written(&response)), (400, (2, 0, 2)), "{}", response.text());
    let expected = "2 samples stored, 0 refused\nexemplars: 3 refused, first at series 0 of the request: 1 label references, \
                    an even number is needed\n";
    assert_eq!(response.text(), expected);
    // Those of a series that is refused go with it.
    let mut request = Request::new();
    request.series(&[("job", "a")], &[(1.0, now_ms)]).exemplars = vec![exemplar(vec![])];
    let response = post(&server, &request);
    assert_eq!((response.status, written(&response)), (400, (0, 0, 0)));
    assert!(response.text().contains("exemplars: 1 refused"), "{}", response.text());
}

#[test]
fn metadata_become_those_of_the_metric() {
    let server = TestServer::start(&[]);
    let now_ms = now_ms();
    let mut request = Request::new();
    for (name, kind, help, unit) in [
        ("requests_total", 1, "Requests.", ""),
        ("heat", 2, "", "celsius"),
        ("latency_bucket", 3, "Latency.", "seconds"),
        ("latency_count", 3, "Latency.", "seconds"),
        ("queue", 4, "", ""),
        ("size_sum", 5, "Sizes.", "bytes"),
        ("build_info", 6, "", ""),
        ("state", 7, "", ""),
        ("unknown", 0, "Who knows.", ""),
        ("nothing", 0, "", ""),
    ] {
        let metadata = request.metadata(kind, help, unit);
        request.series(&[("__name__", name)], &[(1.0, now_ms)]).metadata = metadata;
    }
    request.series(&[("__name__", "odd")], &[(1.0, now_ms)]).metadata =
        Some(Metadata { kind: 1, help_ref: 99, unit_ref: 0 });
    let response = post(&server, &request);
    assert_eq!((response.status, written(&response)), (400, (11, 0, 0)));
    let reason = "metadata: 1 refused, first at series 10 of the request: help or unit reference 99 is outside of the ";
    assert!(response.text().contains(reason), "{}", response.text());
    let expected = json!({
        "requests_total": [{"type": "counter", "help": "Requests.", "unit": ""}],
        "heat": [{"type": "gauge", "help": "", "unit": "celsius"}],
        "latency": [{"type": "histogram", "help": "Latency.", "unit": "seconds"}],
        "queue": [{"type": "gaugehistogram", "help": "", "unit": ""}],
        "size": [{"type": "summary", "help": "Sizes.", "unit": "bytes"}],
        "build_info": [{"type": "info", "help": "", "unit": ""}],
        "state": [{"type": "stateset", "help": "", "unit": ""}],
        "unknown": [{"type": "unknown", "help": "Who knows.", "unit": ""}],
    });
    assert_eq!(server.data("/api/v1/metadata"), expected);
    let server = TestServer::start_in(server.stop(), &[]);
    assert_eq!(server.data("/api/v1/metadata"), expected);
}

#[test]
fn start_times_of_samples_and_histograms_outlive_a_restart() {
    let flags = ["--enable-feature=use-start-timestamps"];
    let server = TestServer::start(&flags);
    let now_ms = now_ms() / 1000 * 1000;
    let mut request = Request::new();
    let series = request.series(&[("__name__", "seen_total")], &[(5.0, now_ms - 10_000), (7.0, now_ms)]);
    series.samples[0].start_timestamp = now_ms - 20_000;
    // It began anew in between and does not show it.
    series.samples[1].start_timestamp = now_ms - 5_000;
    request.series(&[("__name__", "old_total")], &[(1.0, now_ms)]).created_timestamp = now_ms - 30_000;
    request.series(&[("__name__", "silent_total")], &[(1.0, now_ms)]);
    let with_start = Histogram { start_timestamp: now_ms - 40_000, ..histogram(now_ms) };
    with_histograms(&mut request, &[("__name__", "native")], vec![with_start]);
    check_written(&post(&server, &request), (4, 1, 0));
    let check = |server: &TestServer| {
        let start = |name: &str| number(server, &format!("start_timestamp({name})"), now_ms) * 1000.0;
        assert_eq!(start("seen_total"), (now_ms - 5_000) as f64);
        assert_eq!(start("seen_total offset 10s"), (now_ms - 20_000) as f64);
        assert_eq!(start("old_total"), (now_ms - 30_000) as f64);
        assert_eq!(start("native"), (now_ms - 40_000) as f64);
        assert_eq!(start("silent_total"), 0.0, "nobody said");
        assert_eq!(number(server, "resets(seen_total[30s])", now_ms), 1.0);
    };
    check(&server);
    let server = TestServer::start_in(server.stop(), &flags);
    check(&server);
}

#[test]
fn type_and_unit_are_labels_where_that_is_switched_on() {
    let now_ms = now_ms();
    let mut request = Request::new();
    let metadata = request.metadata(1, "Help is no label.", "seconds");
    request.series(&[("__name__", "busy"), ("job", "a")], &[(1.0, now_ms - 1_000), (2.0, now_ms)]).metadata =
        metadata;
    request.series(&[("__name__", "plain")], &[(1.0, now_ms)]);
    let off = TestServer::start(&[]);
    check_written(&post(&off, &request), (3, 0, 0));
    assert_eq!(query(&off, "busy", now_ms)[0]["metric"], json!({"__name__": "busy", "job": "a"}));
    let on = TestServer::start(&["--enable-feature=type-and-unit-labels"]);
    check_written(&post(&on, &request), (3, 0, 0));
    let labels = json!({"__name__": "busy", "__type__": "counter", "__unit__": "seconds", "job": "a"});
    assert_eq!(query(&on, "busy{__unit__=\"seconds\"}", now_ms)[0]["metric"], labels);
    assert_eq!(query(&on, "plain", now_ms)[0]["metric"], json!({"__name__": "plain"}));
    let path = |query: &str| format!("/api/v1/query?query={}&time={}", escape(query), now_ms as f64 / 1000.0);
    let response = on.get(&path("rate(busy[1m])")).json();
    assert_eq!(response["data"]["result"][0]["metric"], json!({"job": "a"}));
    assert_eq!(response["infos"], Value::Null, "the type says that it is a counter");
    assert!(off.get(&path("rate(busy[1m])")).json()["infos"].to_string().contains("might not be a counter"));
}

#[test]
fn tenants_see_only_what_is_theirs() {
    let server = TestServer::start(&[]);
    let mut request = Request::new();
    request.series(&[("__name__", "theirs")], &[(1.0, now_ms())]);
    let tenant = ("x-scope-orgid", "team-a");
    assert_eq!(post_as(&server, &[CONTENT_TYPE, tenant], &request.compressed()).status, 204);
    assert_eq!(server.data("/api/v1/label/__name__/values"), json!([]));
    let response = call(server.addr(), "GET", "/api/v1/label/__name__/values", &[tenant], b"");
    assert_eq!(response.json()["data"], json!(["theirs"]));
}
