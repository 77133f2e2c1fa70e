//! The WAL as a whole: what was appended comes back, whatever happened to the tail.

use std::path::Path;
use std::sync::Arc;

use super::reader::ReplayOutcome;
use super::segment::list_segments;
use super::*;
use crate::engine::WalSync;
use crate::fs::FileSystem;
use crate::fs::disk::Disk;

fn record(value: u32) -> RecordBuilder {
    let mut builder = RecordBuilder::default();
    let times = [i64::from(value)];
    let values = [f64::from(value)];
    builder.samples(0, 1, [(value, &times[..], &values[..])].into_iter());
    builder
}

fn open(directory: &Path, sequence: u64, sync: WalSync) -> WalWriter {
    let options = WalOptions { sync, segment_bytes_max: 64 << 20 };
    WalWriter::open(&(Arc::new(Disk) as Arc<dyn FileSystem>), directory, sequence, 0, options).unwrap()
}

fn replayed(directory: &Path, floor: u64) -> (Vec<u32>, ReplayOutcome) {
    let mut found = Vec::new();
    let outcome = replay(&Disk, directory, floor, &ReplayProgress::default(), |_, record| match record {
        Record::Samples(view) => found.extend(view.series_refs),
        other => panic!("{other:?}"),
    })
    .unwrap();
    (found, outcome)
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
    assert_eq!(replayed(directory.path(), 0).0, [2]);
}

#[test]
fn a_log_cut_anywhere_gives_its_longest_valid_prefix_and_goes_on() {
    let source = tempfile::tempdir().unwrap();
    let wal = open(source.path(), 1, WalSync::None);
    for value in 0..10 {
        wal.append(record(value).bytes()).unwrap();
    }
    drop(wal);
    let (_, path) = list_segments(&Disk, source.path()).unwrap().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let record_bytes = record(0).bytes().len();
    let header_bytes = bytes.len() - 10 * record_bytes;
    for cut in 0..=bytes.len() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join(path.file_name().unwrap());
        std::fs::write(&copy, &bytes[..cut]).unwrap();
        let whole = cut.saturating_sub(header_bytes) / record_bytes;
        let (found, outcome) = replayed(directory.path(), 0);
        assert_eq!(found, (0..whole as u32).collect::<Vec<_>>(), "cut at {cut}");
        let wal = open(directory.path(), outcome.next_sequence, WalSync::None);
        wal.append(record(77).bytes()).unwrap();
        drop(wal);
        let (found, outcome) = replayed(directory.path(), 0);
        assert_eq!(found.len(), whole + 1, "appending after a cut at {cut}");
        assert_eq!(outcome.dropped_bytes, 0);
    }
}

#[test]
fn damage_in_the_middle_keeps_later_segments_aside() {
    let directory = tempfile::tempdir().unwrap();
    let wal = open(directory.path(), 1, WalSync::Group);
    for value in 0..3 {
        wal.append(record(value).bytes()).unwrap();
        wal.rotate().unwrap();
    }
    drop(wal);
    let segments = list_segments(&Disk, directory.path()).unwrap();
    let mut bytes = std::fs::read(&segments[1].1).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&segments[1].1, bytes).unwrap();
    let (found, outcome) = replayed(directory.path(), 0);
    assert_eq!(found, [0]);
    assert_eq!(outcome.next_sequence, segments.last().unwrap().0 + 1);
    assert!(directory.path().join("0000000000000003.wal.corrupt").exists());
}
