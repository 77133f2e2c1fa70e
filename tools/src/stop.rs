//! The signals that end a tool, as a value that turns true.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true at the first SIGINT or SIGTERM. Needs a runtime.
///
/// # Errors
/// What the system says when it does not pass signals on.
pub fn stop_signal() -> io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Kept until the process ends: those who wait would take its end for an error.
        sender.closed().await;
    });
    Ok(receiver)
}
