//! What a delete promises, one scenario a test; `model.rs` deletes at random.

use std::path::{Path, PathBuf};

use mytsdb_storage::model::{Exemplar, LabelSet, MatchOp, Matcher, TenantId, TimeRange};
use mytsdb_storage::{DeleteReport, ExemplarSample, Storage, WriteBatch};

use crate::fixture::{Fixture, NOW_MS, labels_of};

const ALL: TimeRange = TimeRange { start_ms: 0, end_ms: i64::MAX };

fn id_is(id: u32) -> Vec<Matcher> {
    vec![Matcher::new(MatchOp::Equal, "id", &format!("{id:05}")).unwrap()]
}

fn delete(storage: &Storage, matcher_sets: &[Vec<Matcher>], range: TimeRange) -> DeleteReport {
    storage.delete_series(&TenantId::anonymous(), matcher_sets, range, NOW_MS).unwrap()
}

/// Ten series with a sample every second of the last minute.
fn filled() -> Fixture {
    let fixture = Fixture::new();
    for id in 0..10 {
        fixture.write(&[(id, (0..60).map(|second| (NOW_MS - 1000 * second, 1.0)).rev().collect())]);
    }
    fixture
}

/// All files under `directory` with this ending.
pub(crate) fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_is_deleted_is_found_by_no_read_and_what_is_written_again_is() {
    let mut fixture = filled();
    let last_10_s = TimeRange::from_inclusive(NOW_MS - 9_999, NOW_MS);
    let report = delete(fixture.storage(), &[id_is(3), id_is(4)], ALL);
    assert_eq!(report, DeleteReport { series_count: 2, block_count: 1 });
    assert_eq!(delete(fixture.storage(), &[id_is(5)], last_10_s).series_count, 1);
    for round in 0..3 {
        let snapshot = fixture.storage().reader(&TenantId::anonymous());
        assert_eq!(snapshot.select(&[], ALL).unwrap().len(), 8, "round {round}");
        assert_eq!(snapshot.select(&[], last_10_s).unwrap().len(), 7, "round {round}");
        assert!(snapshot.select(&id_is(3), ALL).unwrap().is_empty());
        assert!(snapshot.label_names(&id_is(4), ALL).unwrap().is_empty());
        let ids = snapshot.label_values("id", &[], ALL).unwrap();
        assert_eq!(ids, ["00000", "00001", "00002", "00005", "00006", "00007", "00008", "00009"]);
        assert!(!snapshot.label_values("id", &[], last_10_s).unwrap().contains(&"00005".to_owned()));
        assert_eq!(fixture.read_as(&TenantId::anonymous(), &id_is(5), ALL)[0].1.len(), 50);
        match round {
            0 => fixture.storage().flush(NOW_MS).unwrap(),
            _ => fixture.reopen(),
        }
    }
    fixture.write(&[(3, vec![(NOW_MS - 5_000, 7.0)])]);
    let written_again = [(3, vec![(NOW_MS - 5_000, 7.0_f64.to_bits())])];
    for _ in 0..2 {
        assert_eq!(fixture.read_as(&TenantId::anonymous(), &id_is(3), ALL), written_again);
        fixture.storage().flush(NOW_MS).unwrap();
    }
}

#[test]
fn exemplars_are_deleted_with_the_samples_even_beyond_them() {
    let fixture = Fixture::new();
    let tenant = TenantId::anonymous();
    let exemplar = |time_ms| Exemplar { labels: LabelSet::empty(), value: 1.0, time_ms };
    let times_ms = [NOW_MS - 50_000, NOW_MS - 20_000, NOW_MS];
    let batch = WriteBatch {
        keys: &[1],
        sample_ends: &[1],
        timestamps_ms: &[NOW_MS - 30_000],
        values: &[1.0],
        starts: &[],
        labels: &vec![labels_of(1)],
        metadata: &[],
        histograms: &[],
        exemplars: &times_ms.map(|time_ms| ExemplarSample { series_index: 0, exemplar: exemplar(time_ms) }),
    };
    fixture.storage().write(&tenant, &batch, NOW_MS).unwrap();
    let found = || -> Vec<i64> {
        let found = fixture.storage().reader(&tenant).exemplars(&[], ALL, 100).unwrap();
        found.iter().flat_map(|(_, exemplars)| exemplars.iter().map(|exemplar| exemplar.time_ms)).collect()
    };
    assert_eq!(found(), times_ms);
    let older = TimeRange::new(NOW_MS - 60_000, NOW_MS - 40_000);
    assert_eq!(delete(fixture.storage(), &[id_is(1)], older).series_count, 1);
    assert_eq!(found(), [NOW_MS - 20_000, NOW_MS]);
    assert_eq!(fixture.read(ALL).len(), 1);
    assert_eq!(delete(fixture.storage(), &[id_is(1)], older), DeleteReport::default());
    assert_eq!(delete(fixture.storage(), &[id_is(1)], TimeRange::new(0, NOW_MS)).series_count, 1);
    assert_eq!(found(), [NOW_MS]);
    assert!(fixture.read(ALL).is_empty());
}

#[test]
fn a_delete_that_finds_nothing_writes_nothing() {
    let fixture = filled();
    let nobody = vec![Matcher::new(MatchOp::Equal, "id", "none").unwrap()];
    let before = TimeRange::new(0, NOW_MS - 60_000);
    for (matcher_sets, range) in
        [(vec![], ALL), (vec![nobody], ALL), (vec![id_is(1)], before), (vec![id_is(1)], TimeRange::new(5, 5))]
    {
        assert_eq!(delete(fixture.storage(), &matcher_sets, range), DeleteReport::default());
    }
    assert_eq!(delete(fixture.storage(), &[id_is(1)], ALL).series_count, 1);
    assert_eq!(delete(fixture.storage(), &[id_is(1)], ALL), DeleteReport::default());
    let other = TenantId::new("other").unwrap();
    let report = fixture.storage().delete_series(&other, &[vec![]], ALL, NOW_MS).unwrap();
    assert_eq!(report, DeleteReport::default());
    assert_eq!(files(fixture.directory.path(), "tomb").len(), 1);
}

#[test]
fn one_tombstone_file_a_block_counts_and_strangers_are_removed_at_the_start() {
    let mut fixture = filled();
    for id in 0..4 {
        delete(fixture.storage(), &[id_is(id)], ALL);
        assert_eq!(files(fixture.directory.path(), "tomb").len(), 1);
    }
    let counts = files(fixture.directory.path(), "tomb").remove(0);
    let stranger = counts.to_str().unwrap().replace("00000004.tomb", "00000005.tomb");
    std::fs::copy(&counts, &stranger).unwrap();
    fixture.reopen();
    assert_eq!(files(fixture.directory.path(), "tomb"), [counts]);
    assert_eq!(fixture.read(ALL).len(), 6);
}

#[test]
fn tombstones_go_with_their_block() {
    let fixture = filled();
    delete(fixture.storage(), &[id_is(1)], ALL);
    fixture.storage().maintain(NOW_MS + 20 * 86_400_000).unwrap();
    assert!(files(fixture.directory.path(), "mtb").is_empty());
    assert!(files(fixture.directory.path(), "tomb").is_empty());
}

#[test]
fn a_block_whose_tombstones_are_damaged_is_not_served() {
    let mut fixture = filled();
    delete(fixture.storage(), &[id_is(1)], ALL);
    let path = files(fixture.directory.path(), "tomb").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    fixture.reopen();
    assert!(fixture.read(ALL).is_empty());
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    fixture.reopen();
    assert_eq!(fixture.read(ALL).len(), 9);
}
