//! The gRPC door of OTLP metrics: `MetricsService/Export`.
//!
//! Takes requests plain, gzip or zstd compressed, answers when the accepted points are durable. A request over the
//! size limit gets `RESOURCE_EXHAUSTED`, which clients do not retry.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use hashbrown::HashSet;
use mytsdb_storage::model::{MetricMetadata, TenantId};
use mytsdb_storage::{Commit, WriteBatch};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower::Service;

use super::OtlpOptions;
use super::decode::decode;
use super::reply::Outcome;
use crate::core::Core;
use crate::grpc::{self, write_status};
use crate::rejections::RejectedPoints;
use crate::tenant::TENANT_HEADER;

/// The protocol in the words of the metrics.
const PROTOCOL: &str = "otlp";
/// Metadata keys that name the tenant.
pub(crate) const TENANT_KEYS: [&str; 1] = [TENANT_HEADER];
/// Metadata remembered as stored; beyond it the memory starts afresh.
const KNOWN_METADATA_COUNT_MAX: usize = 100_000;

/// Creates the gRPC service over `core`.
pub fn service(core: Arc<Core>, options: OtlpOptions) -> OtlpMetrics<MetricsServiceServer<Metrics>> {
    let message_bytes_max = options.message_bytes_max;
    let metrics = Metrics { core, options: Arc::new(options), known: Arc::default() };
    let server = MetricsServiceServer::new(metrics)
        .max_decoding_message_size(message_bytes_max)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip);
    OtlpMetrics { server }
}

/// The metrics service over one core.
#[derive(Debug)]
pub struct Metrics {
    core: Arc<Core>,
    options: Arc<OtlpOptions>,
    known: Arc<RwLock<HashSet<u128>>>,
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let tenant = grpc::tenant_of(request.metadata(), &TENANT_KEYS)?;
        let request = request.into_inner();
        let (core, options) = (Arc::clone(&self.core), Arc::clone(&self.options));
        let known = Arc::clone(&self.known);
        let is_small = metric_count(&request) <= self.options.inline_metric_count_max;
        let work = move || ingest(&core, &tenant, &options, &known, &request);
        let (outcome, commit) = if is_small {
            work()?
        } else {
            self.core.blocking.run(work).await.map_err(|error| Status::unavailable(error.to_string()))??
        };
        let (sender, durable) = oneshot::channel();
        commit.on_durable(move |result| {
            // A receiver that is gone means a client that is gone: nobody is left to tell.
            let _gone = sender.send(result);
        });
        durable
            .await
            .map_err(|_| Status::unavailable("server is shutting down"))?
            .map_err(|error| write_status(&error))?;
        outcome.reply().map(Response::new)
    }
}

fn metric_count(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.map(|scope| scope.metrics.len()).sum()
}

/// Translates and appends a request; what it returns may be told once the commit is durable.
fn ingest(
    core: &Core,
    tenant: &TenantId,
    options: &OtlpOptions,
    known: &RwLock<HashSet<u128>>,
    request: &ExportMetricsServiceRequest,
) -> Result<(Outcome, Commit), Status> {
    let mut decoded = {
        let known = known.read().unwrap_or_else(PoisonError::into_inner);
        decode(&core.storage, tenant, options, request, |digest| known.contains(&digest))
    };
    let (digests, metadata): (Vec<u128>, Vec<MetricMetadata>) =
        std::mem::take(&mut decoded.metadata).into_iter().unzip();
    let batch = WriteBatch {
        keys: &decoded.keys,
        sample_ends: &decoded.sample_ends,
        timestamps_ms: &decoded.timestamps_ms,
        values: &decoded.values,
        starts: decoded.starts.runs(),
        labels: &decoded,
        histograms: &[],
        exemplars: &[],
        metadata: &metadata,
    };
    let (report, commit) =
        core.storage.submit(tenant, &batch, core.now_ms()).map_err(|error| write_status(&error))?;
    if !digests.is_empty() {
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + digests.len() > KNOWN_METADATA_COUNT_MAX {
            known.clear();
        }
        known.extend(digests);
    }
    let outcome = Outcome::new(&decoded, &report);
    core.metrics.accepted_samples(PROTOCOL, report.accepted_sample_count);
    for (reason, count, _) in &outcome.reasons {
        core.metrics.rejected_points(PROTOCOL, reason, tenant.as_str(), *count);
    }
    let now_ms = core.now_ms();
    core.rejections.add_batch(tenant, (PROTOCOL, now_ms), &report.rejections, &decoded);
    for (reason, (point_count, message)) in &decoded.refused.by_reason {
        let entry = RejectedPoints {
            time_ms: now_ms,
            protocol: PROTOCOL,
            reason,
            // The message names it.
            metric: String::new(),
            message: message.clone(),
            point_count: *point_count,
        };
        core.rejections.add(tenant, entry);
    }
    Ok((outcome, commit))
}

/// The service as the protocol wants it: a request that is too large is `RESOURCE_EXHAUSTED`.
///
/// Why: tonic says `OUT_OF_RANGE`, which OTLP clients retry for ever; the service itself never says that.
#[derive(Debug, Clone)]
pub struct OtlpMetrics<S> {
    server: S,
}

impl<S: NamedService> NamedService for OtlpMetrics<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, RequestBody, ReplyBody> Service<HttpRequest<RequestBody>> for OtlpMetrics<S>
where
    S: Service<HttpRequest<RequestBody>, Response = HttpResponse<ReplyBody>, Error = Infallible>,
    S::Future: Send + 'static,
    ReplyBody: 'static,
{
    type Response = HttpResponse<ReplyBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.server.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest<RequestBody>) -> Self::Future {
        self.server.call(request).map_ok(exhausted_instead_of_out_of_range).boxed()
    }
}

fn exhausted_instead_of_out_of_range<B>(mut response: HttpResponse<B>) -> HttpResponse<B> {
    const STATUS: &str = "grpc-status";
    const OUT_OF_RANGE: &str = "11";
    const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");
    if response.headers().get(STATUS).is_some_and(|code| code == OUT_OF_RANGE) {
        response.headers_mut().insert(STATUS, RESOURCE_EXHAUSTED);
    }
    response
}
