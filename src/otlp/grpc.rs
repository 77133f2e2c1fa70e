//! The gRPC doors of OTLP: `MetricsService`, `TraceService` and `LogsService`, each with its `Export`.
//!
//! Takes requests plain, gzip or zstd compressed, answers when the accepted points are durable. A request over the
//! size limit gets `RESOURCE_EXHAUSTED`, which clients do not retry.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Request as HttpRequest, Response as HttpResponse};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};

use super::door::Otlp;
use super::reply::{error_status, reply};
use super::signal::Signal;
use crate::grpc;
use crate::tenant::TENANT_HEADER;

/// Metadata keys that name the tenant.
pub(crate) const TENANT_KEYS: [&str; 1] = [TENANT_HEADER];

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
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
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
        let otlp = Arc::clone(&self.otlp);
        async move { Ok(export(otlp, S::SIGNAL, request).await.unwrap_or_else(Status::into_http)) }.boxed()
    }
}

/// The method `Export` of one signal.
async fn export<B>(
    otlp: Arc<Otlp>,
    signal: Signal,
    request: HttpRequest<B>,
) -> Result<HttpResponse<Body>, Status>
where
    B: axum::body::HttpBody<Data = Bytes>,
    B::Error: Into<StdError>,
{
    let (head, body) = request.into_parts();
    grpc::check_encoding(&head.headers)?;
    let tenant = grpc::tenant_of(&MetadataMap::from_headers(head.headers), &TENANT_KEYS)?;
    let message = grpc::receive_message(body, otlp.message_bytes_max()).await?;
    let exported = otlp.export(signal, tenant, message).await;
    let outcome = exported.map_err(|error| error_status(&error))?;
    // Field by field, the responses of all signals have the same bytes.
    Ok(grpc::response(&reply(&outcome)?))
}
