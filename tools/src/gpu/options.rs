//! The flags of `gpu-csv-replay`, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use super::columns::{Target as ColumnTarget, parse_mapping};
use super::evolve::Evolve;
use super::player::TimeMode;
use super::read::HostnameLabel;
use super::send::Protocol;
use super::share::ShardText;
use crate::k8s::options::parse_duration;

/// Most rows of a request.
const BATCH_ROWS_MAX: usize = 20_000;

/// Sends recorded GPU telemetry (CSV files of DCGM) to a server, for ever if wanted.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-csv-replay",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 all rows were sent, or a signal ended it; 1 it failed, or the server refused rows; \
                  2 the flags are wrong.\nProgress goes to the standard error as lines of JSON, the final report to the \
                  standard output."
)]
pub struct Arguments {
    /// What to do instead of replaying.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Flags of the replay.
    #[command(flatten)]
    pub replay: ReplayOptions,
}

/// What else it does.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write a made-up recording to the standard output: ten metrics per GPU, eight GPUs per host.
    Sample {
        /// How many GPUs.
        #[arg(long, default_value_t = 247, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        gpus: u32,
        /// Time of the first rows: RFC 3339.
        #[arg(long, default_value = "2025-07-18T20:42:34Z", value_name = "TIME")]
        start: DateTime<Utc>,
        /// Equal seeds give equal files.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Flags of the replay.
#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// CSV file: a row per sample (metric_name, value, labels_raw), or a column per metric.
    #[arg(long, env = "GPU_REPLAY_CSV", value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// How samples travel.
    #[arg(long, env = "GPU_REPLAY_PROTOCOL", value_enum, default_value = "otlp")]
    pub protocol: Protocol,
    /// Where to [otlp: http://127.0.0.1:4317, remote-write: http://127.0.0.1:9090/api/v1/write, flight: http://127.0.0.1:8815].
    #[arg(long, env = "GPU_REPLAY_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// Tenant, sent as X-Scope-OrgID.
    #[arg(long, env = "GPU_REPLAY_TENANT", value_name = "NAME")]
    pub tenant: Option<String>,
    /// Senders; a GPU's rows are always sent by the same one.
    #[arg(long, env = "GPU_REPLAY_WORKERS", default_value_t = 2, value_name = "COUNT")]
    pub workers: usize,
    /// Rows a second of each worker; 0 = as fast as the server takes them.
    #[arg(long, env = "GPU_REPLAY_RATE", default_value_t = 10.0, value_name = "ROWS")]
    pub rate: f64,
    /// Which time a sample gets: that of sending, that of the file, or that of the file moved to end now.
    #[arg(long, env = "GPU_REPLAY_TIME", value_enum, default_value = "now")]
    pub time: TimeMode,
    /// How often to play the file; 0 = until it is stopped [--time original: 1, else 0].
    #[arg(long, env = "GPU_REPLAY_LOOPS", value_name = "COUNT")]
    pub loops: Option<u64>,
    /// How values move from loop to loop.
    #[arg(long, env = "GPU_REPLAY_EVOLVE", value_enum, default_value = "walk")]
    pub evolve: Evolve,
    /// Decides how values move; the same seed moves them equally.
    #[arg(long, env = "GPU_REPLAY_SEED", default_value_t = 1)]
    pub seed: u64,
    /// The part of the GPUs that is played: ORDINAL/COUNT, or auto/COUNT for the number at the end of the host's name.
    #[arg(long, env = "GPU_REPLAY_SHARD", default_value = "0/1", value_name = "SHARD")]
    pub shard: ShardText,
    /// File that keeps the position, so that another start goes on there.
    #[arg(long, env = "GPU_REPLAY_CHECKPOINT", value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// What a column means, as COLUMN=TARGET: timestamp, metric, value, labels, host, uuid, label:NAME, DCGM_FI_…, or - to
    /// leave it out; may be given several times.
    #[arg(long, value_name = "COLUMN=TARGET", value_parser = parse_mapping)]
    pub map: Vec<(String, ColumnTarget)>,
    /// Which label gets the host: dcgm-exporter renamed it in May 2026.
    #[arg(long, env = "GPU_REPLAY_HOSTNAME_LABEL", value_enum, default_value = "Hostname")]
    pub hostname_label: HostnameLabel,
    /// Label job of rows that have none.
    #[arg(long, env = "GPU_REPLAY_JOB", default_value = "dcgm-exporter", value_name = "NAME")]
    pub job: String,
    /// Most rows of a request.
    #[arg(long, env = "GPU_REPLAY_BATCH_ROWS", default_value_t = 1_000, value_name = "COUNT")]
    pub batch_rows: usize,
    /// Time between requests of a worker; rows that are due meanwhile go together.
    #[arg(long, env = "GPU_REPLAY_FLUSH_INTERVAL", default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    pub flush_interval: Duration,
    /// How long to try again when the server is not there; 0 = for ever.
    #[arg(long, env = "GPU_REPLAY_RETRY_FOR", default_value = "5m", value_name = "DURATION", value_parser = parse_duration)]
    pub retry_for: Duration,
    /// Time between lines of progress.
    #[arg(long, env = "GPU_REPLAY_REPORT_INTERVAL", default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    pub report_interval: Duration,
    /// Address for the replay's own metrics: GET /metrics, GET /health.
    #[arg(long, env = "GPU_REPLAY_METRICS_ADDRESS", value_name = "IP:PORT")]
    pub metrics_address: Option<SocketAddr>,
}

impl Arguments {
    /// Checks what single flags cannot say.
    ///
    /// # Errors
    /// As clap gives them, for its way to print and end.
    pub fn checked(self) -> Result<Self, clap::Error> {
        let fail = |kind, text: &str| Err(Self::command().error(kind, text));
        let replay = &self.replay;
        if self.action.is_none() && replay.csv.is_none() {
            return fail(ErrorKind::MissingRequiredArgument, "--csv FILE is missing");
        }
        let checks = [
            ((1..=1_024).contains(&replay.workers), "--workers: allowed is 1 to 1024"),
            (replay.rate >= 0.0 && replay.rate <= 1e7, "--rate: allowed is 0 to 10000000"),
            ((1..=BATCH_ROWS_MAX).contains(&replay.batch_rows), "--batch-rows: allowed is 1 to 20000"),
            (!replay.flush_interval.is_zero(), "--flush-interval: allowed is a duration above 0"),
            (!replay.report_interval.is_zero(), "--report-interval: allowed is a duration above 0"),
            (
                replay.time != TimeMode::Original || replay.loop_count() == Some(1),
                "--time original: only one loop, as the next one would have the same times; give --loops 1 or none",
            ),
        ];
        match checks.into_iter().find(|(is_right, _)| !is_right) {
            Some((_, text)) => fail(ErrorKind::ValueValidation, text),
            None => Ok(self),
        }
    }
}

impl ReplayOptions {
    /// Loops to play; `None` = for ever.
    pub fn loop_count(&self) -> Option<u64> {
        let default = u64::from(self.time == TimeMode::Original);
        Some(self.loops.unwrap_or(default)).filter(|count| *count > 0)
    }

    /// Where to send to.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(self.protocol.default_endpoint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(flags: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["gpu-csv-replay"].iter().chain(flags)).and_then(Arguments::checked)
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        Arguments::command().debug_assert();
        let options = parsed(&["--csv", "x.csv"]).unwrap().replay;
        assert_eq!((options.workers, options.rate, options.loop_count()), (2, 10.0, None));
        assert_eq!(options.endpoint(), "http://127.0.0.1:4317");
        let original = parsed(&["--csv", "x.csv", "--time", "original"]).unwrap().replay;
        assert_eq!(original.loop_count(), Some(1));
        assert!(parsed(&["sample", "--gpus", "3"]).unwrap().action.is_some());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (flags, part) in [
            (&["--workers", "2"][..], "--csv"),
            (&["--csv", "x", "--workers", "0"], "1 to 1024"),
            (&["--csv", "x", "--rate=-1"], "--rate"),
            (&["--csv", "x", "--time", "original", "--loops", "2"], "--loops 1"),
            (&["--csv", "x", "--shard", "3/3"], "ORDINAL/COUNT"),
            (&["--csv", "x", "--map", "colour"], "COLUMN=TARGET"),
            (&["--csv", "x", "--protocol", "mqtt"], "remote-write"),
            (&["sample", "--gpus", "0"], "--gpus"),
        ] {
            let error = parsed(flags).unwrap_err();
            assert!(error.to_string().contains(part), "{flags:?}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
