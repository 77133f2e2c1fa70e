//! The `k8s-data-generator` binary: flags → data set → server → exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::progress::Progress;
use mytsdb_tools::k8s::seed::{Dataset, SeedError, SeedReport, seed};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&SeedOptions::parse()).await {
        Ok(report) => {
            let mut out = std::io::stdout().lock();
            if let Some(verified_count) = report.verified_count {
                let _closed = writeln!(out, "verified {verified_count} samples in the server");
            }
            let _closed = writeln!(out, "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("k8s-data-generator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &SeedOptions) -> Result<SeedReport, SeedError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dataset = Dataset::new(options, now.as_millis() as i64)?;
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
    seed(options, &dataset, &progress).await
}
