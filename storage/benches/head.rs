//! Memory of the head, churn of series, and replay: one figure a line, no statistics. Run by `make head`.
//!
//! `head hot [SERIES]`: memory per series after 2 hours at 15 seconds.
//! `head churn [SERIES] [GENERATIONS]`: all series replaced by new ones, a flush between.
//! `head replay [SERIES] [WAL_MIB]`: how long a start takes that has so much to replay.

#![allow(clippy::print_stdout, reason = "figures are what this program is for")]

#[allow(dead_code, reason = "the names of the kinds are for the codec's bench")]
mod mix;

use std::time::Instant;

use mytsdb_storage::model::{LabelSet, TenantId};
use mytsdb_storage::{LabelSource, Storage, StorageOptions, WalSync, WriteBatch};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As the server's.
// SAFETY: jemalloc reads a pointer to a text with a final zero byte from the symbol of this name, and nothing else in
// the program has it.
#[expect(unsafe_code, reason = "the exported name is how the allocator finds its settings")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

const NOW_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// Series of one scrape target: they share all labels but a few, and their timestamps.
const TARGET_SERIES_COUNT: usize = 200;

/// Twelve labels, some 300 bytes, as kube-state-metrics and cAdvisor send them.
fn labels(generation: usize, id: usize) -> LabelSet {
    let target = id / TARGET_SERIES_COUNT;
    let hash = (target as u64 + generation as u64 * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let service = target % 120;
    let pod = format!("service-{service}-{:08x}-{:05x}", (hash >> 32) as u32, hash as u32 & 0xfffff);
    let texts = [
        format!("container_metric_{:03}_total", id % TARGET_SERIES_COUNT),
        format!("service-{service}"),
        format!("{:016x}{:016x}", hash, hash.rotate_left(17)),
        format!("registry.example.org/team-{}/service-{service}:v1.{}", service % 9, service % 31),
        format!("10.{}.{}.{}:9090", target >> 16 & 255, target >> 8 & 255, target & 255),
        format!("namespace-{}", service % 40),
        format!("ip-10-0-{}-{}.eu-west-1.compute.internal", target % 500 / 250, target % 250),
    ];
    let pairs = [
        ("__name__", texts[0].as_str()),
        ("cluster", "production-eu-west-1"),
        ("container", texts[1].as_str()),
        ("id", texts[2].as_str()),
        ("image", texts[3].as_str()),
        ("instance", texts[4].as_str()),
        ("job", "kubernetes-pods"),
        ("namespace", texts[5].as_str()),
        ("node", texts[6].as_str()),
        ("pod", pod.as_str()),
        ("region", "eu-west-1"),
        ("service", texts[1].as_str()),
    ];
    LabelSet::from_pairs(pairs).unwrap_or_else(|_| LabelSet::empty())
}

struct Sets {
    generation: usize,
    first: usize,
}

impl LabelSource for Sets {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        Ok(labels(self.generation, self.first + series_index))
    }
}

/// A line of the process's status, in bytes: `VmRSS` is `RssAnon` (what the program holds) and `RssFile` (pages of the
/// page cache that are mapped, which the kernel takes back when it needs them).
fn status_bytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

fn resident_bytes() -> usize {
    status_bytes("VmRSS")
}

/// CPU time of all threads so far: what a busy machine does not change.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |index: usize| fields.split(' ').nth(index).and_then(|text| text.parse::<f64>().ok());
    // Fields 14 and 15 of proc(5), in ticks of 1/100 s.
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

fn mib(bytes: usize) -> usize {
    bytes >> 20
}

fn open(directory: &tempfile::TempDir) -> Storage {
    let mut options = StorageOptions {
        wal_sync: WalSync::None,
        head_bytes_max: usize::MAX,
        wal_bytes_max: u64::MAX,
        ..StorageOptions::new(directory.path())
    };
    options.limits.active_series_max = usize::MAX;
    Storage::open(options, NOW_MS).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes `round_count` samples to each series, round by round, target by target.
fn write(
    storage: &Storage,
    generation: usize,
    series_count: usize,
    rounds: std::ops::Range<usize>,
    pool: &[Vec<f64>],
) {
    let tenant = TenantId::anonymous();
    let sample_ends: Vec<usize> = (1..=TARGET_SERIES_COUNT).collect();
    // A key is as quick to make as a hash of the sender's bytes.
    let key = |id: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(generation as u64).to_le_bytes());
        bytes[8..].copy_from_slice(&(id as u64).to_le_bytes());
        storage.series_key(&bytes)
    };
    let mut last = None;
    for round in rounds {
        for first in (0..series_count).step_by(TARGET_SERIES_COUNT) {
            let keys: Vec<u128> = (first..first + TARGET_SERIES_COUNT).map(key).collect();
            let offset_ms = (first / TARGET_SERIES_COUNT) as i64 * 7919 % STEP_MS;
            let time_ms = NOW_MS - 2 * HOUR_MS + round as i64 * STEP_MS + offset_ms;
            let values: Vec<f64> = (first..first + TARGET_SERIES_COUNT)
                .map(|id| {
                    let column = &pool[id % pool.len()];
                    column[round % column.len()]
                })
                .collect();
            let batch = WriteBatch {
                keys: &keys,
                sample_ends: &sample_ends,
                timestamps_ms: &[time_ms; TARGET_SERIES_COUNT],
                values: &values,
                starts: &[],
                labels: &Sets { generation, first },
                metadata: &[],
                histograms: &[],
                exemplars: &[],
            };
            match storage.submit(&tenant, &batch, NOW_MS) {
                Ok((report, commit)) if report.rejections.is_empty() => last = Some(commit),
                other => panic!("a write was refused: {other:?}"),
            }
        }
    }
    // What waits for the disk is not the head's memory.
    let durable = last.map(mytsdb_storage::Commit::wait);
    assert!(matches!(durable, None | Some(Ok(()))), "{durable:?}");
}

/// Waits until the allocator has given back what it keeps for a while (10 s), as it would between two scrapes.
#[allow(clippy::disallowed_methods, reason = "the allocator's clock has no condition to wait for")]
fn settle() {
    std::thread::sleep(std::time::Duration::from_secs(11));
    let many: Vec<Box<[u8; 64]>> = (0..100_000).map(|_| Box::new([0; 64])).collect();
    drop(many);
}

/// Columns of the Kubernetes mix in an order that a target's series might have.
fn value_pool() -> Vec<Vec<f64>> {
    let mut pool: Vec<Vec<f64>> = mix::generate(2000, 480).into_iter().flat_map(|kind| kind.series).collect();
    let count = pool.len();
    for index in 0..count {
        pool.swap(index, index * 7919 % count);
    }
    pool
}

fn hot(series_count: usize) {
    let pool = value_pool();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let storage = open(&directory);
    let start_bytes = resident_bytes();
    let mut written = 0;
    let mut busy_s = 0.0;
    for until in [1, 3, 8, 120, 240, 360, 470, 480, 500] {
        let start_s = cpu_s();
        write(&storage, 0, series_count, written..until, &pool);
        written = until;
        busy_s += cpu_s() - start_s;
        settle();
        let bytes = resident_bytes() - start_bytes;
        let stats = storage.stats();
        println!(
            "hot: {until} samples each: {} bytes a series resident, {} of them counted for samples; {:.0} ns of CPU a sample so far",
            bytes / series_count,
            stats.head_bytes / series_count,
            busy_s * 1e9 / (series_count * until) as f64,
        );
    }
}

fn churn(series_count: usize, generation_count: usize) {
    let pool = value_pool();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let storage = open(&directory);
    let mut first_bytes = 0;
    for generation in 0..=generation_count {
        let start_s = cpu_s();
        write(&storage, generation, series_count, 0..4, &pool);
        let full_bytes = resident_bytes();
        let written_s = cpu_s() - start_s;
        let flushed = storage.flush(NOW_MS + generation as i64 * HOUR_MS);
        assert!(flushed.is_ok(), "{flushed:?}");
        settle();
        let bytes = resident_bytes();
        if generation == 0 {
            first_bytes = full_bytes;
        }
        println!(
            "churn: generation {generation}: {} MiB before the flush, {} MiB after, {} of them of mapped blocks ({:.2} x the first's peak), {} series in the head, {:.1} s of CPU to write, {:.1} s in all",
            mib(full_bytes),
            mib(bytes),
            mib(status_bytes("RssFile")),
            bytes as f64 / first_bytes as f64,
            storage.stats().head_series_count,
            written_s,
            cpu_s() - start_s,
        );
    }
}

fn replay(series_count: usize, wal_mib: u64) {
    let pool = value_pool();
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let storage = open(&directory);
    let mut round = 0;
    while storage.stats().wal_bytes < wal_mib << 20 {
        write(&storage, 0, series_count, round..round + 1, &pool);
        round += 1;
    }
    let live_bytes = resident_bytes();
    let sample_count = storage.stats().head_sample_count;
    drop(storage);
    println!(
        "replay: {sample_count} samples of {series_count} series, {} MiB resident when live",
        mib(live_bytes)
    );
    let program = std::env::current_exe().unwrap_or_default();
    let child = std::process::Command::new(program).arg("open").arg(directory.path()).status();
    assert!(child.is_ok_and(|status| status.success()), "the second process failed");
}

/// Opens a directory that [`replay`] left: a process of its own, whose memory is its own.
fn open_again(directory: &str) {
    let start = Instant::now();
    let storage =
        Storage::open(StorageOptions::new(directory), NOW_MS).unwrap_or_else(|error| panic!("{error}"));
    let stats = storage.stats();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "replay: {} samples of {} series in {:.2} s ({:.2} s of CPU), {} MiB resident, {peak}",
        stats.head_sample_count,
        stats.head_series_count,
        start.elapsed().as_secs_f64(),
        cpu_s(),
        mib(resident_bytes()),
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number =
        |index: usize, default: usize| args.get(index).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("hot") => hot(number(1, 200_000)),
        Some("churn") => churn(number(1, 1_000_000), number(2, 10)),
        Some("replay") => replay(number(1, 1_000_000), number(2, 512) as u64),
        Some("open") => open_again(args.get(1).map_or("", String::as_str)),
        _ => println!("head: give hot, churn or replay"),
    }
}
