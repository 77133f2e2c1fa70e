//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, with TLS and accounts if there are any, until the server
//! goes down; every port uses it.
//!
//! Limits: connections at a time, time until the first request, time to send headers, streams, windows and headers of an
//! HTTP/2 connection, control frames; who floods waits. A connection that fails costs nobody else anything. Not here:
//! what is answered (a [`Router`]), what is a flood (see [`floods`](super::floods)).

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::Service;
use tracing::{debug, warn};

use super::floods::{Admission, ControlBudget, Penalties};
use super::metered::Metered;
use super::security::{Guarded, Security, guard};
use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

/// Most streams of one HTTP/2 connection at a time.
const HTTP2_STREAM_COUNT_MAX: u32 = 256;

/// Most bytes of headers of one HTTP/2 request.
const HTTP2_HEADER_BYTES_MAX: u32 = 64 << 10;

/// Most bytes of answers of one HTTP/2 stream that wait for a client that does not read.
const HTTP2_SEND_BYTES_MAX: usize = 1 << 20;

/// How long the client may take to answer a ping.
const HTTP2_PING_WAIT: Duration = Duration::from_secs(20);

/// Longest time of a TLS handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// Pause after the system could not accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address at the other end of a connection, as an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddr(pub SocketAddr);

/// How a port is served.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Most connections at a time; more wait to be accepted.
    pub connection_count_max: usize,
    /// Longest time from the connection to the first request, and for the headers of any HTTP/1.1 request.
    pub read_timeout: Duration,
    /// TLS and accounts; `None` = everybody may connect and ask.
    pub security: Option<Arc<Security>>,
    /// Headers that name a tenant, first come first.
    pub tenant_keys: &'static [&'static str],
    /// Windows of HTTP/2; `None` = small ones, as for requests of people.
    pub windows: Option<Http2Windows>,
    /// Who flooded, on any port.
    pub penalties: Arc<Penalties>,
    /// Where floods are counted.
    pub metrics: Arc<Metrics>,
}

/// How much a client may send ahead over HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2Windows {
    /// Most bytes of one stream that may be under way.
    pub stream_bytes: u32,
    /// Most bytes of one connection that may be under way.
    pub connection_bytes: u32,
    /// Largest frame.
    pub frame_bytes: u32,
}

/// Serves `router` on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, router: Router, options: ListenerOptions, shutdown: Shutdown) {
    let router = match &options.security {
        Some(security) => {
            let guarded = Guarded { security: Arc::clone(security), tenant_keys: options.tenant_keys };
            router.layer(from_fn_with_state(guarded, guard))
        }
        None => router,
    };
    let permits = Arc::new(Semaphore::new(options.connection_count_max));
    let server = Arc::new(PortServer {
        builder: connection_builder(&options),
        router,
        options,
        shutdown: shutdown.clone(),
    });
    let mut stopping = pin!(shutdown.stopping());
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stopping => return,
        };
        let Ok(permit) = permit else { return };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let server = Arc::clone(&server);
        match server.options.penalties.admit(peer.ip(), Instant::now()) {
            Admission::Closed => continue,
            Admission::Served => shutdown.spawn(async move {
                server.serve_stream(stream, peer).await;
                drop(permit);
            }),
            Admission::After(wait) => shutdown.spawn(async move {
                let stopping = server.shutdown.stopping();
                let is_stopping = tokio::time::timeout(wait, stopping).await.is_ok();
                server.options.penalties.waited(peer.ip());
                if !is_stopping {
                    server.serve_stream(stream, peer).await;
                }
                drop(permit);
            }),
        }
    }
}

/// The pause of the accept loop: a connection that broke costs none, a lack of descriptors does.
async fn pause_after(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused => {}
        _ => {
            warn!(%error, "cannot accept connections");
            TokioTimer::new().sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn connection_builder(options: &ListenerOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(options.read_timeout);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAM_COUNT_MAX)
        .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .keep_alive_interval(options.read_timeout)
        .keep_alive_timeout(HTTP2_PING_WAIT);
    if let Some(windows) = options.windows {
        http2
            .initial_stream_window_size(windows.stream_bytes)
            .initial_connection_window_size(windows.connection_bytes)
            .max_frame_size(windows.frame_bytes);
    }
    builder
}

/// What all connections of a port share.
struct PortServer {
    builder: Builder<TokioExecutor>,
    router: Router,
    options: ListenerOptions,
    shutdown: Shutdown,
}

impl PortServer {
    async fn serve_stream(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "connection is gone before it was served");
            return;
        }
        let tls = self.options.security.as_ref().and_then(|security| security.tls());
        let Some(tls) = tls else { return self.serve_connection(stream, peer).await };
        let handshake = TlsAcceptor::from(tls).accept(stream);
        match tokio::time::timeout(HANDSHAKE_WAIT.min(self.options.read_timeout), handshake).await {
            Ok(Ok(stream)) => self.serve_connection(stream, peer).await,
            Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let first_request = Arc::new(Notify::new());
        let budget = Arc::new(ControlBudget::new(Instant::now()));
        let stream = Metered::new(stream, Arc::clone(&budget));
        let (has_asked, router) = (Arc::clone(&first_request), self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            has_asked.notify_one();
            request.extensions_mut().insert(ClientAddr(peer));
            let mut router = router.clone();
            async move {
                let response: Result<_, Infallible> = router.call(request.map(Body::new)).await;
                response
            }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        // A client that connects and says nothing, or very slowly, is not waited for.
        let silence = async {
            let asked = tokio::time::timeout(self.options.read_timeout, first_request.notified()).await;
            match asked {
                Ok(()) => std::future::pending::<()>().await,
                Err(_) => {
                    debug!(%peer, "connection ended: no request within the limit of --http-read-timeout")
                }
            }
        };
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = silence => return,
            () = self.shutdown.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        let Err(error) = outcome else { return };
        debug!(%peer, %error, "connection ended with an error");
        let kind = if budget.is_overdrawn() {
            Some("control_frames")
        } else {
            is_reset_flood(error.as_ref()).then_some("resets")
        };
        if let Some(kind) = kind {
            self.options.metrics.flooded(kind);
            self.options.penalties.flooded(peer.ip(), Instant::now());
        }
    }
}

/// Whether a connection was ended because its client opened and reset streams without end.
fn is_reset_flood(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| Error::source(*error))
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && !error.is_remote())
}
