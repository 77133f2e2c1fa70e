//! Which series a tenant has: from raw key to reference, from reference to labels, from matchers to references.
//!
//! Two levels: `keys` maps the hash of the sender's raw label bytes to a reference and is all that the hot path
//! touches; `identities` holds each distinct label set once. A reference is valid inside its table.
//! Invariant: a key whose epoch is the current one belongs to a series that the WAL's current epoch names.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::{HashMap, HashTable};
use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::SHARD_COUNT;
use crate::batch::{RejectReason, WriteBatch};
use crate::index::memory::MemoryIndex;
use crate::limits::TenantLimits;
use crate::model::{LabelSet, Matcher};

/// Keys are hashes already: their low half is the hash.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// Series copied at a time into a table without the dead ones.
const RETAIN_BATCH_COUNT: usize = 4096;

#[derive(Debug)]
struct KnownKey {
    series_ref: u32,
    /// WAL epoch that names the series.
    logged_epoch: AtomicU32,
}

type KeyMap = HashMap<u128, KnownKey, BuildHasherDefault<KeyHasher>>;

#[derive(Debug, Default)]
struct Identities {
    labels: Vec<LabelSet>,
    /// Per series: WAL epoch that names it.
    logged_epochs: Vec<u32>,
    by_labels: HashTable<u32>,
    index: MemoryIndex,
}

impl Identities {
    fn lookup(&self, labels: &LabelSet) -> Option<u32> {
        let hash = xxh3_64(labels.encoded().as_bytes());
        self.by_labels.find(hash, |r| self.labels[*r as usize] == *labels).copied()
    }

    fn lookup_or_insert(&mut self, labels: &LabelSet) -> u32 {
        if let Some(found) = self.lookup(labels) {
            return found;
        }
        let hash = xxh3_64(labels.encoded().as_bytes());
        let series_ref = self.labels.len() as u32;
        self.labels.push(labels.clone());
        self.logged_epochs.push(0);
        let all_labels = &self.labels;
        self.by_labels
            .insert_unique(hash, series_ref, |r| xxh3_64(all_labels[*r as usize].encoded().as_bytes()));
        self.index.insert(series_ref, labels);
        series_ref
    }
}

/// What resolving a batch gave.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// Per series of the batch: its reference, or [`Resolution::REJECTED`].
    pub(crate) series_refs: Vec<u32>,
    /// Series that were refused, by index.
    pub(crate) rejected: Vec<(usize, RejectReason)>,
}

impl Resolution {
    /// Stands for a series that was refused.
    pub(crate) const REJECTED: u32 = u32::MAX;
}

/// The series of one tenant.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    keys: Vec<RwLock<KeyMap>>,
    identities: RwLock<Identities>,
}

impl Default for SeriesTable {
    fn default() -> Self {
        Self { keys: (0..SHARD_COUNT).map(|_| RwLock::default()).collect(), identities: RwLock::default() }
    }
}

fn key_shard(key: u128) -> usize {
    (key >> 64) as usize % SHARD_COUNT
}

impl SeriesTable {
    /// Resolves all series of a batch. `log` is called with the series that the WAL's `epoch` does not name yet,
    /// before anybody can refer to them.
    ///
    /// # Errors
    /// Whatever `log` gives; the batch must be refused then.
    pub(crate) fn resolve<E>(
        &self,
        batch: &WriteBatch<'_>,
        epoch: u32,
        limits: &TenantLimits,
        log: impl FnOnce(&[(u32, LabelSet)]) -> Result<(), E>,
    ) -> Result<Resolution, E> {
        let mut resolution =
            Resolution { series_refs: Vec::with_capacity(batch.keys.len()), rejected: Vec::new() };
        // Misses carry the reference if only the epoch was old.
        let mut misses: Vec<(usize, Option<u32>)> = Vec::new();
        {
            let shards: Vec<RwLockReadGuard<'_, KeyMap>> =
                self.keys.iter().map(|shard| shard.read()).collect();
            for (series_index, key) in batch.keys.iter().enumerate() {
                let known = shards[key_shard(*key)].get(key);
                match known {
                    Some(known) if known.logged_epoch.load(Ordering::Acquire) == epoch => {
                        resolution.series_refs.push(known.series_ref);
                    }
                    _ => {
                        misses.push((series_index, known.map(|known| known.series_ref)));
                        resolution.series_refs.push(Resolution::REJECTED);
                    }
                }
            }
        }
        if !misses.is_empty() {
            self.resolve_misses(batch, epoch, limits, &misses, &mut resolution, log)?;
        }
        Ok(resolution)
    }

    fn resolve_misses<E>(
        &self,
        batch: &WriteBatch<'_>,
        epoch: u32,
        limits: &TenantLimits,
        misses: &[(usize, Option<u32>)],
        resolution: &mut Resolution,
        log: impl FnOnce(&[(u32, LabelSet)]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Foreign code parses labels: not under the lock.
        let mut parsed: Vec<(usize, Result<u32, LabelSet>)> = Vec::with_capacity(misses.len());
        for (series_index, known_ref) in misses {
            match known_ref {
                Some(series_ref) => parsed.push((*series_index, Ok(*series_ref))),
                None => match batch.labels.labels(*series_index) {
                    Ok(labels) if labels.is_empty() => {
                        let reason =
                            RejectReason::InvalidLabels("a series needs at least one label".to_owned());
                        resolution.rejected.push((*series_index, reason));
                    }
                    Ok(labels) => match limits.check_labels(&labels) {
                        Ok(()) => parsed.push((*series_index, Err(labels))),
                        Err(reason) => resolution.rejected.push((*series_index, reason)),
                    },
                    Err(reason) => {
                        resolution.rejected.push((*series_index, RejectReason::InvalidLabels(reason)));
                    }
                },
            }
        }
        {
            let mut identities = self.identities.write();
            let mut unlogged = Vec::new();
            for (series_index, found) in &parsed {
                let series_ref = match found {
                    Ok(series_ref) => *series_ref,
                    Err(labels) if identities.labels.len() < limits.active_series_max => {
                        identities.lookup_or_insert(labels)
                    }
                    Err(labels) => match identities.lookup(labels) {
                        Some(series_ref) => series_ref,
                        None => {
                            let (given, limit) = (identities.labels.len(), limits.active_series_max);
                            let reason = RejectReason::SeriesLimit { given, limit };
                            resolution.rejected.push((*series_index, reason));
                            continue;
                        }
                    },
                };
                resolution.series_refs[*series_index] = series_ref;
                let position = series_ref as usize;
                if identities.logged_epochs[position] != epoch {
                    identities.logged_epochs[position] = epoch;
                    unlogged.push((series_ref, identities.labels[position].clone()));
                }
            }
            // Under the lock: whoever finds the series logged may rely on its name being in the log before.
            if !unlogged.is_empty()
                && let Err(error) = log(&unlogged)
            {
                for (series_ref, _) in &unlogged {
                    identities.logged_epochs[*series_ref as usize] = 0;
                }
                return Err(error);
            }
        }
        for (series_index, _) in &parsed {
            let key = batch.keys[*series_index];
            let series_ref = resolution.series_refs[*series_index];
            if series_ref == Resolution::REJECTED {
                continue;
            }
            let mut shard = self.keys[key_shard(key)].write();
            shard
                .entry(key)
                .and_modify(|known| known.logged_epoch.store(epoch, Ordering::Release))
                .or_insert_with(|| KnownKey { series_ref, logged_epoch: AtomicU32::new(epoch) });
        }
        Ok(())
    }

    /// Returns the reference of a label set, inserting it if it is new. For replay.
    pub(crate) fn insert(&self, labels: &LabelSet) -> u32 {
        self.identities.write().lookup_or_insert(labels)
    }

    /// Builds a table of the series in `live`, renumbered. Series that come meanwhile are not in it: whoever
    /// writes to them again brings their labels along.
    pub(crate) fn retain(&self, live: &RoaringBitmap) -> Self {
        let table = Self::default();
        let mut new_refs: HashMap<u32, u32> = HashMap::with_capacity(live.len() as usize);
        let refs: Vec<u32> = live.iter().collect();
        for refs in refs.chunks(RETAIN_BATCH_COUNT) {
            // A batch at a time: new series of this table must not wait long for its lock.
            let labels = self.labels(refs);
            let mut identities = table.identities.write();
            for (series_ref, labels) in refs.iter().zip(&labels) {
                new_refs.insert(*series_ref, identities.lookup_or_insert(labels));
            }
        }
        for (shard, new_shard) in self.keys.iter().zip(&table.keys) {
            let known = shard.read();
            let survivors = known.iter().filter_map(|(key, known)| {
                let series_ref = *new_refs.get(&known.series_ref)?;
                Some((*key, KnownKey { series_ref, logged_epoch: AtomicU32::new(0) }))
            });
            new_shard.write().extend(survivors);
        }
        table
    }

    /// Finds the series that satisfy all matchers: references, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.identities.read().index.select(matchers)
    }

    /// Returns the labels of each reference.
    pub(crate) fn labels(&self, series_refs: &[u32]) -> Vec<LabelSet> {
        let identities = self.identities.read();
        series_refs.iter().map(|series_ref| identities.labels[*series_ref as usize].clone()).collect()
    }

    /// Distinct label names of the series in `within`, sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        self.identities.read().index.label_names(within)
    }

    /// Distinct values of `name` among the series in `within`, sorted.
    pub(crate) fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
        self.identities.read().index.label_values(name, within)
    }

    /// Calls `visit` with each label pair and the number of series that have it.
    pub(crate) fn visit_pairs(&self, mut visit: impl FnMut(&str, &str, u64)) {
        for (name, value, series_count) in self.identities.read().index.postings_sizes() {
            visit(name, value, series_count);
        }
    }

    /// How many series are known.
    pub(crate) fn series_count(&self) -> usize {
        self.identities.read().labels.len()
    }
}
