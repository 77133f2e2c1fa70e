//! What a tenant may do, over every protocol: limits from a file, rates, bytes in flight, and what was refused.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightDescriptor};
use futures::TryStreamExt;
use mytsdb_storage::LongLabels;
use mytsdb_storage::model::TenantId;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::support::client::{Response, call};
use crate::support::{TestServer, now_ms};

/// A server whose limits are in a file.
struct Limited {
    server: TestServer,
    path: PathBuf,
    _folder: TempDir,
}

impl Limited {
    fn start(text: &str, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("limits.yaml");
        std::fs::write(&path, text).unwrap();
        let file = format!("--limits-file={}", path.display());
        let flags: Vec<&str> = flags.iter().copied().chain([file.as_str(), "--enable-lifecycle"]).collect();
        Self { server: TestServer::start(&flags), path, _folder: folder }
    }

    fn reload(&self, text: &str) -> Response {
        std::fs::write(&self.path, text).unwrap();
        call(self.server.addr(), "POST", "/-/reload", &[], b"")
    }

    fn write(&self, tenant: &str, metric: &str, values: &[f64]) -> Response {
        let samples: Vec<(f64, i64)> =
            values.iter().enumerate().map(|(index, value)| (*value, now_ms() - index as i64)).collect();
        self.server.write_as(&[(&[("__name__", metric)], &samples)], &[("x-scope-orgid", tenant)])
    }
}

fn gauge(name: &str, time_ms: i64) -> Metric {
    let point = NumberDataPoint {
        time_unix_nano: time_ms as u64 * 1_000_000,
        value: Some(Value::AsDouble(1.0)),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

fn export(server: &TestServer, tenant: &str, metrics: Vec<Metric>) -> Result<(), Status> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let mut request = Request::new(ExportMetricsServiceRequest { resource_metrics });
    request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
    server.block_on(async {
        let mut client = MetricsServiceClient::connect(server.otlp_endpoint()).await.unwrap();
        client.export(request).await.map(|_| ())
    })
}

fn put(server: &TestServer, tenant: &str, metrics: &[&str], time_ms: i64) -> Result<(), Status> {
    let fields = [
        ("metric", DataType::Utf8),
        ("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("value", DataType::Float64),
    ];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, false)).collect();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(StringArray::from(metrics.to_vec())),
        Arc::new(TimestampMillisecondArray::from(vec![time_ms; metrics.len()])),
        Arc::new(Float64Array::from(vec![1.0; metrics.len()])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    server.block_on(async {
        let endpoint = tonic::transport::Endpoint::try_from(server.arrow_endpoint()).unwrap();
        let mut client = FlightClient::new(endpoint.connect().await.unwrap());
        client.add_header("x-scope-orgid", tenant).unwrap();
        let data = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["samples".to_owned()])))
            .build(futures::stream::iter([Ok(batch)]));
        let replies = match client.do_put(data).await {
            Ok(replies) => replies.try_collect::<Vec<_>>().await,
            Err(error) => Err(error),
        };
        match replies {
            Ok(_) => Ok(()),
            Err(FlightError::Tonic(status)) => Err(*status),
            Err(other) => panic!("no status: {other}"),
        }
    })
}

#[test]
fn limits_of_the_file_hold_per_tenant_and_change_while_the_server_runs() {
    let limited = Limited::start("tenants: {small: {limit-active-series: 1}}", &[]);
    assert_eq!(limited.write("small", "one", &[1.0]).status, 204);
    assert_eq!(limited.write("small", "two", &[1.0]).status, 429);
    assert_eq!(limited.write("other", "two", &[1.0]).status, 204);
    assert_eq!(limited.reload("tenants: {small: {limit-active-series: 2}}").status, 200);
    assert_eq!(limited.write("small", "two", &[1.0]).status, 204);
    let refused = limited.reload("tenants: {small: {limit-series: 9}}");
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("limit-series"), "{}", refused.text());
    assert_eq!(limited.write("small", "three", &[1.0]).status, 429, "the old limits hold");
    let metrics = limited.server.get("/metrics").text();
    assert!(metrics.contains("mytsdb_config_last_reload_successful{file=\"limits\"} 0"), "{metrics}");
    assert!(metrics.contains("mytsdb_config_reloads_failed_total{file=\"limits\"} 1"), "{metrics}");
}

#[test]
fn a_changed_file_is_noticed_without_being_told() {
    let limited = Limited::start("", &[]);
    std::fs::write(&limited.path, "defaults: {limit-long-labels: truncate}").unwrap();
    let storage = &limited.server.core().storage;
    while storage.limits(&TenantId::anonymous()).long_labels != LongLabels::Truncate {
        std::thread::yield_now();
    }
}

#[test]
fn a_tenant_above_its_rate_is_told_when_to_come_back_over_every_protocol() {
    let text = "tenants: {slow: {limit-samples-per-second: 1, limit-samples-burst: 500}}";
    let limited = Limited::start(text, &[]);
    assert_eq!(limited.write("slow", "one", &[1.0; 500]).status, 204);
    // The bucket is empty, and room for so many more takes minutes.
    let refused = limited.write("slow", "one", &[3.0; 400]);
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait_s: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=400).contains(&wait_s), "{wait_s}");
    assert!(refused.text().contains("the limit of 1 samples a second"), "{}", refused.text());
    let metrics = (0..400).map(|index| gauge(&format!("m{index}"), now_ms())).collect();
    let retry = export(&limited.server, "slow", metrics).unwrap_err();
    let put = put(&limited.server, "slow", &["a"; 400], now_ms()).unwrap_err();
    for status in [retry, put] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(details.contains("google.rpc.RetryInfo"), "{details}");
    }
    assert_eq!(limited.write("fast", "one", &[1.0; 9]).status, 204, "others are not held up");
}

#[test]
fn writes_above_the_bytes_in_flight_are_told_to_come_back() {
    let limited = Limited::start("tenants: {narrow: {limit-inflight-bytes: 20B}}", &[]);
    let server = &limited.server;
    let http = limited.write("narrow", "a_long_name_of_a_metric", &[1.0]);
    assert_eq!((http.status, http.header("retry-after").is_some()), (503, true), "{}", http.text());
    let otlp = export(server, "narrow", vec![gauge("a_long_name_of_a_metric", now_ms())]).unwrap_err();
    assert_eq!(otlp.code(), Code::Unavailable, "{otlp}");
    assert!(otlp.message().contains("limit-inflight-bytes"), "{otlp}");
    assert_eq!(export(server, "wide", vec![gauge("m", now_ms())]).map_err(|s| s.to_string()), Ok(()));
    assert_eq!(put(server, "wide", &["m"], now_ms()).map_err(|s| s.to_string()), Ok(()));
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("mytsdb_write_requests_refused_total{protocol=\"otlp\",reason=\"busy\"} 1"),
        "{metrics}"
    );
}

#[test]
fn the_last_refused_points_are_shown_to_their_tenant_only() {
    let server = TestServer::start(&[]);
    let ahead_ms = now_ms() + 3_600_000;
    let headers = [("x-scope-orgid", "team-a")];
    server.write_as(&[(&[("__name__", "written")], &[(1.0, ahead_ms)])], &headers);
    assert!(export(&server, "team-a", vec![gauge("exported", ahead_ms)]).is_err());
    put(&server, "team-a", &["put"], ahead_ms).unwrap();
    let list = |tenant: &str, query: &str| {
        let path = format!("/api/v1/status/rejected_points{query}");
        let response = call(server.addr(), "GET", &path, &[("x-scope-orgid", tenant)], b"");
        response.json()["data"]["rejectedPoints"].clone()
    };
    let entries = list("team-a", "");
    let shown: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["protocol"].clone(), entry["metric"].clone(), entry["reason"].clone()))
        .collect();
    let expected = [("flight", "put"), ("otlp", "exported"), ("remote_write", "written")]
        .map(|(protocol, metric)| (json!(protocol), json!(metric), json!("too_far_ahead")));
    assert_eq!(shown, expected);
    assert!(entries[0]["message"].as_str().unwrap().contains(&ahead_ms.to_string()), "{entries}");
    assert_eq!(list("team-a", "?limit=1").as_array().unwrap().len(), 1);
    assert_eq!(list("team-b", ""), json!([]));
}

#[test]
fn long_labels_are_cut_where_the_tenant_says_so_and_counted() {
    let limited = Limited::start(
        "defaults: {limit-label-value-bytes: 32B}\ntenants: {cut: {limit-long-labels: truncate}}",
        &[],
    );
    let long = "x".repeat(40);
    let write = |tenant: &str, suffix: &str| {
        let value = format!("{long}{suffix}");
        let labels = [("__name__", "up"), ("path", value.as_str())];
        limited.server.write_as(&[(&labels, &[(1.0, now_ms())])], &[("x-scope-orgid", tenant)]).status
    };
    assert_eq!((write("strict", "a"), write("cut", "a"), write("cut", "b")), (400, 204, 204));
    let path = "/api/v1/label/path/values";
    let values = call(limited.server.addr(), "GET", path, &[("x-scope-orgid", "cut")], b"").json();
    let values = values["data"].as_array().unwrap();
    assert_eq!(values.len(), 2, "{values:?}");
    assert!(values.iter().all(|value| value.as_str().unwrap().len() == 32), "{values:?}");
    let metrics = limited.server.get("/metrics").text();
    assert!(metrics.contains("mytsdb_storage_long_labels_total{action=\"truncated\"} 2"), "{metrics}");
}
