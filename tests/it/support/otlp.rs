//! OTLP requests, written with `prost`: spans and log records as far as they are counted, and a gauge.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::client::{Response, call};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

/// The messages around events: traces and logs have the same shape down to them.
macro_rules! events_request {
    ($request:ident, $resource:ident, $scope:ident, $event:ident) => {
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $request {
            #[prost(message, repeated, tag = "1")]
            pub(crate) resources: Vec<$resource>,
        }

        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $resource {
            #[prost(message, optional, tag = "1")]
            pub(crate) resource: Option<Resource>,
            #[prost(message, repeated, tag = "2")]
            pub(crate) scopes: Vec<$scope>,
        }

        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $scope {
            #[prost(message, repeated, tag = "2")]
            pub(crate) events: Vec<$event>,
        }

        impl $request {
            /// The events of one service.
            pub(crate) fn of(service: &str, events: Vec<$event>) -> Self {
                let scopes = vec![$scope { events }];
                Self { resources: vec![$resource { resource: resource(service), scopes }] }
            }
        }
    };
}

events_request!(TracesRequest, ResourceSpans, ScopeSpans, Span);
events_request!(LogsRequest, ResourceLogs, ScopeLogs, LogRecord);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) name: String,
    #[prost(int32, tag = "6")]
    pub(crate) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(crate) start_ns: u64,
    #[prost(fixed64, tag = "8")]
    pub(crate) end_ns: u64,
    /// Skipped by the server, as all attributes.
    #[prost(message, repeated, tag = "9")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub(crate) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(int32, tag = "3")]
    pub(crate) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(crate) time_ns: u64,
    #[prost(fixed64, tag = "11")]
    pub(crate) observed_ns: u64,
    #[prost(int32, tag = "2")]
    pub(crate) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(crate) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) body: Option<AnyValue>,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(crate) span_id: Vec<u8>,
}

pub(crate) fn text(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A resource with the name of a service and a fact about it.
pub(crate) fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![text("service.name", service), text("host.name", "h1")];
    Some(Resource { attributes, ..Resource::default() })
}

/// A server's span that ended well.
pub(crate) fn span(name: &str, end_ms: i64, duration_ms: u64) -> Span {
    let end_ns = end_ms as u64 * 1_000_000;
    Span {
        name: name.to_owned(),
        kind: 2,
        start_ns: end_ns - duration_ms * 1_000_000,
        end_ns,
        attributes: vec![text("http.route", "/pay")],
        ..Span::default()
    }
}

/// A request with one gauge per name and value, at one time.
pub(crate) fn gauges(points: &[(&str, f64, i64)]) -> ExportMetricsServiceRequest {
    let metric = |(name, value, time_ms): &(&str, f64, i64)| {
        let point = NumberDataPoint {
            time_unix_nano: *time_ms as u64 * 1_000_000,
            value: Some(number_data_point::Value::AsDouble(*value)),
            ..NumberDataPoint::default()
        };
        let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
        Metric { name: (*name).to_owned(), unit: "By".to_owned(), data, ..Metric::default() }
    };
    let metrics = points.iter().map(metric).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource("api"),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

/// Posts a body with its Content-Type and more headers.
pub(crate) fn post(
    addr: SocketAddr,
    path: &str,
    content_type: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut all = vec![("content-type", content_type)];
    all.extend_from_slice(headers);
    call(addr, "POST", path, &all, body)
}
