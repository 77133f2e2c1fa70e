//! OTLP over HTTP/1.1 and Prometheus remote write: a request is a POST.
//!
//! OTLP bodies are packed with gzip or zstd if asked for, remote write always with snappy's block format.
//! Source: OTLP specification, remote write 1.0 and 2.0 specifications.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::GzEncoder;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::http_client::HttpClient;
use crate::telemetry::replay::Request;
use crate::telemetry::sender::answer::{Answer, Code};
use crate::telemetry::sender::options::Compression;
use crate::telemetry::template::Signal;

/// Longest answer; OTLP allows servers 4 MiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const REMOTE_WRITE_PATH: &str = "/api/v1/write";
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// What bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// OTLP, packed so.
    Otlp(Compression),
    /// Remote write 1.0.
    RemoteWriteV1,
    /// Remote write 2.0.
    RemoteWriteV2,
}

/// A worker's way to an HTTP server.
#[derive(Debug)]
pub struct HttpTransport {
    client: HttpClient,
    content: Content,
    /// Of metrics, traces and logs.
    paths: [Uri; 3],
    headers: HeaderMap,
}

impl HttpTransport {
    /// Sends with `client`, below `path_prefix` (OTLP) or to it (remote write).
    ///
    /// # Errors
    /// In words, if the path cannot be.
    pub fn new(
        client: HttpClient,
        content: Content,
        path_prefix: &str,
        mut headers: HeaderMap,
    ) -> Result<Self, String> {
        let path =
            |suffix: &str| format!("{path_prefix}{suffix}").parse::<Uri>().map_err(|error| error.to_string());
        let paths = match content {
            Content::Otlp(_) => [path("/v1/metrics")?, path("/v1/traces")?, path("/v1/logs")?],
            _ => {
                let path = path(if path_prefix.is_empty() { REMOTE_WRITE_PATH } else { "" })?;
                [path.clone(), path.clone(), path]
            }
        };
        let text = HeaderValue::from_static;
        let (kind, encoding, version) = match content {
            Content::Otlp(Compression::None) => ("application/x-protobuf", None, None),
            Content::Otlp(Compression::Gzip) => ("application/x-protobuf", Some("gzip"), None),
            Content::Otlp(Compression::Zstd) => ("application/x-protobuf", Some("zstd"), None),
            Content::RemoteWriteV1 => ("application/x-protobuf", Some("snappy"), Some("0.1.0")),
            Content::RemoteWriteV2 => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some("snappy"), Some("2.0.0"))
            }
        };
        headers.insert(CONTENT_TYPE, text(kind));
        encoding.map(|encoding| headers.insert(CONTENT_ENCODING, text(encoding)));
        version.map(|version| headers.insert(VERSION, text(version)));
        Ok(Self { client, content, paths, headers })
    }

    /// Sends one request and waits for its answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        let body = match packed(self.content, &request.body) {
            Ok(body) => body,
            Err(error) => return Answer::unsendable(&format!("the body cannot be packed: {error}")),
        };
        let path = match request.signal {
            Signal::Metrics => &self.paths[0],
            Signal::Traces => &self.paths[1],
            Signal::Logs => &self.paths[2],
        };
        let exchange = self.client.exchange(Method::POST, path, &self.headers, body, ANSWER_BYTES_MAX);
        let answer = match exchange.await {
            Ok(answer) => answer,
            Err(reason) => return Answer::broken(&reason),
        };
        match self.content {
            Content::Otlp(_) if answer.status == 200 => Answer::of_export(Code::Http(200), &answer.body),
            Content::Otlp(_) => Answer::of_http_error(answer.status, &answer.headers, &answer.body),
            _ => Answer::of_remote_write(answer.status, &answer.headers, &answer.body, request.events),
        }
    }
}

fn packed(content: Content, body: &Bytes) -> io::Result<Bytes> {
    match content {
        Content::Otlp(Compression::None) => Ok(body.clone()),
        Content::Otlp(Compression::Gzip) => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish().map(Bytes::from)
        }
        Content::Otlp(Compression::Zstd) => zstd::bulk::compress(body, 1).map(Bytes::from),
        Content::RemoteWriteV1 | Content::RemoteWriteV2 => {
            snap::raw::Encoder::new().compress_vec(body).map(Bytes::from).map_err(io::Error::other)
        }
    }
}
