//! The sender's own `/metrics`: what was sent and what became of it, in Prometheus' text format.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::stats::{Counts, signal_name};
use super::transport::connect::Traffic;
use super::worker::Shared;
use crate::telemetry::template::Signal;

const QUANTILES: [&str; 4] = ["0.5", "0.9", "0.99", "0.999"];

/// Listens on `address`.
///
/// # Errors
/// As the operating system has them.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers scrapes for as long as it is polled.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, traffic: Arc<Traffic>, rate: f64) {
    loop {
        // A connection that cannot be accepted is the scraper's to repeat.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (shared, traffic) = (Arc::clone(&shared), Arc::clone(&traffic));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = match request.uri().path() {
                "/metrics" => text(render(&shared.stats.counts(), traffic.bytes(), rate)),
                _ => not_found(),
            };
            async { Ok::<_, Infallible>(answer) }
        });
        // What goes wrong on a connection is the scraper's to see.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn text(body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn not_found() -> Response<Full<Bytes>> {
    let mut answer = text("there is only /metrics\n".to_owned());
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

/// Writes everything; `wire_bytes` are bytes sent and received.
fn render(counts: &Counts, wire_bytes: (u64, u64), rate: f64) -> String {
    let mut page = Page::default();
    page.family("telemetry_sender_events_total", "counter", "Events by what became of them.");
    for signal in Signal::ALL {
        let one = counts.of(signal);
        let outcomes = [
            ("sent", one.sent),
            ("accepted", one.accepted),
            ("rejected", one.rejected),
            ("failed", one.failed),
            ("retried", one.retried),
        ];
        for (outcome, count) in outcomes {
            let labels = format!("signal=\"{}\",outcome=\"{outcome}\"", signal_name(signal));
            page.sample("telemetry_sender_events_total", &labels, count as f64);
        }
    }
    page.family(
        "telemetry_sender_attempts_total",
        "counter",
        "Requests sent, repeated ones too, by how they were answered.",
    );
    for ((signal, code), count) in &counts.codes {
        page.sample(
            "telemetry_sender_attempts_total",
            &format!("signal=\"{signal}\",code=\"{code}\""),
            *count as f64,
        );
    }
    page.family("telemetry_sender_events_in_flight", "gauge", "Events sent but not answered.");
    page.sample("telemetry_sender_events_in_flight", "", counts.total().in_flight() as f64);
    page.family(
        "telemetry_sender_accepted_bytes_total",
        "counter",
        "Bytes of acknowledged bodies, before compression.",
    );
    page.sample("telemetry_sender_accepted_bytes_total", "", counts.total().accepted_bytes as f64);
    page.family("telemetry_sender_wire_bytes_total", "counter", "Bytes on all connections.");
    page.sample("telemetry_sender_wire_bytes_total", "direction=\"sent\"", wire_bytes.0 as f64);
    page.sample("telemetry_sender_wire_bytes_total", "direction=\"received\"", wire_bytes.1 as f64);
    page.family("telemetry_sender_rate_limit", "gauge", "Events a second that were asked for; 0 = no limit.");
    page.sample("telemetry_sender_rate_limit", "", rate);
    let help = "Time from when a request was due until it was answered for good.";
    page.family("telemetry_sender_request_duration_seconds", "summary", help);
    for quantile in QUANTILES {
        let seconds = counts.latency.quantile(quantile.parse().unwrap_or(1.0)).as_secs_f64();
        page.sample(
            "telemetry_sender_request_duration_seconds",
            &format!("quantile=\"{quantile}\""),
            seconds,
        );
    }
    page.sample("telemetry_sender_request_duration_seconds_sum", "", counts.latency.sum_s());
    page.sample("telemetry_sender_request_duration_seconds_count", "", counts.latency.count() as f64);
    page.text
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    // Writing to a string cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _infallible = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            _ => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::answer::Code;
    use super::*;

    #[test]
    fn a_scrape_has_every_counter() {
        let mut counts = Counts::default();
        counts.codes.insert(("metrics", Code::Grpc(14)), 2);
        counts.latency.record(Duration::from_millis(100));
        let page = render(&counts, (7, 8), 100_000.0);
        for line in [
            "# TYPE telemetry_sender_events_total counter",
            "telemetry_sender_events_total{signal=\"logs\",outcome=\"accepted\"} 0",
            "telemetry_sender_attempts_total{signal=\"metrics\",code=\"UNAVAILABLE\"} 2",
            "telemetry_sender_wire_bytes_total{direction=\"sent\"} 7",
            "telemetry_sender_rate_limit 100000",
            "telemetry_sender_request_duration_seconds{quantile=\"0.99\"} 0.1",
            "telemetry_sender_request_duration_seconds_count 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
