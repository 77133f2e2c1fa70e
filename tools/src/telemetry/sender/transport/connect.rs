//! Connections to the endpoint: TCP, TLS if asked for, and every byte of them counted.
//!
//! Input: an endpoint and authorities to trust. Output: a stream. Used for every protocol, so that "bytes on the wire" means
//! the same for all. Authorities come from a PEM file, by default the one that the operating system keeps.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::Service;

use crate::telemetry::sender::endpoint::Endpoint;

/// Where operating systems keep the authorities that they trust.
const SYSTEM_CA_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No file of authorities was given or found.
    #[error("no file of authorities found in {}: give --ca-file, or --insecure for plaintext", SYSTEM_CA_FILES.join(", "))]
    NoAuthorities,
    /// The file of authorities cannot be used.
    #[error("{path}: {reason}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// Bytes that all connections carried, TLS and framing included.
#[derive(Debug, Default)]
pub struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Traffic {
    /// Returns bytes sent and received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent_bytes.load(Ordering::Relaxed), self.received_bytes.load(Ordering::Relaxed))
    }
}

/// Makes connections to one endpoint.
#[derive(Clone)]
pub struct Dialer {
    endpoint: Arc<Endpoint>,
    tls: Option<TlsConnector>,
    traffic: Arc<Traffic>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Dialer({})", self.endpoint)
    }
}

/// A connection, encrypted or not.
pub type Connection = Box<dyn ReadWrite>;

/// What a connection can do.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

impl Dialer {
    /// Prepares connections; `is_http2` is what TLS negotiates.
    ///
    /// # Errors
    /// [`TlsError`] if the endpoint is encrypted and there are no usable authorities.
    pub fn new(
        endpoint: &Endpoint,
        ca_file: Option<&Path>,
        is_http2: bool,
        traffic: Arc<Traffic>,
    ) -> Result<Self, TlsError> {
        let tls = if endpoint.is_tls { Some(tls_connector(ca_file, is_http2)?) } else { None };
        Ok(Self { endpoint: Arc::new(endpoint.clone()), tls, traffic })
    }

    /// Returns whom it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects.
    ///
    /// # Errors
    /// As the operating system and TLS have them.
    pub async fn dial(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        tcp.set_nodelay(true)?;
        let tcp = Counted { inner: tcp, traffic: Arc::clone(&self.traffic) };
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.endpoint.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Connection>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _address: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}

fn tls_connector(ca_file: Option<&Path>, is_http2: bool) -> Result<TlsConnector, TlsError> {
    let system = || SYSTEM_CA_FILES.iter().map(Path::new).find(|path| path.is_file());
    let path = ca_file.or_else(system).ok_or(TlsError::NoAuthorities)?;
    let failed = |reason: String| TlsError::Authorities { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let added = roots.add(certificate);
        // Systems keep old authorities that the library does not read; a file of the user's own is read whole.
        if let (Err(error), Some(_)) = (added, ca_file) {
            return Err(failed(error.to_string()));
        }
    }
    if roots.is_empty() {
        return Err(failed("holds no certificate; allowed is PEM".to_owned()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    fn count_sent(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.traffic.sent_bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read_bytes = (buffer.filled().len() - before) as u64;
        self.traffic.received_bytes.fetch_add(read_bytes, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.count_sent(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.count_sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
