//! Every single bit of a file of every kind, flipped: the answer is the same, or the damage has a name.
//!
//! `MYTSDB_FLIPS=all` (`make flips`) flips every bit of files of about 32 KiB; otherwise every 50th bit (of the WAL, whose
//! damaged segments are searched for whole records behind the damage, every 200th), from a
//! random first one, which `MYTSDB_FLIPS_SEED` repeats.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::read;
use super::samples::{self, Size};
use crate::block::layout::{BlockRef, Day};
use crate::block::manifest::{Manifest, ManifestEdit};
use crate::block::tombstones::Tombstones;
use crate::fs::FileSystem;
use crate::fs::memory::MemoryFs;
use crate::model::{TenantId, TimeRange};
use crate::wal::{Record, ReplayProgress, replay};

/// What became of a flip, when nothing is wrong with it.
enum Outcome {
    /// As if nothing had happened.
    Identical,
    /// An error said what is damaged.
    Named,
    /// What came before the damage is there, and the damage was reported.
    Prefix,
}

/// Samples are so long, about: 262 144 bits.
const SAMPLE_BYTES: std::ops::RangeInclusive<usize> = 26 << 10..=32 << 10;

/// Flips the bits of `bytes` one by one and has `judge` look at each result.
fn flip(
    kind: &str,
    sampled_stride: usize,
    bytes: &[u8],
    judge: impl Fn(Vec<u8>) -> Result<Outcome, String> + Sync,
) {
    assert!(SAMPLE_BYTES.contains(&bytes.len()), "the {kind} is {} bytes long", bytes.len());
    let is_all = std::env::var("MYTSDB_FLIPS").is_ok_and(|wish| wish == "all");
    let stride = if is_all { 1 } else { sampled_stride };
    let first = std::env::var("MYTSDB_FLIPS_SEED")
        .ok()
        .map_or_else(|| RandomState::new().hash_one(0) as usize, |seed| seed.parse().unwrap())
        % stride;
    let counts = [const { AtomicUsize::new(0) }; 3];
    let next = AtomicUsize::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let bit = next.fetch_add(stride, Ordering::Relaxed);
                    if bit >= bytes.len() * 8 {
                        return;
                    }
                    let mut damaged = bytes.to_vec();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    let outcome = catch_unwind(AssertUnwindSafe(|| judge(damaged)))
                        .unwrap_or_else(|_| Err("a panic".to_owned()));
                    match outcome {
                        Ok(outcome) => counts[outcome as usize].fetch_add(1, Ordering::Relaxed),
                        Err(problem) => panic!(
                            "{kind}: bit {} of byte {} of {}: {problem} (MYTSDB_FLIPS_SEED={first})",
                            bit % 8,
                            bit / 8,
                            bytes.len()
                        ),
                    };
                }
            });
        }
    });
    let [identical, named, prefix] = counts.map(AtomicUsize::into_inner);
    println!(
        "{kind}: {} of {} bits flipped (MYTSDB_FLIPS_SEED={first}): {identical} harmless, {named} named, {prefix} reported",
        identical + named + prefix,
        bytes.len() * 8
    );
    assert!(named + prefix > identical, "most damage is found");
}

#[test]
fn a_flipped_bit_of_a_block_is_named_or_harmless() {
    let fs = samples::directory(Size { series_count: 16, sample_count: 680 }, true);
    let (_, bytes) = samples::longest_file(&fs, ".mtb").unwrap();
    let whole = read::block(bytes.clone()).unwrap();
    assert!(whole.is_true_to(&whole) && whole.sample_count() > 2_000, "{}", whole.sample_count());
    flip("block", 50, &bytes, |damaged| match read::block(damaged) {
        Err(_) => Ok(Outcome::Named),
        Ok(answers) if answers == whole => Ok(Outcome::Identical),
        Ok(answers) if answers.is_true_to(&whole) => Ok(Outcome::Named),
        Ok(_) => Err("a wrong answer".to_owned()),
    });
}

#[test]
fn a_flipped_bit_of_a_wal_segment_shortens_it_and_is_reported() {
    let fs = samples::directory(Size { series_count: 20, sample_count: 85 }, false);
    let (path, bytes) = samples::longest_file(&fs, ".wal").unwrap();
    let mut records: Vec<(u32, String)> = Vec::new();
    let fs: Arc<dyn FileSystem> = Arc::new(fs);
    // Text, as records borrow from the file; compared only where the damage is.
    replay(&fs, path.parent().unwrap(), 0, &ReplayProgress::default(), |tenant, record| {
        records.push((tenant, text(&record)))
    })
    .unwrap();
    let ends = frame_ends(&bytes);
    assert_eq!(ends.len(), records.len());
    assert_eq!(ends.last(), Some(&bytes.len()));
    flip("WAL segment", 200, &bytes, |damaged| {
        let at = bytes.iter().zip(&damaged).position(|(before, after)| before != after).unwrap();
        // Records that end before the damage are the same bytes; the last of them is compared, and all behind.
        let untouched = ends.partition_point(|end| *end <= at);
        let mut wrong = None;
        let is_read_twice = at % 16 == 0;
        let answer = read::wal(damaged, is_read_twice, |number, tenant, record| {
            if number + 1 >= untouched && records.get(number) != Some(&(tenant, text(&record))) {
                wrong = Some(number);
            }
        })?;
        match wrong {
            Some(number) => Err(format!("record {number} is another one")),
            None if !answer.is_stable => Err("what is left is damaged again".to_owned()),
            None if answer.record_count == records.len() as u64 => Ok(Outcome::Identical),
            None if answer.record_count < untouched as u64 && at >= 20 => {
                Err(format!("{} of {untouched} whole records", answer.record_count))
            }
            None if answer.dropped_bytes == 0 => {
                Err(format!("{} of {} records and no report", answer.record_count, records.len()))
            }
            None => Ok(Outcome::Prefix),
        }
    });
}

fn text(record: &Record<'_>) -> String {
    format!("{record:?}")
}

/// Where the frames of a whole segment end.
fn frame_ends(segment: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut position = 20;
    while position < segment.len() {
        let length = u32::from_le_bytes(segment[position..position + 4].try_into().unwrap());
        position += 8 + length as usize;
        ends.push(position);
    }
    ends
}

#[test]
fn a_flipped_bit_of_a_manifest_is_named_or_harmless() {
    let fs = MemoryFs::default();
    let data_dir = Path::new(samples::DATA_DIR);
    fs.create_directories(data_dir).unwrap();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let (mut manifest, _) = Manifest::open(&shared, data_dir).unwrap();
    let block = |id: u64| BlockRef {
        tenant: TenantId::new(["anonymous", "team-a", "b"][id as usize % 3]).unwrap(),
        day: Day::from_number(19_675 + (id / 8) as i64),
        id,
    };
    for id in 1..=860_u64 {
        let del = if id % 4 == 0 { (id - 3..id).map(block).collect() } else { Vec::new() };
        let wal_floor = (id % 4 > 0).then_some(id);
        manifest
            .commit(ManifestEdit {
                add: vec![block(id)],
                del,
                next_id: None,
                wal_floor,
                ..ManifestEdit::default()
            })
            .unwrap();
    }
    let bytes = fs.read(&data_dir.join("MANIFEST")).unwrap();
    let whole = read::manifest(bytes.clone()).unwrap();
    assert_eq!((whole.blocks.len(), whole.wal_floor), (215, 859));
    flip("MANIFEST", 50, &bytes, |damaged| match read::manifest(damaged) {
        Err(_) => Ok(Outcome::Named),
        Ok(state) if state == whole => Ok(Outcome::Identical),
        Ok(state) => Err(format!("another state: {} blocks", state.blocks.len())),
    });
}

#[test]
fn a_flipped_bit_of_tombstones_is_named_or_harmless() {
    let mut tombstones: Option<Tombstones> = None;
    for step in 0..42_i64 {
        let ids: Vec<u32> = (0..400).filter(|id| (id + step as u32).is_multiple_of(3)).collect();
        let start_ms = samples::NOW_MS + step * 60_000;
        let interval = TimeRange::new(start_ms, start_ms + 1 + 791 * step);
        tombstones = Tombstones::extended(1, tombstones.as_ref(), &ids, interval).or(tombstones);
    }
    let tombstones = tombstones.unwrap();
    let path = Path::new(samples::DATA_DIR).join("0000000000000001.1.tomb");
    let fs = MemoryFs::default();
    fs.create_directories(path.parent().unwrap()).unwrap();
    tombstones.write(&(Arc::new(fs.clone()) as Arc<dyn FileSystem>), &path).unwrap();
    let bytes = fs.read(&path).unwrap();
    let generation = tombstones.generation();
    assert_eq!(read::tombstones(bytes.clone(), generation).unwrap(), tombstones);
    flip("tombstone file", 50, &bytes, |damaged| match read::tombstones(damaged, generation) {
        Err(_) => Ok(Outcome::Named),
        Ok(found) if found == tombstones => Ok(Outcome::Identical),
        Ok(_) => Err("other tombstones".to_owned()),
    });
}
