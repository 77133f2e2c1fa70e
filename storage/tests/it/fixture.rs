//! A storage in a temporary directory, and batches from plain tuples.

use std::collections::HashMap;
use std::sync::Mutex;

use mytsdb_storage::model::{LabelSet, Matcher, TenantId, TimeRange};
use mytsdb_storage::read::{SampleColumns, TimesId};
use mytsdb_storage::{LabelSource, SeriesHint, Storage, StorageOptions, WalSync, WriteBatch, WriteReport};

/// The clock of all tests.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    storage: Option<Storage>,
    options: StorageOptions,
    /// What the storage said about each key of a tenant: it is told again with the next write, however old it is.
    hints: Mutex<HashMap<(TenantId, u128), SeriesHint>>,
}

/// Labels of a batch, with what is known about its keys.
struct HintedLabels {
    labels: Vec<LabelSet>,
    hints: Vec<SeriesHint>,
}

impl LabelSource for HintedLabels {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        self.labels.labels(series_index)
    }

    fn hints(&self) -> &[SeriesHint] {
        &self.hints
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StorageOptions { wal_sync: WalSync::None, ..StorageOptions::new(directory.path()) };
        let mut fixture = Self { directory, storage: None, options, hints: Mutex::default() };
        fixture.reopen();
        fixture
    }

    pub(crate) fn options(&self) -> StorageOptions {
        self.options.clone()
    }

    /// What the next [`Fixture::reopen`] opens with.
    pub(crate) fn options_mut(&mut self) -> &mut StorageOptions {
        &mut self.options
    }

    /// Lets go of the storage without a flush and opens it again.
    pub(crate) fn reopen(&mut self) {
        drop(self.storage.take());
        self.storage = Some(Storage::open(self.options(), NOW_MS).unwrap());
    }

    pub(crate) fn close(&mut self) {
        self.storage.take().unwrap().close(NOW_MS).unwrap();
    }

    /// Lets go of the storage and verifies what it left on disk.
    pub(crate) fn check(&mut self) {
        drop(self.storage.take());
        let report = mytsdb_storage::check(self.directory.path()).unwrap();
        assert!(report.findings.is_empty(), "{report:#?}");
    }

    pub(crate) fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    /// Writes runs of samples, each for a series `up{id="…"}`.
    pub(crate) fn write(&self, runs: &[(u32, Vec<(i64, f64)>)]) -> WriteReport {
        self.write_as(&TenantId::anonymous(), runs)
    }

    pub(crate) fn write_as(&self, tenant: &TenantId, runs: &[(u32, Vec<(i64, f64)>)]) -> WriteReport {
        let labels: Vec<LabelSet> = runs.iter().map(|(id, _)| labels_of(*id)).collect();
        let keys: Vec<u128> =
            labels.iter().map(|set| self.storage().series_key(set.encoded().as_bytes())).collect();
        let mut sample_ends = Vec::new();
        let mut timestamps_ms = Vec::new();
        let mut values = Vec::new();
        for (_, samples) in runs {
            timestamps_ms.extend(samples.iter().map(|(time_ms, _)| *time_ms));
            values.extend(samples.iter().map(|(_, value)| *value));
            sample_ends.push(values.len());
        }
        let name = |key: &u128| (tenant.clone(), *key);
        let hints = {
            let known = self.hints.lock().unwrap();
            keys.iter().map(|key| known.get(&name(key)).copied().unwrap_or(SeriesHint::NONE)).collect()
        };
        let labels = HintedLabels { labels, hints };
        let batch = WriteBatch {
            keys: &keys,
            sample_ends: &sample_ends,
            timestamps_ms: &timestamps_ms,
            values: &values,
            starts: &[],
            labels: &labels,
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        let report = self.storage().write(tenant, &batch, NOW_MS).unwrap();
        let mut known = self.hints.lock().unwrap();
        known.extend(keys.iter().enumerate().map(|(index, key)| (name(key), report.series.hint(index))));
        report
    }

    /// Reads everything inside `range`: per series the id and the samples as bits.
    pub(crate) fn read(&self, range: TimeRange) -> Vec<(u32, Vec<(i64, u64)>)> {
        self.read_as(&TenantId::anonymous(), &[], range)
    }

    pub(crate) fn read_as(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(u32, Vec<(i64, u64)>)> {
        read_all(self.storage(), tenant, matchers, range)
    }
}

/// Reads everything that matches inside `range`: per series the id and the samples as bits.
pub(crate) fn read_all(
    storage: &Storage,
    tenant: &TenantId,
    matchers: &[Matcher],
    range: TimeRange,
) -> Vec<(u32, Vec<(i64, u64)>)> {
    let set = storage.reader(tenant).select(matchers, range).unwrap();
    let mut columns = SampleColumns::default();
    let mut found = Vec::new();
    let mut times_by_id: HashMap<TimesId, Vec<i64>> = HashMap::new();
    for index in 0..set.len() {
        set.read(index, range, &mut columns).unwrap();
        if let Some(id) = columns.times_id() {
            let known = times_by_id.entry(id).or_insert_with(|| columns.timestamps_ms.clone());
            assert_eq!(*known, columns.timestamps_ms, "{id:?}");
        }
        assert!(columns.timestamps_ms.is_sorted_by(|left, right| left < right));
        assert!(columns.len() <= set.estimated_sample_count(index, range));
        if !columns.is_empty() {
            let id = set.labels(index).get("id").unwrap().parse().unwrap();
            let bits = columns.values.iter().map(|value| value.to_bits());
            found.push((id, columns.timestamps_ms.iter().copied().zip(bits).collect()));
        }
    }
    found
}

pub(crate) fn labels_of(id: u32) -> LabelSet {
    let id = format!("{id:05}");
    LabelSet::from_pairs([("__name__", "up"), ("id", id.as_str()), ("job", "test")]).unwrap()
}
