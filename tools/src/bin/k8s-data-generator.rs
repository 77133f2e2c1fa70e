//! The `k8s-data-generator` binary: flags → data set → server → exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use mytsdb_tools::k8s::follow::Follower;
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::progress::Progress;
use mytsdb_tools::k8s::seed::{Dataset, SeedReport, backfill};
use mytsdb_tools::stop::stop_signal;
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&SeedOptions::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("k8s-data-generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn say(line: Value) {
    eprintln!("{line}");
}

fn print(report: &SeedReport) {
    let mut out = std::io::stdout().lock();
    if let Some(verified_count) = report.verified_count {
        let _closed = writeln!(out, "verified {verified_count} samples in the server");
    }
    let _closed = writeln!(out, "{report}");
    let _closed = out.flush();
}

async fn run(options: &SeedOptions) -> anyhow::Result<()> {
    let dataset = Dataset::new(options, now_ms())?;
    let progress = Arc::new(Progress::visible(dataset.sample_count()));
    progress.say(&format!(
        "seeding {} series x {} steps = {} samples to {}",
        dataset.plan.series_count(),
        dataset.clock.step_count,
        dataset.sample_count(),
        options.endpoint
    ));
    if dataset.plan.missing_series_count > 0 {
        progress.say(&format!(
            "warning: {} series that dashboards use do not fit; give --metrics-per-container 90 or more",
            dataset.plan.missing_series_count
        ));
    }
    let (report, streams) = backfill(options, &dataset, &progress).await?;
    print(&report);
    if let Some(path) = &options.ready_file {
        let written = std::fs::write(path, "ready\n");
        written.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    }
    if !options.follow {
        return Ok(());
    }
    // From here on a signal is the usual end; before, it breaks the backfill off.
    let stop = stop_signal()?;
    let clock = dataset.clock.clone();
    let report = Follower { options, clock, streams, stop, now_ms, say }.run().await?;
    let _closed = writeln!(std::io::stdout().lock(), "{}", report.line("stopped", 0));
    anyhow::ensure!(report.rejected_count == 0, "the server refused {} samples", report.rejected_count);
    Ok(())
}
