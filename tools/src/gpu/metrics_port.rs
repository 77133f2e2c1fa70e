//! The replay's own metrics over HTTP: `GET /metrics`, and `GET /health` for probes. One request per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::report::Progress;

const REQUEST_BYTES_MAX: usize = 8 << 10;
const WAIT: Duration = Duration::from_secs(5);

/// Listens on `addr`.
///
/// # Errors
/// What the system says.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, progress: Arc<Progress>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let progress = Arc::clone(&progress);
                // Whoever asks slowly is left alone, and keeps nobody waiting.
                tokio::spawn(async move { timeout(WAIT, answer(stream, &progress)).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, progress: &Progress) -> io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut part).await?;
        if length == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(part.get(..length).unwrap_or_default());
    }
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        b"/metrics" => ("200 OK", progress.metrics_text()),
        b"/health" => ("200 OK", "OK\n".to_owned()),
        _ => ("404 Not Found", "GET /metrics or /health\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::recording::Skipped;
    use crate::gpu::report::Scope;

    #[tokio::test]
    async fn metrics_and_health_are_answered() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let progress = Arc::new(Progress::new(Scope::default(), Skipped::new()));
        let server = tokio::spawn(serve(listener, progress));
        for (path, part) in [("/metrics", "gpu_csv_replay_accepted_total 0"), ("/health", "OK"), ("/", "404")]
        {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(part), "{path}: {answer}");
        }
        server.abort();
    }
}
