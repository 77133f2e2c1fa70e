//! Asks a Prometheus API: one instant query, one number.
//!
//! Input: PromQL and a time. Output: the sum of the values, nothing = 0. With TLS and the headers of the run, unlike
//! [`crate::http_query`], over one connection that is kept.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use tokio::time::timeout;

use super::config::Config;
use super::endpoint::Endpoint;
use super::transport::connect::{Dialer, TlsError};
use super::transport::headers_of;
use super::transport::http_client::HttpClient;
use crate::http_query::{body_sum, percent_encoded};

/// Longest answer: it is one number.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The URL cannot be used.
    #[error("{endpoint} cannot be used: {reason}")]
    Endpoint {
        /// Which.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// Nobody answered.
    #[error("cannot ask {endpoint}: {reason}")]
    Network {
        /// Whom.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The server refused, or answered something else than a vector.
    #[error("{endpoint} answered {status} to {promql}: {answer}")]
    Answer {
        /// Whom.
        endpoint: String,
        /// With which status.
        status: u16,
        /// To what.
        promql: String,
        /// The beginning of its answer.
        answer: String,
    },
}

/// Asks one server as one tenant.
#[derive(Debug)]
pub struct Asker {
    client: HttpClient,
    endpoint: String,
    path: Uri,
    headers: HeaderMap,
    timeout: std::time::Duration,
}

impl Asker {
    /// Prepares to ask `endpoint` with the headers of a worker.
    ///
    /// # Errors
    /// [`AskError`] if the URL or TLS cannot be.
    pub fn new(config: &Config, endpoint: &Endpoint, worker: usize) -> Result<Self, AskError> {
        let refused = |reason: String| AskError::Endpoint { endpoint: endpoint.to_string(), reason };
        let dialer = Dialer::new(endpoint, config.flags.ca_file.as_deref(), false, Default::default())?;
        let path =
            format!("{}/api/v1/query", endpoint.path).parse().map_err(|error| refused(format!("{error}")))?;
        let mut headers = headers_of(config, worker);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let client = HttpClient::new(dialer).map_err(refused)?;
        Ok(Self { client, endpoint: endpoint.to_string(), path, headers, timeout: config.flags.timeout })
    }

    /// Returns the sum of the values of an instant query at `time_s`, by default now.
    ///
    /// # Errors
    /// [`AskError`] for anything but status 200 with a vector.
    pub async fn sum(&mut self, promql: &str, time_s: Option<i64>) -> Result<f64, AskError> {
        let time = time_s.map(|time_s| format!("&time={time_s}")).unwrap_or_default();
        let form = Bytes::from(format!("query={}{time}", percent_encoded(promql)));
        let exchange = self.client.exchange(Method::POST, &self.path, &self.headers, form, ANSWER_BYTES_MAX);
        let answer =
            timeout(self.timeout, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let answer =
            answer.map_err(|reason| AskError::Network { endpoint: self.endpoint.clone(), reason })?;
        let body = String::from_utf8_lossy(&answer.body);
        let sum = body_sum(&body).filter(|_| answer.status == 200);
        sum.ok_or_else(|| AskError::Answer {
            endpoint: self.endpoint.clone(),
            status: answer.status,
            promql: promql.to_owned(),
            answer: body.chars().take(300).collect(),
        })
    }
}
