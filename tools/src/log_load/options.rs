//! The flags of `log-load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::k8s::options::parse_duration;

/// Shortest and longest line.
const LINE_BYTES: std::ops::RangeInclusive<usize> = 160..=65_536;
/// Smallest and largest rate.
const RATE: std::ops::RangeInclusive<u64> = 1_000..=2_000_000_000;

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An object a line.
    Json,
    /// Words.
    Text,
}

/// Writes log lines at a fixed rate of bytes, to a file or the standard output.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "log-load",
    version,
    after_help = "Exit codes: 0 the duration is over, or a signal ended it; 1 it cannot write, or its reader went away; \
                  2 the flags are wrong.\nReports go to the standard error as lines of JSON."
)]
pub struct LogOptions {
    /// Rate: 5MB, 512KiB (decimal and binary units).
    #[arg(long, env = "LOG_LOAD_BYTES_PER_SECOND", default_value = "5MB", value_name = "BYTES", value_parser = parse_rate)]
    pub bytes_per_second: u64,
    /// Length of a line, its end included: 160 to 65536.
    #[arg(long, env = "LOG_LOAD_LINE_BYTES", default_value = "200", value_name = "BYTES", value_parser = parse_line_bytes)]
    pub line_bytes: usize,
    /// What lines look like.
    #[arg(long, env = "LOG_LOAD_FORMAT", value_enum, default_value = "json")]
    pub format: Format,
    /// File to append to; - is the standard output.
    #[arg(long, env = "LOG_LOAD_OUTPUT", default_value = "-", value_name = "FILE")]
    pub output: PathBuf,
    /// Size at which a file is moved to FILE.1 and begun anew; 0 = never.
    #[arg(long, env = "LOG_LOAD_ROTATE_BYTES", default_value = "0", value_name = "BYTES", value_parser = parse_bytes)]
    pub rotate_bytes: u64,
    /// Moved files that are kept.
    #[arg(long, env = "LOG_LOAD_KEEP", default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub keep: u32,
    /// How long to write; 0 = until it is stopped.
    #[arg(long, env = "LOG_LOAD_DURATION", default_value = "0", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Duration,
    /// Time between reports.
    #[arg(long, env = "LOG_LOAD_REPORT_INTERVAL", default_value = "10s", value_name = "DURATION", value_parser = parse_interval)]
    pub report_interval: Duration,
    /// Equal seeds give equal lines, but for their times.
    #[arg(long, env = "LOG_LOAD_SEED", default_value_t = 1)]
    pub seed: u64,
}

/// Parses `5MB`, `512KiB` or a number of bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write 5MB, 512KiB or a number of bytes");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

fn parse_rate(text: &str) -> Result<u64, String> {
    let rate = parse_bytes(text)?;
    if RATE.contains(&rate) { Ok(rate) } else { Err("allowed is 1KB to 2GB a second".to_owned()) }
}

fn parse_line_bytes(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)? as usize;
    if LINE_BYTES.contains(&bytes) { Ok(bytes) } else { Err("allowed is 160 to 65536 bytes".to_owned()) }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("allowed is a duration above 0".to_owned()),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn options(flags: &[&str]) -> Result<LogOptions, clap::Error> {
        LogOptions::try_parse_from(["log-load"].iter().chain(flags))
    }

    #[test]
    fn sizes_have_units_and_limits() {
        LogOptions::command().debug_assert();
        let defaults = options(&[]).unwrap();
        assert_eq!((defaults.bytes_per_second, defaults.line_bytes), (5_000_000, 200));
        let given =
            options(&["--bytes-per-second", "2MiB", "--line-bytes", "1KiB", "--rotate-bytes", "1g"]).unwrap();
        assert_eq!(
            (given.bytes_per_second, given.line_bytes, given.rotate_bytes),
            (2 << 20, 1024, 1_000_000_000)
        );
        for (flags, part) in [
            (["--bytes-per-second", "fast"], "5MB"),
            (["--bytes-per-second", "1"], "1KB"),
            (["--line-bytes", "10"], "160 to 65536"),
            (["--format", "xml"], "json"),
            (["--rotate-bytes", "1TB"], "512KiB"),
            (["--report-interval", "0"], "above 0"),
        ] {
            let error = options(&flags).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
