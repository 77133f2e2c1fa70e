//! The list of queries that wait and run, and stopping one of them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mytsdb_promql::{CancelReason, Cancellation};
use mytsdb_storage::model::TenantId;
use tokio_util::sync::CancellationToken;

use super::Description;

/// A query of the list.
#[derive(Debug, Clone)]
pub struct ActiveQuery {
    /// Names it for as long as it is listed; cannot be guessed.
    pub id: u64,
    /// What it is.
    pub description: Description,
    /// Whether it runs already.
    pub is_running: bool,
    /// When it was asked.
    pub asked_ms: i64,
    /// For how long it has waited and run.
    pub elapsed: Duration,
}

#[derive(Debug)]
struct Entry {
    description: Description,
    is_running: AtomicBool,
    asked_ms: i64,
    asked: Instant,
    cancellation: Cancellation,
    stopped: CancellationToken,
}

/// The list.
#[derive(Debug, Default)]
pub struct Active {
    entries: Mutex<BTreeMap<u64, Arc<Entry>>>,
    ids: RandomState,
}

impl Active {
    /// Adds a query until the result is dropped.
    pub(super) fn list(
        self: Arc<Self>,
        description: Description,
        cancellation: Cancellation,
        asked_ms: i64,
    ) -> Listed {
        let entry = Arc::new(Entry {
            description,
            is_running: AtomicBool::new(false),
            asked_ms,
            asked: Instant::now(),
            cancellation,
            stopped: CancellationToken::new(),
        });
        let mut entries = self.entries();
        let mut id = self.ids.hash_one((asked_ms, Arc::as_ptr(&entry) as usize, entries.len()));
        while entries.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        entries.insert(id, Arc::clone(&entry));
        drop(entries);
        Listed { id, entry, active: self }
    }

    /// The queries of one tenant, the oldest first.
    pub fn of(&self, tenant: &TenantId) -> Vec<ActiveQuery> {
        let entries = self.entries();
        let of_tenant = entries.iter().filter(|(_, entry)| entry.description.tenant == *tenant);
        let mut queries: Vec<ActiveQuery> = of_tenant
            .map(|(id, entry)| ActiveQuery {
                id: *id,
                description: entry.description.clone(),
                is_running: entry.is_running.load(Ordering::Relaxed),
                asked_ms: entry.asked_ms,
                elapsed: entry.asked.elapsed(),
            })
            .collect();
        drop(entries);
        queries.sort_by_key(|query| std::cmp::Reverse(query.elapsed));
        queries
    }

    /// Stops a query of the tenant; returns whether there is one with that id.
    pub fn stop(&self, tenant: &TenantId, id: u64) -> bool {
        let entry = self.entries().get(&id).filter(|entry| entry.description.tenant == *tenant).cloned();
        if let Some(entry) = &entry {
            entry.cancellation.cancel(CancelReason::Canceled);
            entry.stopped.cancel();
        }
        entry.is_some()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query that is on the list until this is dropped.
#[derive(Debug)]
pub(super) struct Listed {
    id: u64,
    entry: Arc<Entry>,
    active: Arc<Active>,
}

impl Listed {
    pub(super) fn set_running(&self) {
        self.entry.is_running.store(true, Ordering::Relaxed);
    }

    /// Waits until somebody stops the query.
    pub(super) async fn stopped(&self) {
        self.entry.stopped.cancelled().await;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.active.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_listed_and_stopped_by_their_own_tenant_only() {
        let active = Arc::new(Active::default());
        let tenant = TenantId::new("a").unwrap();
        let stranger = TenantId::new("b").unwrap();
        let description = Description {
            tenant: tenant.clone(),
            query: "up".to_owned(),
            times_ms: (1, 1, 0),
            client: None,
            method: "GET".to_owned(),
            path: "/api/v1/query",
        };
        let cancellation = Cancellation::default();
        let listed = Arc::clone(&active).list(description, cancellation.clone(), 7);
        let id = active.of(&tenant)[0].id;
        assert!(!active.of(&tenant)[0].is_running);
        listed.set_running();
        assert!(active.of(&tenant)[0].is_running);
        assert!(active.of(&stranger).is_empty() && !active.stop(&stranger, id));
        assert_eq!(cancellation.reason(), None);
        assert!(active.stop(&tenant, id) && !active.stop(&tenant, id.wrapping_add(1)));
        assert_eq!(cancellation.reason(), Some(CancelReason::Canceled));
        drop(listed);
        assert!(active.of(&tenant).is_empty());
    }
}
