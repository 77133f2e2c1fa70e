//! OTLP/gRPC over the network: what is exported is stored, what is refused is told.

use bytes::Bytes;
use mytsdb::Running;
use mytsdb_storage::model::{TenantId, TimeRange};
use mytsdb_tools::raw_codec::RawCodec;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::grpc_server::{now_ms, start};

async fn client(server: &Running) -> MetricsServiceClient<Channel> {
    MetricsServiceClient::connect(format!("http://{}", server.addrs.otlp_grpc)).await.unwrap()
}

fn point(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: now_ms() as u64 * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn gauge(name: &str, description: &str) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: "By".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points: vec![point(1.0)] })),
        ..Metric::default()
    }
}

/// A sum that does not say whether it is cumulative.
fn unclear(name: &str) -> Metric {
    let sum = Sum {
        data_points: vec![point(1.0)],
        aggregation_temporality: AggregationTemporality::Unspecified as i32,
        is_monotonic: true,
    };
    Metric { name: name.to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() }
}

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }),
        ..KeyValue::default()
    };
    let attributes =
        vec![text("service.name", "api"), text("service.instance.id", "i1"), text("os", "linux")];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn stored(server: &Running, tenant: &str) -> Vec<String> {
    let reader = server.core().storage.reader(&TenantId::new(tenant).unwrap());
    let set = reader.select(&[], TimeRange::ALL).unwrap();
    (0..set.len()).map(|index| set.labels(index).to_string()).collect()
}

#[tokio::test]
async fn exported_metrics_are_stored_plain_gzip_and_zstd() {
    let server = start().await;
    let plain = client(&server.running).await;
    let clients = [
        plain.clone(),
        plain.clone().send_compressed(CompressionEncoding::Gzip),
        plain.send_compressed(CompressionEncoding::Zstd),
    ];
    for (index, mut client) in clients.into_iter().enumerate() {
        let mut request = Request::new(request(vec![gauge("memory.used", "")]));
        request.metadata_mut().insert("x-scope-orgid", format!("t{index}").parse().unwrap());
        let reply = client.export(request).await.unwrap().into_inner();
        assert_eq!(reply.partial_success, None);
        let expected = [
            r#"{__name__="memory_used_bytes", instance="i1", job="api"}"#,
            r#"{__name__="target_info", instance="i1", job="api", os="linux"}"#,
        ];
        assert_eq!(stored(&server.running, &format!("t{index}")), expected);
    }
}

#[tokio::test]
async fn refused_points_are_a_partial_success_or_an_error_if_nothing_is_left() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let reply = client.export(request(vec![gauge("good", ""), unclear("bad")])).await.unwrap().into_inner();
    let partial = reply.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("no_temporality in metric \"bad\""), "{partial:?}");
    let status = client.export(request(vec![unclear("bad")])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(stored(&server.running, "anonymous").len(), 2);
    let empty = client.export(ExportMetricsServiceRequest::default()).await.unwrap().into_inner();
    assert_eq!(empty.partial_success, None);
}

#[tokio::test]
async fn a_message_that_is_no_request_is_refused_for_good_and_says_where() {
    let server = start().await;
    let mut damaged = gauge("m", "");
    damaged.unit = String::new();
    let mut body = request(vec![damaged]).encode_to_vec();
    // The last field is the point's value: a double that ends early.
    body.truncate(body.len() - 1);
    let channel = Channel::from_shared(format!("http://{}", server.running.addrs.otlp_grpc)).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    let status = grpc.unary(Request::new(Bytes::from(body)), path, RawCodec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("malformed request: the message at byte "), "{status}");
}

#[tokio::test]
async fn one_bad_point_among_ten_thousand_is_reported_and_the_others_are_stored() {
    let server = start().await;
    let mut metrics: Vec<Metric> = (0..10_000).map(|index| gauge(&format!("m{index}"), "")).collect();
    let Some(Data::Gauge(bad)) = &mut metrics[4_321].data else { panic!("a gauge") };
    bad.data_points[0].value = None;
    let reply = client(&server.running).await.export(request(metrics)).await.unwrap().into_inner();
    let partial = reply.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert_eq!(
        partial.error_message,
        "1 of 10000 data points rejected: 1 no_value in metric \"m4321\" (the point has no value)"
    );
    let stored = stored(&server.running, "anonymous");
    assert_eq!(stored.len(), 10_000, "9,999 and target_info");
    assert!(!stored.iter().any(|labels| labels.contains("\"m4321_bytes\"")));
}

#[tokio::test]
async fn a_large_request_is_taken_off_the_async_threads_and_stored_whole() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let metrics: Vec<Metric> = (0..2_000).map(|index| gauge(&format!("m{index}"), "")).collect();
    let reply = client.export(request(metrics)).await.unwrap().into_inner();
    assert_eq!(reply.partial_success, None);
    assert_eq!(stored(&server.running, "anonymous").len(), 2_001);
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_for_good_and_the_server_goes_on() {
    let server = start().await;
    let huge = || request(vec![gauge("m", &"x".repeat(65 << 20))]);
    let plain = client(&server.running).await;
    for client in [plain.clone(), plain.clone().send_compressed(CompressionEncoding::Zstd)] {
        let status = client.clone().export(huge()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    assert!(plain.clone().export(request(vec![gauge("m", "")])).await.is_ok());
}

#[tokio::test]
async fn a_tenant_name_that_is_not_allowed_is_refused() {
    let server = start().await;
    let mut request = Request::new(request(vec![gauge("m", "")]));
    request.metadata_mut().insert("x-scope-orgid", "a/b".parse().unwrap());
    let status = client(&server.running).await.export(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
