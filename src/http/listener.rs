//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them until the server goes down.
//!
//! Limits: connections at a time, time to send headers, streams per HTTP/2 connection. A connection that fails
//! costs nobody else anything.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Service;
use tracing::{debug, warn};

use crate::config::Limits;
use crate::shutdown::Shutdown;

/// Most streams of one HTTP/2 connection at a time.
const HTTP2_STREAM_COUNT_MAX: u32 = 256;

/// Pause after the system could not accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address at the other end of a connection, as an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddr(pub SocketAddr);

/// Serves `router` on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(limits.connection_count_max));
    let builder = Arc::new(connection_builder(&limits));
    let mut stopping = pin!(shutdown.stopping());
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopping => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let connection =
            serve_connection(stream, peer, router.clone(), Arc::clone(&builder), shutdown.clone());
        shutdown.spawn(async move {
            connection.await;
            drop(permit);
        });
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

fn connection_builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAM_COUNT_MAX)
        .keep_alive_interval(limits.read_timeout);
    builder
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    builder: Arc<Builder<TokioExecutor>>,
    shutdown: Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "connection is gone before it was served");
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddr(peer));
        let mut router = router.clone();
        async move {
            let response: Result<_, Infallible> = router.call(request.map(Body::new)).await;
            response
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "connection ended with an error");
    }
}
