//! The manifest under torn writes, damage and growth.

use super::*;
use crate::fs::disk::Disk;

fn open(data_dir: &Path) -> Result<(Manifest, ManifestState), ManifestError> {
    Manifest::open(&(Arc::new(Disk) as Arc<dyn FileSystem>), data_dir)
}

fn block(id: u64) -> BlockRef {
    let tenant = TenantId::new(if id.is_multiple_of(3) { "anonymous" } else { "team-a" }).unwrap();
    BlockRef { tenant, day: Day::from_number(20_000_i64.saturating_add_unsigned(id / 4)), id }
}

fn edits() -> Vec<ManifestEdit> {
    vec![
        ManifestEdit { add: vec![block(1)], wal_floor: Some(3), ..ManifestEdit::default() },
        ManifestEdit { add: vec![block(2), block(3)], next_id: Some(9), ..ManifestEdit::default() },
        ManifestEdit { add: vec![block(9)], del: vec![block(1), block(2)], ..ManifestEdit::default() },
        ManifestEdit { tombstones: vec![(block(3), 1), (block(9), 1)], ..ManifestEdit::default() },
        ManifestEdit { tombstones: vec![(block(3), 4)], ..ManifestEdit::default() },
        ManifestEdit { add: vec![block(8)], del: vec![block(9)], ..ManifestEdit::default() },
        ManifestEdit { wal_floor: Some(7), ..ManifestEdit::default() },
    ]
}

/// Commits all edits; returns the bytes of the file, and after each commit its length and state.
fn commit_all(data_dir: &Path) -> (Vec<u8>, Vec<(usize, ManifestState)>) {
    let (mut manifest, state) = open(data_dir).unwrap();
    let path = data_dir.join(FILE_NAME);
    let mut history = vec![(std::fs::read(&path).unwrap().len(), state)];
    for edit in edits() {
        manifest.commit(edit).unwrap();
        history.push((std::fs::read(&path).unwrap().len(), manifest.state().clone()));
    }
    (std::fs::read(&path).unwrap(), history)
}

#[test]
fn commits_survive_reopening() {
    let data = tempfile::tempdir().unwrap();
    let (_, history) = commit_all(data.path());
    let (manifest, state) = open(data.path()).unwrap();
    assert_eq!(state, history.last().unwrap().1);
    assert_eq!(manifest.state(), &state);
    assert_eq!(state.blocks, BTreeSet::from([block(3), block(8)]));
    assert_eq!(state.tombstones, BTreeMap::from([(block(3), 4)]));
    assert_eq!((state.next_id, state.wal_floor), (10, 7));
}

#[test]
fn a_flipped_bit_is_never_taken_for_a_torn_commit() {
    let data = tempfile::tempdir().unwrap();
    let (bytes, history) = commit_all(data.path());
    // From the first record alone to all of them.
    for (length, state) in history {
        for bit in 0..length * 8 {
            let mut damaged = bytes.get(..length).unwrap().to_vec();
            *damaged.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            std::fs::write(data.path().join(FILE_NAME), &damaged).unwrap();
            match open(data.path()) {
                Ok((_, found)) => {
                    assert_eq!(found, state, "bit {bit} of {length} bytes");
                    assert_eq!(open(data.path()).unwrap().1, state, "bit {bit} of {length} bytes, reopened");
                }
                Err(ManifestError::Corrupt { .. } | ManifestError::Version { .. }) => {}
                Err(error) => panic!("bit {bit} of {length} bytes: {error}"),
            }
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_gives_the_last_whole_commit() {
    let data = tempfile::tempdir().unwrap();
    let (bytes, history) = commit_all(data.path());
    let first = history.first().unwrap().0;
    for length in first..=bytes.len() {
        for tail in [&[][..], &[0; 20][..]] {
            let mut cut = bytes.get(..length).unwrap().to_vec();
            cut.extend_from_slice(tail);
            std::fs::write(data.path().join(FILE_NAME), &cut).unwrap();
            let (mut manifest, state) = open(data.path()).unwrap();
            // Zeros may happen to be what was cut off.
            let is_whole = |end: usize| cut.get(..end) == bytes.get(..end);
            let expected = &history.iter().rfind(|(end, _)| is_whole(*end)).unwrap().1;
            assert_eq!(&state, expected, "cut at {length}");
            manifest.commit(ManifestEdit { add: vec![block(77)], ..ManifestEdit::default() }).unwrap();
            let (_, reopened) = open(data.path()).unwrap();
            assert!(reopened.blocks.contains(&block(77)), "cut at {length}");
        }
    }
}

#[test]
fn damage_gives_an_error_or_an_earlier_commit_but_never_another_answer() {
    let data = tempfile::tempdir().unwrap();
    let (bytes, history) = commit_all(data.path());
    let last_start = history.iter().rev().nth(1).unwrap().0;
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            *damaged.get_mut(position).unwrap() ^= flip;
            std::fs::write(data.path().join(FILE_NAME), &damaged).unwrap();
            match open(data.path()) {
                Err(_) => assert!(position < last_start, "byte {position}"),
                // The reserved bytes of the header say nothing.
                Ok((_, state)) if position < HEADER_BYTES => assert_eq!(state, history.last().unwrap().1),
                // A damaged last record cannot be told from a torn one, if more than a bit of it is damaged.
                Ok((_, state)) => {
                    assert!(position >= last_start, "byte {position}");
                    let is_repaired = flip != 0xff;
                    assert_eq!(state, history.iter().rev().nth(usize::from(!is_repaired)).unwrap().1);
                }
            }
        }
    }
}

#[test]
fn impossible_edits_are_refused_and_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (mut manifest, _) = open(data.path()).unwrap();
    manifest.commit(ManifestEdit { add: vec![block(1)], ..ManifestEdit::default() }).unwrap();
    let before = manifest.state().clone();
    let twice = ManifestEdit { add: vec![block(1)], ..ManifestEdit::default() };
    assert!(matches!(manifest.commit(twice), Err(ManifestError::Edit { .. })));
    let unknown = ManifestEdit { del: vec![block(5)], ..ManifestEdit::default() };
    assert!(matches!(manifest.commit(unknown), Err(ManifestError::Edit { .. })));
    let tombstones = |id, generation| ManifestEdit {
        tombstones: vec![(block(id), generation)],
        ..ManifestEdit::default()
    };
    assert!(matches!(manifest.commit(tombstones(5, 1)), Err(ManifestError::Edit { .. })));
    assert!(matches!(manifest.commit(tombstones(1, 0)), Err(ManifestError::Edit { .. })));
    assert_eq!(manifest.state(), &before);
    manifest.commit(tombstones(1, 2)).unwrap();
    assert!(matches!(manifest.commit(tombstones(1, 2)), Err(ManifestError::Edit { .. })));
    assert_eq!(open(data.path()).unwrap().1.tombstones, BTreeMap::from([(block(1), 2)]));
}

#[test]
fn a_file_of_version_1_is_read_and_replaced() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(FILE_NAME);
    // Written by the server of version 0.1: adds block 1 of tenant "a" on day 20000, next_id 2, wal_floor 3.
    let payload = [1, 2, 1, 3, 1, 1, b'a', 0xc0, 0xb8, 0x02, 1, 0];
    let mut bytes = b"MTSM\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    std::fs::write(&path, &bytes).unwrap();
    let listed = BlockRef { tenant: TenantId::new("a").unwrap(), day: Day::from_number(20_000), id: 1 };
    for _ in 0..2 {
        let (mut manifest, state) = open(data.path()).unwrap();
        assert_eq!(state.blocks, BTreeSet::from([listed.clone()]));
        assert_eq!((state.next_id, state.wal_floor), (2, 3));
        assert_eq!(std::fs::read(&path).unwrap().get(4..6).unwrap(), VERSION.to_le_bytes());
        manifest.commit(ManifestEdit { wal_floor: Some(3), ..ManifestEdit::default() }).unwrap();
    }
}

#[test]
fn a_missing_manifest_beside_blocks_is_refused() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(block(1).directory(data.path())).unwrap();
    std::fs::write(block(1).path(data.path()), b"x").unwrap();
    assert!(matches!(open(data.path()), Err(ManifestError::Missing { .. })));
}

#[test]
fn a_grown_file_is_replaced_by_a_short_one() {
    let data = tempfile::tempdir().unwrap();
    let (mut manifest, _) = open(data.path()).unwrap();
    let mut longest = 0;
    for id in 0..25_u64 {
        let many: Vec<BlockRef> =
            (0..500).map(|part| block(id.saturating_mul(1000).saturating_add(part))).collect();
        manifest.commit(ManifestEdit { add: many.clone(), ..ManifestEdit::default() }).unwrap();
        manifest.commit(ManifestEdit { del: many, ..ManifestEdit::default() }).unwrap();
        longest = longest.max(manifest.length_bytes);
    }
    manifest.commit(ManifestEdit { add: vec![block(99_999)], ..ManifestEdit::default() }).unwrap();
    assert!(manifest.length_bytes < longest, "{} {longest}", manifest.length_bytes);
    assert_eq!(manifest.length_bytes, std::fs::metadata(data.path().join(FILE_NAME)).unwrap().len());
    let (_, state) = open(data.path()).unwrap();
    assert_eq!(state.blocks, BTreeSet::from([block(99_999)]));
    assert_eq!(state.next_id, 100_000);
}
