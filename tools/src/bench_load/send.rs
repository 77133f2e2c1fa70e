//! Sends encoded requests over a few kept-alive connections, as fast as the server answers.
//!
//! Each connection has one request in flight and carries whole shards, so that series stay in time order.
//! Plain HTTP/1.1 over blocking sockets: while measuring, the client should cost next to nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::file::{Entry, read_entries};

/// Longest wait for one answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// What was sent and how long the answers took.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Samples in acknowledged requests.
    pub sample_count: u64,
    /// Acknowledged requests.
    pub request_count: usize,
    /// From the first byte sent to the last answer.
    pub seconds: f64,
    /// Time from request to answer, ascending.
    pub reply_seconds: Vec<f64>,
}

/// Sends all requests of `file` to `http://authority/path` over `connection_count` connections.
///
/// # Errors
/// At the first request that is not answered with success.
pub fn send(file: &Path, authority: &str, path: &str, connection_count: usize) -> anyhow::Result<Report> {
    let requests = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let entries = read_entries(&requests)?;
    let connection_count = connection_count.max(1);
    let started = Instant::now();
    let replies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connection_count)
            .map(|index| {
                let (requests, entries) = (&requests, &entries);
                scope.spawn(move || {
                    let mine =
                        entries.iter().filter(|entry| entry.shard as usize % connection_count == index);
                    send_shards(requests, mine, authority, path)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?)
            .collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let mut reply_seconds = replies.concat();
    reply_seconds.sort_by(f64::total_cmp);
    let sample_count = entries.iter().map(|entry| u64::from(entry.sample_count)).sum();
    Ok(Report { sample_count, request_count: entries.len(), seconds, reply_seconds })
}

fn send_shards<'a>(
    requests: &File,
    entries: impl Iterator<Item = &'a Entry>,
    authority: &str,
    path: &str,
) -> anyhow::Result<Vec<f64>> {
    let stream = TcpStream::connect(authority).with_context(|| format!("cannot connect to {authority}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut message = Vec::new();
    let mut reply_seconds = Vec::new();
    for entry in entries {
        message.clear();
        write!(
            message,
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: bench-load\r\nContent-Encoding: snappy\r\n\
             Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
             Content-Length: {}\r\n\r\n",
            entry.length_bytes
        )?;
        let body_at = message.len();
        message.resize(body_at + entry.length_bytes as usize, 0);
        requests.read_exact_at(&mut message[body_at..], entry.offset)?;
        let sent = Instant::now();
        stream.write_all(&message).context("the server closed the connection")?;
        read_reply(&mut replies)?;
        reply_seconds.push(sent.elapsed().as_secs_f64());
    }
    Ok(reply_seconds)
}

/// Reads one answer to its end.
///
/// # Errors
/// If it is not 2xx, or not HTTP/1.1 with a known length.
fn read_reply(replies: &mut impl BufRead) -> anyhow::Result<()> {
    let mut line = String::new();
    replies.read_line(&mut line)?;
    let status: u16 = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP answer: {line:?}"))?;
    let mut body_bytes = 0;
    loop {
        line.clear();
        ensure!(replies.read_line(&mut line)? > 0, "the answer ends inside its headers");
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(length) = header.strip_prefix("content-length:") {
            body_bytes = length.trim().parse()?;
        }
        ensure!(!header.starts_with("transfer-encoding:"), "an answer of unknown length: {header}");
    }
    let mut body = vec![0; body_bytes];
    replies.read_exact(&mut body)?;
    if !(200..300).contains(&status) {
        bail!("the server answered {status}: {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::read_reply;

    #[test]
    fn answers_are_read_to_their_end_one_after_the_other() {
        let mut replies =
            Cursor::new(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n");
        read_reply(&mut replies).unwrap();
        read_reply(&mut replies).unwrap();
        assert!(read_reply(&mut replies).is_err());
    }

    #[test]
    fn a_refusal_is_an_error_that_carries_the_servers_words() {
        let mut replies = Cursor::new(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nwrong");
        let error = read_reply(&mut replies).unwrap_err().to_string();
        assert_eq!(error, "the server answered 400: wrong");
    }
}
