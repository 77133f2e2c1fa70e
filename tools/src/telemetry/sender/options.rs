//! The flags of `telemetry-sender`, their variables, and the keys of `sender.yaml` that mean the same.
//!
//! Every setting is written once, here; the flag and the variable of a key have its name (see
//! [`crate::telemetry::settings`]), and the ones that are typed most have a short one, too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

use super::slo::{INDICATORS, Slo};
use crate::k8s::options::parse_duration;
use crate::telemetry::replay::BatchSizes;

/// Variable of the API key; it is no flag, as flags can be read by everybody on the machine.
pub const API_KEY_VARIABLE: &str = "SENDER_OTLP_API_KEY";

/// Keys of the file; the key `otlp.caFile` is the flag `--otlp-ca-file`.
pub const KEYS: [&str; 37] = [
    "templates",
    "instance",
    "otlp.endpoint",
    "otlp.insecure",
    "otlp.headers",
    "otlp.apiKeyFile",
    "otlp.apiKeyHeader",
    "otlp.caFile",
    "otlp.tenants",
    "otlp.connections",
    "otlp.connectTimeout",
    "otlp.timeout",
    "sending.protocol",
    "sending.compression",
    "sending.signals",
    "sending.rateLimit.eventsPerSecond",
    "sending.rateLimit.rampUp",
    "sending.concurrency",
    "sending.duration",
    "sending.multiplier",
    "sending.batchSize.metrics",
    "sending.batchSize.traces",
    "sending.batchSize.logs",
    "sending.detours.duplicate",
    "sending.detours.outOfOrder",
    "sending.detours.late",
    "sending.detours.lateBy",
    "sending.retry.initialInterval",
    "sending.retry.maxInterval",
    "sending.retry.maxElapsedTime",
    "sending.drainTimeout",
    "report.file",
    "report.interval",
    "slo",
    "metricsAddress",
    "verify",
    "probeInterval",
];

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP over gRPC; all signals.
    OtlpGrpc,
    /// OTLP over HTTP/1.1 as protobuf; all signals.
    OtlpHttp,
    /// Prometheus remote write 1.0; metrics only.
    RemoteWrite,
    /// Prometheus remote write 2.0; metrics only.
    RemoteWriteV2,
    /// Arrow Flight `DoPut`; metrics only.
    Flight,
}

impl Protocol {
    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp-grpc",
            Self::OtlpHttp => "otlp-http",
            Self::RemoteWrite => "remote-write",
            Self::RemoteWriteV2 => "remote-write-v2",
            Self::Flight => "flight",
        }
    }
}

/// How bodies of OTLP are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What is sent of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignalChoice {
    /// Points.
    Metrics,
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// Replays templates of telemetry-generator to an OTLP, remote write or Arrow Flight endpoint, and reports what became of it.
///
/// A flag beats its variable, that beats the file, that beats the default.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "telemetry-sender",
    version,
    after_help = "The API key comes from --otlp-api-key-file or the variable SENDER_OTLP_API_KEY, never from a flag.\n\
        Exit code: 0 all well; 1 templates unreadable, endpoint unreachable or nothing accepted; 2 wrong settings; \
        3 an objective (--slo) missed, or --verify found loss or duplicates."
)]
pub struct Flags {
    /// YAML file with settings; the key sending.rateLimit.rampUp is the flag --sending-rate-limit-ramp-up.
    #[arg(long, value_name = "FILE", env = "SENDER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder that telemetry-generator wrote.
    #[arg(long = "templates", value_name = "DIR", env = "SENDER_TEMPLATES", default_value = "./templates")]
    pub templates: PathBuf,
    /// Beginning of every service.instance.id; must differ between pods [default: host name and process id].
    #[arg(long = "instance", value_name = "TEXT", env = "SENDER_INSTANCE")]
    pub instance: Option<String>,

    /// Where to send: host:port, or a URL; its path is put before /v1/metrics (otlp-http) or is the path (remote write).
    #[arg(
        long = "otlp-endpoint",
        visible_alias = "endpoint",
        env = "SENDER_OTLP_ENDPOINT",
        default_value = "localhost:4317",
        help_heading = "Target"
    )]
    pub endpoint: String,
    /// No TLS, if the endpoint does not say http:// or https:// itself.
    #[arg(long = "otlp-insecure", visible_alias = "insecure", env = "SENDER_OTLP_INSECURE", default_value = "false", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", help_heading = "Target")]
    pub insecure: bool,
    /// Header of every request; several are allowed. In the file a map.
    #[arg(
        long = "otlp-headers",
        visible_alias = "header",
        value_name = "NAME=VALUE",
        env = "SENDER_OTLP_HEADERS",
        value_delimiter = ',',
        hide_env_values = true,
        help_heading = "Target"
    )]
    pub headers: Vec<String>,
    /// File with the API key.
    #[arg(
        long = "otlp-api-key-file",
        visible_alias = "api-key-file",
        value_name = "FILE",
        env = "SENDER_OTLP_API_KEY_FILE",
        help_heading = "Target"
    )]
    pub api_key_file: Option<PathBuf>,
    /// Header of the API key; in authorization it follows the word Bearer.
    #[arg(
        long = "otlp-api-key-header",
        value_name = "NAME",
        env = "SENDER_OTLP_API_KEY_HEADER",
        default_value = "authorization",
        help_heading = "Target"
    )]
    pub api_key_header: String,
    /// PEM file of the authorities to trust [default: the system's].
    #[arg(
        long = "otlp-ca-file",
        visible_alias = "ca-file",
        value_name = "FILE",
        env = "SENDER_OTLP_CA_FILE",
        help_heading = "Target"
    )]
    pub ca_file: Option<PathBuf>,
    /// Tenant, sent as X-Scope-OrgID; workers are spread over several.
    #[arg(
        long = "otlp-tenants",
        visible_alias = "tenant",
        value_name = "NAME",
        env = "SENDER_OTLP_TENANTS",
        value_delimiter = ',',
        help_heading = "Target"
    )]
    pub tenants: Vec<String>,
    /// HTTP/2 connections that the workers share; over HTTP/1.1 every worker has its own.
    #[arg(
        long = "otlp-connections",
        visible_alias = "connections",
        value_name = "COUNT",
        env = "SENDER_OTLP_CONNECTIONS",
        default_value_t = 4,
        help_heading = "Target"
    )]
    pub connections: usize,
    /// How long to try to reach the endpoint at the start.
    #[arg(long = "otlp-connect-timeout", env = "SENDER_OTLP_CONNECT_TIMEOUT", default_value = "10s", value_parser = parse_duration, help_heading = "Target")]
    pub connect_timeout: Duration,
    /// How long to wait for one answer.
    #[arg(long = "otlp-timeout", env = "SENDER_OTLP_TIMEOUT", default_value = "30s", value_parser = parse_duration, help_heading = "Target")]
    pub timeout: Duration,

    /// How requests travel.
    #[arg(
        long = "sending-protocol",
        visible_alias = "protocol",
        env = "SENDER_SENDING_PROTOCOL",
        value_enum,
        default_value = "otlp-grpc",
        help_heading = "Sending"
    )]
    pub protocol: Protocol,
    /// How bodies are packed; remote write always has snappy, Flight nothing.
    #[arg(
        long = "sending-compression",
        visible_alias = "compression",
        env = "SENDER_SENDING_COMPRESSION",
        value_enum,
        default_value = "none",
        help_heading = "Sending"
    )]
    pub compression: Compression,
    /// What to send of the templates [default: all that the protocol carries].
    #[arg(
        long = "sending-signals",
        visible_alias = "signal",
        env = "SENDER_SENDING_SIGNALS",
        value_enum,
        value_delimiter = ',',
        help_heading = "Sending"
    )]
    pub signals: Vec<SignalChoice>,
    /// Events (points, spans, log records) a second of the whole process; 0 = as fast as answers come.
    #[arg(
        long = "sending-rate-limit-events-per-second",
        visible_alias = "rate",
        value_name = "EVENTS",
        env = "SENDER_SENDING_RATE_LIMIT_EVENTS_PER_SECOND",
        default_value_t = 100_000.0,
        help_heading = "Sending"
    )]
    pub rate: f64,
    /// Time in which the rate grows from 0.
    #[arg(long = "sending-rate-limit-ramp-up", value_name = "DURATION", env = "SENDER_SENDING_RATE_LIMIT_RAMP_UP", default_value = "0", value_parser = parse_duration, help_heading = "Sending")]
    pub ramp_up: Duration,
    /// Workers; each has series of its own and one request in flight.
    #[arg(
        long = "sending-concurrency",
        visible_alias = "concurrency",
        value_name = "COUNT",
        env = "SENDER_SENDING_CONCURRENCY",
        default_value_t = 30,
        help_heading = "Sending"
    )]
    pub concurrency: usize,
    /// How long to send; 0 = until a signal.
    #[arg(long = "sending-duration", visible_alias = "duration", env = "SENDER_SENDING_DURATION", default_value = "0", value_parser = parse_duration, help_heading = "Sending")]
    pub duration: Duration,
    /// How often to replay all templates; 0 = without end.
    #[arg(
        long = "sending-multiplier",
        visible_alias = "multiplier",
        value_name = "COUNT",
        env = "SENDER_SENDING_MULTIPLIER",
        default_value_t = 0,
        help_heading = "Sending"
    )]
    pub multiplier: u64,
    /// Points a request, at most.
    #[arg(long = "sending-batch-size-metrics", visible_alias = "batch-metrics", value_name = "COUNT", env = "SENDER_SENDING_BATCH_SIZE_METRICS", default_value_t = BatchSizes::default().metrics, help_heading = "Sending")]
    pub batch_metrics: usize,
    /// Spans a request, at most.
    #[arg(long = "sending-batch-size-traces", visible_alias = "batch-traces", value_name = "COUNT", env = "SENDER_SENDING_BATCH_SIZE_TRACES", default_value_t = BatchSizes::default().traces, help_heading = "Sending")]
    pub batch_traces: usize,
    /// Log records a request, at most.
    #[arg(long = "sending-batch-size-logs", visible_alias = "batch-logs", value_name = "COUNT", env = "SENDER_SENDING_BATCH_SIZE_LOGS", default_value_t = BatchSizes::default().logs, help_heading = "Sending")]
    pub batch_logs: usize,
    /// Share of the metrics requests that are sent twice.
    #[arg(
        long = "sending-detours-duplicate",
        value_name = "SHARE",
        env = "SENDER_SENDING_DETOURS_DUPLICATE",
        default_value_t = 0.0,
        help_heading = "Sending"
    )]
    pub duplicate: f64,
    /// Share of the metrics requests that are sent after the next one of the same series.
    #[arg(
        long = "sending-detours-out-of-order",
        value_name = "SHARE",
        env = "SENDER_SENDING_DETOURS_OUT_OF_ORDER",
        default_value_t = 0.0,
        help_heading = "Sending"
    )]
    pub out_of_order: f64,
    /// Share of the metrics requests that are sent late.
    #[arg(
        long = "sending-detours-late",
        value_name = "SHARE",
        env = "SENDER_SENDING_DETOURS_LATE",
        default_value_t = 0.0,
        help_heading = "Sending"
    )]
    pub late: f64,
    /// How late the late ones are.
    #[arg(long = "sending-detours-late-by", value_name = "DURATION", env = "SENDER_SENDING_DETOURS_LATE_BY", default_value = "30s", value_parser = parse_duration, help_heading = "Sending")]
    pub late_by: Duration,
    /// First pause before a request is sent again; pauses double, with jitter.
    #[arg(long = "sending-retry-initial-interval", value_name = "DURATION", env = "SENDER_SENDING_RETRY_INITIAL_INTERVAL", default_value = "100ms", value_parser = parse_duration, help_heading = "Sending")]
    pub retry_initial: Duration,
    /// Longest pause, unless the server asks for a longer one.
    #[arg(long = "sending-retry-max-interval", value_name = "DURATION", env = "SENDER_SENDING_RETRY_MAX_INTERVAL", default_value = "5s", value_parser = parse_duration, help_heading = "Sending")]
    pub retry_max: Duration,
    /// Time after which a request has failed for good; 0 = never.
    #[arg(long = "sending-retry-max-elapsed-time", value_name = "DURATION", env = "SENDER_SENDING_RETRY_MAX_ELAPSED_TIME", default_value = "5m", value_parser = parse_duration, help_heading = "Sending")]
    pub retry_for: Duration,
    /// How long requests in flight have at the end.
    #[arg(long = "sending-drain-timeout", value_name = "DURATION", env = "SENDER_SENDING_DRAIN_TIMEOUT", default_value = "10s", value_parser = parse_duration, help_heading = "Sending")]
    pub drain_timeout: Duration,

    /// File of the final report, JSON [default: standard output].
    #[arg(
        long = "report-file",
        visible_alias = "report",
        value_name = "FILE",
        env = "SENDER_REPORT_FILE",
        help_heading = "Report"
    )]
    pub report: Option<PathBuf>,
    /// Time between lines of progress where there is no terminal.
    #[arg(long = "report-interval", value_name = "DURATION", env = "SENDER_REPORT_INTERVAL", default_value = "1s", value_parser = parse_duration, help_heading = "Report")]
    pub report_interval: Duration,
    // The help has a list that is written once.
    #[expect(missing_docs, reason = "the help is computed")]
    #[arg(long = "slo", help = objective_help(), value_name = "OBJECTIVE", env = "SENDER_SLO", value_delimiter = ',', help_heading = "Report")]
    pub slos: Vec<Slo>,
    /// Address on which /metrics answers, such as 0.0.0.0:9464.
    #[arg(
        long = "metrics-address",
        value_name = "ADDRESS",
        env = "SENDER_METRICS_ADDRESS",
        help_heading = "Report"
    )]
    pub metrics_address: Option<SocketAddr>,
    /// Prometheus API that is asked afterwards what arrived, such as http://localhost:9090; the headers go with it.
    #[arg(long = "verify", value_name = "URL", env = "SENDER_VERIFY", help_heading = "Report")]
    pub verify: Option<String>,
    /// With --verify: time between the points whose way to the query is timed.
    #[arg(long = "probe-interval", value_name = "DURATION", env = "SENDER_PROBE_INTERVAL", default_value = "1s", value_parser = parse_duration, help_heading = "Report")]
    pub probe_interval: Duration,
}

/// Returns the names of the indicators of objectives, for the help.
fn objective_help() -> String {
    let names: Vec<_> = INDICATORS.iter().map(|(name, ..)| *name).collect();
    format!(
        "Objective such as p99<50ms, rate>=90000, loss_ppm<=0; several are allowed. Indicators: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::telemetry::settings::flag_of;

    #[test]
    fn every_flag_is_a_key_and_has_its_variable() {
        for argument in Flags::command().get_arguments() {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else {
                continue;
            };
            let variable = format!("SENDER_{}", long.to_ascii_uppercase().replace('-', "_"));
            assert_eq!(
                argument.get_env().and_then(|name| name.to_str()),
                Some(variable.as_str()),
                "--{long}"
            );
            let is_key = KEYS.iter().any(|key| flag_of(key) == long);
            assert_eq!(is_key, long != "config", "--{long}");
        }
    }

    #[test]
    fn help_names_every_key_and_indicator() {
        let help = Flags::command().render_long_help().to_string();
        for key in KEYS {
            assert!(help.contains(&format!("--{}", flag_of(key))), "{key} is not in the help");
        }
        for (indicator, ..) in INDICATORS {
            assert!(help.contains(indicator), "{indicator} is not in the help");
        }
    }
}
