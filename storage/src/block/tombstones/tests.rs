//! Tombstones against a set of deleted points, and their file under damage.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fs::disk::Disk;

fn sample() -> Tombstones {
    let first = Tombstones::extended(7, None, &[2, 3, 90], TimeRange::new(-5, 10)).unwrap();
    Tombstones::extended(7, Some(&first), &[0, 3, u32::MAX], TimeRange::new(20, i64::MAX)).unwrap()
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tomb");
    let tombstones = sample();
    let disk: Arc<dyn FileSystem> = Arc::new(Disk);
    tombstones.write(&disk, &path).unwrap();
    assert_eq!(Tombstones::read(&Disk, &path, 7, 2).unwrap(), tombstones);
    assert_eq!(tombstones.of_series(3), [TimeRange::new(-5, 10), TimeRange::new(20, i64::MAX)]);
    assert!(matches!(Tombstones::read(&Disk, &path, 8, 2), Err(TombstoneError::Foreign { .. })));
    assert!(matches!(Tombstones::read(&Disk, &path, 7, 3), Err(TombstoneError::Foreign { .. })));
    let missing = directory.path().join("y.tomb");
    assert!(matches!(Tombstones::read(&Disk, &missing, 7, 2), Err(TombstoneError::Io { .. })));
}

#[test]
fn every_damaged_byte_and_every_cut_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tomb");
    let bytes = format::encode(&sample());
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        *damaged.get_mut(position).unwrap() ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let error = Tombstones::read(&Disk, &path, 7, 2).unwrap_err();
        assert_eq!(matches!(error, TombstoneError::Version { .. }), (4..6).contains(&position), "{error}");
        std::fs::write(&path, bytes.get(..position).unwrap()).unwrap();
        Tombstones::read(&Disk, &path, 7, 2).unwrap_err();
    }
}

#[test]
fn a_delete_of_what_is_deleted_changes_nothing() {
    let tombstones = sample();
    assert!(Tombstones::extended(7, Some(&tombstones), &[2, 90], TimeRange::new(0, 10)).is_none());
    assert!(Tombstones::extended(7, Some(&tombstones), &[], TimeRange::new(0, 10)).is_none());
    assert!(Tombstones::extended(7, Some(&tombstones), &[5], TimeRange::new(10, 10)).is_none());
}

proptest! {
    #[test]
    fn deletes_add_up(
        deletes in proptest::collection::vec(
            (proptest::collection::btree_set(0_u32..5, 1..4), 0_i64..30, 0_i64..12),
            1..10,
        ),
        first_ms in -2_i64..34,
        span_ms in 0_i64..8,
    ) {
        let mut expected: BTreeSet<(u32, i64)> = BTreeSet::new();
        let mut tombstones: Option<Tombstones> = None;
        for (series, start_ms, length_ms) in deletes {
            let interval = TimeRange::new(start_ms, start_ms.saturating_add(length_ms));
            let ids: Vec<u32> = series.iter().copied().collect();
            let before = expected.clone();
            expected.extend(ids.iter().flat_map(|id| (interval.start_ms..interval.end_ms).map(|ms| (*id, ms))));
            let next = Tombstones::extended(1, tombstones.as_ref(), &ids, interval);
            prop_assert_eq!(next.is_some(), before != expected);
            tombstones = next.or(tombstones);
        }
        let Some(tombstones) = tombstones else { return Ok(()) };
        prop_assert_eq!(format::decode(&format::encode(&tombstones)).unwrap(), tombstones.clone());
        for id in 0..5 {
            let deleted = tombstones.of_series(id);
            prop_assert!(deleted.windows(2).all(|pair| matches!(pair, [a, b] if a.end_ms < b.start_ms)));
            for ms in -2..45 {
                let is_deleted = deleted.iter().any(|interval| interval.contains(ms));
                prop_assert_eq!(is_deleted, expected.contains(&(id, ms)));
            }
            let last_ms = first_ms.saturating_add(span_ms);
            let is_covered = (first_ms..=last_ms).all(|ms| expected.contains(&(id, ms)));
            prop_assert_eq!(covers(deleted, first_ms, last_ms), is_covered);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(mut bytes: Vec<u8>, is_sealed: bool) {
        if is_sealed {
            let mut whole = format::encode(&Tombstones::empty(1, 1));
            whole.truncate(24);
            whole.append(&mut bytes);
            whole.extend(crate::coding::crc32c(&whole).to_le_bytes());
            bytes = whole;
        }
        let _any_outcome_but_a_panic = format::decode(&bytes);
    }
}
