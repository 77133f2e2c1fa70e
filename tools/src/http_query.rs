//! One instant query over the Prometheus HTTP API, without an HTTP library.
//!
//! Input: address, query, time. Output: the sum of the values. HTTP/1.0, so that the answer ends with the connection
//! and is never chunked. Not here: TLS, redirects; this is for checks on one's own server.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpQueryError {
    /// The address is not `http://host:port`.
    #[error("{endpoint:?} is no address; write http://host:port")]
    Address {
        /// What was given.
        endpoint: String,
    },
    /// The network failed.
    #[error("cannot ask {endpoint}: {source}")]
    Network {
        /// Whom.
        endpoint: String,
        /// Why.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer within {TIMEOUT:?}")]
    Timeout {
        /// Whom.
        endpoint: String,
    },
    /// The server refused, or answered something else than a vector.
    #[error("{endpoint} answered {answer:?}")]
    Answer {
        /// Whom.
        endpoint: String,
        /// The beginning of its answer.
        answer: String,
    },
}

/// Returns the sum of the values of an instant query, nothing = 0.
///
/// # Errors
/// [`HttpQueryError`] for anything but status 200 with a vector.
pub async fn query_sum(
    endpoint: &str,
    tenant: Option<&str>,
    promql: &str,
    time_ms: i64,
) -> Result<f64, HttpQueryError> {
    let authority = endpoint.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let authority = authority.filter(|authority| !authority.is_empty() && !authority.contains('/'));
    let authority = authority.ok_or_else(|| HttpQueryError::Address { endpoint: endpoint.to_owned() })?;
    let tenant = tenant.map(|tenant| format!("X-Scope-OrgID: {tenant}\r\n")).unwrap_or_default();
    let request = format!(
        "GET /api/v1/query?query={}&time={} HTTP/1.0\r\nHost: {authority}\r\n{tenant}\r\n",
        percent_encoded(promql),
        time_ms as f64 / 1e3
    );
    let answer = timeout(TIMEOUT, exchange(authority, &request))
        .await
        .map_err(|_| HttpQueryError::Timeout { endpoint: endpoint.to_owned() })?
        .map_err(|source| HttpQueryError::Network { endpoint: endpoint.to_owned(), source })?;
    vector_sum(&answer).ok_or_else(|| HttpQueryError::Answer {
        endpoint: endpoint.to_owned(),
        answer: String::from_utf8_lossy(&answer).chars().take(400).collect(),
    })
}

async fn exchange(authority: &str, request: &str) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(authority).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Encodes a value of a form or query string.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn vector_sum(answer: &[u8]) -> Option<f64> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1) != Some("200") {
        return None;
    }
    body_sum(body)
}

/// Returns the sum of the values of a vector in an answer of the API, nothing = 0; `None` if it is no vector.
pub(crate) fn body_sum(body: &str) -> Option<f64> {
    let body: Value = serde_json::from_str(body).ok()?;
    let result = body.pointer("/data/result")?.as_array()?;
    result.iter().map(|sample| sample.pointer("/value/1")?.as_str()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(answer: &'static str) -> (Result<f64, HttpQueryError>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await.unwrap());
            }
            connection.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let sum = query_sum(&endpoint, Some("t1"), "sum(up{a=\"b\"})", 1_500).await;
        (sum, server.await.unwrap())
    }

    #[tokio::test]
    async fn values_of_a_vector_are_added_up() {
        let (sum, request) = ask(concat!(
            "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"3"]},{"metric":{},"value":[1.5,"4"]}]}}"#
        ))
        .await;
        assert_eq!(sum.unwrap(), 7.0);
        assert!(
            request.starts_with("GET /api/v1/query?query=sum%28up%7Ba%3D%22b%22%7D%29&time=1.5 HTTP/1.0\r\n")
        );
        assert!(request.contains("X-Scope-OrgID: t1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_with_the_answer() {
        let (sum, _) =
            ask("HTTP/1.0 400 Bad Request\r\n\r\n{\"status\":\"error\",\"error\":\"parse error\"}").await;
        let error = sum.unwrap_err().to_string();
        assert!(error.contains("parse error"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_is_refused() {
        for endpoint in ["localhost:9090", "https://localhost", "http://", "http://h:1/path"] {
            let error = query_sum(endpoint, None, "up", 0).await.unwrap_err();
            assert!(matches!(error, HttpQueryError::Address { .. }), "{endpoint}: {error}");
        }
    }
}
