//! From remote write to PromQL and back as JSON.

use serde_json::{Value, json};

use crate::support::client::{call, connect, escape, send};
use crate::support::request::{self, Series};
use crate::support::{TestServer, now_ms};

/// Steps of 15 s, the last one a while ago, at a full second.
const STEP_MS: i64 = 15_000;

/// Thousands of windows over thousands of windows: hours of work in little memory.
const SLOW: &str = "quantile_over_time(0.3, quantile_over_time(0.3, quantile_over_time(0.3, requests_total[4h:1s])[4h:1s])[4h:1s])";

/// A counter and a gauge, 101 samples each, that end at the time returned.
fn with_samples() -> (TestServer, i64) {
    let server = TestServer::start(&[]);
    let end_ms = now_ms() / 1000 * 1000 - 60_000;
    let samples = |value: fn(i64) -> f64| -> Vec<(f64, i64)> {
        (0..=100).map(|index| (value(index), end_ms - (100 - index) * STEP_MS)).collect()
    };
    let (counter, gauge) = (samples(|index| (index * 15) as f64), samples(|index| index as f64 / 8.0));
    let series: [Series<'_>; 3] = [
        (&[("__name__", "requests_total"), ("job", "a")], &counter),
        (&[("__name__", "requests_total"), ("job", "b")], &counter),
        (&[("__name__", "heat"), ("place", "\"é\"")], &gauge),
    ];
    let response = server.write(&series);
    assert_eq!(response.status, 204, "{}", response.text());
    (server, end_ms)
}

fn query(server: &TestServer, query: &str, time_ms: i64) -> Value {
    server.data(&format!("/api/v1/query?query={}&time={}", escape(query), time_ms as f64 / 1000.0))
}

#[test]
fn an_instant_query_gives_a_vector() {
    let (server, end_ms) = with_samples();
    let data = query(&server, "heat", end_ms);
    let expected = json!({
        "resultType": "vector",
        "result": [{"metric": {"__name__": "heat", "place": "\"é\""}, "value": [end_ms / 1000, "12.5"]}],
    });
    assert_eq!(data, expected);
    let data = query(&server, "sum by (job) (rate(requests_total[4m]))", end_ms);
    let expected = json!([
        {"metric": {"job": "a"}, "value": [end_ms / 1000, "1"]},
        {"metric": {"job": "b"}, "value": [end_ms / 1000, "1"]},
    ]);
    assert_eq!(data["result"], expected);
}

#[test]
fn scalars_strings_and_range_vectors_have_their_own_shape() {
    let (server, end_ms) = with_samples();
    // Grafana's health check.
    let data = server.data("/api/v1/query?query=1%2B1&time=4");
    assert_eq!(data, json!({"resultType": "scalar", "result": [4, "2"]}));
    let data = query(&server, "1e21", 1500);
    assert_eq!(data, json!({"resultType": "scalar", "result": [1.5, "1000000000000000000000"]}));
    let data = query(&server, "\"text\"", 1500);
    assert_eq!(data, json!({"resultType": "string", "result": [1.5, "text"]}));
    let data = query(&server, "heat[30s]", end_ms);
    let expected = json!([[end_ms / 1000 - 15, "12.375"], [end_ms / 1000, "12.5"]]);
    assert_eq!(
        (data["resultType"].clone(), data["result"][0]["values"].clone()),
        (json!("matrix"), expected)
    );
}

#[test]
fn a_range_query_gives_a_matrix_sorted_by_labels() {
    let (server, end_ms) = with_samples();
    let end_s = end_ms / 1000;
    let form = format!("query=requests_total&start={}&end={end_s}&step=15", end_s - 30);
    let response = server.post_form("/api/v1/query_range", &form);
    let values = json!([[end_s - 30, "1470"], [end_s - 15, "1485"], [end_s, "1500"]]);
    let expected = json!({"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"__name__": "requests_total", "job": "a"}, "values": values},
        {"metric": {"__name__": "requests_total", "job": "b"}, "values": values},
    ]}});
    assert_eq!(response.json(), expected);
}

#[test]
fn a_range_of_11_000_steps_is_answered_in_chunks_and_one_more_is_refused() {
    let (server, end_ms) = with_samples();
    let end_s = end_ms / 1000;
    let path = |start_s: i64| {
        let query = escape("vector(time()) or label_replace(vector(0.125), \"a\", \"b\", \"\", \"\")");
        format!("/api/v1/query_range?query={query}&start={start_s}&end={end_s}&step=1")
    };
    let response = server.get(&path(end_s - 11_000));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    let result = response.json()["data"]["result"].clone();
    let last = result.as_array().unwrap().last().unwrap()["values"].as_array().unwrap().clone();
    assert_eq!(last.len(), 11_001);
    assert_eq!(last[11_000][0], json!(end_s));
    assert_eq!(server.get(&path(end_s - 11_001)).status, 400);
}

#[test]
fn lookback_limit_and_stats_are_per_query() {
    let (server, end_ms) = with_samples();
    let later_s = end_ms / 1000 + 30;
    let count = |parameters: &str| {
        let path = format!("/api/v1/query?query=requests_total&time={later_s}{parameters}");
        let json = server.get(&path).json();
        (json["data"]["result"].as_array().unwrap().len(), json)
    };
    assert_eq!(count("").0, 2);
    assert_eq!(count("&lookback_delta=15s").0, 0);
    let (series_count, json) = count("&limit=1");
    assert_eq!((series_count, json["warnings"].clone()), (1, json!(["results truncated due to limit"])));
    let (_, json) = count("&stats=true");
    assert!(json["data"]["stats"]["timings"]["evalTotalTime"].is_number(), "{json}");
    assert!(json["data"]["stats"]["samples"]["samplesRead"].as_u64().unwrap() >= 2, "{json}");
    assert_eq!(json["warnings"], Value::Null);
    let (_, json) = count("&stats=yes");
    let warning = r#"value "yes" for parameter "stats" is deprecated and will be rejected in the next major release, use "true" or "all""#;
    assert_eq!(json["warnings"], json!([warning]));
    assert!(json["data"]["stats"]["samples"].is_object(), "{json}");
    assert_eq!(count("").1["data"]["stats"], Value::Null);
}

#[test]
fn remarks_of_the_evaluation_are_sent() {
    let (server, end_ms) = with_samples();
    let path = |query: &str| format!("/api/v1/query?query={}&time={}", escape(query), end_ms / 1000);
    let json = server.get(&path("rate(heat[5m])")).json();
    let info = json["infos"][0].as_str().unwrap_or_else(|| panic!("{json}"));
    assert!(info.starts_with("PromQL info: metric might not be a counter"), "{info}");
    assert!(info.ends_with("\"heat\" (1:6)"), "{info}");
}

#[test]
fn queries_that_fail_say_so_in_prometheus_words() {
    let (server, end_ms) = with_samples();
    let time_s = end_ms / 1000;
    let path = |query: &str| format!("/api/v1/query?query={}&time={time_s}", escape(query));
    let response = server.get(&path("requests_total * on (nothing) requests_total"));
    assert_eq!((response.status, response.json()["errorType"].clone()), (422, json!("execution")));
    let error = response.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("many-to-many") || error.contains("duplicate series"), "{error}");
}

#[test]
fn a_query_over_its_time_limit_is_stopped() {
    let (server, end_ms) = with_samples();
    let path = format!("/api/v1/query?query={}&time={}&timeout=1ms", escape(SLOW), end_ms / 1000);
    let error = "query timed out in expression evaluation";
    server.check_error(&path, 503, "timeout", error);
    assert!(server.get("/metrics").text().contains("mytsdb_queries_total{outcome=\"timeout\"} 1"));
}

#[test]
fn a_query_whose_client_went_away_frees_its_place() {
    let server = TestServer::start(&["--query-max-concurrency=1"]);
    let end_ms = now_ms();
    let series: [Series<'_>; 2] = [
        (&[("__name__", "up")], &[(1.0, end_ms)]),
        (&[("__name__", "requests_total")], &[(1.0, end_ms - 60_000)]),
    ];
    assert_eq!(server.write(&series).status, 204);
    let slow = escape(SLOW);
    let mut stream = connect(server.addr());
    send(&mut stream, "GET", &format!("/api/v1/query?query={slow}&time={}", end_ms / 1000), &[], b"");
    drop(stream);
    // The only place is free again as soon as the first query stops.
    assert_eq!(query(&server, "up", end_ms)["result"][0]["value"][1], "1");
}

#[test]
fn odd_bits_survive_the_way_in_and_out() {
    let server = TestServer::start(&[]);
    let time_ms = now_ms() / 1000 * 1000;
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21, 1e-7, 0.1, f64::MAX, 5e-324];
    let texts = ["NaN", "+Inf", "-Inf", "1e+21", "1e-07", "0.1", "1.7976931348623157e+308", "5e-324"];
    let samples: Vec<[(f64, i64); 1]> = values.iter().map(|value| [(*value, time_ms)]).collect();
    let names: Vec<String> = (0..values.len()).map(|index| index.to_string()).collect();
    let labels: Vec<[(&str, &str); 2]> =
        names.iter().map(|name| [("__name__", "odd"), ("index", name.as_str())]).collect();
    let series: Vec<Series<'_>> =
        labels.iter().zip(&samples).map(|(labels, samples)| (&labels[..], &samples[..])).collect();
    assert_eq!(server.write(&series).status, 204);
    let result = query(&server, "odd", time_ms)["result"].clone();
    let mut found: Vec<(String, String)> = result
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&sample["metric"]["index"]), text(&sample["value"][1]))
        })
        .collect();
    found.sort();
    let expected: Vec<(String, String)> =
        names.iter().cloned().zip(texts.iter().map(|text| (*text).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn samples_are_there_after_a_restart() {
    let (server, end_ms) = with_samples();
    let server = TestServer::start_in(server.stop(), &[]);
    assert_eq!(query(&server, "heat", end_ms)["result"][0]["value"][1], "12.5");
    let data = query(&server, "count_over_time(requests_total{job=\"a\"}[1h])", end_ms);
    assert_eq!(data["result"][0]["value"][1], "101");
}

#[test]
fn writes_of_the_same_series_over_two_requests_meet() {
    let server = TestServer::start(&[]);
    let time_ms = now_ms() / 1000 * 1000;
    for (value, labels) in [
        (1.0, [("__name__", "met"), ("job", "a")]),
        // The same labels in another order have another key and the same series.
        (2.0, [("job", "a"), ("__name__", "met")]),
    ] {
        let samples = [(value, time_ms + value as i64)];
        let body = request::compressed(&request::write_request(&[(&labels, &samples)]));
        assert_eq!(call(server.addr(), "POST", "/api/v1/write", &[], &body).status, 204);
    }
    assert_eq!(query(&server, "count_over_time(met[1m])", time_ms + 5000)["result"][0]["value"][1], "2");
    assert_eq!(server.data("/api/v1/series?match[]=met").as_array().unwrap().len(), 1);
}
