//! Prometheus remote write 1.0 over HTTP/1.1, one request at a time on a connection that is kept.
//!
//! Source: Prometheus remote write 1.0 specification.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CONNECT_TIMEOUT, Outcome, REQUEST_TIMEOUT, SendError, Target, causes, with_name};
use crate::bench_load::wire::{encode_labels, put_field, put_series};
use crate::gpu::metric::{Kind, Known};
use crate::gpu::player::Sample;
use crate::gpu::recording::Recording;

const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Says how many samples were written, also if some were refused.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// Sends over one connection.
#[derive(Debug)]
pub struct RemoteWriteSender {
    uri: Uri,
    authority: String,
    tenant: Option<String>,
    recording: Arc<Recording>,
    /// By series: its labels, encoded.
    labels: Vec<Vec<u8>>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl RemoteWriteSender {
    /// Prepares sending.
    ///
    /// # Errors
    /// [`SendError::Never`] if the endpoint cannot be.
    pub fn new(target: &Target, recording: Arc<Recording>) -> Result<Self, SendError> {
        let wrong = |reason: &str| SendError::never(format!("{:?} is no address: {reason}", target.endpoint));
        let uri: Uri = target.endpoint.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it does not start with http://"));
        }
        let host = uri.host().ok_or_else(|| wrong("there is no host"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let labels = recording.series.iter().map(|series| encode_labels(&with_name(series))).collect();
        Ok(Self { authority, uri, tenant: target.tenant.clone(), recording, labels, connection: None })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, samples: &[Sample]) -> Result<Outcome, SendError> {
        let (mut connection, is_new) = match self.connection.take().filter(|known| !known.is_closed()) {
            Some(connection) => (connection, false),
            None => (self.connect().await?, true),
        };
        let mut message = Vec::new();
        for sample in samples {
            if let Some(labels) = self.labels.get(sample.series as usize) {
                put_series(&mut message, labels, sample.time_ms, sample.value);
            }
        }
        if is_new {
            let metrics = self.recording.metrics();
            metrics.iter().for_each(|(name, known)| put_field(&mut message, 3, &metadata(name, known)));
        }
        let body = snap::raw::Encoder::new().compress_vec(&message).map_err(SendError::never)?;
        let request = self.request(body)?;
        let exchange = async {
            connection.ready().await?;
            connection.send_request(request).await
        };
        let answer = timeout(REQUEST_TIMEOUT, exchange)
            .await
            .map_err(|_| SendError::later(format!("no answer within {REQUEST_TIMEOUT:?}")))?
            .map_err(|error| SendError::later(causes(&error)))?;
        let outcome = read_answer(answer, samples.len() as u64).await?;
        // Kept only while it works.
        self.connection = Some(connection);
        Ok(outcome)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, SendError> {
        let failed =
            |reason: String| SendError::later(format!("cannot connect to {}: {reason}", self.authority));
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| failed(format!("nobody answered within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (connection, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|error| failed(causes(&error)))?;
        // It ends with the connection; what goes wrong is told to the request that is under way.
        tokio::spawn(driver);
        Ok(connection)
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Full<Bytes>>, SendError> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, "gpu-csv-replay")
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        request.body(Full::new(body.into())).map_err(SendError::never)
    }
}

/// A `MetricMetadata`.
fn metadata(name: &str, known: &Known) -> Vec<u8> {
    let kind = match known.kind {
        Kind::Unknown => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
    };
    let mut metadata = vec![1 << 3, kind];
    put_field(&mut metadata, 2, name.as_bytes());
    put_field(&mut metadata, 4, known.help.as_bytes());
    metadata
}

async fn read_answer(
    answer: Response<hyper::body::Incoming>,
    sample_count: u64,
) -> Result<Outcome, SendError> {
    let (head, body) = answer.into_parts();
    let body = timeout(REQUEST_TIMEOUT, Limited::new(body, ANSWER_BYTES_MAX).collect())
        .await
        .map_err(|_| SendError::later("the answer does not end"))?
        .map_err(SendError::later)?;
    let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    let number =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let reason = format!("the server answered {}: {text}", head.status);
    match head.status {
        status if status.is_success() => Ok(Outcome { accepted: sample_count, ..Outcome::default() }),
        StatusCode::BAD_REQUEST => {
            let accepted = number(WRITTEN).unwrap_or(0).min(sample_count);
            Ok(Outcome { accepted, rejected: sample_count - accepted, reason: Some(text) })
        }
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            let after = number(header::RETRY_AFTER.as_str()).map(Duration::from_secs);
            Err(SendError::Later { reason, after })
        }
        _ => Err(SendError::Never { reason }),
    }
}
