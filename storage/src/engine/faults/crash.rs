//! Power cuts at every moment of a scenario, with every kind of loss of what was not synced.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fs::crash::{Disk, Unsynced};
use crate::fs::memory::{Event, MemoryFs};

/// Images that are opened at least.
const IMAGE_COUNT_MIN: usize = 10_000;
/// Random images a moment, if that many differ.
const RANDOM_IMAGE_COUNT: u64 = 40;

/// Of so many images one is opened with a second crash on the way.
const SECOND_CRASH_STEP: usize = 101;

/// What a mark in the log says.
#[derive(Debug, Clone, Copy)]
enum Remark {
    Begun(usize),
    Acknowledged(usize),
    /// From now on samples before this day may go.
    ExpiredDay(i64),
}

impl Remark {
    fn number(self) -> u64 {
        match self {
            Self::Begun(batch) => batch as u64 * 3,
            Self::Acknowledged(batch) => batch as u64 * 3 + 1,
            Self::ExpiredDay(day) => day as u64 * 3 + 2,
        }
    }

    fn from_number(number: u64) -> Self {
        match number % 3 {
            0 => Self::Begun((number / 3) as usize),
            1 => Self::Acknowledged((number / 3) as usize),
            _ => Self::ExpiredDay((number / 3) as i64),
        }
    }
}

/// Writes through rotations, flushes, a restart, a snapshot, compactions and retention; returns what was written.
fn run_scenario(fs: &MemoryFs, seed: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut batches = Batches::new(seed);
    let mut now_ms = NOW_MS;
    fs.record();
    let mut storage = open(Arc::new(fs.clone()), now_ms).unwrap();
    for step in 0..42 {
        let batch = batches.next(now_ms);
        let number = ledger.note(&batch);
        fs.mark(Remark::Begun(number).number());
        write(&storage, &batch, now_ms).unwrap();
        fs.mark(Remark::Acknowledged(number).number());
        match step {
            11 | 28 => storage.flush(now_ms).unwrap(),
            19 => {
                drop(storage);
                storage = open(Arc::new(fs.clone()), now_ms).unwrap();
            }
            22 => now_ms += 2 * DAY_MS,
            25 => drop(storage.snapshot("before", now_ms, false).unwrap()),
            31 | 40 => storage.compact_all(now_ms).unwrap(),
            34 => {
                now_ms += DAY_MS + DAY_MS / 4;
                fs.mark(Remark::ExpiredDay((now_ms - RETENTION_MS).div_euclid(DAY_MS) + 1).number());
                let before = storage.stats().block_count;
                storage.flush(now_ms).unwrap();
                storage.maintain(now_ms).unwrap();
                assert!(storage.stats().block_count < before + 2, "retention dropped nothing");
            }
            _ => {}
        }
    }
    ledger
}

/// What is known at a moment of the log.
#[derive(Debug, Clone)]
struct Known {
    fates: Vec<Fate>,
    expired_ms: i64,
}

impl Known {
    fn learn(&mut self, number: u64) {
        match Remark::from_number(number) {
            Remark::Begun(batch) => self.fates[batch] = Fate::Doubtful,
            Remark::Acknowledged(batch) => self.fates[batch] = Fate::Acknowledged,
            Remark::ExpiredDay(day) => self.expired_ms = day * DAY_MS,
        }
    }
}

struct Case {
    number: usize,
    moment: usize,
    choice: String,
    image: MemoryFs,
    known: Known,
}

/// Opens an image and compares; of some, writes on, opens again and compares again.
fn check(case: &Case, ledger: &Ledger) -> Result<(), String> {
    let fate = |number: usize| case.known.fates.get(number).copied().unwrap_or(Fate::Acknowledged);
    let storage = open(Arc::new(case.image.clone()), NOW_MS)?;
    ledger.check(&storage, fate, case.known.expired_ms)?;
    if !case.moment.is_multiple_of(5) {
        return Ok(());
    }
    let now_ms = NOW_MS + 4 * DAY_MS;
    let batch = Batch { tenant: 0, runs: vec![(0, vec![(now_ms, 1e9)]), (77, vec![(now_ms, 2e9)])] };
    let mut ledger = ledger.clone();
    ledger.note(&batch);
    write(&storage, &batch, now_ms).map_err(|error| format!("writing on: {error}"))?;
    drop(storage);
    let storage = open(Arc::new(case.image.clone()), NOW_MS)?;
    ledger.check(&storage, fate, case.known.expired_ms).map_err(|error| format!("after writing on: {error}"))
}

/// Collects images that differ from all before.
#[derive(Default)]
struct Cases {
    cases: Vec<Case>,
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Cases {
    fn add(&mut self, disk: &Disk, moment: usize, known: &Known, unsynced: Unsynced) {
        let choice = format!("{unsynced:?}");
        let image = disk.image(unsynced);
        let place = self.hasher.hash_one((image.contents(), &known.fates));
        if self.seen.insert(place) {
            let number = self.cases.len();
            self.cases.push(Case { number, moment, choice, image, known: known.clone() });
        }
    }
}

/// All images of a log, each once.
fn images(log: &[Event], batch_count: usize, seed: u64) -> Vec<Case> {
    let mut known = Known { fates: vec![Fate::Unwritten; batch_count], expired_ms: i64::MIN };
    let mut disk = Disk::default();
    let mut cases = Cases::default();
    for (moment, event) in log.iter().enumerate() {
        disk.play(event);
        if let Event::Mark(number) = event {
            known.learn(*number);
        }
        cases.add(&disk, moment, &known, Unsynced::Lost);
        if disk.pending_count() > 0 {
            cases.add(&disk, moment, &known, Unsynced::Kept);
            for choice in 0..RANDOM_IMAGE_COUNT {
                let random = Random(seed ^ ((moment as u64) << 32) ^ choice);
                cases.add(&disk, moment, &known, Unsynced::Random(random));
            }
        }
    }
    cases.cases
}

/// Images of power cuts while an image is being opened: another crash in the middle of recovery.
fn images_of_recovery(case: &Case) -> Result<Vec<Case>, String> {
    let fs = case.image.fork();
    fs.record();
    let known_count = fs.recorded().len();
    drop(open(Arc::new(fs.clone()), NOW_MS)?);
    let mut disk = Disk::default();
    let mut cases = Cases::default();
    for (moment, event) in fs.recorded().iter().enumerate() {
        disk.play(event);
        if moment >= known_count {
            cases.add(&disk, case.moment, &case.known, Unsynced::Lost);
            cases.add(&disk, case.moment, &case.known, Unsynced::Kept);
            for choice in 0..3 {
                cases.add(&disk, case.moment, &case.known, Unsynced::Random(Random(choice)));
            }
        }
    }
    Ok(cases.cases)
}

/// Checks all cases on all processors; returns what is wrong with the first bad one.
fn check_all(cases: &[Case], ledger: &Ledger) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut outcome = Ok(());
            if case.number.is_multiple_of(SECOND_CRASH_STEP) {
                let again = images_of_recovery(case);
                outcome = again.and_then(|again| again.iter().try_for_each(|case| check(case, ledger)));
            }
            let outcome = outcome.map_err(|problem| format!("crash in recovery: {problem}"));
            outcome.and_then(|()| check(case, ledger)).map_err(|problem| {
                let files = case.image.files();
                format!(
                    "power cut after event {}, un-synced {}: {problem}\n{files:#?}",
                    case.moment, case.choice
                )
            })?;
        }
        Ok(())
    };
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

#[test]
fn every_power_cut_leaves_what_was_acknowledged() {
    let seed = std::env::var("MYTSDB_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MYTSDB_CRASH_SEED={seed}");
    let mut image_count = 0;
    for round in 0.. {
        let fs = MemoryFs::default();
        let ledger = run_scenario(&fs, seed.wrapping_add(round));
        let log = fs.recorded();
        let mut cases = images(&log, ledger.batch_count, seed);
        // No more than are wanted, spread over the whole of the last log.
        let (found_count, wanted_count) = (cases.len(), IMAGE_COUNT_MIN - image_count);
        cases.retain(|case| {
            let is_next = |number: usize| number * wanted_count / found_count;
            found_count <= wanted_count || is_next(case.number) < is_next(case.number + 1)
        });
        image_count += cases.len();
        println!("round {round}: {} events, {} images", log.len(), cases.len());
        if let Err(problem) = check_all(&cases, &ledger) {
            panic!("seed {seed}, round {round}: {problem}");
        }
        if image_count >= IMAGE_COUNT_MIN {
            return;
        }
    }
}
