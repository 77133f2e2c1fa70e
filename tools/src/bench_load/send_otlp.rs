//! Sends encoded OTLP requests over gRPC, as fast as the server answers.
//!
//! As in [`super::send`] each connection has one request in flight and carries whole shards. Messages are not
//! compressed on the wire; in the file they are, as they would not fit on many disks otherwise.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::file::{Entry, read_entries};
use super::send::Report;
use crate::raw_codec::RawCodec;

/// Longest wait for one answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
const EXPORT_PATH: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
/// As the server has them: whole messages are on their way at once.
const WINDOW_BYTES: u32 = 8 << 20;

/// Sends all requests of `file` to the gRPC server at `authority` over `connection_count` connections.
///
/// # Errors
/// At the first request that is not answered with full success.
pub fn send(file: &Path, authority: &str, connection_count: usize) -> anyhow::Result<Report> {
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
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(send_shards(requests, mine, authority))
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

async fn send_shards<'a>(
    requests: &File,
    entries: impl Iterator<Item = &'a Entry>,
    authority: &str,
) -> anyhow::Result<Vec<f64>> {
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .timeout(REPLY_TIMEOUT);
    let channel = endpoint.connect().await.with_context(|| format!("cannot connect to {authority}"))?;
    let mut grpc: Grpc<Channel> = Grpc::new(channel);
    let mut decompressor = snap::raw::Decoder::new();
    let mut compressed = Vec::new();
    let mut reply_seconds = Vec::new();
    for entry in entries {
        compressed.resize(entry.length_bytes as usize, 0);
        requests.read_exact_at(&mut compressed, entry.offset)?;
        let message = Bytes::from(decompressor.decompress_vec(&compressed)?);
        let sent = Instant::now();
        grpc.ready().await.context("the server closed the connection")?;
        let reply = grpc.unary(tonic::Request::new(message), EXPORT_PATH, RawCodec).await?.into_inner();
        reply_seconds.push(sent.elapsed().as_secs_f64());
        ensure!(reply.is_empty(), "the server refused something: {}", String::from_utf8_lossy(&reply));
    }
    Ok(reply_seconds)
}
