//! Operations that read, and compare with the map.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use mytsdb_storage::Storage;
use mytsdb_storage::model::{LabelSet, Matcher, TimeRange, is_stale};
use mytsdb_storage::read::{SampleColumns, SeriesSet};

use super::model::{Sample, TenantModel};
use super::query::Condition;
use super::series;
use super::world::World;

/// Series sets that are held at a time.
const HELD_MAX: usize = 3;

type Found = BTreeMap<u32, Vec<(i64, Sample)>>;

/// A series set that somebody still reads while the engine goes on.
pub(super) struct Held {
    tenant: usize,
    range: TimeRange,
    set: SeriesSet,
    expected: Found,
    /// Samples that were written again meanwhile: the head shows them.
    rewritten: HashSet<(u32, i64)>,
    since: u64,
}

impl Held {
    pub(super) fn forget(&mut self, tenant: usize, id: u32, time_ms: i64) {
        if self.tenant == tenant {
            self.rewritten.insert((id, time_ms));
        }
    }
}

impl World {
    /// Everything, a point, the newest minutes, or anything between; never older than retention.
    fn range(&mut self) -> TimeRange {
        let oldest_ms = self.oldest_ms();
        let start_ms = self.random.between(oldest_ms, self.now_ms);
        match self.random.below(16) {
            0 => TimeRange::new(oldest_ms, i64::MAX),
            1 => TimeRange::new(start_ms, start_ms + 1),
            2 => TimeRange::new(self.now_ms - 300_000, self.now_ms + 1),
            3 => TimeRange::new(start_ms, start_ms - self.random.between(0, 1_000)),
            4 => TimeRange::new(start_ms, start_ms + self.random.between(1, self.retention_ms)),
            _ => {
                let span_ms = *self.random.pick(&[1_000, 60_000, 3_600_000]);
                TimeRange::new(start_ms, start_ms + self.random.between(1, span_ms))
            }
        }
    }

    pub(super) fn conditions(&mut self, tenant: usize) -> Vec<Condition> {
        let newest_id = self.tenants[tenant].first_id + self.live_series;
        (0..*self.random.pick(&[0, 1, 1, 1, 2, 3]))
            .map(|_| Condition::random(&mut self.random, newest_id))
            .collect()
    }

    pub(super) fn query(&mut self, tenant: usize) {
        let (range, conditions) = (self.range(), self.conditions(tenant));
        self.note("query", format!("tenant {tenant}: {conditions:?} in {range:?}"));
        self.compare(tenant, &conditions, range);
    }

    /// Compares every sample of every tenant, and the metadata.
    pub(super) fn query_all(&mut self) {
        self.note("query everything", String::new());
        let sample_count = self.compare_all(self.storage());
        self.tally.count("samples compared", sample_count);
    }

    /// Compares everything that `storage` holds; returns how many samples that were.
    pub(super) fn compare_all(&self, storage: &Storage) -> u64 {
        let range = TimeRange::new(self.oldest_ms(), i64::MAX);
        let known = storage.tenant_ids();
        let mut sample_count = 0;
        for (tenant, world) in self.tenants.iter().enumerate() {
            sample_count += self.compare_in(storage, tenant, &[], range);
            assert!(world.model.series.is_empty() || known.contains(&world.id), "{known:?}");
            let facts = storage.reader(&world.id).metadata();
            let facts: BTreeMap<String, String> =
                facts.into_iter().map(|fact| (fact.metric, fact.help)).collect();
            assert_eq!(facts, world.model.metadata, "metadata of tenant {tenant}");
        }
        sample_count
    }

    fn compare(&mut self, tenant: usize, conditions: &[Condition], range: TimeRange) {
        let sample_count = self.compare_in(self.storage(), tenant, conditions, range);
        self.tally.count("samples compared", sample_count);
    }

    fn compare_in(
        &self,
        storage: &Storage,
        tenant: usize,
        conditions: &[Condition],
        range: TimeRange,
    ) -> u64 {
        let world = &self.tenants[tenant];
        let matchers: Vec<Matcher> = conditions.iter().map(Condition::matcher).collect();
        let set = storage.reader(&world.id).select(&matchers, range).unwrap();
        let found = read(&set, &ids_by_labels(&world.model), range);
        let expected = world.model.select(conditions, range);
        compare(&found, &expected, &format!("tenant {tenant}"));
        expected.values().map(|samples| samples.len() as u64).sum()
    }

    /// Label names and values: of every series that has samples, and of none that never was.
    pub(super) fn query_labels(&mut self, tenant: usize) {
        let (range, conditions) = (self.range(), self.conditions(tenant));
        let name = *self.random.pick(&["__name__", "container", "pod", "zone", "absent", "ü"]);
        self.note("query labels", format!("tenant {tenant}: {name}, {conditions:?} in {range:?}"));
        let world = &self.tenants[tenant];
        let matchers: Vec<Matcher> = conditions.iter().map(Condition::matcher).collect();
        let reader = self.storage().reader(&world.id);
        let names = reader.label_names(&matchers, range).unwrap();
        let values = reader.label_values(name, &matchers, range).unwrap();
        let expected: Vec<u32> = world.model.select(&conditions, range).into_keys().collect();
        let ever = || {
            let is_possible = |id: &u32| !range.is_empty() && conditions.iter().all(|c| c.matches(*id));
            world.model.ever.iter().copied().filter(is_possible)
        };
        let needed = TenantModel::label_names(expected.iter().copied());
        compare_texts("label names", &names, &needed, &TenantModel::label_names(ever()));
        let needed = TenantModel::label_values(expected.iter().copied(), name);
        compare_texts("label values", &values, &needed, &TenantModel::label_values(ever(), name));
    }

    /// Takes a series set and reads it later.
    pub(super) fn hold(&mut self, tenant: usize) {
        if self.held.len() == HELD_MAX {
            return self.check_held();
        }
        let (range, conditions) = (self.range(), self.conditions(tenant));
        self.note("hold", format!("tenant {tenant}: {conditions:?} in {range:?}"));
        let world = &self.tenants[tenant];
        let matchers: Vec<Matcher> = conditions.iter().map(Condition::matcher).collect();
        let set = self.storage().reader(&world.id).select(&matchers, range).unwrap();
        let expected = world.model.select(&conditions, range);
        let since = self.operation_number();
        self.held.push(Held { tenant, range, set, expected, rewritten: HashSet::new(), since });
    }

    /// Reads what was held for longest: all that it promised is there, whatever was dropped or written meanwhile.
    pub(super) fn check_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let mut held = self.held.remove(0);
        self.note("read what was held", format!("tenant {} since {}", held.tenant, held.since));
        let ids = ids_by_labels(&self.tenants[held.tenant].model);
        let mut found = read(&held.set, &ids, held.range);
        found.iter_mut().for_each(|(id, samples)| {
            samples.retain(|(time_ms, _)| !held.rewritten.contains(&(*id, *time_ms)));
        });
        held.expected.iter_mut().for_each(|(id, samples)| {
            samples.retain(|(time_ms, _)| !held.rewritten.contains(&(*id, *time_ms)));
        });
        found.retain(|_, samples| !samples.is_empty());
        held.expected.retain(|_, samples| !samples.is_empty());
        compare(&found, &held.expected, &format!("held since operation {}", held.since));
    }
}

/// Every series that ever was, by its labels.
fn ids_by_labels(model: &TenantModel) -> BTreeMap<LabelSet, u32> {
    model.ever.iter().map(|id| (series::labels(*id), *id)).collect()
}

fn read(set: &SeriesSet, ids: &BTreeMap<LabelSet, u32>, range: TimeRange) -> Found {
    let (mut columns, mut presence) = (SampleColumns::default(), SampleColumns::default());
    let mut found = Found::new();
    for index in 0..set.len() {
        let labels = set.labels(index);
        assert!(index == 0 || set.labels(index - 1) < labels, "series do not ascend at {labels:?}");
        let id = *ids.get(labels).unwrap_or_else(|| panic!("nobody wrote {labels:?}"));
        set.read(index, range, &mut columns).unwrap();
        assert_eq!(columns.timestamps_ms.len(), columns.values.len());
        assert!(
            columns.timestamps_ms.is_sorted_by(|left, right| left < right),
            "times of {labels:?} do not ascend"
        );
        assert!(columns.len() <= set.estimated_sample_count(index, range), "estimate of {labels:?}");
        assert!(columns.len() <= set.series_sample_count_max(), "bound of {labels:?}");
        set.read_presence(index, range, &mut presence).unwrap();
        assert_eq!(presence.timestamps_ms, columns.timestamps_ms, "times of {labels:?}");
        let is_same = |(seen, value): (&f64, &f64)| is_stale(*seen) == is_stale(*value);
        assert!(presence.values.iter().zip(&columns.values).all(is_same), "stale markers of {labels:?}");
        if !columns.is_empty() {
            let starts_ms = columns.starts.up_to(columns.len()).each(columns.len());
            let floats = columns.values.iter().zip(starts_ms);
            let floats = floats.map(|(value, start_ms)| Sample::Float(value.to_bits(), start_ms));
            let mut samples: Vec<_> = columns.timestamps_ms.iter().copied().zip(floats).collect();
            for (position, histogram) in &columns.histograms {
                assert_eq!(columns.starts.at(*position as usize), 0, "histograms carry their start times");
                samples[*position as usize].1 = Sample::Histogram(Arc::clone(histogram));
            }
            found.insert(id, samples);
        }
    }
    found
}

fn compare(found: &Found, expected: &Found, what: &str) {
    let ids: BTreeSet<u32> = found.keys().chain(expected.keys()).copied().collect();
    for id in ids {
        let nothing = Vec::new();
        let (found, expected) = (found.get(&id).unwrap_or(&nothing), expected.get(&id).unwrap_or(&nothing));
        if found != expected {
            let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
            panic!(
                "{what}: series {id} {} has {} samples, expected {}; first difference at {at}: {:x?} instead of {:x?}",
                series::labels(id),
                found.len(),
                expected.len(),
                found.get(at),
                expected.get(at)
            );
        }
    }
}

/// `found` must be sorted and distinct, have all that is `needed`, and nothing that is not `possible`.
fn compare_texts(what: &str, found: &[String], needed: &BTreeSet<String>, possible: &BTreeSet<String>) {
    assert!(found.is_sorted_by(|left, right| left < right), "{what} do not ascend: {found:?}");
    let found: BTreeSet<String> = found.iter().cloned().collect();
    let missing: Vec<&String> = needed.difference(&found).collect();
    assert!(missing.is_empty(), "{what} lack {missing:?}");
    let invented: Vec<&String> = found.difference(possible).collect();
    assert!(invented.is_empty(), "{what} that nobody wrote: {invented:?}");
}
