//! HTTP/1.1 requests over one connection that is kept, and made again when it is gone.
//!
//! Input: method, path, headers, body. Output: status, headers and body of the answer. Used for OTLP/HTTP, remote write and
//! for asking the server back. Not here: redirects, proxies.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;

use super::connect::Dialer;

/// An answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Whole body.
    pub body: Bytes,
}

/// A client of one server.
#[derive(Debug)]
pub struct HttpClient {
    dialer: Dialer,
    host: HeaderValue,
    /// Absent while a request is on its way: one that is given up takes its connection with it.
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl HttpClient {
    /// Prepares a client; connects with the first request.
    ///
    /// # Errors
    /// In words, if the host cannot be a header.
    pub fn new(dialer: Dialer) -> Result<Self, String> {
        let host = HeaderValue::try_from(dialer.endpoint().authority()).map_err(|error| error.to_string())?;
        Ok(Self { dialer, host, connection: None })
    }

    /// Sends a request and reads the whole answer, at most `answer_bytes_max` of its body.
    ///
    /// # Errors
    /// In words, if there is no connection, it broke, or the answer is too long.
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &Uri,
        headers: &HeaderMap,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<HttpAnswer, String> {
        let mut connection = self.ready().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.clone();
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        let answer = connection.send_request(request).await.map_err(|error| error_text(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map_err(|error| error.to_string())?;
        self.connection = Some(connection);
        Ok(HttpAnswer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }

    /// The connection, if it still lives, or another one.
    async fn ready(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let stream = self.dialer.dial().await.map_err(|error| error.to_string())?;
        let (connection, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error_text(&error))?;
        // Ends with the connection; what went wrong is told to whoever waits for an answer.
        tokio::spawn(driver);
        Ok(connection)
    }
}

fn error_text(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
