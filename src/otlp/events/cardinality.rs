//! How many series the spans of a tenant may make: beyond it they are counted together, as the connector does.
//!
//! Span names are chosen by programs and may hold ids. Seen names are forgotten when they were not seen for an hour or
//! two, so that those of a version that is gone make room.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet};

use super::Counted;
use super::request::{Cell, Dimensions};
use crate::core::Core;

/// Who was not seen for so long (or twice that) makes room.
const GENERATION_MS: i64 = 3_600_000;

/// Which series the spans of one tenant make.
#[derive(Debug, Default)]
pub(super) struct Cardinality {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    began_ms: i64,
    hasher: DefaultHashBuilder,
}

impl Cardinality {
    /// Turns the cells of series above the limit into overflow cells, one per resource and second.
    pub(super) fn limit(&mut self, core: &Core, series_count_max: usize, counted: &mut Counted<'_>) {
        self.age(core.now_ms());
        for resource in &mut counted.resources {
            let resource_hash = self.hasher.hash_one(resource.resource);
            let mut overflow: HashMap<i64, Cell<'_>> = HashMap::new();
            let mut kept = Vec::with_capacity(resource.cells.len());
            for mut cell in std::mem::take(&mut resource.cells) {
                if self.is_admitted(self.hasher.hash_one((resource_hash, &cell.dimensions)), series_count_max)
                {
                    kept.push(cell);
                    continue;
                }
                cell.dimensions = Dimensions::Overflow;
                match overflow.get_mut(&cell.second) {
                    Some(known) => known.add(cell),
                    None => {
                        overflow.insert(cell.second, cell);
                    }
                }
            }
            kept.extend(overflow.into_values());
            resource.cells = kept;
        }
    }

    fn age(&mut self, now_ms: i64) {
        if now_ms - self.began_ms >= GENERATION_MS {
            self.previous = std::mem::take(&mut self.current);
            self.began_ms = now_ms;
        }
    }

    fn is_admitted(&mut self, series: u64, series_count_max: usize) -> bool {
        if self.current.contains(&series) {
            return true;
        }
        let is_known = self.previous.remove(&series);
        if !is_known && self.current.len() + self.previous.len() >= series_count_max {
            return false;
        }
        self.current.insert(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_series_stay_new_ones_need_room_and_forgotten_ones_make_it() {
        let mut cardinality = Cardinality::default();
        cardinality.age(GENERATION_MS);
        let mut admit = |series, at_ms| {
            cardinality.age(at_ms);
            cardinality.is_admitted(series, 2)
        };
        assert!(admit(1, GENERATION_MS) && admit(2, GENERATION_MS));
        assert!(!admit(3, GENERATION_MS));
        assert!(admit(1, 2 * GENERATION_MS), "known from the generation before");
        assert!(!admit(3, 2 * GENERATION_MS));
        assert!(admit(1, 3 * GENERATION_MS));
        assert!(admit(3, 3 * GENERATION_MS), "2 was not seen for a whole generation");
        assert!(!admit(2, 3 * GENERATION_MS));
    }
}
