//! The `gpu-csv-replay` binary: flags → replay or sample → exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser as _;
use mytsdb_tools::gpu::options::{Action, Arguments, ReplayOptions};
use mytsdb_tools::gpu::run::{Ended, Replay, RunError};
use mytsdb_tools::gpu::sample::{SampleOptions, write};
use mytsdb_tools::stop::stop_signal;
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse().checked().unwrap_or_else(|error| error.exit());
    let outcome = match arguments.action {
        Some(Action::Sample { gpus, start, seed }) => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let options = SampleOptions { gpu_count: gpus as usize, start, seed };
            write(&mut out, options)
                .and_then(|()| out.flush())
                .map_err(|error| format!("cannot write: {error}"))
        }
        None => replay(&arguments.replay).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpu-csv-replay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(line: Value) {
    eprintln!("{line}");
}

async fn replay(options: &ReplayOptions) -> Result<(), String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = std::env::var("HOSTNAME").unwrap_or(host);
    let replay = Replay::open(options, host.trim()).map_err(|error| error.to_string())?;
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let progress = replay.progress();
    let outcome: Result<Ended, RunError> = replay.run(stop, say).await;
    let event = match &outcome {
        Ok(Ended::Finished) => "finished",
        Ok(Ended::Stopped) => "stopped",
        Err(_) => "failed",
    };
    let _closed = writeln!(std::io::stdout().lock(), "{}", progress.line(event));
    outcome.map_err(|error| error.to_string())?;
    match progress.rejected.load(Ordering::Relaxed) {
        0 => Ok(()),
        count => Err(format!("the server refused {count} rows")),
    }
}
