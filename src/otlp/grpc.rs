//! The gRPC doors of OTLP: `MetricsService`, `TraceService` and `LogsService`, each with its `Export`.
//!
//! Takes requests plain, gzip or zstd compressed, answers when the accepted points are durable. A request over the
//! size limit gets `RESOURCE_EXHAUSTED`, which clients do not retry.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use bytes::{Buf as _, Bytes};
use futures::future::{BoxFuture, FutureExt};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use tonic::body::Body;
use tonic::codec::{
    Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder,
};
use tonic::codegen::StdError;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::door::Otlp;
use super::reply::{error_status, reply};
use super::signal::Signal;
use crate::grpc;
use crate::tenant::TENANT_HEADER;

/// Metadata keys that name the tenant.
const TENANT_KEYS: [&str; 1] = [TENANT_HEADER];

/// The services of all signals over one door.
pub fn routes(otlp: &Arc<Otlp>) -> Routes {
    Routes::new(ExportService::<Metrics>::new(otlp))
        .add_service(ExportService::<Traces>::new(otlp))
        .add_service(ExportService::<Logs>::new(otlp))
}

/// A service of the protocol; all have one method, `Export`.
trait Service {
    const NAME: &'static str;
    const SIGNAL: Signal;
}

#[derive(Debug, Clone, Copy)]
struct Metrics;

impl Service for Metrics {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
    const SIGNAL: Signal = Signal::Metrics;
}

#[derive(Debug, Clone, Copy)]
struct Traces;

impl Service for Traces {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
    const SIGNAL: Signal = Signal::Traces;
}

#[derive(Debug, Clone, Copy)]
struct Logs;

impl Service for Logs {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
    const SIGNAL: Signal = Signal::Logs;
}

/// Hands the bytes of each message over as they are.
///
/// Why not the generated services: they decode into owned messages, which costs more than everything else together.
#[derive(Debug, Clone)]
struct ExportService<S> {
    otlp: Arc<Otlp>,
    service: PhantomData<S>,
}

impl<S> ExportService<S> {
    fn new(otlp: &Arc<Otlp>) -> Self {
        Self { otlp: Arc::clone(otlp), service: PhantomData }
    }
}

impl<S: Service> NamedService for ExportService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> tower::Service<HttpRequest<B>> for ExportService<S>
where
    S: Service,
    B: axum::body::HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME));
        if method != Some("/Export") {
            let status = Status::new(Code::Unimplemented, "the only method is Export");
            return async move { Ok(status.into_http()) }.boxed();
        }
        let export = Export { otlp: Arc::clone(&self.otlp), signal: S::SIGNAL };
        async move {
            let mut accepted = EnabledCompressionEncodings::default();
            accepted.enable(CompressionEncoding::Gzip);
            accepted.enable(CompressionEncoding::Zstd);
            let mut sent = EnabledCompressionEncodings::default();
            sent.enable(CompressionEncoding::Gzip);
            let mut grpc = Grpc::new(RawCodec)
                .apply_compression_config(accepted, sent)
                .apply_max_message_size_config(Some(export.otlp.message_bytes_max()), None);
            Ok(exhausted_instead_of_out_of_range(grpc.unary(export, request).await))
        }
        .boxed()
    }
}

/// The method `Export` of one signal.
#[derive(Debug, Clone)]
struct Export {
    otlp: Arc<Otlp>,
    signal: Signal,
}

impl UnaryService<Bytes> for Export {
    /// Field by field, the responses of all signals have the same bytes.
    type Response = ExportMetricsServiceResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self { otlp, signal } = self.clone();
        async move {
            let tenant = grpc::tenant_of(request.metadata(), &TENANT_KEYS)?;
            let exported = otlp.export(signal, tenant, request.into_inner()).await;
            let outcome = exported.map_err(|error| error_status(&error))?;
            reply(&outcome).map(Response::new)
        }
        .boxed()
    }
}

/// Requests stay bytes, responses are encoded.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = ExportMetricsServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = ExportMetricsServiceResponse;
    type Error = Status;

    fn encode(&mut self, response: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        response.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A request that is too large is `RESOURCE_EXHAUSTED`.
///
/// Why: tonic says `OUT_OF_RANGE`, which OTLP clients retry for ever; the service itself never says that.
fn exhausted_instead_of_out_of_range<B>(mut response: HttpResponse<B>) -> HttpResponse<B> {
    const STATUS: &str = "grpc-status";
    const OUT_OF_RANGE: &str = "11";
    const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");
    if response.headers().get(STATUS).is_some_and(|code| code == OUT_OF_RANGE) {
        response.headers_mut().insert(STATUS, RESOURCE_EXHAUSTED);
    }
    response
}
