//! A full disk: writes are refused in time, reads go on, and it is over by itself when there is room.

use std::sync::Arc;

use super::*;
use crate::engine::WriteError;
use crate::fs::memory::MemoryFs;
use crate::model::MetricMetadata;

const CAPACITY_BYTES: u64 = 40 << 10;

struct Run {
    fs: MemoryFs,
    batches: Batches,
    ledger: Ledger,
    fates: Vec<Fate>,
}

impl Run {
    fn new(capacity_bytes: Option<u64>) -> Self {
        let fs = MemoryFs::default();
        fs.set_capacity(capacity_bytes);
        Self { fs, batches: Batches::new(3), ledger: Ledger::default(), fates: Vec::new() }
    }

    fn open(&self) -> Storage {
        open(Arc::new(self.fs.clone()), NOW_MS).unwrap()
    }

    fn write(&mut self, storage: &Storage) -> Result<(), WriteError> {
        let batch = self.batches.next(NOW_MS);
        self.ledger.note(&batch);
        let outcome = write(storage, &batch, NOW_MS);
        self.fates.push(if outcome.is_ok() { Fate::Acknowledged } else { Fate::Doubtful });
        outcome
    }

    /// Writes until the disk is full, asking for maintenance every `step` writes.
    fn fill(&mut self, storage: &Storage, step: usize) -> WriteError {
        for number in 0..10_000 {
            if let Err(error) = self.write(storage) {
                return error;
            }
            if number % step == 0 {
                // What cannot be flushed on a full disk is tried again.
                let _ = storage.maintain(NOW_MS);
            }
        }
        panic!("the disk does not fill");
    }

    fn check(&self, storage: &Storage) {
        self.ledger.check(storage, |number| self.fates[number], i64::MIN).unwrap();
    }

    fn free_bytes(&self) -> u64 {
        self.fs.space(std::path::Path::new("/data")).unwrap().free_bytes
    }
}

#[test]
fn writes_stop_before_the_disk_is_full_and_a_flush_makes_room() {
    const CAPACITY_BYTES: u64 = 400 << 10;
    const RESERVE_BYTES: u64 = CAPACITY_BYTES / 20;
    let mut run = Run::new(Some(CAPACITY_BYTES));
    let storage = run.open();
    // Another owner of the disk has taken most of it.
    run.fs.put(std::path::Path::new("/other"), Arc::new(vec![0; 350 << 10]));
    for number in 0..10_000 {
        if run.free_bytes() < RESERVE_BYTES {
            break;
        }
        run.write(&storage).unwrap_or_else(|error| panic!("write {number}: {error}"));
    }
    let (wal_bytes, free_bytes) = (storage.stats().wal_bytes, run.free_bytes());
    assert!(free_bytes > 0 && free_bytes < RESERVE_BYTES, "{free_bytes} bytes are free");
    // The next second: the disk counts as full, and a block takes the place of the log.
    storage.maintain(NOW_MS).unwrap();
    let refused = run.write(&storage).unwrap_err();
    assert!(
        matches!(refused, WriteError::DiskFull { free_bytes, reserve_bytes: RESERVE_BYTES } if free_bytes < RESERVE_BYTES),
        "{refused:?}"
    );
    assert!(refused.is_retryable() && storage.write_failure().is_some());
    assert_eq!((storage.stats().head_sample_count, storage.stats().wal_bytes), (0, 0));
    assert!(run.free_bytes() > free_bytes + wal_bytes / 4, "{} bytes are free", run.free_bytes());
    run.check(&storage);
    storage.maintain(NOW_MS).unwrap();
    run.write(&storage).unwrap();
    assert!(storage.write_failure().is_none());
    drop(storage);
    run.check(&run.open());
}

#[test]
fn a_disk_that_refuses_bytes_loses_nothing_and_heals() {
    // Maintenance that comes too late: the WAL meets the end of the disk.
    for step in [1, 3, 10_000] {
        let mut run = Run::new(Some(CAPACITY_BYTES));
        let mut storage = run.open();
        for round in 0..5 {
            let error = run.fill(&storage, step);
            assert!(matches!(error, WriteError::DiskFull { .. }), "{error:?}");
            for _ in 0..3 {
                assert!(run.write(&storage).is_err() || step < 10_000);
                let _ = storage.maintain(NOW_MS + 20_000);
                run.check(&storage);
            }
            if round == 2 {
                // As it is after a kill on a full disk.
                drop(storage);
                storage = run.open();
                run.check(&storage);
            }
            run.fs.set_capacity(Some(CAPACITY_BYTES + 16_000 * (round + 1)));
            storage.maintain(NOW_MS + 60_000).unwrap();
            run.write(&storage).unwrap();
        }
        drop(storage);
        run.check(&run.open());
    }
}

#[test]
fn a_start_on_a_disk_without_any_room_serves_reads_and_heals() {
    let mut run = Run::new(None);
    let storage = run.open();
    (0..20).for_each(|_| run.write(&storage).unwrap());
    storage.flush(NOW_MS).unwrap();
    (0..20).for_each(|_| run.write(&storage).unwrap());
    drop(storage);
    run.fs.set_capacity(Some(1_000));
    assert_eq!(run.free_bytes(), 0);
    let storage = run.open();
    run.check(&storage);
    assert!(matches!(run.write(&storage), Err(WriteError::DiskFull { free_bytes: 0, .. })));
    assert!(storage.maintain(NOW_MS).is_err());
    assert!(matches!(run.write(&storage), Err(WriteError::DiskFull { .. })));
    run.check(&storage);
    run.fs.set_capacity(None);
    storage.maintain(NOW_MS).unwrap();
    run.write(&storage).unwrap();
    drop(storage);
    run.check(&run.open());
}

#[test]
fn metadata_survives_a_full_disk() {
    let run = Run::new(None);
    let storage = run.open();
    let fact = MetricMetadata {
        metric: "up".to_owned(),
        kind: crate::model::MetricKind::Gauge,
        unit: String::new(),
        help: "whether it is up".to_owned(),
    };
    let say = |storage: &Storage| {
        let batch = WriteBatch {
            keys: &[],
            sample_ends: &[],
            timestamps_ms: &[],
            values: &[],
            starts: &[],
            labels: &Vec::<LabelSet>::new(),
            metadata: std::slice::from_ref(&fact),
            histograms: &[],
            exemplars: &[],
        };
        storage.write(&TenantId::anonymous(), &batch, NOW_MS)
    };
    run.fs.set_capacity(Some(0));
    assert!(matches!(say(&storage), Err(WriteError::DiskFull { .. })));
    run.fs.set_capacity(None);
    storage.maintain(NOW_MS).unwrap();
    say(&storage).unwrap();
    drop(storage);
    assert_eq!(run.open().reader(&TenantId::anonymous()).metadata(), [fact]);
}
