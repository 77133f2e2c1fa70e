//! What compaction and retention promise, one scenario a test; `model.rs` compacts at random.

use mytsdb_storage::model::{MatchOp, Matcher, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{CompactError, CompactScope, Storage, StorageOptions, TenantLimits};

use crate::deletes::files;
use crate::fixture::{Fixture, NOW_MS};

const ALL: TimeRange = TimeRange { start_ms: 0, end_ms: i64::MAX };
const DAY_MS: i64 = 86_400_000;
/// Noon of the day before that of the clock.
const YESTERDAY_MS: i64 = NOW_MS - NOW_MS % DAY_MS - DAY_MS / 2;
/// After this time without writes a day is quiet.
const QUIET_MS: i64 = 120_000;

/// A counter of four series, one sample every 15 s.
fn run_of(fixture: &Fixture, start_ms: i64, count: i64) {
    let samples = |id: i64| -> Vec<(i64, f64)> {
        (0..count).map(|index| (start_ms + index * 15_000, ((index * (id + 3)) % 1000) as f64)).collect()
    };
    let report = fixture.write(&(0..4).map(|id| (id, samples(i64::from(id)))).collect::<Vec<_>>());
    assert!(report.rejections.is_empty());
    fixture.storage().flush(NOW_MS).unwrap();
}

/// Does all steps that are due; returns how many there were.
fn compact_due(storage: &Storage, now_ms: i64) -> usize {
    let mut step_count = 0;
    while storage.compact_one(now_ms, CompactScope::Due).unwrap() {
        step_count += 1;
        assert!(step_count < 100, "no end");
    }
    step_count
}

#[test]
fn a_quiet_day_becomes_one_smaller_block_and_stays_it() {
    let mut fixture = Fixture::new();
    for part in 0..3 {
        run_of(&fixture, YESTERDAY_MS + part * 720 * 15_000, 720);
    }
    let (before, bytes_before) = (fixture.read(ALL), fixture.storage().stats().block_bytes);
    assert_eq!(compact_due(fixture.storage(), NOW_MS), 0, "three blocks of a day that may still be written");
    assert_eq!(compact_due(fixture.storage(), NOW_MS + QUIET_MS), 1);
    let stats = fixture.storage().stats();
    assert_eq!((stats.block_count, stats.compactions_done, stats.block_sample_count), (1, 1, 4 * 3 * 720));
    assert!(stats.block_bytes < bytes_before, "{} bytes of {bytes_before}", stats.block_bytes);
    assert_eq!(stats.compaction_input_bytes, bytes_before);
    assert_eq!(fixture.read(ALL), before);
    assert_eq!(files(fixture.directory.path(), "mtb").len(), 1);
    // A range of an hour reads the same out of the long chunks.
    let hour = TimeRange::new(YESTERDAY_MS + 7_200_000, YESTERDAY_MS + 10_800_000);
    assert_eq!(fixture.read(hour)[3].1.len(), 240);
    fixture.reopen();
    assert_eq!(fixture.read(ALL), before);
    compact_due(fixture.storage(), NOW_MS);
    assert_eq!(compact_due(fixture.storage(), NOW_MS + 10 * QUIET_MS), 0);
}

#[test]
fn four_small_blocks_are_merged_while_the_day_is_written() {
    let fixture = Fixture::new();
    for part in 0..7 {
        run_of(&fixture, YESTERDAY_MS + part * 300 * 15_000, 300);
        compact_due(fixture.storage(), NOW_MS);
    }
    assert_eq!(fixture.storage().stats().block_count, 1, "the fourth block merges, and so does the seventh");
    assert_eq!(fixture.read(ALL)[0].1.len(), 7 * 300);
}

#[test]
fn the_latest_write_wins_before_and_after_every_compaction() {
    let mut fixture = Fixture::new();
    let write = |fixture: &Fixture, value: f64, times: std::ops::Range<i64>| {
        fixture.write(&[(1, times.map(|index| (YESTERDAY_MS + index * 1000, value)).collect())]);
        fixture.storage().flush(NOW_MS).unwrap();
    };
    write(&fixture, 1.0, 0..3000);
    write(&fixture, 2.0, 1000..2000);
    fixture.storage().compact_all(NOW_MS).unwrap();
    // The compacted block has a higher number than this one's would have been, but what it holds is older.
    write(&fixture, 3.0, 1500..1600);
    let expected: Vec<(i64, u64)> = (0..3000)
        .map(|index| {
            let value: f64 = match index {
                1500..1600 => 3.0,
                1000..2000 => 2.0,
                _ => 1.0,
            };
            (YESTERDAY_MS + index * 1000, value.to_bits())
        })
        .collect();
    for round in 0..3 {
        assert_eq!(fixture.read(ALL), [(1, expected.clone())], "round {round}");
        match round {
            0 => fixture.reopen(),
            _ => fixture.storage().compact_all(NOW_MS).unwrap(),
        }
    }
    assert_eq!(fixture.storage().stats().block_sample_count, 3000);
}

#[test]
fn what_was_deleted_is_not_written_again() {
    let fixture = Fixture::new();
    run_of(&fixture, YESTERDAY_MS, 2000);
    fixture.storage().compact_all(NOW_MS).unwrap();
    let tenant = TenantId::anonymous();
    let second = vec![Matcher::new(MatchOp::Equal, "id", "00002").unwrap()];
    let first_hour = TimeRange::new(YESTERDAY_MS, YESTERDAY_MS + 3_600_000);
    fixture.storage().delete_series(&tenant, &[second], ALL, NOW_MS).unwrap();
    fixture.storage().delete_series(&tenant, &[Vec::new()], first_hour, NOW_MS).unwrap();
    let left = fixture.read(ALL);
    assert_eq!(
        left.iter().map(|(id, samples)| (*id, samples.len())).collect::<Vec<_>>(),
        [(0, 1760), (1, 1760), (3, 1760)]
    );
    assert_eq!(fixture.storage().clean_tombstones(&tenant).unwrap(), 1);
    assert_eq!(fixture.storage().stats().block_sample_count, 3 * 1760);
    assert_eq!(files(fixture.directory.path(), "tomb").len(), 0);
    assert_eq!(fixture.read(ALL), left);
    assert_eq!(fixture.storage().clean_tombstones(&tenant).unwrap(), 0);
    // A block of which nothing is left is dropped.
    fixture.storage().delete_series(&tenant, &[Vec::new()], ALL, NOW_MS).unwrap();
    fixture.storage().compact_all(NOW_MS).unwrap();
    assert_eq!(fixture.storage().stats().block_count, 0);
    assert_eq!(files(fixture.directory.path(), "mtb").len(), 0);
}

#[test]
fn a_reader_from_before_reads_on() {
    let fixture = Fixture::new();
    run_of(&fixture, YESTERDAY_MS, 700);
    run_of(&fixture, YESTERDAY_MS + 700 * 15_000, 700);
    let set = fixture.storage().reader(&TenantId::anonymous()).select(&[], ALL).unwrap();
    fixture.storage().compact_all(NOW_MS).unwrap();
    let mut columns = SampleColumns::default();
    for index in 0..set.len() {
        set.read(index, ALL, &mut columns).unwrap();
        assert_eq!(columns.len(), 1400);
    }
}

#[test]
fn a_damaged_block_stops_only_the_compaction_of_its_day() {
    let mut fixture = Fixture::new();
    for part in 0..4 {
        run_of(&fixture, YESTERDAY_MS + part * 300 * 15_000, 300);
    }
    let path = files(fixture.directory.path(), "mtb").into_iter().min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    fixture.reopen();
    let outcome = fixture.storage().compact_one(NOW_MS, CompactScope::Due);
    assert!(matches!(&outcome, Err(CompactError::Merge { block_count: 4, .. })), "{outcome:?}");
    assert!(!fixture.storage().compact_one(NOW_MS, CompactScope::Due).unwrap(), "not tried again at once");
    let stats = fixture.storage().stats();
    assert_eq!((stats.compactions_failed, stats.block_count), (1, 4));
    run_of(&fixture, YESTERDAY_MS - DAY_MS, 10);
    assert_eq!(compact_due(fixture.storage(), NOW_MS), 0);
    assert_eq!(compact_due(fixture.storage(), NOW_MS + QUIET_MS), 1, "the other day");
    assert_eq!(files(fixture.directory.path(), "tmp").len(), 0);
}

#[test]
fn a_closed_storage_compacts_no_more() {
    let fixture = Fixture::new();
    run_of(&fixture, YESTERDAY_MS, 10);
    fixture.storage().close(NOW_MS).unwrap();
    let outcome = fixture.storage().compact_one(NOW_MS, CompactScope::Everything);
    assert!(matches!(outcome, Err(CompactError::Stopped)), "{outcome:?}");
}

/// Opens the directory of `fixture` with these limits, after three days were written to it.
fn limited(fixture: &mut Fixture, limits: TenantLimits, retention_bytes: Option<u64>) -> Storage {
    for day in 0..3 {
        run_of(fixture, YESTERDAY_MS - day * DAY_MS, 500);
    }
    fixture.close();
    let options = StorageOptions { limits, retention_bytes, ..fixture.options() };
    Storage::open(options, NOW_MS).unwrap()
}

fn oldest_ms(storage: &Storage) -> i64 {
    let set = storage.reader(&TenantId::anonymous()).select(&[], ALL).unwrap();
    let mut columns = SampleColumns::default();
    set.read(0, ALL, &mut columns).unwrap();
    columns.timestamps_ms[0]
}

#[test]
fn the_oldest_days_go_when_a_tenant_has_too_many_bytes() {
    for is_global in [false, true] {
        let mut fixture = Fixture::new();
        run_of(&fixture, YESTERDAY_MS, 1);
        let unlimited = TenantLimits { retention_bytes: None, ..TenantLimits::default() };
        let storage = limited(&mut fixture, unlimited.clone(), None);
        let bytes = storage.stats().block_bytes;
        storage.maintain(NOW_MS).unwrap();
        assert_eq!(storage.stats().blocks_dropped_by_size, 0);
        drop(storage);
        let limits = TenantLimits { retention_bytes: (!is_global).then_some(bytes - 1), ..unlimited };
        let options =
            StorageOptions { limits, retention_bytes: is_global.then_some(bytes - 1), ..fixture.options() };
        let storage = Storage::open(options, NOW_MS).unwrap();
        storage.maintain(NOW_MS).unwrap();
        assert_eq!(oldest_ms(&storage), YESTERDAY_MS - DAY_MS, "global: {is_global}");
        let stats = storage.stats();
        assert_eq!((stats.blocks_dropped_by_size, stats.blocks_dropped_by_age), (1, 0));
        assert!(stats.block_bytes < bytes);
    }
}

#[test]
fn the_newest_day_stays_whatever_its_size() {
    let mut fixture = Fixture::new();
    let limits = TenantLimits { retention_bytes: Some(1), ..TenantLimits::default() };
    let storage = limited(&mut fixture, limits, Some(1));
    storage.maintain(NOW_MS).unwrap();
    storage.maintain(NOW_MS).unwrap();
    assert_eq!(oldest_ms(&storage), YESTERDAY_MS);
    assert_eq!((storage.stats().blocks_dropped_by_size, storage.stats().block_count), (2, 1));
    assert_eq!(files(fixture.directory.path(), "mtb").len(), 1);
}
