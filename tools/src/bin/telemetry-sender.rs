//! The `telemetry-sender` binary: settings → run → report → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use mytsdb_tools::telemetry::sender::config::{Config, ConfigError};
use mytsdb_tools::telemetry::sender::options::API_KEY_VARIABLE;
use mytsdb_tools::telemetry::sender::run::{Outcome, run};
use mytsdb_tools::telemetry::settings::SettingsError;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong settings.
const SETTINGS_CODE: u8 = 2;
/// An objective was missed.
const MISSED_CODE: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::read(std::env::args_os().collect(), std::env::var(API_KEY_VARIABLE).ok()) {
        Ok(config) => config,
        // Help is no error, and clap knows how to show both.
        Err(ConfigError::Settings(SettingsError::Flags(error))) => error.exit(),
        Err(error) => {
            eprintln!("telemetry-sender: {error}");
            return ExitCode::from(SETTINGS_CODE);
        }
    };
    let file = config.flags.report.clone();
    let outcome = match run(config).await {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("telemetry-sender: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = format!("{:#}\n", outcome.document);
    let written = match &file {
        Some(path) => std::fs::write(path, report).map_err(|error| format!("{}: {error}", path.display())),
        None => std::io::stdout().write_all(report.as_bytes()).map_err(|error| error.to_string()),
    };
    if let Err(reason) = written {
        eprintln!("telemetry-sender: cannot write the report: {reason}");
        return ExitCode::FAILURE;
    }
    exit_code(&outcome)
}

fn exit_code(outcome: &Outcome) -> ExitCode {
    for verdict in &outcome.verdicts {
        eprintln!("telemetry-sender: {verdict}");
    }
    if let Some(failure) = &outcome.failure {
        eprintln!("telemetry-sender: {failure}");
        return ExitCode::FAILURE;
    }
    if outcome.verdicts.iter().all(|verdict| verdict.is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED_CODE)
    }
}
