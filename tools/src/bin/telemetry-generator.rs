//! The `telemetry-generator` binary: settings → template files → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use mytsdb_tools::telemetry::generator::options::{GeneratorOptions, KEYS};
use mytsdb_tools::telemetry::generator::{Written, generate};
use mytsdb_tools::telemetry::settings::{SettingsError, parse};

/// Wrong flags, keys or values, and folders that cannot be used: what the user gave is at fault.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let options: GeneratorOptions = match parse(std::env::args_os(), &KEYS) {
        Ok(options) => options,
        Err(SettingsError::Flags(error)) => error.exit(),
        Err(error) => return fail(&error),
    };
    match generate(&options) {
        Ok(written) => {
            report(&options, &written);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("telemetry-generator: {error}");
    ExitCode::from(EXIT_USAGE)
}

fn report(options: &GeneratorOptions, written: &[Written]) {
    let mut out = std::io::stdout().lock();
    for one in written {
        let path = options.output.join(one.signal.file_name());
        let (count, bytes) = (one.item_count, one.file_bytes);
        let _closed =
            writeln!(out, "{}: {count} {} in {bytes} bytes", path.display(), one.signal.item_name());
    }
}
