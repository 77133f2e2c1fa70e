//! The gRPC door of OTLP metrics: `MetricsService/Export`.
//!
//! Takes requests plain, gzip or zstd compressed, answers when the accepted points are durable. A request over the
//! size limit gets `RESOURCE_EXHAUSTED`, which clients do not retry.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use bytes::{Buf as _, Bytes};
use futures::future::{BoxFuture, FutureExt};
use mytsdb_storage::Commit;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::SERVICE_NAME;
use prost::Message as _;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codec::{
    Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder,
};
use tonic::codegen::StdError;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tower::Service;

use super::OtlpOptions;
use super::ingest::{OtlpError, ingest};
use super::known::KnownMetadata;
use super::reply::{error_status, reply};
use crate::core::Core;
use crate::grpc;
use crate::tenant::TENANT_HEADER;

/// Metadata keys that name the tenant.
pub(crate) const TENANT_KEYS: [&str; 1] = [TENANT_HEADER];
/// The one method.
const EXPORT_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Creates the gRPC service over `core`.
pub fn service(core: Arc<Core>, options: OtlpOptions) -> MetricsService {
    MetricsService { export: Export { core, options: Arc::new(options), known: Arc::default() } }
}

/// `MetricsService`: hands the bytes of each message over as they are.
///
/// Why not the generated service: it decodes into owned messages, which costs more than everything else together.
#[derive(Debug, Clone)]
pub struct MetricsService {
    export: Export,
}

impl NamedService for MetricsService {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<HttpRequest<B>> for MetricsService
where
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
        if request.uri().path() != EXPORT_PATH {
            let status = Status::new(Code::Unimplemented, "the only method is Export");
            return async move { Ok(status.into_http()) }.boxed();
        }
        let export = self.export.clone();
        async move {
            let mut accepted = EnabledCompressionEncodings::default();
            accepted.enable(CompressionEncoding::Gzip);
            accepted.enable(CompressionEncoding::Zstd);
            let mut sent = EnabledCompressionEncodings::default();
            sent.enable(CompressionEncoding::Gzip);
            let message_bytes_max = export.options.message_bytes_max;
            let mut grpc = Grpc::new(RawCodec)
                .apply_compression_config(accepted, sent)
                .apply_max_message_size_config(Some(message_bytes_max), None);
            Ok(exhausted_instead_of_out_of_range(grpc.unary(export, request).await))
        }
        .boxed()
    }
}

/// The method `Export` over one core.
#[derive(Debug, Clone)]
struct Export {
    core: Arc<Core>,
    options: Arc<OtlpOptions>,
    known: Arc<KnownMetadata>,
}

impl UnaryService<Bytes> for Export {
    type Response = ExportMetricsServiceResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let export = self.clone();
        async move { export.export(request).await }.boxed()
    }
}

impl Export {
    async fn export(self, request: Request<Bytes>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let tenant = grpc::tenant_of(request.metadata(), &TENANT_KEYS)?;
        let body = request.into_inner();
        let is_small = body.len() <= self.options.inline_bytes_max;
        let blocking = self.core.blocking.clone();
        let work = move || ingest(&self.core, &tenant, &self.options, &self.known, &body);
        let ingested = if is_small {
            work()
        } else {
            blocking.run(work).await.map_err(|error| Status::unavailable(error.to_string()))?
        };
        let (outcome, commit) = ingested.map_err(|error| error_status(&error))?;
        durable(commit).await?;
        reply(&outcome).map(Response::new)
    }
}

/// Waits until a write is on disk as far as the settings say.
async fn durable(commit: Commit) -> Result<(), Status> {
    let (sender, durable) = oneshot::channel();
    commit.on_durable(move |result| {
        // A receiver that is gone means a client that is gone: nobody is left to tell.
        let _gone = sender.send(result);
    });
    let result = durable.await.map_err(|_| Status::unavailable("server is shutting down"))?;
    result.map_err(|error| error_status(&OtlpError::Write(error)))
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
