//! Damaged files: the rest is served, the damage is named, nothing is deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::block::format::HEADER_BYTES;
use crate::fs::memory::MemoryFs;
use crate::model::Matcher;

/// Three blocks of one tenant, on three days, one sample each.
fn three_blocks() -> (MemoryFs, Vec<PathBuf>) {
    let fs = MemoryFs::default();
    let storage = open(Arc::new(fs.clone()), NOW_MS).unwrap();
    let samples = (0..3).map(|day| (NOW_MS - day * DAY_MS, day as f64)).collect();
    write(&storage, &Batch { tenant: 0, runs: vec![(1, samples)] }, NOW_MS).unwrap();
    storage.flush(NOW_MS).unwrap();
    let is_block = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "mtb");
    let blocks: Vec<PathBuf> = fs.files().into_iter().map(|(path, _)| path).filter(is_block).collect();
    assert_eq!(blocks.len(), 3);
    (fs, blocks)
}

fn flip(fs: &MemoryFs, path: &Path, offset: usize) {
    let mut bytes = fs.read(path).unwrap();
    bytes[offset] ^= 1;
    fs.put(path, Arc::new(bytes));
}

fn day(days_ago: i64) -> TimeRange {
    let start_ms = (NOW_MS - days_ago * DAY_MS).div_euclid(DAY_MS) * DAY_MS;
    TimeRange::new(start_ms, start_ms + DAY_MS)
}

#[test]
fn blocks_that_do_not_open_are_left_out_named_and_kept() {
    let (fs, blocks) = three_blocks();
    // By path the oldest day is first.
    flip(&fs, &blocks[0], 10);
    fs.remove(&blocks[1]).unwrap();
    let damaged = fs.read(&blocks[0]).unwrap();
    for _ in 0..2 {
        let storage = open(Arc::new(fs.clone()), NOW_MS).unwrap();
        let damage = storage.damage();
        assert_eq!(damage.iter().map(|file| &file.path).collect::<Vec<_>>(), [&blocks[0], &blocks[1]]);
        assert!(damage[0].reason.contains("checksum of the header"), "{}", damage[0].reason);
        assert!(damage[1].reason.contains("does not exist"), "{}", damage[1].reason);
        assert_eq!((damage[0].range, damage[1].range), (Some(day(2)), Some(day(1))));
        assert_eq!(storage.stats().damaged_file_count, 2);
        let tenant = TenantId::anonymous();
        let snapshot = storage.reader(&tenant);
        assert_eq!(snapshot.select(&[Matcher::equal("id", "1")], TimeRange::ALL).unwrap().len(), 1);
        let counts = [TimeRange::ALL, day(0), day(1), day(2)].map(|range| snapshot.warnings(range).len());
        assert_eq!(counts, [2, 0, 1, 1]);
        assert_eq!(storage.reader(&TenantId::new("team-a").unwrap()).warnings(TimeRange::ALL), [""; 0]);
        write(&storage, &Batch { tenant: 0, runs: vec![(2, vec![(NOW_MS, 9.0)])] }, NOW_MS).unwrap();
        storage.flush(NOW_MS).unwrap();
    }
    assert_eq!(fs.read(&blocks[0]).unwrap(), damaged);
}

#[test]
fn damage_that_a_read_finds_is_named_once() {
    let (fs, blocks) = three_blocks();
    // CHUNKS, which is not read at open.
    flip(&fs, &blocks[2], HEADER_BYTES + 1);
    let storage = open(Arc::new(fs.clone()), NOW_MS).unwrap();
    assert_eq!(storage.damage(), []);
    let set = storage.reader(&TenantId::anonymous()).select(&[Matcher::equal("id", "1")], day(0)).unwrap();
    for _ in 0..2 {
        set.read(0, day(0), &mut SampleColumns::default()).unwrap_err();
    }
    let damage = storage.damage();
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].path, blocks[2]);
    assert_eq!(storage.reader(&TenantId::anonymous()).warnings(day(0)).len(), 1);
}

#[test]
fn a_damaged_wal_is_used_up_to_the_damage_and_kept() {
    let fs = MemoryFs::default();
    let storage = open(Arc::new(fs.clone()), NOW_MS).unwrap();
    let mut ledger = Ledger::default();
    let mut batches = Batches::new(5);
    let mut segments = Vec::new();
    for _ in 0..20 {
        let batch = batches.next(NOW_MS);
        ledger.note(&batch);
        write(&storage, &batch, NOW_MS).unwrap();
        segments.push(fs.files().into_iter().rfind(|(path, _)| path.starts_with("/data/wal")).unwrap());
    }
    drop(storage);
    // Damage right behind what the tenth write left.
    let (path, length_bytes) = segments[9].clone();
    flip(&fs, &path, length_bytes + 9);
    let damaged = fs.read(&path).unwrap();
    let fate = |number: usize| if number < 10 { Fate::Acknowledged } else { Fate::Doubtful };
    for start in 0..2 {
        let storage = open(Arc::new(fs.clone()), NOW_MS).unwrap();
        ledger.check(&storage, fate, i64::MIN).unwrap();
        let damage = storage.damage();
        assert!(
            damage.len() > 1 && damage.iter().all(|file| file.path.to_string_lossy().ends_with(".corrupt"))
        );
        assert_eq!(fs.read(&path.with_extension("wal.corrupt")).unwrap(), damaged, "start {start}");
        let batch = Batch { tenant: 0, runs: vec![(90 + start, vec![(NOW_MS, 1.0)])] };
        write(&storage, &batch, NOW_MS).unwrap();
        ledger.note(&batch);
        ledger.note(&batch);
    }
}
