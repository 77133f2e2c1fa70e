//! OTLP over gRPC: bodies go out as they are, many workers share a connection.
//!
//! HTTP/2 carries the requests of all workers of a connection side by side; windows are large enough for whole requests. A
//! connection that broke is made again by the next request.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};

use super::connect::Dialer;
use crate::raw_codec::RawCodec;
use crate::telemetry::replay::Request;
use crate::telemetry::sender::answer::{Answer, Code};
use crate::telemetry::sender::options::Compression;
use crate::telemetry::template::Signal;

const METRICS: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
const TRACES: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const LOGS: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Longest time for one connection to be made, later ones included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects once.
///
/// # Errors
/// In words, with all causes.
pub(super) async fn connect(dialer: &Dialer) -> Result<Channel, String> {
    let scheme = if dialer.endpoint().is_tls { "https" } else { "http" };
    let address = format!("{scheme}://{}", dialer.endpoint().authority());
    let endpoint = TonicEndpoint::from_shared(address).map_err(|error| with_causes(&error))?;
    endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(dialer.clone())
        .await
        .map_err(|error| with_causes(&error))
}

/// An error with all its causes; the outermost one of a transport says little.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A worker's way to OTLP/gRPC.
#[derive(Debug)]
pub struct GrpcTransport {
    grpc: Grpc<Channel>,
    metadata: MetadataMap,
}

impl GrpcTransport {
    /// Sends over `channel`, with `headers` on every request.
    pub fn new(channel: Channel, headers: HeaderMap, compression: Compression) -> Self {
        let grpc = Grpc::new(channel);
        let grpc = match compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd),
        };
        Self { grpc, metadata: MetadataMap::from_headers(headers) }
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        if let Err(error) = self.grpc.ready().await {
            return Answer::broken(&with_causes(&error));
        }
        let path = match request.signal {
            Signal::Metrics => METRICS,
            Signal::Traces => TRACES,
            Signal::Logs => LOGS,
        };
        let message: tonic::Request<Bytes> = tonic::Request::from_parts(
            self.metadata.clone(),
            tonic::Extensions::default(),
            request.body.clone(),
        );
        match self.grpc.unary(message, path, RawCodec).await {
            Ok(reply) => Answer::of_export(Code::Grpc(0), &reply.into_inner()),
            Err(status) => Answer::of_status(&status),
        }
    }
}
