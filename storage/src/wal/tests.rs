//! The WAL as a whole: what was appended comes back, whatever happened to the tail.

use crate::model::StartSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::reader::ReplayOutcome;
use super::*;
use crate::engine::WalSync;
use crate::fs::FileSystem;
use crate::fs::disk::Disk;
use crate::fs::faulty::{Call, Fault, FaultyFs};
use crate::fs::memory::MemoryFs;
use crate::fs::space::DiskWatch;

const WAL_DIR: &str = "/wal";

fn record(value: u32) -> RecordBuilder {
    let mut builder = RecordBuilder::default();
    let times = [i64::from(value)];
    let values = [f64::from(value)];
    builder.samples(0, 1, [(value, &times[..])].into_iter(), &values, StartSlice::UNKNOWN);
    builder
}

/// A record of `length` bytes or so, which is decoded fast.
fn wide_record(value: u32, length: usize) -> RecordBuilder {
    let mut builder = RecordBuilder::default();
    let (timestamps, values) = (vec![1; length / 2], vec![2; length / 2]);
    let chunk = ChunkRecord {
        series_ref: value,
        min_ms: 0,
        max_ms: 9,
        sample_count: 1,
        timestamps: &timestamps,
        values: &values,
    };
    builder.chunks(0, [chunk].into_iter());
    builder
}

fn disk() -> Arc<dyn FileSystem> {
    Arc::new(Disk)
}

fn memory() -> MemoryFs {
    let fs = MemoryFs::default();
    fs.create_directories(Path::new(WAL_DIR)).unwrap();
    fs
}

fn open_on(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    sequence: u64,
    sync: WalSync,
    segment_bytes_max: u64,
) -> WalWriter {
    let disk = Arc::new(DiskWatch::new(fs, directory, Some(0)));
    WalWriter::open(fs, directory, sequence, 0, WalOptions { sync, segment_bytes_max, disk }).unwrap()
}

fn open(directory: &Path, sequence: u64, sync: WalSync) -> WalWriter {
    open_on(&disk(), directory, sequence, sync, 64 << 20)
}

fn replayed_on(fs: &Arc<dyn FileSystem>, directory: &Path, floor: u64) -> (Vec<u32>, ReplayOutcome) {
    let mut found = Vec::new();
    let outcome = replay(fs, directory, floor, &ReplayProgress::default(), |_, record| match record {
        Record::Samples(view) => found.extend(view.series_refs),
        Record::Chunks(chunks) => found.extend(chunks.iter().map(|chunk| chunk.series_ref)),
        other => panic!("{other:?}"),
    })
    .unwrap();
    (found, outcome)
}

fn replayed(directory: &Path, floor: u64) -> (Vec<u32>, ReplayOutcome) {
    replayed_on(&disk(), directory, floor)
}

#[test]
fn appended_records_come_back_in_order_in_every_sync_mode() {
    for sync in [WalSync::Group, WalSync::Interval(std::time::Duration::from_millis(1)), WalSync::None] {
        let directory = tempfile::tempdir().unwrap();
        let wal = open(directory.path(), 1, sync);
        let lsns: Vec<Lsn> = (0..100).map(|value| wal.append(record(value).bytes()).unwrap()).collect();
        wal.wait(lsns[99]).unwrap();
        drop(wal);
        let (found, outcome) = replayed(directory.path(), 0);
        assert_eq!(found, (0..100).collect::<Vec<_>>(), "{sync:?}");
        assert_eq!((outcome.record_count, outcome.dropped_bytes, outcome.next_sequence), (100, 0, 2));
    }
}

#[test]
fn concurrent_appends_are_all_acknowledged_and_all_there() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path(), 1, WalSync::Group);
    let (sender, acknowledged) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (wal, sender) = (&wal, sender.clone());
            scope.spawn(move || {
                for index in 0..50 {
                    let lsn = wal.append(record(thread * 1000 + index).bytes()).unwrap();
                    let sender = sender.clone();
                    wal.on_durable(lsn, Box::new(move |outcome| sender.send(outcome).unwrap()));
                }
            });
        }
    });
    drop(sender);
    for _ in 0..400 {
        acknowledged.recv().unwrap().unwrap();
    }
    drop(wal);
    let (mut found, _) = replayed(directory.path(), 0);
    found.sort_unstable();
    let expected: Vec<u32> =
        (0..8).flat_map(|thread| (0..50).map(move |index| thread * 1000 + index)).collect();
    assert_eq!(found, expected);
}

#[test]
fn rotation_separates_epochs_and_old_segments_go() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path(), 1, WalSync::Group);
    wal.append(record(1).bytes()).unwrap();
    let floor = wal.rotate().unwrap();
    assert_eq!(wal.epoch_bytes(), 0);
    let lsn = wal.append(record(2).bytes()).unwrap();
    wal.wait(lsn).unwrap();
    assert_eq!(replayed(directory.path(), floor).0, [2]);
    assert!(delete_segments_below(&Disk, directory.path(), floor).unwrap() > 0);
    drop(wal);
    assert_eq!(replayed(directory.path(), floor).0, [2]);
}

/// A log in memory: its files, and after each record the segment and the length of it.
struct Log {
    files: Vec<(PathBuf, Arc<Vec<u8>>)>,
    record_ends: Vec<(usize, usize)>,
}

fn long_log() -> Log {
    const RECORD_BYTES: usize = 400;
    let fs = memory();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let wal = open_on(&shared, Path::new(WAL_DIR), 1, WalSync::Group, 20 << 10);
    let mut record_ends = Vec::new();
    for value in 0..170 {
        let lsn = wal.append(wide_record(value, RECORD_BYTES + value as usize % 7).bytes()).unwrap();
        wal.wait(lsn).unwrap();
        let files = fs.contents();
        record_ends.push((files.len() - 1, files.last().unwrap().1.len()));
    }
    drop(wal);
    Log { files: fs.contents(), record_ends }
}

impl Log {
    /// The log as far as `cut` bytes of segment `position`; the later segments only if `with_later`.
    fn cut(&self, position: usize, cut: usize, with_later: bool) -> Arc<dyn FileSystem> {
        let fs = memory();
        for (index, (path, bytes)) in self.files.iter().enumerate() {
            if index < position || index > position && with_later {
                fs.put(path, Arc::clone(bytes));
            } else if index == position {
                fs.put(path, Arc::new(bytes[..cut].to_vec()));
            }
        }
        Arc::new(fs)
    }

    /// How many records lie before `cut` bytes of segment `position`.
    fn whole_count(&self, position: usize, cut: usize) -> usize {
        self.record_ends.partition_point(|end| *end <= (position, cut))
    }
}

/// Appends ten records and reads everything again.
fn goes_on(fs: &Arc<dyn FileSystem>, next_sequence: u64, whole: usize) {
    let wal_dir = Path::new(WAL_DIR);
    let wal = open_on(fs, wal_dir, next_sequence, WalSync::Group, 64 << 20);
    (0..10).for_each(|value| {
        wal.append(record(1_000 + value).bytes()).unwrap();
    });
    drop(wal);
    let (found, outcome) = replayed_on(fs, wal_dir, 0);
    let expected: Vec<u32> = (0..whole as u32).chain(1_000..1_010).collect();
    assert!(found == expected, "{found:?} where {expected:?} was written");
    assert_eq!((outcome.dropped_bytes, outcome.aside.len()), (0, 0));
}

/// Runs `check` for all numbers below `count` on all processors.
fn in_parallel(count: usize, check: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    check(number);
                }
            });
        }
    });
}

#[test]
fn a_log_cut_at_any_byte_gives_its_longest_valid_prefix_and_goes_on() {
    let log = long_log();
    let cuts: Vec<(usize, usize)> = log
        .files
        .iter()
        .enumerate()
        .flat_map(|(position, (_, bytes))| (0..=bytes.len()).map(move |cut| (position, cut)))
        .collect();
    assert!(
        cuts.len() > 64 << 10 && log.files.len() >= 3,
        "{} cuts, {} segments",
        cuts.len(),
        log.files.len()
    );
    in_parallel(cuts.len(), |number| {
        let (position, cut) = cuts[number];
        let fs = log.cut(position, cut, false);
        let whole = log.whole_count(position, cut);
        let (found, outcome) = replayed_on(&fs, Path::new(WAL_DIR), 0);
        assert!(found.iter().copied().eq(0..whole as u32), "cut at {cut} of segment {position}: {found:?}");
        assert_eq!(outcome.aside, [], "cut at {cut} of segment {position}");
        goes_on(&fs, outcome.next_sequence, whole);
    });
}

#[test]
fn a_segment_cut_in_the_middle_of_the_log_keeps_what_is_behind_aside() {
    let log = long_log();
    let lengths: Vec<usize> = log.files.iter().map(|(_, bytes)| bytes.len()).collect();
    let cuts: Vec<(usize, usize)> = (0..2)
        .flat_map(|position| (0..lengths[position]).step_by(61).map(move |cut| (position, cut)))
        .collect();
    in_parallel(cuts.len(), |number| {
        let (position, cut) = cuts[number];
        let fs = log.cut(position, cut, true);
        let whole = log.whole_count(position, cut);
        let (found, outcome) = replayed_on(&fs, Path::new(WAL_DIR), 0);
        // Cut between two records, a segment looks whole: nothing can tell.
        if log.record_ends.contains(&(position, cut)) || cut == 20 {
            return;
        }
        assert!(found.iter().copied().eq(0..whole as u32), "cut at {cut} of segment {position}: {found:?}");
        assert_eq!(outcome.aside.len(), log.files.len() - position);
        for (index, (path, bytes)) in log.files.iter().enumerate().skip(position) {
            let kept = fs.read(&path.with_extension("wal.corrupt")).unwrap();
            let expected = if index == position { &bytes[..cut] } else { bytes };
            assert!(kept == expected, "segment {index} of a cut at {cut} of segment {position}");
        }
        goes_on(&fs, outcome.next_sequence, whole);
    });
}

#[test]
fn a_flipped_bit_before_valid_records_keeps_the_original_aside() {
    let log = long_log();
    let newest = log.files.len() - 1;
    for (position, flip_at) in [(0, 700), (1, 10), (newest, 700), (newest, 25)] {
        let (path, bytes) = &log.files[position];
        let mut damaged = bytes.to_vec();
        damaged[flip_at] ^= 4;
        let fs = log.cut(newest, log.files[newest].1.len(), true);
        let whole = log.whole_count(position, flip_at);
        fs.remove(path).unwrap();
        fs.create(path, crate::fs::Existing::Refuse).unwrap().write_all_at(&damaged, 0).unwrap();
        let (found, outcome) = replayed_on(&fs, Path::new(WAL_DIR), 0);
        assert!(found.iter().copied().eq(0..whole as u32), "{found:?}");
        assert_eq!(outcome.aside.len(), log.files.len() - position);
        assert_eq!(fs.read(&path.with_extension("wal.corrupt")).unwrap(), damaged);
        assert_eq!(list_aside(fs.as_ref(), Path::new(WAL_DIR)).unwrap().len(), outcome.aside.len());
        goes_on(&fs, outcome.next_sequence, whole);
    }
}

#[test]
fn a_missing_segment_ends_the_log() {
    let log = long_log();
    let fs = log.cut(log.files.len(), 0, false);
    fs.remove(&log.files[1].0).unwrap();
    let (found, outcome) = replayed_on(&fs, Path::new(WAL_DIR), 0);
    let whole = log.whole_count(1, 0);
    assert!(found.iter().copied().eq(0..whole as u32));
    assert_eq!((outcome.aside.len(), outcome.next_sequence), (log.files.len() - 2, 2));
    goes_on(&fs, outcome.next_sequence, whole);
}

#[test]
fn damage_twice_in_one_place_keeps_both_originals() {
    let fs = memory();
    let path = Path::new(WAL_DIR).join("0000000000000001.wal");
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    for _ in 0..2 {
        let mut bytes = super::format::segment_header(2);
        bytes.extend_from_slice(record(1).bytes());
        fs.put(&path, Arc::new(bytes));
        assert_eq!(replayed_on(&shared, Path::new(WAL_DIR), 0).0, []);
    }
    let aside = list_aside(&fs, Path::new(WAL_DIR)).unwrap();
    let names: Vec<_> = aside.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["0000000000000001.wal.2.corrupt", "0000000000000001.wal.corrupt"]);
}

#[test]
fn a_full_disk_loses_only_what_was_not_acknowledged_and_is_over_when_there_is_room() {
    let fs = memory();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let wal_dir = Path::new(WAL_DIR);
    fs.set_capacity(Some(2_000));
    let wal = open_on(&shared, wal_dir, 1, WalSync::Group, 64 << 20);
    let mut acknowledged = Vec::new();
    let mut lost = None;
    for value in 0..100 {
        let lsn = wal.append(wide_record(value, 300).bytes()).unwrap();
        match wal.wait(lsn) {
            Ok(()) => acknowledged.push(value),
            Err(failure) => {
                assert!(matches!(failure, WalFailure::DiskFull(_)), "{failure:?}");
                lost = Some(lsn);
                break;
            }
        }
    }
    let lost = lost.unwrap();
    assert!(acknowledged.len() > 3);
    assert!(matches!(wal.append(record(200).bytes()), Err(WalFailure::DiskFull(_))));
    assert!(matches!(wal.rotate(), Err(WalFailure::DiskFull(_))) || fs.files().len() > 1);
    fs.set_capacity(None);
    wal.resume().unwrap();
    let lsn = wal.append(record(300).bytes()).unwrap();
    wal.wait(lsn).unwrap();
    assert!(matches!(wal.wait(lost), Err(WalFailure::DiskFull(_))), "what was lost stays lost");
    drop(wal);
    let (found, outcome) = replayed_on(&shared, wal_dir, 0);
    acknowledged.push(300);
    assert_eq!((found, outcome.dropped_bytes), (acknowledged, 0));
}

#[test]
fn a_log_begun_on_a_full_disk_takes_appends_when_there_is_room() {
    let fs = memory();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    fs.set_capacity(Some(0));
    let wal = open_on(&shared, Path::new(WAL_DIR), 5, WalSync::Group, 64 << 20);
    assert!(matches!(wal.append(record(1).bytes()), Err(WalFailure::DiskFull(_))));
    assert!(matches!(wal.resume(), Err(WalFailure::DiskFull(_))));
    fs.set_capacity(None);
    wal.resume().unwrap();
    let lsn = wal.append(record(2).bytes()).unwrap();
    wal.wait(lsn).unwrap();
    assert_eq!(wal.rotate().unwrap(), 6);
    assert_eq!(replayed_on(&shared, Path::new(WAL_DIR), 5).0, [2]);
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let memory = memory();
    let faulty = FaultyFs::new(Arc::new(memory.clone()));
    let shared: Arc<dyn FileSystem> = Arc::new(faulty.clone());
    let wal = open_on(&shared, Path::new(WAL_DIR), 1, WalSync::Group, 64 << 20);
    let lsn = wal.append(record(1).bytes()).unwrap();
    wal.wait(lsn).unwrap();
    faulty.inject(Fault { calls: vec![Call::SyncFile], after: 0, times: 1, kind: std::io::ErrorKind::Other });
    let lsn = wal.append(record(2).bytes()).unwrap();
    let failure = wal.wait(lsn).unwrap_err();
    assert!(matches!(&failure, WalFailure::ReadOnly(reason) if reason.contains("sync")), "{failure}");
    let files = memory.files();
    assert_eq!(wal.append(record(3).bytes()), Err(failure.clone()));
    assert_eq!(wal.resume(), Err(failure.clone()));
    assert_eq!(wal.rotate(), Err(failure));
    drop(wal);
    assert_eq!(memory.files(), files);
    assert_eq!(replayed_on(&shared, Path::new(WAL_DIR), 0).0[0], 1);
}

#[test]
fn a_segment_that_cannot_be_begun_leaves_the_present_one_open() {
    let faulty = FaultyFs::new(Arc::new(memory()));
    let shared: Arc<dyn FileSystem> = Arc::new(faulty.clone());
    let wal = open_on(&shared, Path::new(WAL_DIR), 1, WalSync::Group, 64 << 20);
    for call in [Call::Create, Call::Write, Call::SyncFile, Call::SyncDirectory] {
        faulty.inject(Fault { calls: vec![call], after: 0, times: 1, kind: std::io::ErrorKind::Other });
        let failure = wal.rotate().unwrap_err();
        assert!(matches!(&failure, WalFailure::Segment(reason) if reason.contains("injected")), "{failure}");
        let lsn = wal.append(record(1).bytes()).unwrap();
        wal.wait(lsn).unwrap();
    }
    assert_eq!(wal.rotate().unwrap(), 2);
    drop(wal);
    let (found, outcome) = replayed_on(&shared, Path::new(WAL_DIR), 0);
    assert_eq!((found.len(), outcome.dropped_bytes, outcome.next_sequence), (4, 0, 3));
}
