//! A null sink: answers every export with full success, without reading what it says.
//!
//! Input: OTLP over gRPC, and any HTTP/1.1 POST (OTLP, remote write). Output: an empty answer, and counts of requests and bytes.
//! For measuring senders, and nothing else. Not here: Arrow Flight.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};

const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// An uncompressed message of no bytes.
const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; 5]);
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a sink has swallowed.
#[derive(Debug, Default)]
pub struct Swallowed {
    request_count: AtomicU64,
    body_bytes: AtomicU64,
}

impl Swallowed {
    /// Returns the number of requests and the bytes of their bodies, as they came.
    pub fn counts(&self) -> (u64, u64) {
        (self.request_count.load(Ordering::Relaxed), self.body_bytes.load(Ordering::Relaxed))
    }
}

/// A sink that listens.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
    swallowed: Arc<Swallowed>,
}

impl Sink {
    /// Listens on `address`.
    ///
    /// # Errors
    /// As the operating system has them.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, swallowed: Arc::default() })
    }

    /// Returns where it listens.
    ///
    /// # Errors
    /// As the operating system has them.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the counters.
    pub fn swallowed(&self) -> Arc<Swallowed> {
        Arc::clone(&self.swallowed)
    }

    /// Swallows for as long as it is polled.
    pub async fn run(self) {
        loop {
            // A connection that cannot be accepted is the sender's to repeat.
            let Ok((stream, _)) = self.listener.accept().await else { continue };
            tokio::spawn(serve(stream, Arc::clone(&self.swallowed)));
        }
    }
}

async fn serve(stream: TcpStream, swallowed: Arc<Swallowed>) {
    // Without it answers wait for more; a connection that is closed already ends by itself.
    let _closed = stream.set_nodelay(true);
    let service = service_fn(move |request| swallow(request, Arc::clone(&swallowed)));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    // What goes wrong on a connection is the sender's to see.
    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn swallow(
    request: Request<Incoming>,
    swallowed: Arc<Swallowed>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, hyper::Error> {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let bytes = frame?.data_ref().map_or(0, Bytes::len);
        swallowed.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    swallowed.request_count.fetch_add(1, Ordering::Relaxed);
    let answer = if is_grpc {
        let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        Full::new(EMPTY_MESSAGE).with_trailers(async { Some(Ok(trailers)) }).boxed()
    } else {
        Full::new(Bytes::new()).boxed()
    };
    let mut answer = Response::new(answer);
    let kind = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(answer)
}
