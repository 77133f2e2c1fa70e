//! Samples of one series on their way from input to output: merged by time, the higher rank wins,
//! but a histogram always wins over a float.

use std::sync::Arc;

use crate::model::{Histogram, StartSlice, StartTimes};

/// Merged samples, ascending by time. Floats are columns; histograms stand beside them, each time once in either.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) starts: StartTimes,
    /// Which input each float came from.
    ranks: Vec<u32>,
    pub(super) histograms: Vec<HistogramRow>,
    merged: MergedColumns,
}

#[derive(Debug, Default)]
struct MergedColumns {
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    starts: StartTimes,
    ranks: Vec<u32>,
}

/// A histogram and where it came from.
#[derive(Debug, Clone)]
pub(super) struct HistogramRow {
    pub(super) time_ms: i64,
    rank: u32,
    pub(super) histogram: Arc<Histogram>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty() && self.histograms.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts.clear();
        self.ranks.clear();
        self.histograms.clear();
    }

    /// The newest time, if there are samples.
    pub(super) fn last_ms(&self) -> Option<i64> {
        let floats = self.timestamps_ms.last().copied();
        floats.max(self.histograms.last().map(|row| row.time_ms))
    }

    /// Takes floats of one input, ascending.
    pub(super) fn add_floats(
        &mut self,
        timestamps_ms: &[i64],
        values: &[f64],
        starts: StartSlice<'_>,
        rank: u32,
    ) {
        let Some(first_ms) = timestamps_ms.first() else { return };
        let from = self.timestamps_ms.partition_point(|time_ms| time_ms < first_ms);
        if from == self.timestamps_ms.len() {
            self.timestamps_ms.extend_from_slice(timestamps_ms);
            self.starts.append(self.values.len(), values.len(), starts);
            self.values.extend_from_slice(values);
            self.ranks.resize(self.timestamps_ms.len(), rank);
            return;
        }
        let merged = &mut self.merged;
        merged.timestamps_ms.clear();
        merged.values.clear();
        merged.starts.clear();
        merged.ranks.clear();
        let (mut old, mut new) = (from, 0);
        while old < self.timestamps_ms.len() || new < timestamps_ms.len() {
            let old_ms = self.timestamps_ms.get(old).copied().unwrap_or(i64::MAX);
            let new_ms = timestamps_ms.get(new).copied().unwrap_or(i64::MAX);
            let has_both = old < self.timestamps_ms.len() && new < timestamps_ms.len();
            let is_same = has_both && old_ms == new_ms;
            let takes_new = match has_both {
                true if is_same => rank >= self.ranks[old],
                true => new_ms < old_ms,
                false => new < timestamps_ms.len(),
            };
            if takes_new {
                merged.timestamps_ms.push(new_ms);
                merged.starts.push(merged.values.len(), starts.at(new));
                merged.values.push(values[new]);
                merged.ranks.push(rank);
            } else {
                merged.timestamps_ms.push(old_ms);
                merged.starts.push(merged.values.len(), self.starts.at(old));
                merged.values.push(self.values[old]);
                merged.ranks.push(self.ranks[old]);
            }
            new += usize::from(takes_new || is_same);
            old += usize::from(!takes_new || is_same);
        }
        self.timestamps_ms.truncate(from);
        self.values.truncate(from);
        self.starts.truncate(from);
        self.ranks.truncate(from);
        self.starts.append(from, merged.values.len(), merged.starts.up_to(merged.values.len()));
        self.timestamps_ms.extend_from_slice(&merged.timestamps_ms);
        self.values.extend_from_slice(&merged.values);
        self.ranks.extend_from_slice(&merged.ranks);
    }

    /// Takes histograms of one input, ascending.
    pub(super) fn add_histograms(&mut self, timestamps_ms: &[i64], histograms: &[Arc<Histogram>], rank: u32) {
        for (time_ms, histogram) in timestamps_ms.iter().zip(histograms) {
            let row = HistogramRow { time_ms: *time_ms, rank, histogram: Arc::clone(histogram) };
            let at = self.histograms.partition_point(|other| other.time_ms < *time_ms);
            match self.histograms.get_mut(at) {
                Some(other) if other.time_ms == *time_ms => {
                    if rank >= other.rank {
                        *other = row;
                    }
                }
                // Inputs ascend and overlap seldom: this is nearly always the end.
                _ => self.histograms.insert(at, row),
            }
        }
    }

    /// How many samples are older than `end_ms`.
    pub(super) fn count_before(&self, end_ms: i64) -> usize {
        self.timestamps_ms.partition_point(|time_ms| *time_ms < end_ms)
            + self.histograms.partition_point(|row| row.time_ms < end_ms)
    }

    /// Where a float and a histogram have the same time keeps the histogram, whatever their ranks: as a read does.
    pub(super) fn resolve(&mut self) {
        if self.histograms.is_empty() || self.timestamps_ms.is_empty() {
            return;
        }
        let mut kept = 0;
        let mut starts = StartTimes::new();
        for at in 0..self.timestamps_ms.len() {
            let time_ms = self.timestamps_ms[at];
            if self.histograms.binary_search_by_key(&time_ms, |row| row.time_ms).is_err() {
                self.timestamps_ms[kept] = time_ms;
                self.values[kept] = self.values[at];
                starts.push(kept, self.starts.at(at));
                self.ranks[kept] = self.ranks[at];
                kept += 1;
            }
        }
        self.timestamps_ms.truncate(kept);
        self.values.truncate(kept);
        self.starts = starts;
        self.ranks.truncate(kept);
    }

    /// Takes the samples from `start_ms` on out.
    pub(super) fn split_off(&mut self, start_ms: i64) -> Self {
        let float_count = self.values.len();
        let floats_at = self.timestamps_ms.partition_point(|time_ms| *time_ms < start_ms);
        let histograms_at = self.histograms.partition_point(|row| row.time_ms < start_ms);
        Self {
            timestamps_ms: self.timestamps_ms.split_off(floats_at),
            values: self.values.split_off(floats_at),
            starts: self.starts.split_off(floats_at, float_count),
            ranks: self.ranks.split_off(floats_at),
            histograms: self.histograms.split_off(histograms_at),
            merged: MergedColumns::default(),
        }
    }

    /// Drops the first `count` floats.
    pub(super) fn drop_floats(&mut self, count: usize) {
        self.timestamps_ms.drain(..count);
        self.values.drain(..count);
        self.starts.remove(0..count);
        self.starts.truncate(self.values.len());
        self.ranks.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_highest_rank_wins_in_whatever_order_inputs_come(
            inputs in prop::collection::vec((0..4_u32, prop::collection::btree_map(0..30_i64, any::<bool>(), 1..20)), 1..6)
        ) {
            let mut pending = Pending::default();
            let mut expected: BTreeMap<i64, (u32, bool, f64)> = BTreeMap::new();
            for (index, (rank, samples)) in inputs.iter().enumerate() {
                let value = index as f64;
                let of_kind = |is_histogram: bool| -> Vec<i64> {
                    samples.iter().filter(|(_, kind)| **kind == is_histogram).map(|(time_ms, _)| *time_ms).collect()
                };
                let floats_ms = of_kind(false);
                // Start times tell the inputs apart as the values do.
                let starts: StartTimes = vec![index as i64; floats_ms.len()].into_iter().collect();
                let starts = starts.up_to(floats_ms.len());
                pending.add_floats(&floats_ms, &vec![value; floats_ms.len()], starts, *rank);
                let histograms_ms = of_kind(true);
                let histogram = Arc::new(Histogram { count: value, ..Histogram::default() });
                pending.add_histograms(&histograms_ms, &vec![histogram; histograms_ms.len()], *rank);
                for (time_ms, is_histogram) in samples {
                    let new = (*rank, *is_histogram, value);
                    let kept = expected.entry(*time_ms).or_insert(new);
                    if (new.1, new.0) >= (kept.1, kept.0) {
                        *kept = new;
                    }
                }
            }
            pending.resolve();
            let expected_starts: StartTimes = pending.values.iter().map(|value| *value as i64).collect();
            prop_assert_eq!(&pending.starts, &expected_starts);
            let mut found: BTreeMap<i64, (bool, f64)> = BTreeMap::new();
            for (time_ms, value) in pending.timestamps_ms.iter().zip(&pending.values) {
                prop_assert_eq!(found.insert(*time_ms, (false, *value)), None);
            }
            for row in &pending.histograms {
                prop_assert_eq!(found.insert(row.time_ms, (true, row.histogram.count)), None);
            }
            let expected: BTreeMap<i64, (bool, f64)> =
                expected.into_iter().map(|(time_ms, (_, kind, value))| (time_ms, (kind, value))).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(pending.timestamps_ms.is_sorted() && pending.values.len() == pending.ranks.len());
        }
    }
}
