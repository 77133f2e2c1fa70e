//! One life: the engine, the map, and the operation that comes next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::path::Path;

use mytsdb_storage::model::TenantId;
use mytsdb_storage::{Storage, StorageOptions, TenantLimits, WalSync};

use super::checks::Held;
use super::model::TenantModel;
use super::random::Random;

/// Operations shown when a life fails.
const HISTORY_LENGTH: usize = 25;
const HOUR_MS: i64 = 3_600_000;
/// The clock at the start: 22:13:20 UTC, so that midnight is not far.
const START_MS: i64 = 1_700_000_000_000;

/// How often each operation was done, over one life or many.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(super) fn count(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.count(what, *count));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        formatter.write_str(&parts.join(", "))
    }
}

/// A tenant, its map, and where its writers are.
#[derive(Debug)]
pub(super) struct TenantWorld {
    pub(super) id: TenantId,
    pub(super) model: TenantModel,
    /// First series that is written to; those below are history (churn).
    pub(super) first_id: u32,
    /// Newest time that was written in order, by series.
    pub(super) cursors: HashMap<u32, i64>,
}

pub(super) struct World {
    directory: tempfile::TempDir,
    storage: Option<Storage>,
    pub(super) options: StorageOptions,
    pub(super) retention_ms: i64,
    pub(super) tenants: Vec<TenantWorld>,
    pub(super) random: Random,
    pub(super) now_ms: i64,
    /// Series that a tenant writes to at a time.
    pub(super) live_series: u32,
    /// One operation in so many gives every tenant a new series.
    churn: u64,
    /// Tells values apart.
    pub(super) counter: u64,
    pub(super) held: Vec<Held>,
    operation_number: u64,
    history: VecDeque<String>,
    pub(super) tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let directory = tempfile::tempdir().unwrap();
        let retention_ms = *random.pick(&[8, 26, 50]) * HOUR_MS;
        let options = StorageOptions {
            wal_sync: WalSync::None,
            limits: TenantLimits { retention_ms: Some(retention_ms), ..TenantLimits::default() },
            head_bytes_max: *random.pick(&[64 << 10, 1 << 20, 128 << 20]),
            ..StorageOptions::new(directory.path().join("data"))
        };
        let tenant_count = *random.pick(&[1, 2, 4]);
        let tenants = (0..tenant_count)
            .map(|number| TenantWorld {
                id: TenantId::new(&format!("tenant-{number}")).unwrap(),
                model: TenantModel::default(),
                first_id: 0,
                cursors: HashMap::new(),
            })
            .collect();
        let mut world = Self {
            directory,
            storage: None,
            options,
            retention_ms,
            tenants,
            live_series: *random.pick(&[3, 12, 40]),
            churn: *random.pick(&[2, 10, 100]),
            random,
            now_ms: START_MS,
            counter: 0,
            held: Vec::new(),
            operation_number: 0,
            history: VecDeque::new(),
            tally: Tally::default(),
        };
        world.open();
        world
    }

    pub(super) fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    /// A directory for this life alone, in which the data lie.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Times below may be refused or gone.
    pub(super) fn oldest_ms(&self) -> i64 {
        self.now_ms - self.retention_ms
    }

    pub(super) fn operation_number(&self) -> u64 {
        self.operation_number
    }

    pub(super) fn tally(self) -> Tally {
        self.tally
    }

    /// What a reader of a failure wants to know.
    pub(super) fn describe(&self) -> String {
        let mut text = format!(
            "data directory {}, {} tenants, {} live series, retention {} h, head_bytes_max {}, now {}\nthe last operations:\n",
            self.directory.path().display(),
            self.tenants.len(),
            self.live_series,
            self.retention_ms / HOUR_MS,
            self.options.head_bytes_max,
            self.now_ms,
        );
        self.history.iter().for_each(|line| text += &format!("  {line}\n"));
        text
    }

    pub(super) fn note(&mut self, what: &'static str, details: String) {
        self.tally.count(what, 1);
        if self.history.len() == HISTORY_LENGTH {
            self.history.pop_front();
        }
        self.history.push_back(format!("{:>6} {what} {details}", self.operation_number));
    }

    /// Does one random operation and checks what it promises.
    pub(super) fn step(&mut self) {
        self.operation_number += 1;
        self.now_ms += self.random.between(0, 2_000);
        if self.random.one_in(self.churn) {
            self.tenants.iter_mut().for_each(|tenant| tenant.first_id += 1);
        }
        let tenant = self.random.below(self.tenants.len() as u64) as usize;
        match self.random.below(1_000) {
            0..330 => self.write_in_order(tenant),
            330..450 => self.write_scattered(tenant),
            450..520 => self.write_again(tenant),
            520..540 => self.write_histograms(tenant),
            540..580 => self.write_long(tenant),
            580..600 => self.write_outside_the_window(tenant),
            600..605 => self.write_bad_labels(tenant),
            605..615 => self.write_metadata(tenant),
            615..815 => self.query(tenant),
            815..885 => self.query_labels(tenant),
            885..905 => self.hold(tenant),
            905..915 => self.check_held(),
            915..918 => self.clean_tombstones(tenant),
            918..920 => self.compact(tenant),
            920..940 => self.flush(),
            940..955 => self.reopen(),
            955..963 => self.close_and_reopen(),
            963..985 => self.maintain(),
            985..988 => self.leap(),
            988..994 => self.delete(tenant),
            994..998 => self.query_all(),
            998 => self.snapshot(),
            _ => self.compact(tenant),
        }
    }

    /// Compares everything, also after a last restart.
    pub(super) fn finish(&mut self) {
        self.operation_number += 1;
        self.query_all();
        self.reopen();
        self.query_all();
        while !self.held.is_empty() {
            self.check_held();
        }
        let sample_count: usize = self.tenants.iter().map(|tenant| tenant.model.sample_count()).sum();
        self.tally.count("samples at the end", sample_count as u64);
    }

    fn open(&mut self) {
        self.storage = Some(Storage::open(self.options.clone(), self.now_ms).unwrap());
    }

    fn flush(&mut self) {
        self.note("flush", String::new());
        self.storage().flush(self.now_ms).unwrap();
    }

    fn reopen(&mut self) {
        self.note("drop and open", String::new());
        drop(self.storage.take());
        self.open();
    }

    fn close_and_reopen(&mut self) {
        self.note("close and open", String::new());
        self.storage.take().unwrap().close(self.now_ms).unwrap();
        self.open();
    }

    fn maintain(&mut self) {
        self.note("maintain", String::new());
        self.storage().maintain(self.now_ms).unwrap();
        let oldest_ms = self.oldest_ms();
        self.tenants.iter_mut().for_each(|tenant| tenant.model.forget_before(oldest_ms));
    }

    /// Nothing happens for hours; retention moves on.
    fn leap(&mut self) {
        let leap_ms = self.random.between(0, self.retention_ms / 3);
        self.note("leap", format!("{leap_ms} ms"));
        self.now_ms += leap_ms;
        self.maintain();
    }
}
