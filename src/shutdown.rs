//! Going down by ownership: a token says stop, a tracker knows when everybody has stopped.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by all tasks of one server; clones belong together.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: accept nothing more, finish what runs.
    stop: CancellationToken,
    /// Cancelled when the wait is over: drop what still runs.
    abort: CancellationToken,
    tasks: TaskTracker,
    /// Cancelled when a client asked the server to end.
    quit: CancellationToken,
}

impl Shutdown {
    /// Creates the switch of one server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` as one of those that [`Shutdown::stop`] waits for; it ends early when the wait is over.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = abort.cancelled() => {}
            }
        });
    }

    /// Comes back when the server should stop. Owns what it needs, so that it can be handed on.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// Tells whoever runs the server that it should end.
    pub fn ask_to_quit(&self) {
        self.quit.cancel();
    }

    /// Comes back when a client asked the server to end.
    pub fn quit_asked(&self) -> impl Future<Output = ()> + Send + 'static {
        self.quit.clone().cancelled_owned()
    }

    /// Whether the server is going down.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells everybody to stop and waits at most `wait`, then drops what still runs.
    ///
    /// Returns whether everybody finished in time.
    pub async fn stop(&self, wait: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let is_clean = tokio::time::timeout(wait, self.tasks.wait()).await.is_ok();
        self.abort.cancel();
        self.tasks.wait().await;
        is_clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_waits_for_tasks_that_finish_and_drops_those_that_do_not() {
        let shutdown = Shutdown::new();
        let stopping = shutdown.stopping();
        shutdown.spawn(stopping);
        assert!(shutdown.stop(Duration::from_secs(60)).await);

        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending());
        assert!(!shutdown.stop(Duration::ZERO).await);
    }
}
