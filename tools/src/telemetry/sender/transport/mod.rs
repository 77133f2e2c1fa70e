//! How requests reach the endpoint: one transport a worker, whatever the protocol.
//!
//! Reading order: [`connect`] (TCP, TLS) → [`grpc`], [`http_client`], [`http`], [`flight`]. A transport has one request of its
//! worker in flight, so a worker's series stay in order, retries included; connections of HTTP/2 are shared by the workers.
//! Not here: retries and time limits (see `worker`).

pub mod connect;
mod flight;
mod grpc;
mod http;
pub mod http_client;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use self::connect::{Dialer, TlsError, Traffic};
use self::flight::FlightTransport;
use self::grpc::GrpcTransport;
use self::http::{Content, HttpTransport};
use self::http_client::HttpClient;
use super::answer::Answer;
use super::config::Config;
use super::options::Protocol;
use crate::telemetry::replay::Request;

const TENANT_HEADER: &str = "x-scope-orgid";
/// How often a server that is not there is tried at the start.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no way to the endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answered in time.
    #[error("cannot reach {endpoint} within {waited:?}: {reason}")]
    Unreachable {
        /// Whom.
        endpoint: String,
        /// How long it was tried.
        waited: Duration,
        /// The last reason.
        reason: String,
    },
    /// A path or host that no request can have.
    #[error("{endpoint} cannot be used: {reason}")]
    Endpoint {
        /// Which.
        endpoint: String,
        /// Why.
        reason: String,
    },
}

/// A worker's way to the endpoint.
#[derive(Debug)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc(GrpcTransport),
    /// OTLP/HTTP and remote write.
    Http(HttpTransport),
    /// Arrow Flight.
    Flight(FlightTransport),
}

impl Transport {
    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        match self {
            Self::Grpc(grpc) => grpc.send(request).await,
            Self::Http(http) => http.send(request).await,
            Self::Flight(flight) => flight.send(request).await,
        }
    }
}

/// Makes the transports of a run.
#[derive(Debug)]
pub struct Transports {
    dialer: Dialer,
    /// Shared by the workers; none for HTTP/1.1.
    channels: Vec<Channel>,
}

impl Transports {
    /// Reaches the endpoint, trying until `--connect-timeout` is over.
    ///
    /// # Errors
    /// [`TransportError`] if nobody answers, or TLS cannot be.
    pub async fn connect(config: &Config, traffic: Arc<Traffic>) -> Result<Self, TransportError> {
        let protocol = config.flags.protocol;
        let is_http2 = matches!(protocol, Protocol::OtlpGrpc | Protocol::Flight);
        let dialer = Dialer::new(&config.endpoint, config.flags.ca_file.as_deref(), is_http2, traffic)?;
        let mut channels = Vec::new();
        let connection_count =
            if is_http2 { config.flags.connections.min(config.flags.concurrency) } else { 0 };
        let deadline = Instant::now() + config.flags.connect_timeout;
        // One connection is tried even if none is kept, so that a wrong address is known at the start.
        loop {
            let once = async {
                if is_http2 {
                    grpc::connect(&dialer).await.map(|channel| channels.push(channel))
                } else {
                    dialer.dial().await.map(drop).map_err(|error| error.to_string())
                }
            };
            let tried = timeout_at(deadline, once).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            match tried {
                Ok(()) if channels.len() >= connection_count => return Ok(Self { dialer, channels }),
                Ok(()) => {}
                Err(_) if Instant::now() + CONNECT_PAUSE < deadline => sleep(CONNECT_PAUSE).await,
                Err(reason) => {
                    let waited = config.flags.connect_timeout;
                    return Err(TransportError::Unreachable {
                        endpoint: config.endpoint.to_string(),
                        waited,
                        reason,
                    });
                }
            }
        }
    }

    /// Makes the transport of a worker.
    ///
    /// # Errors
    /// [`TransportError`] if no request can have the endpoint's path.
    pub fn of_worker(&self, config: &Config, worker: usize) -> Result<Transport, TransportError> {
        let headers = headers_of(config, worker);
        let channel = self.channels.get(worker % self.channels.len().max(1)).cloned();
        let content = match (config.flags.protocol, channel) {
            (Protocol::OtlpGrpc, Some(channel)) => {
                return Ok(Transport::Grpc(GrpcTransport::new(channel, headers, config.flags.compression)));
            }
            (Protocol::Flight, Some(channel)) => {
                let metadata = MetadataMap::from_headers(headers);
                return Ok(Transport::Flight(FlightTransport::new(channel, metadata, config.flags.timeout)));
            }
            (Protocol::RemoteWrite, _) => Content::RemoteWriteV1,
            (Protocol::RemoteWriteV2, _) => Content::RemoteWriteV2,
            _ => Content::Otlp(config.flags.compression),
        };
        let http = HttpClient::new(self.dialer.clone())
            .and_then(|client| HttpTransport::new(client, content, &config.endpoint.path, headers));
        http.map(Transport::Http)
            .map_err(|reason| TransportError::Endpoint { endpoint: config.endpoint.to_string(), reason })
    }
}

/// The headers of a worker's requests: those of the settings, its tenant, and who sends.
pub fn headers_of(config: &Config, worker: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("telemetry-sender/", env!("CARGO_PKG_VERSION"))),
    );
    for header in &config.headers {
        headers.append(header.name.clone(), header.value.clone());
    }
    // Tenants were checked to be visible ASCII.
    if let Some(Ok(tenant)) = config.tenant_of(worker).map(HeaderValue::from_str) {
        headers.insert(TENANT_HEADER, tenant);
    }
    headers
}
