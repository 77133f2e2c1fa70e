//! How many bytes of writes are in flight, of all protocols together and of each tenant.
//!
//! Who receives a body reserves its bytes first and gives them back when the write is answered. Not here: the limits
//! (see `config` and `mytsdb_storage::TenantLimits`), the answer to a client that has to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use mytsdb_storage::model::TenantId;
use tokio::sync::Notify;

/// There is no room for a write now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflightFull {
    /// All writes together are too many.
    #[error("more than {limit} bytes of writes are in flight, the limit of --write-max-inflight-bytes")]
    Server {
        /// Most bytes.
        limit: usize,
    },
    /// Those of the tenant are too many.
    #[error(
        "more than {limit} bytes of writes of tenant {tenant} are in flight, the limit of limit-inflight-bytes"
    )]
    Tenant {
        /// Whose.
        tenant: TenantId,
        /// Most bytes.
        limit: usize,
    },
}

/// The bytes in flight of one server.
#[derive(Debug)]
pub struct Inflight {
    bytes_max: usize,
    used: Mutex<Used>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// Only tenants with bytes in flight.
    by_tenant: HashMap<TenantId, usize>,
}

/// Bytes of a write; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    inflight: Arc<Inflight>,
    tenant: TenantId,
    tenant_bytes_max: usize,
    bytes: usize,
}

impl Inflight {
    /// Nothing is in flight; at most `bytes_max` may be.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: Mutex::default(), freed: Notify::new() }
    }

    /// Begins a write of `tenant`, which may have `tenant_bytes_max` in flight, without bytes.
    pub fn begin(self: &Arc<Self>, tenant: TenantId, tenant_bytes_max: usize) -> Reservation {
        Reservation { inflight: Arc::clone(self), tenant, tenant_bytes_max, bytes: 0 }
    }

    /// Bytes in flight.
    pub fn used_bytes(&self) -> usize {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    fn take(&self, tenant: &TenantId, tenant_bytes_max: usize, bytes: usize) -> Result<(), InflightFull> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(InflightFull::Server { limit: self.bytes_max });
        }
        let of_tenant = used.by_tenant.get(tenant).copied().unwrap_or(0);
        if of_tenant.saturating_add(bytes) > tenant_bytes_max {
            return Err(InflightFull::Tenant { tenant: tenant.clone(), limit: tenant_bytes_max });
        }
        used.bytes += bytes;
        used.by_tenant.insert(tenant.clone(), of_tenant + bytes);
        Ok(())
    }

    fn give_back(&self, tenant: &TenantId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes -= bytes;
        let left = used.by_tenant.get(tenant).map_or(0, |of_tenant| of_tenant - bytes);
        if left == 0 {
            used.by_tenant.remove(tenant);
        } else {
            used.by_tenant.insert(tenant.clone(), left);
        }
        drop(used);
        self.freed.notify_waiters();
    }
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`InflightFull`] naming the limit.
    pub fn grow(&mut self, bytes: usize) -> Result<(), InflightFull> {
        self.inflight.take(&self.tenant, self.tenant_bytes_max, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes taken so far become a reservation of their own.
    pub fn split(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        let (inflight, tenant) = (Arc::clone(&self.inflight), self.tenant.clone());
        Self { inflight, tenant, tenant_bytes_max: self.tenant_bytes_max, bytes }
    }

    /// Takes `bytes` more as a reservation of its own, and waits for them at most `wait`. A wish that no emptiness
    /// fulfils is cut to the limit.
    ///
    /// # Errors
    /// [`InflightFull`] naming the limit.
    pub fn wait_for(
        &self,
        bytes: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Self, InflightFull>> + Send + use<> {
        let mut taken = self.inflight.begin(self.tenant.clone(), self.tenant_bytes_max);
        let inflight = Arc::clone(&self.inflight);
        let bytes = bytes.min(inflight.bytes_max).min(self.tenant_bytes_max);
        async move {
            let deadline = tokio::time::Instant::now() + wait;
            loop {
                let freed = inflight.freed.notified();
                tokio::pin!(freed);
                // From here on nothing that is given back is missed.
                freed.as_mut().enable();
                match taken.grow(bytes) {
                    Ok(()) => return Ok(taken),
                    Err(full) => {
                        tokio::time::timeout_at(deadline, freed).await.map_err(|_| full)?;
                    }
                }
            }
        }
    }

    /// Adds the bytes of `other`, of the same tenant.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inflight.give_back(&self.tenant, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn server_and_tenant_have_limits_and_what_is_dropped_is_free_again() {
        let inflight = Arc::new(Inflight::new(100));
        let mut first = inflight.begin(tenant("a"), 60);
        first.grow(50).unwrap();
        assert_eq!(first.grow(11), Err(InflightFull::Tenant { tenant: tenant("a"), limit: 60 }));
        let mut other = inflight.begin(tenant("b"), usize::MAX);
        assert_eq!(other.grow(51), Err(InflightFull::Server { limit: 100 }));
        other.grow(50).unwrap();
        let mut moved = first.split();
        drop(first);
        assert_eq!(inflight.used_bytes(), 100);
        // Two reservations of one tenant in one.
        moved.grow(0).unwrap();
        let rest = moved.split();
        moved.merge(rest);
        assert_eq!(inflight.used_bytes(), 100);
        drop((moved, other));
        assert_eq!(inflight.used_bytes(), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_the_bytes_when_they_are_free_or_is_told_the_limit() {
        let inflight = Arc::new(Inflight::new(100));
        let mut held = inflight.begin(tenant("a"), usize::MAX);
        held.grow(100).unwrap();
        let refused = held.wait_for(10, Duration::ZERO).await;
        assert_eq!(refused.unwrap_err(), InflightFull::Server { limit: 100 });
        let waiting = tokio::spawn(held.wait_for(1000, Duration::from_secs(60)));
        drop(held);
        let got = waiting.await.unwrap().unwrap();
        assert_eq!((got.bytes, inflight.used_bytes()), (100, 100));
    }
}
