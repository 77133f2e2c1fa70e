//! The `log-load` binary: flags → lines → exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser as _;
use mytsdb_tools::log_load::options::LogOptions;
use mytsdb_tools::log_load::output::RotatedFile;
use mytsdb_tools::log_load::run::{Written, run};
use mytsdb_tools::stop::stop_signal;
use tokio::sync::{oneshot, watch};

/// How long a write that blocks may take to end after a signal.
const STOP_WAIT: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = LogOptions::parse();
    let written = Arc::new(Written::new(options.bytes_per_second));
    let outcome = match (stop_signal(), start(options.clone(), Arc::clone(&written))) {
        (Ok(stop), Ok(ended)) => wait(&options, &written, stop, ended).await,
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    match outcome {
        Ok(event) => {
            eprintln!("{}", written.line(event));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", written.line("failed"));
            let reason = match error.kind() {
                io::ErrorKind::BrokenPipe => "the reader of the lines went away".to_owned(),
                _ => format!("cannot write to {}: {error}", options.output.display()),
            };
            eprintln!("log-load: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Writes in a thread of its own, as writing may block.
fn start(options: LogOptions, written: Arc<Written>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (sender, receiver) = oneshot::channel();
    let file = match options.output == Path::new("-") {
        true => None,
        false => Some(RotatedFile::open(&options.output, options.rotate_bytes, options.keep)?),
    };
    std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        let outcome = match file {
            Some(mut file) => run(&options, &mut file, &written),
            None => run(&options, &mut io::stdout().lock(), &written),
        };
        // Nobody listens if a signal came first and the wait was over.
        let _unheard = sender.send(outcome);
    })?;
    Ok(receiver)
}

/// Reports until the writer or a signal ends it; returns which.
async fn wait(
    options: &LogOptions,
    written: &Written,
    mut stop: watch::Receiver<bool>,
    mut ended: oneshot::Receiver<io::Result<()>>,
) -> io::Result<&'static str> {
    let panicked = |_gone| io::Error::other("the writer panicked");
    loop {
        tokio::select! {
            outcome = &mut ended => return outcome.map_err(panicked)?.map(|()| "finished"),
            _ = stop.wait_for(|is_stopped| *is_stopped) => break,
            () = tokio::time::sleep(options.report_interval) => eprintln!("{}", written.line("progress")),
        }
    }
    written.stop.store(true, Ordering::Relaxed);
    match tokio::time::timeout(STOP_WAIT, ended).await {
        Ok(outcome) => outcome.map_err(panicked)?.map(|()| "stopped"),
        // The reader does not read; the lines of one write are cut off.
        Err(_) => Ok("stopped"),
    }
}
