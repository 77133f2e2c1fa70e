//! The flags of `k8s-data-generator`, and what they come to.
//!
//! Input: command line and environment. Output: a [`Scale`], a [`Clock`] and the client's settings, checked.
//! An explicit flag (or its variable) beats the preset.

use std::path::PathBuf;
use std::time::Duration;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use clap::{Parser, ValueEnum};

use super::model::Clock;
use super::topology::Scale;

const DAY_S: f64 = 86_400.0;
/// Most samples that one run sends.
const SAMPLE_COUNT_MAX: u64 = 100_000_000_000;

/// How much to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// 20 pods: 3,600 series, 20.7 M samples a day.
    Small,
    /// 100 pods: 18,000 series, 103.7 M samples a day.
    Medium,
    /// 500 pods: 90,000 series, 518.4 M samples a day.
    Large,
}

/// How the server is asked what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyVia {
    /// Arrow Flight, as the samples went.
    Flight,
    /// The Prometheus HTTP API, as dashboards do.
    Http,
}

/// Seeds a MyTSDB server with Kubernetes metrics over Arrow Flight.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "k8s-data-generator",
    version,
    after_help = "Samples = pods x containers x metrics x days x 86,400 / scrape interval."
)]
pub struct SeedOptions {
    /// Arrow Flight address of the server.
    #[arg(long, env = "SEED_ENDPOINT", default_value = "http://127.0.0.1:8815")]
    pub endpoint: String,
    /// HTTP address of the server; only for --verify-via=http.
    #[arg(long, env = "SEED_HTTP_ENDPOINT", default_value = "http://127.0.0.1:9090")]
    pub http_endpoint: String,
    /// Days of samples; fractions are allowed.
    #[arg(long, env = "SEED_DAYS", default_value_t = 1.0)]
    pub days: f64,
    /// Time between samples: 15s, 1m, 500ms.
    #[arg(long, env = "SEED_SCRAPE_INTERVAL", default_value = "15s", value_parser = parse_duration)]
    pub scrape_interval: Duration,
    /// Size; the flags below override its parts.
    #[arg(long, env = "SEED_PRESET", value_enum, default_value = "small")]
    pub preset: Preset,
    /// Namespaces [small: 2, medium: 4, large: 5].
    #[arg(long, env = "SEED_NAMESPACES")]
    pub namespaces: Option<u32>,
    /// Services in each namespace [small: 5, medium: 5, large: 10].
    #[arg(long, env = "SEED_SERVICES")]
    pub services: Option<u32>,
    /// Pods of each service [small: 2, medium: 5, large: 10].
    #[arg(long, env = "SEED_PODS_PER_SERVICE")]
    pub pods_per_service: Option<u32>,
    /// Containers in each pod [2].
    #[arg(long, env = "SEED_CONTAINERS_PER_POD")]
    pub containers_per_pod: Option<u32>,
    /// Series that each container accounts for [90].
    #[arg(long, env = "SEED_METRICS_PER_CONTAINER")]
    pub metrics_per_container: Option<u32>,
    /// Decides names and values; the same seed gives the same samples.
    #[arg(long, env = "SEED_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Time of the last sample: RFC 3339 or seconds since 1970, rounded down to the scrape interval [now].
    #[arg(long, env = "SEED_END", value_parser = parse_time_ms)]
    pub end: Option<i64>,
    /// Tenant, sent as X-Scope-OrgID.
    #[arg(long, env = "SEED_TENANT")]
    pub tenant: Option<String>,
    /// Value of an additional label seed_run on every series, to tell runs apart.
    #[arg(long, env = "SEED_RUN")]
    pub seed_run: Option<String>,
    /// Size of a record batch, about.
    #[arg(long, env = "SEED_BATCH_BYTES", default_value_t = 512 * 1024)]
    pub batch_bytes: usize,
    /// Samples of a series in a batch.
    #[arg(long, env = "SEED_RUN_LENGTH", default_value_t = 480)]
    pub run_length: usize,
    /// DoPut streams at the same time.
    #[arg(long, env = "SEED_STREAMS", default_value_t = 2)]
    pub streams: usize,
    /// Batches of a stream that may wait for their acknowledgement.
    #[arg(long, env = "SEED_IN_FLIGHT", default_value_t = 16)]
    pub in_flight: usize,
    /// How long to try to connect.
    #[arg(long, env = "SEED_CONNECT_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub connect_timeout: Duration,
    /// How long to wait for an acknowledgement.
    #[arg(long, env = "SEED_ACK_TIMEOUT", default_value = "60s", value_parser = parse_duration)]
    pub ack_timeout: Duration,
    /// How to count what the server holds at the end.
    #[arg(long, env = "SEED_VERIFY_VIA", value_enum, default_value = "flight")]
    pub verify_via: VerifyVia,
    /// Go on after that: generate the same series in real time until a signal ends it.
    #[arg(long, env = "SEED_FOLLOW")]
    pub follow: bool,
    /// File that is written once the samples are in the server, counted unless --no-verify; for readiness probes.
    #[arg(long, env = "SEED_READY_FILE", value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Do not count what the server holds.
    #[arg(long)]
    pub no_verify: bool,
}

/// Why the flags do not fit together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A number is outside its limits.
    #[error("{flag} is {given}; allowed is {allowed}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The product is more than anybody wants.
    #[error("this would be {sample_count} samples; the limit is {limit}")]
    TooManySamples {
        /// How many.
        sample_count: u128,
        /// The limit.
        limit: u64,
    },
}

impl SeedOptions {
    /// Returns the counts: the preset's, overridden by flags.
    pub fn scale(&self) -> Scale {
        let (namespaces, services, pods_per_service) = match self.preset {
            Preset::Small => (2, 5, 2),
            Preset::Medium => (4, 5, 5),
            Preset::Large => (5, 10, 10),
        };
        Scale {
            namespaces: self.namespaces.unwrap_or(namespaces),
            services: self.services.unwrap_or(services),
            pods_per_service: self.pods_per_service.unwrap_or(pods_per_service),
            containers_per_pod: self.containers_per_pod.unwrap_or(2),
            metrics_per_container: self.metrics_per_container.unwrap_or(90),
        }
    }

    /// Returns the step grid; `now_ms` is the end if none was given.
    ///
    /// # Errors
    /// [`OptionsError`] if there is no step, or any setting is outside its limits.
    pub fn clock(&self, now_ms: i64) -> Result<Clock, OptionsError> {
        self.check()?;
        let interval_ms = self.scrape_interval.as_millis() as u64;
        let step_count = (self.days * DAY_S * 1e3 / interval_ms as f64).round() as u64;
        if step_count == 0 {
            return Err(out_of_range("--days", self.days, "at least one scrape interval"));
        }
        let sample_count = u128::from(self.scale().series_count()) * u128::from(step_count);
        if sample_count > u128::from(SAMPLE_COUNT_MAX) {
            return Err(OptionsError::TooManySamples { sample_count, limit: SAMPLE_COUNT_MAX });
        }
        let end_ms = self.end.unwrap_or(now_ms);
        Ok(Clock::ending_at(end_ms - end_ms.rem_euclid(interval_ms as i64), interval_ms, step_count))
    }

    fn check(&self) -> Result<(), OptionsError> {
        let scale = self.scale();
        let counts = [
            ("--namespaces", scale.namespaces),
            ("--services", scale.services),
            ("--pods-per-service", scale.pods_per_service),
            ("--containers-per-pod", scale.containers_per_pod),
            ("--metrics-per-container", scale.metrics_per_container),
        ];
        for (flag, count) in counts {
            if !(1..=10_000).contains(&count) {
                return Err(out_of_range(flag, count, "1 to 10000"));
            }
        }
        if !(self.days > 0.0 && self.days <= 3_660.0) {
            return Err(out_of_range("--days", self.days, "more than 0, at most 3660"));
        }
        let interval = self.scrape_interval;
        if interval < Duration::from_millis(100) || interval > Duration::from_secs(3_600) {
            return Err(out_of_range("--scrape-interval", format!("{interval:?}"), "100ms to 1h"));
        }
        if !(1_024..=32 << 20).contains(&self.batch_bytes) {
            return Err(out_of_range("--batch-bytes", self.batch_bytes, "1024 to 33554432"));
        }
        let small = [("--streams", self.streams, 64), ("--in-flight", self.in_flight, 512)];
        for (flag, count, limit) in small {
            if !(1..=limit).contains(&count) {
                return Err(out_of_range(flag, count, "1 to 64 streams, 1 to 512 batches"));
            }
        }
        if !(1..=65_536).contains(&self.run_length) {
            return Err(out_of_range("--run-length", self.run_length, "1 to 65536"));
        }
        Ok(())
    }
}

fn out_of_range(flag: &'static str, given: impl ToString, allowed: &'static str) -> OptionsError {
    OptionsError::OutOfRange { flag, given: given.to_string(), allowed }
}

/// Parses `15s`, `500ms`, `1m`, `2h` or seconds without a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write 15s, 500ms, 1m or 2h");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// Parses RFC 3339 or seconds since the Unix epoch to milliseconds.
fn parse_time_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a time; write 2026-01-31T12:00:00Z or seconds since 1970");
    if let Ok(seconds) = text.parse::<f64>() {
        let time_ms = (seconds * 1e3).round();
        return if time_ms.abs() < 1e15 { Ok(time_ms as i64) } else { Err(wrong()) };
    }
    string_to_timestamp_nanos(text).map(|time_ns| time_ns.div_euclid(1_000_000)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(flags: &[&str]) -> SeedOptions {
        SeedOptions::try_parse_from(["k8s-data-generator"].iter().chain(flags)).unwrap()
    }

    #[test]
    fn defaults_are_exactly_20_736_000_samples() {
        let options = options(&[]);
        let clock = options.clock(1_700_000_000_123).unwrap();
        assert_eq!(options.scale().series_count() * clock.step_count, 20_736_000);
        assert_eq!(clock.step_count, 5_760);
        assert_eq!(clock.time_ms(5_759) % 15_000, 0);
        assert!(clock.time_ms(5_759) <= 1_700_000_000_123);
    }

    #[test]
    fn flags_beat_the_preset() {
        let options = options(&["--preset", "large", "--services", "3"]);
        let scale = options.scale();
        assert_eq!((scale.namespaces, scale.services, scale.pods_per_service), (5, 3, 10));
    }

    #[test]
    fn ends_are_rfc3339_or_unix_seconds() {
        for end in ["2026-01-01T00:00:07Z", "1767225607", "1767225607.9"] {
            let clock = options(&["--end", end]).clock(0).unwrap();
            assert_eq!(clock.time_ms(clock.step_count - 1), 1_767_225_600_000, "{end}");
        }
        assert!(SeedOptions::try_parse_from(["x", "--end", "tomorrow"]).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (flags, part) in [
            (vec!["--services", "0"], "--services"),
            (vec!["--days", "0"], "--days"),
            (vec!["--days", "0.00001"], "one scrape interval"),
            (vec!["--scrape-interval", "2h"], "--scrape-interval"),
            (vec!["--streams", "0"], "--streams"),
            (vec!["--namespaces", "9999", "--services", "9999"], "limit"),
        ] {
            let error = options(&flags).clock(0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(SeedOptions::try_parse_from(["x", "--scrape-interval", "soon"]).is_err());
    }
}
