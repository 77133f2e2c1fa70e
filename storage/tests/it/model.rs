//! Random operations against a map: whatever is written and not deleted is read back, through flushes and restarts.

use std::collections::{BTreeMap, BTreeSet};

use mytsdb_storage::CompactScope;
use mytsdb_storage::model::{MatchOp, Matcher, TenantId, TimeRange};
use proptest::prelude::*;

use crate::fixture::{Fixture, NOW_MS};

#[derive(Debug, Clone)]
enum Operation {
    /// Series, first time, step, count: an ascending run.
    Run(u32, i64, i64, usize),
    /// Series and times in any order.
    Scattered(u32, Vec<i64>),
    Flush,
    Reopen,
    Close,
    Query(i64, i64),
    /// Sets of series, and the range that is deleted from any of them.
    Delete(Vec<Vec<u32>>, i64, i64),
    /// All steps of compaction that are due so many milliseconds after the clock.
    Compact(i64),
    CompactAll,
    CleanTombstones,
}

/// Times within three days before the clock, so that runs cross midnight.
fn time() -> impl Strategy<Value = i64> {
    (0_i64..3 * 86_400).prop_map(|seconds| NOW_MS - seconds * 1000)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0_u32..6, time(), prop_oneof![Just(15_000_i64), 1_i64..90_000], 1_usize..700)
            .prop_map(|(id, start, step, count)| Operation::Run(id, start, step, count)),
        3 => (0_u32..6, prop::collection::vec(time(), 1..60)).prop_map(|(id, times)| Operation::Scattered(id, times)),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Close),
        2 => (time(), 0_i64..86_400_000).prop_map(|(start, length)| Operation::Query(start, start + length)),
        2 => (
            prop::collection::vec(prop::collection::vec(0_u32..6, 1..3), 1..3),
            time(),
            prop_oneof![0_i64..1_000_000, 0_i64..2 * 86_400_000],
        )
            .prop_map(|(sets, start, length)| Operation::Delete(sets, start, start + length)),
        2 => prop_oneof![Just(0_i64), Just(180_000), Just(8 * 3_600_000)].prop_map(Operation::Compact),
        1 => Just(Operation::CompactAll),
        1 => Just(Operation::CleanTombstones),
    ]
}

fn one_of(ids: &[u32]) -> Matcher {
    let names: Vec<String> = ids.iter().map(|id| format!("{id:05}")).collect();
    Matcher::new(MatchOp::Regex, "id", &names.join("|")).unwrap()
}

type Model = BTreeMap<u32, BTreeMap<i64, u64>>;

fn expected(model: &Model, range: TimeRange) -> Vec<(u32, Vec<(i64, u64)>)> {
    let inside = |samples: &BTreeMap<i64, u64>| -> Vec<(i64, u64)> {
        samples.range(range.start_ms..range.end_ms).map(|(time_ms, bits)| (*time_ms, *bits)).collect()
    };
    model
        .iter()
        .map(|(id, samples)| (*id, inside(samples)))
        .filter(|(_, samples)| !samples.is_empty())
        .collect()
}

fn run(operations: Vec<Operation>) {
    let mut fixture = Fixture::new();
    let mut model = Model::new();
    let mut counter = 0_u32;
    let mut write = |fixture: &Fixture, model: &mut Model, id: u32, times: Vec<i64>| {
        let samples: Vec<(i64, f64)> = times
            .into_iter()
            .filter(|time_ms| *time_ms <= NOW_MS)
            .map(|time_ms| {
                counter += 1;
                (time_ms, f64::from(counter / 7) * 0.25)
            })
            .collect();
        let report = fixture.write(&[(id, samples.clone())]);
        assert_eq!((report.accepted_sample_count, report.rejections.len()), (samples.len(), 0));
        model
            .entry(id)
            .or_default()
            .extend(samples.iter().map(|(time_ms, value)| (*time_ms, value.to_bits())));
    };
    for operation in operations {
        match operation {
            Operation::Run(id, start, step, count) => {
                let times = (0..count).map(|index| start + index as i64 * step).collect();
                write(&fixture, &mut model, id, times);
            }
            Operation::Scattered(id, times) => write(&fixture, &mut model, id, times),
            Operation::Flush => fixture.storage().flush(NOW_MS).unwrap(),
            Operation::Reopen => fixture.reopen(),
            Operation::Close => {
                fixture.close();
                fixture.reopen();
            }
            Operation::Compact(later_ms) => {
                let now_ms = NOW_MS + later_ms;
                while fixture.storage().compact_one(now_ms, CompactScope::Due).unwrap() {}
            }
            Operation::CompactAll => {
                fixture.storage().compact_all(NOW_MS).unwrap();
                let days: BTreeSet<i64> =
                    model.values().flat_map(BTreeMap::keys).map(|time_ms| time_ms / 86_400_000).collect();
                assert!(fixture.storage().stats().block_count <= days.len());
            }
            Operation::CleanTombstones => {
                fixture.storage().clean_tombstones(&TenantId::anonymous()).unwrap();
            }
            Operation::Query(start_ms, end_ms) => {
                let range = TimeRange::new(start_ms, end_ms);
                assert_eq!(fixture.read(range), expected(&model, range), "{range:?}");
            }
            Operation::Delete(sets, start_ms, end_ms) => {
                let matcher_sets: Vec<Vec<Matcher>> = sets.iter().map(|ids| vec![one_of(ids)]).collect();
                let range = TimeRange::new(start_ms, end_ms);
                let storage = fixture.storage();
                storage.delete_series(&TenantId::anonymous(), &matcher_sets, range, NOW_MS).unwrap();
                for id in sets.iter().flatten() {
                    if let Some(samples) = model.get_mut(id) {
                        samples.retain(|time_ms, _| !range.contains(*time_ms));
                    }
                }
            }
        }
    }
    assert_eq!(fixture.read(TimeRange::new(0, i64::MAX)), expected(&model, TimeRange::new(0, i64::MAX)));
    fixture.check();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MYTSDB_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read(operations in prop::collection::vec(operation(), 1..40)) {
        run(operations);
    }
}
