//! `bench-load`: encodes a benchmark data set into requests of a protocol, and sends them; takes requests and forgets them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mytsdb_tools::bench_load::encode::Protocol;
use mytsdb_tools::bench_load::{encode, send, send_otlp};
use mytsdb_tools::telemetry::sender::stop::signal;
use mytsdb_tools::telemetry::sink::Sink;
use serde_json::{Value, json};

#[derive(Debug, Parser)]
#[command(version, about = "Load for the comparison benchmark: the same requests for every server")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Encode a data set into a file of requests.
    Encode {
        /// Protocol of the requests.
        #[arg(long, value_enum, default_value_t = Protocol::RemoteWrite)]
        protocol: Protocol,
        /// Containers of 90 series each.
        #[arg(long)]
        containers: usize,
        /// Samples per series, 15 s apart.
        #[arg(long)]
        steps: usize,
        /// Time of the last sample, milliseconds since the Unix epoch.
        #[arg(long)]
        end_ms: i64,
        /// Senders that the series are spread over.
        #[arg(long, default_value_t = 4)]
        shards: usize,
        /// Samples per request.
        #[arg(long, default_value_t = 2_000)]
        request_samples: usize,
        /// Equal seeds give equal data.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Send a file of requests and report how long the server took.
    Send {
        /// Protocol of the requests in the file.
        #[arg(long, value_enum, default_value_t = Protocol::RemoteWrite)]
        protocol: Protocol,
        /// File written by `encode`.
        #[arg(long)]
        file: PathBuf,
        /// Host and port of the server.
        #[arg(long)]
        server: String,
        /// Path of remote write.
        #[arg(long, default_value = "/api/v1/write")]
        path: String,
        /// Connections, each with one request in flight.
        #[arg(long, default_value_t = 4)]
        connections: usize,
    },
    /// Take exports over OTLP/gRPC and HTTP and forget them, to measure senders; ends with SIGTERM or SIGINT.
    Sink {
        /// Where to listen; port 0 = any free one.
        #[arg(long, default_value = "127.0.0.1:4317")]
        address: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let report = match Arguments::parse().action {
        Action::Encode { protocol, containers, steps, end_ms, shards, request_samples, seed, out } => {
            let summary = encode::encode(&encode::Options {
                protocol,
                container_count: containers,
                step_count: steps,
                end_ms,
                shard_count: shards,
                request_sample_count: request_samples,
                seed,
                out,
            })?;
            json!({
                "series": summary.series_count,
                "samples": summary.sample_count,
                "requests": summary.request_count,
                "bytes": summary.file_bytes,
                "start_ms": summary.start_ms,
                "end_ms": summary.end_ms,
            })
        }
        Action::Send { protocol, file, server, path, connections } => {
            let report = match protocol {
                Protocol::RemoteWrite => send::send(&file, &server, &path, connections)?,
                Protocol::Otlp => send_otlp::send(&file, &server, connections)?,
            };
            let quantile = |share: f64| {
                let at = (report.reply_seconds.len() as f64 * share) as usize;
                report.reply_seconds.get(at.min(report.reply_seconds.len().saturating_sub(1))).copied()
            };
            json!({
                "samples": report.sample_count,
                "requests": report.request_count,
                "seconds": report.seconds,
                "reply_seconds_p50": quantile(0.5),
                "reply_seconds_p99": quantile(0.99),
            })
        }
        Action::Sink { address } => sink(address)?,
    };
    print(&report);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is the program's output")]
fn print(report: &Value) {
    println!("{report}");
}

/// Swallows until a signal; returns what.
fn sink(address: SocketAddr) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let sink = Sink::bind(address).await?;
        print(&json!({"address": sink.address()?.to_string()}));
        let swallowed = sink.swallowed();
        tokio::select! {
            () = sink.run() => {}
            _ = signal() => {}
        }
        let (request_count, body_bytes) = swallowed.counts();
        Ok(json!({"requests": request_count, "bytes": body_bytes}))
    })
}
