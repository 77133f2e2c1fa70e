//! What a snapshot promises: it is a data directory that answers as the storage did.

use mytsdb_storage::model::{MatchOp, Matcher, MetricKind, MetricMetadata, TenantId, TimeRange};
use mytsdb_storage::{SnapshotError, Storage, StorageOptions, WriteBatch};

use crate::fixture::{Fixture, NOW_MS, labels_of, read_all};

const ALL: TimeRange = TimeRange { start_ms: 0, end_ms: i64::MAX };

fn open(fixture: &Fixture, name: &str) -> Storage {
    let path = fixture.directory.path().join("snapshots").join(name);
    Storage::open(StorageOptions { data_dir: path, ..fixture.options() }, NOW_MS).unwrap()
}

#[test]
fn a_snapshot_is_a_data_directory_that_answers_as_the_storage_did() {
    let mut fixture = Fixture::new();
    let (tenant, other) = (TenantId::anonymous(), TenantId::new("other").unwrap());
    let fact = MetricMetadata {
        metric: "up".to_owned(),
        kind: MetricKind::Gauge,
        unit: "bool".to_owned(),
        help: "whether it is up".to_owned(),
    };
    for id in 0..5 {
        let samples: Vec<(i64, f64)> =
            (0..2000).map(|minute| (NOW_MS - 60_000 * (2000 - minute), f64::from(id))).collect();
        fixture.write(&[(id, samples.clone())]);
        fixture.write_as(&other, &[(id + 7, samples)]);
    }
    let metadata = WriteBatch {
        keys: &[1],
        sample_ends: &[1],
        timestamps_ms: &[NOW_MS],
        values: &[1.0],
        starts: &[],
        labels: &vec![labels_of(9)],
        histograms: &[],
        exemplars: &[],
        metadata: std::slice::from_ref(&fact),
    };
    fixture.storage().write(&tenant, &metadata, NOW_MS).unwrap();
    let middle = vec![Matcher::new(MatchOp::Equal, "id", "00002").unwrap()];
    fixture.storage().delete_series(&tenant, &[middle], ALL, NOW_MS).unwrap();
    fixture.write(&[(6, vec![(NOW_MS, 6.0)])]);

    let info = fixture.storage().snapshot("one", NOW_MS, false).unwrap();
    assert_eq!((info.name.as_str(), info.left_out_block_count), ("one", 0));
    assert_eq!(info.path, fixture.directory.path().join("snapshots/one"));
    let expected = [&tenant, &other].map(|tenant| fixture.read_as(tenant, &[], ALL));
    assert_eq!((expected[0].len(), expected[1].len()), (6, 5));

    // What happens afterwards does not touch it, and what happens to it does not touch the storage.
    fixture.storage().delete_series(&tenant, &[vec![]], ALL, NOW_MS).unwrap();
    fixture.storage().maintain(NOW_MS + 20 * 86_400_000).unwrap();
    assert!(fixture.read(ALL).is_empty());
    for _ in 0..2 {
        let copy = open(&fixture, "one");
        assert_eq!([&tenant, &other].map(|tenant| read_all(&copy, tenant, &[], ALL)), expected);
        assert_eq!(copy.reader(&tenant).metadata(), std::slice::from_ref(&fact));
        assert!(copy.reader(&other).metadata().is_empty());
        copy.close(NOW_MS).unwrap();
    }
    fixture.reopen();
    assert!(fixture.read(ALL).is_empty());
}

#[test]
fn without_the_head_there_is_only_what_is_in_blocks() {
    let fixture = Fixture::new();
    fixture.write(&[(1, vec![(NOW_MS - 1, 1.0)])]);
    fixture.storage().flush(NOW_MS).unwrap();
    fixture.write(&[(1, vec![(NOW_MS, 2.0)])]);
    assert_eq!(fixture.storage().snapshot("blocks", NOW_MS, true).unwrap().block_count, 1);
    assert_eq!(fixture.storage().snapshot("all", NOW_MS, false).unwrap().block_count, 2);
    let count = |name| read_all(&open(&fixture, name), &TenantId::anonymous(), &[], ALL)[0].1.len();
    assert_eq!((count("blocks"), count("all")), (1, 2));
}

#[test]
fn a_name_is_taken_once_and_stays_inside_the_directory() {
    let fixture = Fixture::new();
    fixture.storage().snapshot("20260921T101112Z-00000000000000ff", NOW_MS, false).unwrap();
    let again = fixture.storage().snapshot("20260921T101112Z-00000000000000ff", NOW_MS, false);
    assert!(matches!(again, Err(SnapshotError::Exists { .. })));
    for name in ["", ".", "..", "a/b", "../a", "a.tmp", "\u{e9}", &"x".repeat(129)] {
        let outcome = fixture.storage().snapshot(name, NOW_MS, false);
        assert!(matches!(outcome, Err(SnapshotError::Name { .. })), "{name:?}");
    }
}

#[test]
fn an_unfinished_snapshot_is_removed_at_the_start_and_a_damaged_block_is_left_out() {
    let mut fixture = Fixture::new();
    let day_ms = 86_400_000;
    fixture.write(&[(1, vec![(NOW_MS - 2 * day_ms, 1.0), (NOW_MS, 2.0)])]);
    fixture.close();
    let days = fixture.directory.path().join("tenants/anonymous/blocks");
    let mut days: Vec<_> = std::fs::read_dir(days).unwrap().map(|entry| entry.unwrap().path()).collect();
    days.sort();
    let block = std::fs::read_dir(&days[0]).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&block, b"damage").unwrap();
    let unfinished = fixture.directory.path().join("snapshots/x.tmp");
    std::fs::create_dir_all(unfinished.join("wal")).unwrap();
    std::fs::write(unfinished.join("wal/1"), b"x").unwrap();
    fixture.reopen();
    assert!(!unfinished.exists());
    let info = fixture.storage().snapshot("x", NOW_MS, false).unwrap();
    assert_eq!((info.block_count, info.left_out_block_count), (1, 1));
    assert_eq!(read_all(&open(&fixture, "x"), &TenantId::anonymous(), &[], ALL), fixture.read(ALL));
}
