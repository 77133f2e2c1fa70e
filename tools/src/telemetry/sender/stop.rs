//! How a run ends: first no new requests, then no waiting for answers any more.
//!
//! Input: signals of the operating system, the engine's decision. Output: stages that everybody can wait for.

use tokio::sync::watch;

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Requests are made.
    Running,
    /// No new requests; those in flight and their retries go on.
    Draining,
    /// Nothing is waited for.
    Aborted,
}

/// Decides the stage.
#[derive(Debug)]
pub struct Stopper {
    stage: watch::Sender<Stage>,
}

/// Sees the stage.
#[derive(Debug, Clone)]
pub struct Stop {
    stage: watch::Receiver<Stage>,
}

/// Starts with [`Stage::Running`].
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Stopper { stage: sender }, Stop { stage: receiver })
}

impl Stopper {
    /// Goes on to `stage`; never back.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let is_later = stage > *now;
            *now = stage.max(*now);
            is_later
        });
    }
}

impl Stop {
    /// Returns the stage.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the run has come to `stage`, or whoever decides is gone.
    pub async fn reached(&mut self, stage: Stage) {
        // Gone means that the process ends.
        let _gone = self.stage.wait_for(|now| *now >= stage).await;
    }
}

/// Waits for SIGINT or SIGTERM; without handlers it waits for ever.
pub async fn signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
