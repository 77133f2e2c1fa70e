//! The exemplars of one generation, by series.
//!
//! Sparse and bounded: a series keeps at most [`EXEMPLAR_COUNT_MAX`] until the next flush. Above that it keeps the
//! latest of every [`WINDOW_MS`], and of those the newest: exemplars are examples, not samples.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::model::{Exemplar, TimeRange};

/// Most exemplars of one series between two flushes.
pub(crate) const EXEMPLAR_COUNT_MAX: usize = 100;
/// Of so many milliseconds one exemplar is kept once there are too many.
const WINDOW_MS: i64 = 15_000;

/// The exemplars of all series of a generation.
#[derive(Debug, Default)]
pub(super) struct ExemplarLane {
    /// By series reference: ascending by [`Exemplar::order`], without repeats.
    series: Mutex<HashMap<u32, Vec<Exemplar>>>,
    count: AtomicUsize,
}

impl ExemplarLane {
    /// Appends exemplars in any order; returns by how many bytes the memory grew.
    pub(super) fn append(&self, exemplars: &[(u32, Exemplar)]) -> isize {
        let mut grown = 0_isize;
        let mut count = 0_isize;
        let mut series = self.series.lock();
        for (series_ref, exemplar) in exemplars {
            let kept = series.entry(*series_ref).or_insert_with(|| {
                grown += size_of::<(u32, Vec<Exemplar>)>().cast_signed();
                Vec::new()
            });
            let Err(position) = kept.binary_search_by(|known| known.order(exemplar)) else { continue };
            kept.insert(position, exemplar.clone());
            grown += exemplar.memory_bytes().cast_signed();
            count += 1;
            if kept.len() > EXEMPLAR_COUNT_MAX {
                let before = (kept.len(), bytes_of(kept));
                thin(kept);
                count -= (before.0 - kept.len()).cast_signed();
                grown -= (before.1 - bytes_of(kept)).cast_signed();
            }
        }
        drop(series);
        if count >= 0 {
            self.count.fetch_add(count.cast_unsigned(), Ordering::Relaxed);
        } else {
            self.count.fetch_sub(count.unsigned_abs(), Ordering::Relaxed);
        }
        grown
    }

    /// Appends the exemplars of one series inside `range` to `out`, ascending.
    pub(super) fn collect(&self, series_ref: u32, range: TimeRange, out: &mut Vec<Exemplar>) {
        if self.is_empty() {
            return;
        }
        if let Some(kept) = self.series.lock().get(&series_ref) {
            out.extend(kept.iter().filter(|exemplar| range.contains(exemplar.time_ms)).cloned());
        }
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

fn bytes_of(exemplars: &[Exemplar]) -> usize {
    exemplars.iter().map(Exemplar::memory_bytes).sum()
}

/// Keeps the latest exemplar of every window, and of those the newest. For ascending exemplars.
fn thin(exemplars: &mut Vec<Exemplar>) {
    if exemplars.len() <= EXEMPLAR_COUNT_MAX {
        return;
    }
    let window = |exemplar: &Exemplar| exemplar.time_ms.div_euclid(WINDOW_MS);
    // `dedup_by` keeps the first of equals: seen from the end that is the latest.
    exemplars.reverse();
    exemplars.dedup_by_key(|exemplar| window(exemplar));
    exemplars.truncate(EXEMPLAR_COUNT_MAX);
    exemplars.reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LabelSet;

    fn exemplar(time_ms: i64, trace: &str) -> Exemplar {
        let labels = LabelSet::from_pairs([("trace_id", trace)]).unwrap();
        Exemplar { labels, value: 1.5, time_ms }
    }

    fn all(lane: &ExemplarLane, series_ref: u32) -> Vec<Exemplar> {
        let mut out = Vec::new();
        lane.collect(series_ref, TimeRange::ALL, &mut out);
        out
    }

    #[test]
    fn repeats_are_kept_once_and_order_does_not_matter() {
        let lane = ExemplarLane::default();
        assert!(lane.append(&[(1, exemplar(20, "b")), (1, exemplar(10, "a")), (2, exemplar(5, "c"))]) > 0);
        assert_eq!(lane.append(&[(1, exemplar(20, "b"))]), 0);
        lane.append(&[(1, exemplar(20, "c"))]);
        assert_eq!(all(&lane, 1), [exemplar(10, "a"), exemplar(20, "b"), exemplar(20, "c")]);
        assert_eq!(lane.count(), 4);
        let mut inside = Vec::new();
        lane.collect(1, TimeRange::new(10, 20), &mut inside);
        assert_eq!(inside, [exemplar(10, "a")]);
    }

    #[test]
    fn a_series_with_many_keeps_the_latest_of_every_window() {
        let lane = ExemplarLane::default();
        let mut grown = 0;
        for time_ms in 0..10_000_i64 {
            grown += lane.append(&[(1, exemplar(time_ms * 1_000, "trace"))]);
        }
        let kept = all(&lane, 1);
        assert!(kept.len() <= EXEMPLAR_COUNT_MAX && kept.len() > EXEMPLAR_COUNT_MAX / 2, "{}", kept.len());
        assert_eq!(kept.last(), Some(&exemplar(9_999_000, "trace")));
        assert_eq!(lane.count(), kept.len());
        assert_eq!(grown, (bytes_of(&kept) + size_of::<(u32, Vec<Exemplar>)>()).cast_signed());
    }
}
