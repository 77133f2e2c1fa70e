//! Bytes that queries may hold: each its own share, and shares inside larger ones.
//!
//! A query takes from its own budget and from every budget above it (its tenant's, everybody's), all or none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::EvalError;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetScope {
    /// One query's.
    Query,
    /// That of all queries of a tenant together.
    Tenant,
    /// That of all queries together.
    All,
}

impl fmt::Display for BudgetScope {
    /// What follows `the limit`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Query => "",
            Self::Tenant => " for all queries of the tenant together",
            Self::All => " for all queries together",
        })
    }
}

/// A limit in bytes and what is taken of it now.
#[derive(Debug)]
pub struct MemoryBudget {
    scope: BudgetScope,
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
    parent: Option<Arc<MemoryBudget>>,
}

impl MemoryBudget {
    /// Creates a budget; what is taken of it is taken of `parent`, too.
    pub fn new(scope: BudgetScope, limit_bytes: usize, parent: Option<Arc<Self>>) -> Self {
        Self { scope, limit_bytes, used_bytes: AtomicUsize::new(0), peak_bytes: AtomicUsize::new(0), parent }
    }

    /// Bytes that are taken now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that can still be taken of it and of every budget above it.
    pub fn bytes_left(&self) -> usize {
        let left = self.levels().map(|level| level.limit_bytes.saturating_sub(level.used_bytes()));
        left.min().unwrap_or(0)
    }

    /// Most bytes that were taken at one time.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` until the reservation is dropped. `selector` names the selector that needs them, or is empty.
    ///
    /// # Errors
    /// [`EvalError::TooManyBytes`] of the first budget that is too small; nothing is taken then.
    pub fn reserve(
        self: &Arc<Self>,
        bytes: usize,
        selector: impl FnOnce() -> String,
    ) -> Result<Reservation, EvalError> {
        let mut reservation = Reservation { budget: Arc::clone(self), bytes: 0 };
        // Half of the address space is more than any limit and does not overflow when added.
        reservation.grow(bytes.min(usize::MAX / 2), selector)?;
        Ok(reservation)
    }

    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |budget| budget.parent.as_deref())
    }

    fn give_back(&self, bytes: usize) {
        for level in self.levels() {
            level.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Bytes that count against a budget until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Reservation {
    /// Takes `bytes` more.
    fn grow(&mut self, bytes: usize, selector: impl FnOnce() -> String) -> Result<(), EvalError> {
        for (depth, level) in self.budget.levels().enumerate() {
            let before = level.used_bytes.fetch_add(bytes, Ordering::Relaxed);
            let needed = before.saturating_add(bytes);
            if needed > level.limit_bytes {
                for level in self.budget.levels().take(depth + 1) {
                    level.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
                let name = selector();
                let selector = if name.is_empty() { name } else { format!(" by selector {name}") };
                return Err(EvalError::TooManyBytes {
                    needed,
                    limit: level.limit_bytes,
                    scope: level.scope,
                    selector,
                });
            }
            level.peak_bytes.fetch_max(needed, Ordering::Relaxed);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets() -> (Arc<MemoryBudget>, Arc<MemoryBudget>, Arc<MemoryBudget>) {
        let all = Arc::new(MemoryBudget::new(BudgetScope::All, 100, None));
        let tenant = Arc::new(MemoryBudget::new(BudgetScope::Tenant, 80, Some(Arc::clone(&all))));
        let query = Arc::new(MemoryBudget::new(BudgetScope::Query, 60, Some(Arc::clone(&tenant))));
        (all, tenant, query)
    }

    #[test]
    fn what_a_query_takes_is_taken_of_every_level_and_given_back() {
        let (all, tenant, query) = budgets();
        let reservation = query.reserve(50, String::new).unwrap();
        assert_eq!([&all, &tenant, &query].map(|budget| budget.used_bytes()), [50, 50, 50]);
        drop(reservation);
        assert_eq!([&all, &tenant, &query].map(|budget| budget.used_bytes()), [0, 0, 0]);
        assert_eq!(query.peak_bytes(), 50);
    }

    #[test]
    fn the_level_that_is_too_small_is_named_and_nothing_stays_taken() {
        let (all, tenant, query) = budgets();
        let check = |bytes, scope: BudgetScope, limit: usize, needed: usize| {
            let error = query.reserve(bytes, || "{a=\"b\"}".to_owned()).unwrap_err();
            let expected = EvalError::TooManyBytes {
                needed,
                limit,
                scope,
                selector: " by selector {a=\"b\"}".to_owned(),
            };
            assert_eq!(error, expected);
        };
        check(61, BudgetScope::Query, 60, 61);
        let neighbour = tenant.reserve(30, String::new).unwrap();
        check(60, BudgetScope::Tenant, 80, 90);
        let stranger = all.reserve(65, String::new).unwrap();
        check(10, BudgetScope::All, 100, 105);
        check(usize::MAX, BudgetScope::Query, 60, usize::MAX / 2);
        drop((neighbour, stranger));
        assert_eq!([&all, &tenant, &query].map(|budget| budget.used_bytes()), [0, 0, 0]);
    }
}
