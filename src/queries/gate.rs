//! So many queries at a time; the others wait in a queue per tenant, and the tenants take turns.
//!
//! Why: one tenant with a thousand panels must not make another one wait for all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mytsdb_storage::model::TenantId;
use tokio::sync::oneshot;

/// Why nobody may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The queue is full.
    #[error("too many queries: {running} run and {waiting} wait; at most {limit} may wait")]
    QueueFull {
        /// Queries that run.
        running: usize,
        /// Queries that wait.
        waiting: usize,
        /// Most that may wait.
        limit: usize,
    },
}

#[derive(Debug, Default)]
struct Inside {
    running: usize,
    waiting: usize,
    /// Tenants with their waiting queries; the first one is next. None has an empty queue.
    tenants: VecDeque<(TenantId, VecDeque<oneshot::Sender<Permit>>)>,
}

/// Lets so many in at a time.
#[derive(Debug)]
pub struct Gate {
    running_max: usize,
    waiting_max: usize,
    inside: Mutex<Inside>,
}

/// The right to run; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    /// `None` once the right was passed on.
    gate: Option<Arc<Gate>>,
}

impl Gate {
    /// Creates a gate for `running_max` queries at a time and a queue of `waiting_max`.
    pub fn new(running_max: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { running_max, waiting_max, inside: Mutex::default() })
    }

    /// How many run and how many wait (those whose callers went away included, until their turn comes).
    pub fn counts(&self) -> (usize, usize) {
        let inside = self.inside();
        (inside.running, inside.waiting)
    }

    /// Waits for the tenant's turn. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`GateError`].
    pub async fn enter(self: &Arc<Self>, tenant: &TenantId) -> Result<Permit, GateError> {
        let turn = {
            let mut inside = self.inside();
            if inside.running < self.running_max {
                inside.running += 1;
                return Ok(Permit { gate: Some(Arc::clone(self)) });
            }
            inside.forget_absent();
            if inside.waiting >= self.waiting_max {
                return Err(GateError::QueueFull {
                    running: inside.running,
                    waiting: inside.waiting,
                    limit: self.waiting_max,
                });
            }
            inside.queue(tenant)
        };
        // The sender stays in the queue until it was used, so that this waits for ever at worst.
        match turn.await {
            Ok(permit) => Ok(permit),
            Err(_) => std::future::pending().await,
        }
    }

    /// Passes a permit on to whoever is next, or notes that one is free.
    fn leave(self: &Arc<Self>) {
        let mut permit = Permit { gate: Some(Arc::clone(self)) };
        loop {
            let next = {
                let mut inside = self.inside();
                let next = inside.next();
                if next.is_none() {
                    inside.running -= 1;
                }
                next
            };
            let Some(waiting) = next else {
                permit.gate = None;
                return;
            };
            match waiting.send(permit) {
                Ok(()) => return,
                // It left the queue meanwhile.
                Err(returned) => permit = returned,
            }
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in here panics half way through a change.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn queue(&mut self, tenant: &TenantId) -> oneshot::Receiver<Permit> {
        let (sender, receiver) = oneshot::channel();
        self.waiting += 1;
        match self.tenants.iter_mut().find(|(found, _)| found == tenant) {
            Some((_, queue)) => queue.push_back(sender),
            None => self.tenants.push_back((tenant.clone(), VecDeque::from([sender]))),
        }
        receiver
    }

    /// The first query of the next tenant, which then stands at the end of the line.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let (tenant, mut queue) = self.tenants.pop_front()?;
        let next = queue.pop_front();
        if !queue.is_empty() {
            self.tenants.push_back((tenant, queue));
        }
        self.waiting -= usize::from(next.is_some());
        next
    }

    /// Removes those that left the queue.
    fn forget_absent(&mut self) {
        for (_, queue) in &mut self.tenants {
            queue.retain(|waiting| !waiting.is_closed());
        }
        self.tenants.retain(|(_, queue)| !queue.is_empty());
        self.waiting = self.tenants.iter().map(|(_, queue)| queue.len()).sum();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn tenants_take_turns() {
        let gate = Gate::new(1, 10);
        let (many, one) = (tenant("many"), tenant("one"));
        let running = poll(pin!(gate.enter(&many))).unwrap().unwrap();
        let mut first = pin!(gate.enter(&many));
        let mut second = pin!(gate.enter(&many));
        let mut other = pin!(gate.enter(&one));
        for waiting in [&mut first, &mut second, &mut other] {
            assert!(poll(waiting.as_mut()).is_none());
        }
        assert_eq!(gate.counts(), (1, 3));
        drop(running);
        let running = poll(first.as_mut()).unwrap().unwrap();
        assert!(poll(second.as_mut()).is_none() && poll(other.as_mut()).is_none());
        drop(running);
        // The other tenant comes before the second query of the first.
        let running = poll(other.as_mut()).unwrap().unwrap();
        assert!(poll(second.as_mut()).is_none());
        drop(running);
        drop(poll(second.as_mut()).unwrap().unwrap());
        assert_eq!(gate.counts(), (0, 0));
    }

    #[test]
    fn a_full_queue_is_an_error_and_who_left_takes_no_place() {
        let gate = Gate::new(1, 1);
        let tenant = tenant("a");
        let running = poll(pin!(gate.enter(&tenant))).unwrap().unwrap();
        {
            let mut waiting = pin!(gate.enter(&tenant));
            assert!(poll(waiting.as_mut()).is_none());
            let error = poll(pin!(gate.enter(&tenant))).unwrap().unwrap_err();
            assert_eq!(error, GateError::QueueFull { running: 1, waiting: 1, limit: 1 });
        }
        let mut waiting = pin!(gate.enter(&tenant));
        assert!(poll(waiting.as_mut()).is_none());
        drop(running);
        assert!(poll(waiting.as_mut()).is_some());
    }

    #[test]
    fn a_turn_that_nobody_takes_goes_to_the_next() {
        let gate = Gate::new(1, 10);
        let tenant = tenant("a");
        let running = poll(pin!(gate.enter(&tenant))).unwrap().unwrap();
        let mut next = Box::pin(gate.enter(&tenant));
        let mut last = pin!(gate.enter(&tenant));
        assert!(poll(next.as_mut()).is_none() && poll(last.as_mut()).is_none());
        drop(running);
        // It was given its turn and never looked.
        drop(next);
        drop(poll(last.as_mut()).unwrap().unwrap());
        assert_eq!(gate.counts(), (0, 0));
    }
}
