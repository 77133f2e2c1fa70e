//! Operations that take samples away.

use mytsdb_storage::model::{Matcher, TimeRange};

use super::query::Condition;
use super::world::World;

impl World {
    /// Deletes what matches any of some selectors, then compares at once.
    pub(super) fn delete(&mut self, tenant: usize) {
        let set_count = *self.random.pick(&[1, 1, 2]);
        let sets: Vec<Vec<Condition>> = (0..set_count).map(|_| self.conditions(tenant)).collect();
        let start_ms = self.random.between(self.oldest_ms(), self.now_ms);
        let range = match self.random.below(8) {
            0 => TimeRange::ALL,
            1 => TimeRange::new(start_ms, start_ms),
            2 => TimeRange::new(start_ms, start_ms + self.random.between(1, self.retention_ms)),
            _ => TimeRange::new(start_ms, start_ms + self.random.between(1, 3_600_000)),
        };
        self.note("delete", format!("tenant {tenant}: any of {sets:?} in {range:?}"));
        let matchers: Vec<Vec<Matcher>> =
            sets.iter().map(|set| set.iter().map(Condition::matcher).collect()).collect();
        let world = &mut self.tenants[tenant];
        for conditions in &sets {
            world.model.delete(conditions, range);
        }
        let id = world.id.clone();
        self.storage().delete_series(&id, &matchers, range, self.now_ms).unwrap();
        self.query(tenant);
    }
}
