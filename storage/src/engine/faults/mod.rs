//! The engine on disks that lose power, fail or are full: what was acknowledged is there, and nothing else.
//!
//! A scenario runs on a file system in memory; [`Ledger`] knows what was acknowledged and compares.

mod crash;
mod damage;
mod failures;
mod full;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Storage, StorageOptions};
use crate::batch::WriteBatch;
use crate::fs::FileSystem;
use crate::fs::crash::Random;
use crate::limits::TenantLimits;
use crate::model::{LabelSet, StartTimes, TenantId, TimeRange};
use crate::read::SampleColumns;

pub(super) const DAY_MS: i64 = 86_400_000;
/// Noon, so that a long run may cross midnight only where a test wants it.
pub(super) const NOW_MS: i64 = 19_000 * DAY_MS + DAY_MS / 2;
const RETENTION_MS: i64 = 3 * DAY_MS;
const TENANTS: [&str; 2] = ["anonymous", "team-a"];

/// One sample's place: tenant, series, time.
type Place = (usize, u32, i64);

/// Samples that are written at once.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) tenant: usize,
    pub(super) runs: Vec<(u32, Vec<(i64, f64)>)>,
}

/// What is known about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Unwritten,
    /// Begun, and not acknowledged: may be there or not.
    Doubtful,
    Acknowledged,
}

pub(super) fn options() -> StorageOptions {
    StorageOptions {
        limits: TenantLimits { retention_ms: Some(RETENTION_MS), ..TenantLimits::default() },
        wal_segment_bytes_max: 1 << 10,
        ..StorageOptions::new("/data")
    }
}

pub(super) fn open(fs: Arc<dyn FileSystem>, now_ms: i64) -> Result<Storage, String> {
    Storage::open_on(fs, options(), now_ms).map_err(|error| error.to_string())
}

fn labels_of(series: u32) -> LabelSet {
    LabelSet::from_pairs([("__name__", "up"), ("id", series.to_string().as_str())]).unwrap()
}

/// The start time that goes with a value: none, or one for some samples in a row.
fn start_ms(value: f64) -> i64 {
    let number = value as i64;
    if number / 50 % 3 == 0 { 0 } else { NOW_MS - 1_000 * (1 + number / 20) }
}

/// Writes a batch and waits until it is durable.
pub(super) fn write(storage: &Storage, batch: &Batch, now_ms: i64) -> Result<(), super::WriteError> {
    let labels: Vec<LabelSet> = batch.runs.iter().map(|(series, _)| labels_of(*series)).collect();
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let (mut sample_ends, mut timestamps_ms, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut starts = StartTimes::new();
    for (_, samples) in &batch.runs {
        timestamps_ms.extend(samples.iter().map(|(time_ms, _)| *time_ms));
        for (position, (_, value)) in (values.len()..).zip(samples) {
            starts.push(position, start_ms(*value));
        }
        values.extend(samples.iter().map(|(_, value)| *value));
        sample_ends.push(values.len());
    }
    let columns = WriteBatch {
        keys: &keys,
        sample_ends: &sample_ends,
        timestamps_ms: &timestamps_ms,
        values: &values,
        starts: starts.runs(),
        labels: &labels,
        metadata: &[],
        histograms: &[],
        exemplars: &[],
    };
    let tenant = TenantId::new(TENANTS[batch.tenant]).unwrap();
    let report = storage.write(&tenant, &columns, now_ms)?;
    assert_eq!(report.accepted_sample_count, values.len(), "{:?}", report.rejections);
    Ok(())
}

/// Random batches whose values are all different, some of them over places written before.
#[derive(Debug)]
pub(super) struct Batches {
    random: Random,
    next_value: u32,
}

impl Batches {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random(seed), next_value: 0 }
    }

    /// A batch of samples around `now_ms`.
    pub(super) fn next(&mut self, now_ms: i64) -> Batch {
        let is_long = self.random.below(8) == 0;
        let run_count = if is_long { 1 } else { 1 + self.random.below(3) };
        let mut runs: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
        for _ in 0..run_count {
            let sample_count = if is_long { 120 } else { 1 + self.random.below(3) };
            let start_ms = now_ms - 15_000 * (self.random.below(20) + sample_count) as i64;
            let samples = (0..sample_count).map(|index| {
                self.next_value += 1;
                (start_ms + 15_000 * index as i64, f64::from(self.next_value))
            });
            let samples = samples.collect();
            runs.insert(self.random.below(6) as u32, samples);
        }
        Batch { tenant: self.random.below(TENANTS.len()), runs: runs.into_iter().collect() }
    }
}

/// Everything that was written, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    history: BTreeMap<Place, Vec<(usize, f64)>>,
    batch_count: usize,
}

impl Ledger {
    /// Notes a batch and returns its number.
    pub(super) fn note(&mut self, batch: &Batch) -> usize {
        let number = self.batch_count;
        self.batch_count += 1;
        for (series, samples) in &batch.runs {
            for (time_ms, value) in samples {
                self.history.entry((batch.tenant, *series, *time_ms)).or_default().push((number, *value));
            }
        }
        number
    }

    /// Compares what `storage` has with what it must and may have. Samples before `expired_ms` may be gone.
    pub(super) fn check(
        &self,
        storage: &Storage,
        fate: impl Fn(usize) -> Fate,
        expired_ms: i64,
    ) -> Result<(), String> {
        let mut found: BTreeMap<Place, f64> = BTreeMap::new();
        let mut columns = SampleColumns::default();
        for (tenant, name) in TENANTS.iter().enumerate() {
            let snapshot = storage.reader(&TenantId::new(name).unwrap());
            let set = snapshot.select(&[], TimeRange::ALL).map_err(|error| error.to_string())?;
            for index in 0..set.len() {
                set.read(index, TimeRange::ALL, &mut columns).map_err(|error| error.to_string())?;
                let series = set.labels(index).get("id").unwrap().parse().unwrap();
                let samples = columns.timestamps_ms.iter().zip(&columns.values);
                for (position, (time_ms, value)) in samples.enumerate() {
                    let found_ms = columns.starts.at(position);
                    if found_ms != start_ms(*value) {
                        return Err(format!(
                            "value {value} of series {series} has the start time {found_ms}"
                        ));
                    }
                    if found.insert((tenant, series, *time_ms), *value).is_some() {
                        return Err(format!("series {series} of {name} has two samples at {time_ms}"));
                    }
                }
            }
        }
        if let Some(place) = found.keys().find(|place| !self.history.contains_key(place)) {
            return Err(format!("{place:?} was never written"));
        }
        for (place, writes) in &self.history {
            let mut allowed: Vec<Option<f64>> = vec![None];
            for (number, value) in writes {
                match fate(*number) {
                    Fate::Unwritten => {}
                    Fate::Doubtful => allowed.push(Some(*value)),
                    Fate::Acknowledged => allowed = vec![Some(*value)],
                }
            }
            let value = found.get(place).copied();
            let is_expired = value.is_none() && place.2 < expired_ms;
            if !is_expired && !allowed.contains(&value) {
                return Err(format!("{place:?} is {value:?} where {allowed:?} is allowed, of {writes:?}"));
            }
        }
        Ok(())
    }
}
