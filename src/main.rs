//! The `mytsdb` binary: a command, or configuration, log, server; exit code.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use mytsdb::{Config, ConfigError, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator does with memory that is free: a thread of its own gives it back after a second. With the
/// defaults, what a collection of the head freed stayed until somebody allocated: the resident set after a generation
/// of churn was up to 1.4 times that of the first (`make head`). `_RJEM_MALLOC_CONF` in the environment wins over it.
// SAFETY: jemalloc reads a pointer to a text with a final zero byte from the symbol of this name, and nothing else in
// the program has it.
#[expect(unsafe_code, reason = "the exported name is how the allocator finds its settings")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Longest wait for blocking work after the server is down.
const RUNAWAY_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = mytsdb::commands::run(&args, &mut std::io::stdout(), &mut std::io::stderr()) {
        return ExitCode::from(code);
    }
    let config = match Config::from_args(args) {
        Ok(config) => config,
        Err(ConfigError::Flags(error)) => error.exit(),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    mytsdb::telemetry::start_log(&config.log_filter);
    allow_open_files();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "ending with an error");
            ExitCode::FAILURE
        }
    }
}

/// Raises the limit of open files to what the system allows, as every runtime with many sockets does.
fn allow_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, ?current, ?maximum, "cannot raise the limit of open files");
    }
}

fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let runtime = mytsdb::runtime()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked_to_stop = async {
            tokio::select! {
                _ = terminate.recv() => info!(signal = "SIGTERM", "asked to stop"),
                _ = interrupt.recv() => info!(signal = "SIGINT", "asked to stop"),
            }
        };
        tokio::pin!(asked_to_stop);
        let running = tokio::select! {
            running = Server::start(config) => running?,
            () = &mut asked_to_stop => return Ok(()),
        };
        tokio::select! {
            () = asked_to_stop => {}
            () = running.quit_asked() => {}
        }
        running.shutdown().await?;
        Ok(())
    });
    // A query that did not notice its cancellation must not keep the process alive.
    runtime.shutdown_timeout(RUNAWAY_WAIT);
    outcome
}
