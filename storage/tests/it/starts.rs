//! Start times of float samples through the public doors: the rules, and what they cost.

use mytsdb_storage::model::{LabelSet, StartRun, StartTimes, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{WriteBatch, WriteError, WriteReport};

use crate::fixture::{Fixture, NOW_MS, labels_of};

const HOUR_MS: i64 = 3_600_000;
/// When the writers of these tests were started.
const START_MS: i64 = NOW_MS - 30 * HOUR_MS;

/// A series and its samples: time, value and start time.
type Run = (u32, Vec<(i64, f64, i64)>);

/// Writes samples of time, value and start time for one series after the other.
fn write(fixture: &Fixture, runs: &[Run]) -> WriteReport {
    let labels: Vec<LabelSet> = runs.iter().map(|(id, _)| labels_of(*id)).collect();
    let keys: Vec<u128> =
        labels.iter().map(|set| fixture.storage().series_key(set.encoded().as_bytes())).collect();
    let samples = || runs.iter().flat_map(|(_, samples)| samples);
    let ends = runs.iter().scan(0, |end, (_, samples)| {
        *end += samples.len();
        Some(*end)
    });
    let starts: StartTimes = samples().map(|(.., start_ms)| *start_ms).collect();
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &ends.collect::<Vec<usize>>(),
        timestamps_ms: &samples().map(|(time_ms, ..)| *time_ms).collect::<Vec<_>>(),
        values: &samples().map(|(_, value, _)| *value).collect::<Vec<_>>(),
        starts: starts.runs(),
        labels: &labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS).unwrap()
}

/// Time, value and start time of the samples of the first series inside `range`.
fn read(fixture: &Fixture, range: TimeRange) -> Vec<(i64, f64, i64)> {
    let set = fixture.storage().reader(&TenantId::anonymous()).select(&[], range).unwrap();
    let mut columns = SampleColumns::default();
    set.read(0, range, &mut columns).unwrap();
    let starts_ms = columns.starts.up_to(columns.len()).each(columns.len());
    let samples = columns.timestamps_ms.iter().zip(&columns.values).zip(starts_ms);
    samples.map(|((time_ms, value), start_ms)| (*time_ms, *value, start_ms)).collect()
}

#[test]
fn the_last_write_of_a_time_says_its_start_time_too() {
    let mut fixture = Fixture::new();
    let at = |second: i64| NOW_MS - HOUR_MS + second * 1_000;
    write(&fixture, &[(1, vec![(at(1), 1.0, START_MS), (at(2), 2.0, START_MS), (at(3), 3.0, at(0))])]);
    // The newest again as it was; the same value with another start time; one without.
    write(&fixture, &[(1, vec![(at(3), 3.0, at(0))])]);
    write(&fixture, &[(1, vec![(at(3), 3.0, at(2))])]);
    write(&fixture, &[(1, vec![(at(1), 1.0, 0), (at(0), 0.5, -7)])]);
    let expected = [(at(0), 0.5, -7), (at(1), 1.0, 0), (at(2), 2.0, START_MS), (at(3), 3.0, at(2))];
    for step in ["in the head", "after a restart", "in a block"] {
        assert_eq!(read(&fixture, TimeRange::ALL), expected, "{step}");
        assert_eq!(read(&fixture, TimeRange::new(at(1), at(3))), expected[1..3], "{step}");
        fixture.reopen();
        if step == "after a restart" {
            fixture.storage().flush(NOW_MS).unwrap();
        }
    }
    fixture.check();
}

#[test]
fn start_times_of_samples_that_are_not_there_are_refused() {
    let fixture = Fixture::new();
    let run = |position| StartRun { position, start_ms: 1 };
    let key = fixture.storage().series_key(labels_of(1).encoded().as_bytes());
    for (starts, expected) in [
        (vec![run(2)], "a start time of sample 2, there are 2"),
        (vec![run(1), run(1)], "positions of start times do not ascend"),
    ] {
        let batch = WriteBatch {
            keys: &[key],
            sample_ends: &[2],
            timestamps_ms: &[NOW_MS - 1, NOW_MS],
            values: &[1.0, 2.0],
            starts: &starts,
            labels: &vec![labels_of(1)],
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        match fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS) {
            Err(WriteError::Shape(found)) => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// Writes a day of counters, one round at a time; returns bytes of the log, the head, the blocks and the merged block.
fn cost(start_of: impl Fn(u32, i64) -> i64) -> [u64; 4] {
    const SERIES_COUNT: u32 = 40;
    const ROUND_COUNT: i64 = 2_000;
    let fixture = Fixture::new();
    let midnight_ms = NOW_MS - NOW_MS % (24 * HOUR_MS);
    for round in 0..ROUND_COUNT {
        let time_ms = midnight_ms + round * 30_000;
        let runs: Vec<_> = (0..SERIES_COUNT)
            .map(|id| (id, vec![(time_ms, (round * i64::from(id)) as f64, start_of(id, time_ms))]))
            .collect();
        write(&fixture, &runs);
    }
    let bytes_below = |directory: &str, ending: &str| -> u64 {
        let mut open = vec![fixture.directory.path().join(directory)];
        let mut bytes = 0;
        while let Some(path) = open.pop() {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    bytes += std::fs::read(&path)
                        .unwrap()
                        .iter()
                        .rposition(|byte| *byte != 0)
                        .map_or(0, |at| at as u64);
                }
            }
        }
        bytes
    };
    let log = bytes_below("wal", ".wal");
    let head = fixture.storage().stats().head_bytes as u64;
    fixture.storage().flush(NOW_MS).unwrap();
    let blocks = bytes_below("tenants", ".mtb");
    fixture.storage().compact_all(NOW_MS).unwrap();
    [log, head, blocks, bytes_below("tenants", ".mtb")]
}

#[test]
fn what_they_cost() {
    let none = cost(|_, _| 0);
    let constant = cost(|id, _| START_MS + i64::from(id));
    let deltas = cost(|_, time_ms| time_ms - 30_000);
    println!(
        "log, head, block, merged block of 80 000 samples: none {none:?}, constant {constant:?}, deltas {deltas:?}"
    );
    // As without the feature: nothing stands for a start time that nobody knows.
    let per_chunk = 10 * 40;
    assert!(constant[1] <= none[1] + 6 * per_chunk, "head");
    assert!(constant[2] <= none[2] + 5 * per_chunk, "block of 5 chunks a series");
    assert!(constant[3] <= none[3] + 2 * per_chunk, "merged block");
    assert!(deltas[3] <= none[3] + 5 * 50 * 40, "merged block");
}
