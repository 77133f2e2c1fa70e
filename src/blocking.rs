//! The only bridge from async to the core: a bounded number of blocking calls at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// Runs blocking or long work off the async threads.
#[derive(Debug, Clone)]
pub struct Blocking {
    permits: Arc<Semaphore>,
}

/// The work did not come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The server is shutting down.
    #[error("server is shutting down")]
    Closed,
    /// The work panicked; the panic is in the log.
    #[error("internal error: the work panicked")]
    Panicked,
}

impl Blocking {
    /// Creates a bridge for at most `concurrency_max` calls at a time; more wait in order.
    pub fn new(concurrency_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency_max)) }
    }

    /// Runs `work` on a blocking thread.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| BlockingError::Closed)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|_| BlockingError::Panicked)
    }

    /// Runs `work` on this thread, while another one takes over its other tasks.
    ///
    /// Why: what was just received is in this core's caches.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub async fn run_here<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        // A runtime of one thread has nobody to take over.
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return self.run(work).await;
        }
        let _permit = self.permits.acquire().await.map_err(|_| BlockingError::Closed)?;
        let work = AssertUnwindSafe(work);
        tokio::task::block_in_place(|| catch_unwind(work)).map_err(|_| BlockingError::Panicked)
    }
}
