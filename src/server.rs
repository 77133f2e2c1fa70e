//! Starts a server and takes it down: listeners first, then storage, then ready; down in reverse.
//!
//! Every protocol has its own section in [`Server::start`]; nothing else here knows a protocol.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mytsdb_promql::{Engine, EngineOptions, ParseOptions};
use mytsdb_storage::{MaintainError, OpenError, Storage};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::blocking::Blocking;
use crate::config::Config;
use crate::core::{Core, now_ms};
use crate::flight::{self, FlightOptions};
use crate::gateway;
use crate::grpc::{self, Gate, InflateLimits};
use crate::http::listener::{Http2Windows, ListenerOptions};
use crate::http::security::Security;
use crate::http::{self, HttpState};
use crate::maintenance;
use crate::otlp::{self, Otlp};
use crate::queries::{Queries, QueriesOptions, QueryLog};
use crate::rejections::RejectionLog;
use crate::reload::LimitsReload;
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;
use crate::tenant::TENANT_HEADER;

/// Blocking calls that are always left for writes, whatever queries do.
const BLOCKING_WRITES_MIN: usize = 16;
/// What a gRPC client may send ahead: a batch is few frames.
const GRPC_WINDOWS: Http2Windows =
    Http2Windows { stream_bytes: 4 << 20, connection_bytes: 16 << 20, frame_bytes: 1 << 20 };

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {protocol}: {source}")]
    Bind {
        /// For whom.
        protocol: &'static str,
        /// The address of the configuration.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The storage does not open.
    #[error("cannot open the storage: {0}")]
    Open(#[from] OpenError),
    /// The thread that opened the storage panicked; the panic is in the log.
    #[error("cannot open the storage: internal error")]
    OpenPanicked,
    /// The file of `--query-log-file` cannot be opened.
    #[error("cannot open the query log {path}: {source}")]
    QueryLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of `--web-config` is bad.
    #[error("web config {path}: {reason}")]
    WebConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of `--addresses-file` cannot be written.
    #[error("cannot write {path}: {source}")]
    AddressesFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a server did not go down cleanly. Acknowledged writes are safe all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The head could not be written to blocks; the WAL has it.
    #[error("cannot flush the storage: {0}")]
    Flush(#[from] MaintainError),
    /// The thread that flushed the storage panicked; the panic is in the log.
    #[error("cannot flush the storage: internal error")]
    FlushPanicked,
}

/// The addresses that a running server is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addrs {
    /// Prometheus API, remote write, health.
    pub http: SocketAddr,
    /// Arrow Flight.
    pub arrow: SocketAddr,
    /// OTLP/gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP/HTTP.
    pub otlp_http: SocketAddr,
    /// The GPU API, if it is switched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<SocketAddr>,
}

/// Starts servers.
#[derive(Debug)]
pub struct Server {}

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// What it is bound to.
    pub addrs: Addrs,
    core: Arc<Core>,
    config: Config,
    shutdown: Shutdown,
}

impl Server {
    /// Binds, opens the storage and comes back when the server is ready.
    ///
    /// While the storage opens, HTTP already answers (`503`, and `200` at `/-/healthy`).
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let shutdown = Shutdown::new();
        match Self::start_with(config.clone(), shutdown.clone()).await {
            Ok(running) => Ok(running),
            Err(error) => {
                shutdown.stop(config.limits.shutdown_timeout).await;
                Err(error)
            }
        }
    }

    async fn start_with(config: Config, shutdown: Shutdown) -> Result<Running, StartError> {
        let metrics = Arc::new(Metrics::default());
        let security = open_security(&config)?;

        // All ports first: an address in use is known before a long replay.
        let (http_listener, http_addr) = bind("http", config.http_addr).await?;
        let (arrow_listener, arrow_addr) = bind("arrow", config.arrow_addr).await?;
        let (otlp_listener, otlp_addr) = bind("otlp_grpc", config.otlp_grpc_addr).await?;
        let (otlp_http_listener, otlp_http_addr) = bind("otlp_http", config.otlp_http_addr).await?;
        let gateway = match config.gateway_addr {
            Some(addr) => Some(bind("gateway", addr).await?),
            None => None,
        };
        let addrs = Addrs {
            http: http_addr,
            arrow: arrow_addr,
            otlp_grpc: otlp_addr,
            otlp_http: otlp_http_addr,
            gateway: gateway.as_ref().map(|(_, addr)| *addr),
        };

        // HTTP: answers from now on, is ready later.
        let http_state = Arc::new(HttpState::new(config.clone(), Arc::clone(&metrics), shutdown.clone()));
        let router = http::router(&http_state);
        let options = listener_options(&http_state, security.clone());
        shutdown.spawn(http::listener::serve(http_listener, router, options.clone(), shutdown.clone()));
        let router = otlp::http::port_router(&http_state);
        shutdown.spawn(http::listener::serve(otlp_http_listener, router, options.clone(), shutdown.clone()));
        if let Some((gateway_listener, _)) = gateway {
            let router = gateway::router(&http_state);
            shutdown.spawn(http::listener::serve(gateway_listener, router, options, shutdown.clone()));
        }

        let core = Arc::new(open_core(&config, metrics, security.clone()).await?);

        shutdown.spawn(maintenance::run(Arc::clone(&core), shutdown.clone()));
        shutdown.spawn(maintenance::compact(Arc::clone(&core), shutdown.clone()));

        // Arrow Flight.
        let service = flight::service(Arc::clone(&core), flight_options(&config));
        let gate = gate_of("flight", &flight::TENANT_KEYS, &core, &http_state);
        let router = grpc::router(Routes::new(service), gate);
        let options = grpc_listener_options(&http_state, security.clone(), &flight::TENANT_KEYS);
        shutdown.spawn(http::listener::serve(arrow_listener, router, options, shutdown.clone()));

        // OTLP/gRPC.
        let otlp = Arc::new(Otlp::new(Arc::clone(&core), config.otlp.clone()));
        let gate = gate_of("otlp", &otlp::grpc::TENANT_KEYS, &core, &http_state);
        let router = grpc::router(otlp::grpc::routes(&otlp), gate);
        let options = grpc_listener_options(&http_state, security, &otlp::grpc::TENANT_KEYS);
        shutdown.spawn(http::listener::serve(otlp_listener, router, options, shutdown.clone()));

        http_state.set_ready(Arc::clone(&core), otlp);
        if let Some(path) = &config.addresses_file {
            write_addresses(path.clone(), addrs).await?;
        }
        info!(
            http = %addrs.http, arrow = %addrs.arrow, otlp_grpc = %addrs.otlp_grpc,
            otlp_http = %addrs.otlp_http, "ready"
        );
        Ok(Running { addrs, core, config, shutdown })
    }
}

impl Running {
    /// The core, for tests that look behind the protocols.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Comes back when a client asked over `/-/quit` that the server ends.
    pub fn quit_asked(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shutdown.quit_asked()
    }

    /// Stops accepting, finishes what runs (at most `--shutdown-timeout`), flushes and closes the storage.
    ///
    /// # Errors
    /// [`ShutdownError`].
    pub async fn shutdown(self) -> Result<(), ShutdownError> {
        info!("going down");
        if !self.shutdown.stop(self.config.limits.shutdown_timeout).await {
            warn!("requests were still running after the shutdown timeout and were dropped");
        }
        let core = self.core;
        let closed = tokio::task::spawn_blocking(move || {
            let outcome = core.storage.close(now_ms());
            // The last owner closes the storage; a query that outlived its request may still hold it.
            drop(core);
            outcome
        });
        closed.await.map_err(|_| ShutdownError::FlushPanicked)??;
        info!("down");
        Ok(())
    }
}

/// Binds and returns the address that is really bound, as port 0 means any.
async fn bind(protocol: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { protocol, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    info!(protocol, addr = %bound, "listening");
    Ok((listener, bound))
}

/// How a port of HTTP is served.
fn listener_options(state: &HttpState, security: Option<Arc<Security>>) -> ListenerOptions {
    ListenerOptions {
        connection_count_max: state.config.limits.connection_count_max,
        read_timeout: state.config.limits.read_timeout,
        security,
        tenant_keys: &[TENANT_HEADER],
        windows: None,
        penalties: Arc::clone(&state.penalties),
        metrics: Arc::clone(&state.metrics),
    }
}

/// How a port of gRPC is served.
fn grpc_listener_options(
    state: &HttpState,
    security: Option<Arc<Security>>,
    tenant_keys: &'static [&'static str],
) -> ListenerOptions {
    ListenerOptions {
        connection_count_max: state.config.limits.grpc_connection_count_max,
        windows: Some(GRPC_WINDOWS),
        tenant_keys,
        ..listener_options(state, security)
    }
}

/// What bounds the calls of a gRPC port.
fn gate_of(
    protocol: &'static str,
    tenant_keys: &'static [&'static str],
    core: &Arc<Core>,
    http_state: &HttpState,
) -> Gate {
    Gate {
        core: Arc::clone(core),
        inflight: Arc::clone(&http_state.inflight),
        tenant_keys,
        protocol,
        read_timeout: http_state.config.limits.read_timeout,
        inflate: InflateLimits {
            turns: Arc::new(Semaphore::new(http::INFLATE_TURN_COUNT)),
            bytes_max: http_state.config.limits.grpc_message_bytes_max,
        },
    }
}

fn flight_options(config: &Config) -> FlightOptions {
    FlightOptions {
        message_bytes_max: config.limits.grpc_message_bytes_max,
        decoding_bytes_max: config.limits.write_inflight_bytes_max,
        query_timeout: config.query.timeout,
        is_admin_api_enabled: config.is_admin_api_enabled,
        ..FlightOptions::default()
    }
}

fn queries_options(config: &Config) -> QueriesOptions {
    QueriesOptions {
        concurrency_max: config.query.concurrency_max,
        waiting_count_max: config.query.waiting_count_max,
        tenant_bytes_max: config.query.tenant_bytes_max,
        bytes_max: config.query.total_bytes_max,
    }
}

/// Reads the file of `--web-config`, if there is one.
fn open_security(config: &Config) -> Result<Option<Arc<Security>>, StartError> {
    let Some(path) = &config.web_config else { return Ok(None) };
    let security =
        Security::open(path).map_err(|reason| StartError::WebConfig { path: path.clone(), reason })?;
    Ok(Some(Arc::new(security)))
}

async fn open_core(
    config: &Config,
    metrics: Arc<Metrics>,
    security: Option<Arc<Security>>,
) -> Result<Core, StartError> {
    let query_log = match &config.query.log_file {
        Some(path) => {
            Some(QueryLog::open(path).map_err(|source| StartError::QueryLog { path: path.clone(), source })?)
        }
        None => None,
    };
    let options = config.storage.clone();
    let data_dir = options.data_dir.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Storage::open(options, now_ms())).await;
    let storage = opened.map_err(|_| StartError::OpenPanicked)?.inspect_err(|error| {
        error!(%error, data_dir, "the storage does not open");
    })?;
    info!(data_dir, "storage is open");
    Ok(Core {
        storage: Arc::new(storage),
        engine: Engine::new(EngineOptions {
            lookback_ms: config.query.lookback_ms,
            query_bytes_max: config.query.bytes_max,
            delayed_name_removal: config.query.features.delayed_name_removal,
            use_start_timestamps: config.query.features.use_start_timestamps,
            type_and_unit_labels: config.query.features.type_and_unit_labels,
            ..EngineOptions::default()
        }),
        parse_options: ParseOptions {
            query_bytes_max: config.query.text_bytes_max,
            ..ParseOptions::default()
        },
        queries: Queries::new(queries_options(config), query_log),
        security,
        rejections: RejectionLog::default(),
        limits_file: config
            .limits_file
            .clone()
            .map(|path| LimitsReload::new(path, config.tenant_flags.clone())),
        blocking: Blocking::new(config.query.concurrency_max + BLOCKING_WRITES_MIN),
        metrics,
    })
}

/// Writes the addresses under a temporary name first, so that nobody reads half of them.
async fn write_addresses(path: PathBuf, addrs: Addrs) -> Result<(), StartError> {
    let failed = |source| StartError::AddressesFile { path: path.clone(), source };
    let json = serde_json::to_vec(&addrs).map_err(|error| failed(error.into()))?;
    let temporary = path.with_extension("tmp");
    let target = path.clone();
    let written = tokio::task::spawn_blocking(move || {
        std::fs::write(&temporary, json)?;
        std::fs::rename(&temporary, &target)
    });
    written.await.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(failed)
}
