//! How loops over windows learn that their query was stopped, without knowing it.
//!
//! Why: one row may have thousands of windows of millions of samples each, which are minutes of work in one kernel. A
//! kernel knows slices only; so the worker thread remembers whose row it computes, and the loop over windows gives up
//! now and then. What it leaves undone is never seen: the evaluation looks at the cancellation after every row.

use std::cell::RefCell;

use crate::engine::Cancellation;

thread_local! {
    static WATCHED: RefCell<Option<Cancellation>> = const { RefCell::new(None) };
}

/// Until this is dropped, loops over windows of this thread watch a cancellation.
#[derive(Debug)]
pub(crate) struct Watch {
    before: Option<Cancellation>,
}

/// Begins to watch.
pub(crate) fn watch(cancellation: &Cancellation) -> Watch {
    Watch { before: WATCHED.replace(Some(cancellation.clone())) }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(self.before.take());
    }
}

/// Whether the query of this thread's row was stopped.
pub(crate) fn is_stopped() -> bool {
    WATCHED.with_borrow(|watched| watched.as_ref().is_some_and(|watched| watched.reason().is_some()))
}
