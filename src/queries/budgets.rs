//! The bytes that queries may hold: a budget per tenant inside one for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mytsdb_promql::{BudgetScope, MemoryBudget};
use mytsdb_storage::model::TenantId;

/// The budgets of all tenants with queries.
#[derive(Debug)]
pub struct Budgets {
    tenant_bytes_max: usize,
    all: Arc<MemoryBudget>,
    tenants: Mutex<BTreeMap<TenantId, Weak<MemoryBudget>>>,
}

impl Budgets {
    /// Creates budgets of `tenant_bytes_max` each inside one of `bytes_max`.
    pub fn new(tenant_bytes_max: usize, bytes_max: usize) -> Self {
        let all = Arc::new(MemoryBudget::new(BudgetScope::All, bytes_max, None));
        Self { tenant_bytes_max, all, tenants: Mutex::default() }
    }

    /// Bytes that all queries hold.
    pub fn used_bytes(&self) -> usize {
        self.all.used_bytes()
    }

    /// The budget that all queries of a tenant share as long as any of them holds it.
    pub fn of(&self, tenant: &TenantId) -> Arc<MemoryBudget> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = tenants.get(tenant).and_then(Weak::upgrade) {
            return budget;
        }
        tenants.retain(|_, budget| budget.strong_count() > 0);
        let parent = Some(Arc::clone(&self.all));
        let budget = Arc::new(MemoryBudget::new(BudgetScope::Tenant, self.tenant_bytes_max, parent));
        tenants.insert(tenant.clone(), Arc::downgrade(&budget));
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_a_tenant_share_and_tenants_do_not() {
        let budgets = Budgets::new(100, 150);
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let first = budgets.of(&a).reserve(80, String::new).unwrap();
        assert!(budgets.of(&a).reserve(30, String::new).is_err());
        let second = budgets.of(&b).reserve(70, String::new).unwrap();
        assert!(budgets.of(&b).reserve(1, String::new).is_err());
        assert_eq!(budgets.used_bytes(), 150);
        drop((first, second));
        assert_eq!(budgets.used_bytes(), 0);
        drop(budgets.of(&a));
        assert_eq!(budgets.tenants.lock().unwrap().len(), 1);
    }
}
