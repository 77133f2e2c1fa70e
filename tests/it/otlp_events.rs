//! Spans and log records over the network: what was sent is counted, once, also by many at a time and after a restart.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use serde_json::json;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::support::client::escape;
use crate::support::otlp::{JSON, LogRecord, LogsRequest, PROTOBUF, Span, Status, TracesRequest, post, span};
use crate::support::{TestServer, now_ms};

const CALLS: &str = "sum(increase(traces_span_metrics_calls_total[1h]))";

fn send_spans(server: &TestServer, spans: Vec<Span>) {
    let response = post(
        server.otlp_addr(),
        "/v1/traces",
        PROTOBUF,
        &[],
        &TracesRequest::of("shop", spans).encode_to_vec(),
    );
    assert_eq!((response.status, &*response.body), (200, &b""[..]), "{}", response.text());
}

/// A value per label set without name and temporality.
fn vector(server: &TestServer, promql: &str, label: &str) -> BTreeMap<String, f64> {
    let data = server.data(&format!("/api/v1/query?query={}", escape(promql)));
    let value = |series: &serde_json::Value| series["value"][1].as_str().unwrap().parse().unwrap();
    let name = |series: &serde_json::Value| series["metric"][label].as_str().unwrap_or_default().to_owned();
    data["result"].as_array().unwrap().iter().map(|series| (name(series), value(series))).collect()
}

#[test]
fn spans_are_counted_by_their_dimensions_with_their_durations_and_exemplars() {
    let server = TestServer::start(&[]);
    let end_ms = now_ms() - 60_000;
    let mut failed = span("GET /pay", end_ms, 700);
    failed.status = Some(Status { message: "no".to_owned(), code: 2 });
    (failed.trace_id, failed.span_id) = (vec![0xab; 16], vec![0xcd; 8]);
    let spans = vec![
        span("GET /pay", end_ms, 1),
        span("GET /pay", end_ms + 1, 30),
        failed,
        span("GET /cart", end_ms, 3),
    ];
    send_spans(&server, spans);
    let sum = |selector: &str| server.value(&format!("sum(sum_over_time({selector}[1h]))"));
    let good = r#"job="shop",service_name="shop",span_name="GET /pay",span_kind="SPAN_KIND_SERVER",status_code="STATUS_CODE_UNSET""#;
    assert_eq!(sum(&format!("traces_span_metrics_calls_total{{{good}}}")), 2.0);
    assert_eq!(sum("traces_span_metrics_calls_total{status_code=\"STATUS_CODE_ERROR\"}"), 1.0);
    assert_eq!(sum("traces_span_metrics_calls_total"), 4.0);
    let duration = "traces_span_metrics_duration_milliseconds";
    assert_eq!(sum(&format!("{duration}_count")), 4.0);
    assert_eq!(sum(&format!("{duration}_sum{{span_name=\"GET /pay\"}}")), 731.0);
    let buckets = vector(&server, &format!("sum by (le) (sum_over_time({duration}_bucket[1h]))"), "le");
    let at = |le: &str| buckets[le];
    assert_eq!(
        (at("2"), at("4"), at("10"), at("50"), at("400"), at("800"), at("+Inf")),
        (1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0)
    );
    assert_eq!(server.value("count(target_info{job=\"shop\",host_name=\"h1\"})"), 1.0);

    let (start, end) = (end_ms / 1000 - 60, end_ms / 1000 + 60);
    for (query, value) in
        [(format!("{duration}_bucket"), "700"), ("traces_span_metrics_calls_total".to_owned(), "700")]
    {
        let path = format!("/api/v1/query_exemplars?query={}&start={start}&end={end}", escape(&query));
        let data = server.data(&path);
        let found = data[0]["exemplars"][0].clone();
        assert_eq!(found["labels"]["trace_id"], "ab".repeat(16), "{query}: {data}");
        assert_eq!(found["labels"]["span_id"], "cd".repeat(8));
        assert_eq!(found["value"], value);
        if query.ends_with("bucket") {
            assert_eq!(data[0]["seriesLabels"]["le"], "800");
        }
    }
}

#[test]
fn requests_of_one_second_add_up_also_when_many_come_at_a_time_and_after_a_restart() {
    let server = TestServer::start(&[]);
    let end_ms = (now_ms() / 1000 - 30) * 1000;
    let send_many = |server: &TestServer, first: u64| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for index in 0..25 {
                        // Durations tell the requests apart: one that comes again would count once.
                        let duration_ms = first + thread * 25 + index;
                        send_spans(
                            server,
                            vec![span("a", end_ms + 3, duration_ms), span("a", end_ms + 1500, 1)],
                        );
                    }
                });
            }
        });
    };
    send_many(&server, 1000);
    assert_eq!(server.value(CALLS), 200.0);
    let directory = server.stop();
    let server = TestServer::start_in(directory, &[]);
    send_many(&server, 2000);
    assert_eq!(server.value(CALLS), 400.0);
    assert_eq!(
        server.value("sum(sum_over_time(traces_span_metrics_duration_milliseconds_count[1h]))"),
        400.0
    );
    // Ninety-nine or so slots of the second are taken; nothing moved into the next.
    let first_second =
        format!("sum(sum_over_time(traces_span_metrics_calls_total[1s] @ {}))", end_ms / 1000 + 1);
    assert_eq!(server.value(&first_second), 200.0);
}

#[test]
fn a_request_that_comes_again_counts_once() {
    let server = TestServer::start(&[]);
    let end_ms = now_ms() - 60_000;
    for _ in 0..3 {
        send_spans(&server, vec![span("a", end_ms, 5), span("b", end_ms - 5000, 5)]);
    }
    assert_eq!(server.value(CALLS), 2.0);
}

#[test]
fn refused_spans_are_counted_as_spans() {
    let server = TestServer::start(&[]);
    let now = now_ms();
    let old = now - 400 * 86_400_000;
    let mut endless = span("c", now, 1);
    endless.end_ns = 0;
    let spans = vec![span("a", now, 1), span("b", old, 1), span("b", old + 1, 1), endless];
    let response = post(
        server.otlp_addr(),
        "/v1/traces",
        PROTOBUF,
        &[],
        &TracesRequest::of("shop", spans.clone()).encode_to_vec(),
    );
    assert_eq!(response.status, 200);
    let partial = ExportMetricsServiceResponse::decode(&*response.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 3, "{partial:?}");
    for part in ["3 of 4 spans", "too_old", "no_end_time"] {
        assert!(partial.error_message.contains(part), "{part:?} is not in {partial:?}");
    }
    assert_eq!(server.value(CALLS), 1.0);
    let response = post(
        server.otlp_addr(),
        "/v1/traces",
        PROTOBUF,
        &[],
        &TracesRequest::of("shop", spans[1..].to_vec()).encode_to_vec(),
    );
    assert_eq!(response.status, 400, "{}", response.text());
}

#[test]
fn span_names_beyond_the_limit_are_counted_together() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "otlp: {traces_cardinality_limit: 3}\n").unwrap();
    let server = TestServer::start(&[&format!("--config={}", file.path().display())]);
    let end_ms = now_ms() - 60_000;
    for index in 0..4 {
        send_spans(&server, (0..5).map(|name| span(&format!("n{name}"), end_ms, 10 + index)).collect());
    }
    let by_name = "sum by (span_name) (sum_over_time(traces_span_metrics_calls_total[1h]))";
    let counts = vector(&server, by_name, "span_name");
    let expected = [("", 8.0), ("n0", 4.0), ("n1", 4.0), ("n2", 4.0)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).into());
    let overflow = "sum(sum_over_time(traces_span_metrics_duration_milliseconds_count{otel_metric_overflow=\"true\"}[1h]))";
    assert_eq!(server.value(overflow), 8.0);
}

#[test]
fn a_request_with_more_series_than_it_may_have_is_counted_in_part() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "otlp: {traces_cardinality_limit: 100}\n").unwrap();
    let server = TestServer::start(&[&format!("--config={}", file.path().display())]);
    let end_ms = now_ms() - 60_000;
    let spans: Vec<Span> = (0..20_010).map(|index| span(&format!("n{index}"), end_ms, 1)).collect();
    // The resource comes in many parts, as collectors send it.
    let mut request = TracesRequest::default();
    for part in spans.chunks(7) {
        request.resources.extend(TracesRequest::of("shop", part.to_vec()).resources);
    }
    let response = post(server.otlp_addr(), "/v1/traces", PROTOBUF, &[], &request.encode_to_vec());
    assert_eq!(response.status, 200);
    let partial = ExportMetricsServiceResponse::decode(&*response.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 10, "{partial:?}");
    assert!(partial.error_message.contains("10 too_many_cells"), "{partial:?}");
    assert_eq!(server.value(CALLS), 20_000.0);
    assert_eq!(server.value("count(traces_span_metrics_calls_total)"), 101.0, "the limit and the overflow");
}

#[test]
fn log_records_are_counted_by_severity() {
    let server = TestServer::start(&[]);
    let time_ns = (now_ms() - 60_000) as u64 * 1_000_000;
    let record = |severity_number, severity_text: &str| LogRecord {
        time_ns,
        severity_number,
        severity_text: severity_text.to_owned(),
        ..LogRecord::default()
    };
    let mut traced = record(17, "");
    (traced.trace_id, traced.span_id) = (vec![0x12; 16], vec![0x34; 8]);
    let observed = LogRecord { time_ns: 0, observed_ns: time_ns, severity_number: 9, ..LogRecord::default() };
    let timeless = LogRecord { time_ns: 0, ..record(9, "") };
    let records =
        vec![record(9, "info"), record(10, ""), observed, traced, record(0, "warning"), record(0, "")];
    let response = post(
        server.otlp_addr(),
        "/v1/logs",
        PROTOBUF,
        &[],
        &LogsRequest::of("shop", records).encode_to_vec(),
    );
    assert_eq!((response.status, &*response.body), (200, &b""[..]));
    let counts = vector(
        &server,
        "sum by (severity) (sum_over_time(log_record_count_total{job=\"shop\"}[1h]))",
        "severity",
    );
    let expected = [("ERROR", 1.0), ("INFO", 3.0), ("UNSPECIFIED", 1.0), ("WARN", 1.0)];
    assert_eq!(counts, expected.map(|(severity, count)| (severity.to_owned(), count)).into());
    let path = format!(
        "/api/v1/query_exemplars?query=log_record_count_total&start={}&end={}",
        now_ms() / 1000 - 3600,
        now_ms() / 1000
    );
    assert_eq!(server.data(&path)[0]["exemplars"][0]["labels"]["trace_id"], "12".repeat(16));
    let refused = post(
        server.otlp_addr(),
        "/v1/logs",
        PROTOBUF,
        &[],
        &LogsRequest::of("shop", vec![timeless, record(9, "")]).encode_to_vec(),
    );
    let partial = ExportMetricsServiceResponse::decode(&*refused.body).unwrap().partial_success.unwrap();
    assert!(
        partial.rejected_data_points == 1 && partial.error_message.contains("log records"),
        "{partial:?}"
    );
}

#[test]
fn spans_and_log_records_come_as_json_too() {
    let server = TestServer::start(&[]);
    let end_ns = ((now_ms() - 60_000) * 1_000_000).to_string();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]});
    let span = json!({
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "click", "kind": 3,
        "startTimeUnixNano": end_ns, "endTimeUnixNano": end_ns, "status": {"code": "STATUS_CODE_OK"},
        "attributes": [{"key": "a", "value": {"intValue": "1"}}], "events": [{"name": "e"}],
    });
    let traces = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    let record = json!({"timeUnixNano": end_ns, "severityNumber": 13, "body": {"stringValue": "careful"}});
    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]});
    for (path, body) in [("/v1/traces", traces), ("/v1/logs", logs)] {
        let response = post(server.otlp_addr(), path, JSON, &[], body.to_string().as_bytes());
        assert_eq!((response.status, response.text().as_str()), (200, "{}"));
    }
    let calls = r#"traces_span_metrics_calls_total{service_name="web",span_kind="SPAN_KIND_CLIENT",status_code="STATUS_CODE_OK",span_name="click"}"#;
    assert_eq!(server.value(&format!("sum(sum_over_time({calls}[1h]))")), 1.0);
    assert_eq!(server.value("sum(sum_over_time(log_record_count_total{severity=\"WARN\"}[1h]))"), 1.0);
}

/// Requests and answers as the services have them; all three have the same answer.
#[derive(Clone, Copy)]
struct TracesCodec;

impl Codec for TracesCodec {
    type Encode = TracesRequest;
    type Decode = ExportMetricsServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for TracesCodec {
    type Item = TracesRequest;
    type Error = tonic::Status;

    fn encode(&mut self, request: TracesRequest, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        request.encode(buffer).unwrap();
        Ok(())
    }
}

impl Decoder for TracesCodec {
    type Item = ExportMetricsServiceResponse;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, tonic::Status> {
        Ok(Some(ExportMetricsServiceResponse::decode(buffer).unwrap()))
    }
}

/// Exports over gRPC; returns how many events were refused.
fn export(
    server: &TestServer,
    service: &str,
    request: TracesRequest,
    tenant: &str,
) -> Result<i64, tonic::Status> {
    server.block_on(async {
        let channel = Endpoint::from_shared(server.otlp_grpc_endpoint()).unwrap().connect().await.unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let path = format!("/opentelemetry.proto.collector.{service}/Export").parse().unwrap();
        let mut request = Request::new(request);
        request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        let reply = grpc.unary(request, path, TracesCodec).await?;
        Ok(reply.into_inner().partial_success.map_or(0, |partial| partial.rejected_data_points))
    })
}

#[test]
fn grpc_counts_too_and_a_tenant_may_switch_a_signal_off() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "otlp: {tenants: {quiet: {traces: false, logs: false}}}\n").unwrap();
    let server = TestServer::start(&[&format!("--config={}", file.path().display())]);
    let request = |spans: Vec<Span>| TracesRequest::of("shop", spans);
    let spans = vec![span("a", now_ms(), 1), Span { end_ns: 0, ..span("b", now_ms(), 1) }];
    let traces = "trace.v1.TraceService";
    assert_eq!(export(&server, traces, request(spans.clone()), "anonymous").unwrap(), 1);
    assert_eq!(server.value(CALLS), 1.0);
    let refused = export(&server, traces, request(vec![spans[1].clone()]), "anonymous").unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    for (service, signal) in [(traces, "traces"), ("logs.v1.LogsService", "logs")] {
        let off = export(&server, service, TracesRequest::default(), "quiet").unwrap_err();
        assert_eq!(off.code(), Code::Unimplemented);
        assert!(off.message().contains(&format!("{signal}: true")), "{off}");
        let off =
            post(server.otlp_addr(), &format!("/v1/{signal}"), JSON, &[("x-scope-orgid", "quiet")], b"{}");
        assert_eq!((off.status, off.json()["code"].as_i64()), (404, Some(12)), "{}", off.text());
    }
}
