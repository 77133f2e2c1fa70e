//! Which series a tenant has: from raw key to reference, from reference to labels, from matchers to references.
//!
//! Two levels: `keys` maps the hash of the sender's raw label bytes to a reference and is all that the hot path
//! touches; `index` holds each distinct label set once. A reference is valid inside its table.
//! Invariant: a series that is marked in `named` is named by the WAL's current epoch.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;

use super::keys::KeyMap;
use super::{SHARD_COUNT, TOUCH_COUNT, read_ahead};
use crate::batch::{RejectReason, ResolvedSeries, WriteBatch};
use crate::index::memory::MemoryIndex;
use crate::limits::{LongLabelCounts, TenantLimits};
use crate::model::{LabelSet, Matcher};

/// Series copied at a time into a table without the dead ones.
const RETAIN_BATCH_COUNT: usize = 4096;
/// So many keys a series are remembered; senders that spell a series in more ways are slower, not a leak.
const KEYS_PER_SERIES_MAX: usize = 4;
/// Keys that a shard may always have.
const SHARD_KEY_COUNT_MIN: usize = 1024;

/// One bit a series: whether the WAL's current epoch names it.
#[derive(Debug, Default)]
struct Named(RwLock<Vec<AtomicU64>>);

impl Named {
    fn mark(&self, series_refs: &[u32]) {
        let Some(newest) = series_refs.iter().max() else { return };
        let word_count = *newest as usize / 64 + 1;
        if self.0.read().len() < word_count {
            let mut bits = self.0.write();
            if bits.len() < word_count {
                bits.resize_with(word_count, AtomicU64::default);
            }
        }
        let bits = self.0.read();
        for series_ref in series_refs {
            bits[*series_ref as usize / 64].fetch_or(1 << (series_ref % 64), Ordering::Release);
        }
    }
}

fn is_named(bits: &[AtomicU64], series_ref: u32) -> bool {
    let word = bits.get(series_ref as usize / 64);
    word.is_some_and(|word| word.load(Ordering::Acquire) >> (series_ref % 64) & 1 == 1)
}

/// What resolving a batch gave.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// Per series of the batch: its reference, or [`Resolution::REJECTED`].
    pub(crate) series_refs: Vec<u32>,
    /// Series that were refused, by index.
    pub(crate) rejected: Vec<(usize, RejectReason)>,
    /// Labels of new series that were cut or left out.
    pub(crate) long_labels: LongLabelCounts,
}

impl Resolution {
    /// Stands for a series that was refused.
    pub(crate) const REJECTED: u32 = ResolvedSeries::REJECTED;
}

/// The number of the last table of the process.
static LAST_TABLE_ID: AtomicU32 = AtomicU32::new(0);

/// The series of one tenant.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    /// No other table of the process has it, so that references into this one are told from others.
    id: u32,
    keys: [RwLock<KeyMap>; SHARD_COUNT],
    named: Named,
    index: RwLock<MemoryIndex>,
}

impl Default for SeriesTable {
    fn default() -> Self {
        Self {
            id: LAST_TABLE_ID.fetch_add(1, Ordering::Relaxed) + 1,
            keys: std::array::from_fn(|_| RwLock::default()),
            named: Named::default(),
            index: RwLock::default(),
        }
    }
}

fn key_shard(key: u128) -> usize {
    (key >> 64) as usize % SHARD_COUNT
}

/// A series of a batch that the hot path could not resolve.
enum Miss {
    /// The key is known, but the WAL's epoch does not name the series.
    Known(u32),
    /// The key is new.
    Labels(LabelSet),
}

impl SeriesTable {
    /// Resolves all series of a batch. `log` is called with the series that the WAL's epoch does not name yet,
    /// before anybody can refer to them.
    ///
    /// # Errors
    /// Whatever `log` gives; the batch must be refused then.
    pub(crate) fn resolve<E>(
        &self,
        batch: &WriteBatch<'_>,
        limits: &TenantLimits,
        log: impl FnOnce(&[(u32, LabelSet)]) -> Result<(), E>,
    ) -> Result<Resolution, E> {
        let mut resolution =
            Resolution { series_refs: vec![Resolution::REJECTED; batch.keys.len()], ..Resolution::default() };
        // Misses carry the reference if only the epoch was old.
        let mut misses: Vec<(usize, Option<u32>)> = Vec::new();
        {
            let named = self.named.0.read();
            let sought = self.take_hints(batch, &named, &mut resolution.series_refs);
            let shards: [RwLockReadGuard<'_, KeyMap>; SHARD_COUNT] =
                std::array::from_fn(|shard| self.keys[shard].read());
            for window in sought.chunks(TOUCH_COUNT) {
                let keys = window.iter().map(|series_index| batch.keys[*series_index as usize]);
                read_ahead(keys.clone().map(|key| shards[key_shard(key)].touch(key)));
                for (series_index, key) in window.iter().zip(keys) {
                    match shards[key_shard(key)].get(key) {
                        Some(series_ref) if is_named(&named, series_ref) => {
                            resolution.series_refs[*series_index as usize] = series_ref;
                        }
                        known => misses.push((*series_index as usize, known)),
                    }
                }
            }
        }
        if !misses.is_empty() {
            self.resolve_misses(batch, limits, &misses, &mut resolution, log)?;
        }
        Ok(resolution)
    }

    /// Sets the references of series whose hints are of this table; returns the indices of all others.
    ///
    /// PERF: a search waits for memory, mostly; hints of series that come in their usual order lie side by side.
    fn take_hints(&self, batch: &WriteBatch<'_>, named: &[AtomicU64], series_refs: &mut [u32]) -> Vec<u32> {
        let series_count = batch.keys.len() as u32;
        let hints = batch.labels.hints();
        if hints.is_empty() {
            return (0..series_count).collect();
        }
        let mut sought = Vec::new();
        for (series_index, hint) in (0..series_count).zip(hints) {
            match hint.series_ref(self.id) {
                Some(series_ref) if is_named(named, series_ref) => {
                    series_refs[series_index as usize] = series_ref;
                }
                _ => sought.push(series_index),
            }
        }
        debug_assert!(
            self.are_hints_right(batch, series_refs),
            "a hint is of another key: {hints:?} for {series_refs:?}"
        );
        sought
    }

    /// Whether no key is known to be another series than `series_refs` say.
    fn are_hints_right(&self, batch: &WriteBatch<'_>, series_refs: &[u32]) -> bool {
        let found = batch.keys.iter().map(|key| self.keys[key_shard(*key)].read().get(*key));
        found.zip(series_refs).all(|(found, series_ref)| {
            *series_ref == Resolution::REJECTED || found.is_none_or(|found| found == *series_ref)
        })
    }

    fn resolve_misses<E>(
        &self,
        batch: &WriteBatch<'_>,
        limits: &TenantLimits,
        misses: &[(usize, Option<u32>)],
        resolution: &mut Resolution,
        log: impl FnOnce(&[(u32, LabelSet)]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Foreign code parses labels: not under the lock.
        let mut parsed: Vec<(usize, Miss)> = Vec::with_capacity(misses.len());
        for (series_index, known_ref) in misses {
            match known_ref {
                Some(series_ref) => parsed.push((*series_index, Miss::Known(*series_ref))),
                None => match labels_of(batch, *series_index, limits) {
                    Ok((labels, long_labels)) => {
                        resolution.long_labels.add(long_labels);
                        parsed.push((*series_index, Miss::Labels(labels)));
                    }
                    Err(reason) => resolution.rejected.push((*series_index, reason)),
                },
            }
        }
        {
            let mut index = self.index.write();
            let mut unnamed = Vec::new();
            for (series_index, miss) in &parsed {
                let series_ref = match miss {
                    Miss::Known(series_ref) => *series_ref,
                    Miss::Labels(labels) => match find_or_insert(&mut index, labels, limits) {
                        Ok(series_ref) => series_ref,
                        Err(reason) => {
                            resolution.rejected.push((*series_index, reason));
                            continue;
                        }
                    },
                };
                resolution.series_refs[*series_index] = series_ref;
                unnamed.push(series_ref);
            }
            let named = self.named.0.read();
            unnamed.retain(|series_ref| !is_named(&named, *series_ref));
            drop(named);
            unnamed.sort_unstable();
            unnamed.dedup();
            // Under the lock: whoever finds the series named may rely on its name being in the log before.
            if !unnamed.is_empty() {
                let series: Vec<(u32, LabelSet)> =
                    unnamed.iter().copied().zip(index.labels(&unnamed)).collect();
                log(&series)?;
                self.named.mark(&unnamed);
            }
        }
        let key_count_max = self.key_count_max();
        for (series_index, miss) in &parsed {
            let series_ref = resolution.series_refs[*series_index];
            if matches!(miss, Miss::Known(_)) || series_ref == Resolution::REJECTED {
                continue;
            }
            let key = batch.keys[*series_index];
            let mut shard = self.keys[key_shard(key)].write();
            if shard.len() >= key_count_max {
                *shard = KeyMap::default();
            }
            shard.insert(key, series_ref);
        }
        Ok(())
    }

    /// Tells its references from those of other tables.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Most keys of a shard.
    fn key_count_max(&self) -> usize {
        SHARD_KEY_COUNT_MIN + self.series_count() / SHARD_COUNT * KEYS_PER_SERIES_MAX
    }

    /// Says that the WAL begins an epoch, which names no series yet. The caller makes sure that nobody resolves
    /// meanwhile.
    pub(crate) fn begin_epoch(&self) {
        self.named.0.write().clear();
    }

    /// Returns the reference of each label set, inserting those that are new. For replay.
    pub(crate) fn insert<'l>(&self, label_sets: impl Iterator<Item = &'l LabelSet>) -> Vec<u32> {
        let mut index = self.index.write();
        label_sets.map(|labels| index.find_or_insert(labels)).collect()
    }

    /// Builds a table of the series in `live`, renumbered. Series that come meanwhile are not in it: whoever
    /// writes to them again brings their labels along.
    pub(crate) fn retain(&self, live: &RoaringBitmap) -> Self {
        let table = Self::default();
        let mut new_refs: Vec<u32> = vec![Resolution::REJECTED; live.max().map_or(0, |max| max as usize + 1)];
        let refs: Vec<u32> = live.iter().collect();
        for refs in refs.chunks(RETAIN_BATCH_COUNT) {
            // A batch at a time: new series of this table must not wait long for its lock.
            let labels = self.labels(refs);
            for (old_ref, new_ref) in refs.iter().zip(table.insert(labels.iter())) {
                new_refs[*old_ref as usize] = new_ref;
            }
        }
        for (shard, new_shard) in self.keys.iter().zip(&table.keys) {
            let shard = shard.read();
            let survivors = || {
                shard.iter().filter_map(|(key, old_ref)| {
                    let new_ref = *new_refs.get(old_ref as usize)?;
                    (new_ref != Resolution::REJECTED).then_some((key, new_ref))
                })
            };
            let mut new_keys = KeyMap::with_room(survivors().count());
            survivors().for_each(|(key, new_ref)| new_keys.insert(key, new_ref));
            *new_shard.write() = new_keys;
        }
        table
    }

    /// Finds the series that satisfy all matchers: references, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.index.read().select(matchers)
    }

    /// Returns the labels of each reference.
    pub(crate) fn labels(&self, series_refs: &[u32]) -> Vec<LabelSet> {
        self.index.read().labels(series_refs)
    }

    /// Puts references in the order of their label sets.
    pub(crate) fn sort_by_labels(&self, series_refs: &[u32]) -> Vec<u32> {
        use rayon::slice::ParallelSliceMut as _;
        let key = self.index.read().order_key(series_refs);
        let mut positions: Vec<usize> = (0..series_refs.len()).collect();
        positions.par_sort_unstable_by(|left, right| key.compare(*left, *right));
        positions.into_iter().map(|position| series_refs[position]).collect()
    }

    /// Distinct label names of the series in `within`, sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Vec<String> {
        self.index.read().label_names(within)
    }

    /// Distinct values of `name` among the series in `within`, sorted.
    pub(crate) fn label_values(&self, name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
        self.index.read().label_values(name, within)
    }

    /// Calls `visit` with each label pair and the number of series that have it.
    pub(crate) fn visit_pairs(&self, mut visit: impl FnMut(&str, &str, u64)) {
        for (name, value, series_count) in self.index.read().postings_sizes() {
            visit(name, value, series_count);
        }
    }

    /// How many series are known.
    pub(crate) fn series_count(&self) -> usize {
        self.index.read().series_count()
    }
}

fn labels_of(
    batch: &WriteBatch<'_>,
    series_index: usize,
    limits: &TenantLimits,
) -> Result<(LabelSet, LongLabelCounts), RejectReason> {
    let labels = batch.labels.labels(series_index).map_err(RejectReason::InvalidLabels)?;
    if labels.is_empty() {
        return Err(RejectReason::InvalidLabels("a series needs at least one label".to_owned()));
    }
    limits.admit_labels(labels)
}

fn find_or_insert(
    index: &mut MemoryIndex,
    labels: &LabelSet,
    limits: &TenantLimits,
) -> Result<u32, RejectReason> {
    let given = index.series_count();
    if given < limits.active_series_max && index.has_room() {
        return Ok(index.find_or_insert(labels));
    }
    let limit = limits.active_series_max.min(given);
    index.find(labels).ok_or(RejectReason::SeriesLimit { given, limit })
}
