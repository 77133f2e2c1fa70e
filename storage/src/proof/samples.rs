//! Small whole files of every kind, written by the engine itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{ExemplarSample, HistogramSample, WriteBatch};
use crate::engine::{Storage, StorageOptions, WalSync};
use crate::fs::FileSystem;
use crate::fs::memory::MemoryFs;
use crate::model::{
    BucketSpan, Exemplar, Histogram, HistogramLayout, LabelSet, Matcher, MetricKind, MetricMetadata,
    ResetHint, StartTimes, TenantId, TimeRange, UNKNOWN_START_MS,
};

/// The clock: a quarter past midnight UTC, so that a few minutes lie in two days.
pub(crate) const NOW_MS: i64 = 1_700_006_400_000 + 900_000;
/// Where the data lie.
pub(crate) const DATA_DIR: &str = "data";

/// Options of an engine in memory.
pub(crate) fn options() -> StorageOptions {
    StorageOptions { wal_sync: WalSync::None, ..StorageOptions::new(DATA_DIR) }
}

/// Opens an engine on a file system in memory.
pub(crate) fn open(fs: &MemoryFs) -> Option<Storage> {
    Storage::open_on(Arc::new(fs.clone()), options(), NOW_MS).ok()
}

/// How much a sample directory holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Series of the tenant.
    pub(crate) series_count: u32,
    /// Samples of each series.
    pub(crate) sample_count: i64,
}

/// Labels with long and short values, absent labels, and something beyond ASCII.
fn labels(number: u32) -> Option<LabelSet> {
    let instance = format!("host-{number:03}:9100");
    let zone = format!("zone-{}", number % 4);
    let mut pairs = vec![
        ("__name__", if number.is_multiple_of(2) { "node_cpu_seconds_total" } else { "temperature_celsius" }),
        ("instance", instance.as_str()),
    ];
    if !number.is_multiple_of(3) {
        pairs.push(("zone", zone.as_str()));
    }
    if number.is_multiple_of(7) {
        pairs.push(("größe", "übergroß"));
    }
    LabelSet::from_pairs(pairs).ok()
}

/// Values of every encoding: counters, decimals, constants, any bits.
fn value(series: u32, position: i64) -> f64 {
    let mixed = (u64::from(series) << 32 | position.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match series % 5 {
        0 => (position * 17) as f64,
        1 => (mixed >> 50) as f64 * 0.01,
        2 => f64::from_bits(mixed >> 2 | 0x3000_0000_0000_0000),
        3 => 7.5,
        _ if position % 20 == 0 => f64::INFINITY,
        _ => -(position as f64),
    }
}

/// Start times of every form: none, one for all, restarts, one for each sample.
fn start_ms(series: u32, position: i64) -> i64 {
    match series % 4 {
        0 => UNKNOWN_START_MS,
        1 => NOW_MS - 3_600_000,
        2 => NOW_MS - position / 40 * 600_000,
        _ => NOW_MS - (position + 1) * 7_001,
    }
}

/// One of a row of histograms with one layout.
pub(crate) fn histogram(position: i64) -> Histogram {
    let span = |offset, length| BucketSpan { offset, length };
    let layout = HistogramLayout {
        schema: 3,
        is_integer: true,
        zero_threshold: 1e-128,
        positive_spans: vec![span(-2, 3), span(4, 2)],
        negative_spans: vec![span(1, 1)],
        custom_bounds: Vec::new(),
    };
    let positive_counts: Vec<f64> = (0..5).map(|bucket| (position * (bucket + 1)) as f64).collect();
    Histogram {
        layout: Arc::new(layout),
        reset_hint: if position % 50 == 0 { ResetHint::Reset } else { ResetHint::NotReset },
        start_ms: (position % 3 == 0).then_some(NOW_MS - 3_600_000),
        count: positive_counts.iter().sum::<f64>() + 3.0,
        sum: position as f64 * 0.125,
        zero_count: 2.0,
        positive_counts,
        negative_counts: vec![1.0],
    }
}

/// Writes samples of all kinds: a few at a time, long runs, late ones, and facts about metrics.
pub(crate) fn fill(storage: &Storage, size: Size) {
    let facts = [MetricMetadata {
        metric: "node_cpu_seconds_total".to_owned(),
        kind: MetricKind::Counter,
        unit: "seconds".to_owned(),
        help: "Seconds the CPUs spent in each mode.".to_owned(),
    }];
    let labels: Vec<LabelSet> = (0..size.series_count).filter_map(labels).collect();
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let write = |positions: &[i64], facts: &[MetricMetadata]| {
        let mut timestamps_ms = Vec::new();
        let mut values = Vec::new();
        let mut sample_ends = Vec::new();
        let mut starts = StartTimes::new();
        for series in 0..size.series_count {
            // Two rhythms, so that not all series share their timestamps.
            let step_ms = if series % 4 == 3 { 7_001 } else { 15_000 };
            timestamps_ms.extend(positions.iter().map(|position| NOW_MS - position * step_ms));
            for (at, position) in (values.len()..).zip(positions) {
                starts.push(at, start_ms(series, *position));
            }
            values.extend(positions.iter().map(|position| value(series, *position)));
            sample_ends.push(values.len());
        }
        let last = (positions.len() > 1).then_some(size.series_count as usize - 1);
        let histograms: Vec<HistogramSample> = last
            .into_iter()
            .flat_map(|series_index| {
                positions.iter().map(move |position| HistogramSample {
                    series_index,
                    time_ms: NOW_MS - position * 15_000,
                    histogram: histogram(1_000 - position),
                })
            })
            .collect();
        let trace = LabelSet::from_pairs([("trace_id", "0af7651916cd43dd8448eb211c80319c")]);
        let exemplars: Vec<ExemplarSample> = trace
            .into_iter()
            .map(|labels| ExemplarSample {
                series_index: 0,
                exemplar: Exemplar { labels, value: 0.5, time_ms: NOW_MS - positions[0] * 15_000 },
            })
            .collect();
        let batch = WriteBatch {
            keys: &keys,
            sample_ends: &sample_ends,
            timestamps_ms: &timestamps_ms,
            values: &values,
            starts: starts.runs(),
            labels: &labels,
            metadata: facts,
            histograms: &histograms,
            exemplars: &exemplars,
        };
        let outcome = storage.write(&TenantId::anonymous(), &batch, NOW_MS);
        debug_assert!(outcome.is_ok(), "{outcome:?}");
    };
    let oldest = size.sample_count - 1;
    let half: Vec<i64> = (size.sample_count / 2..=oldest).rev().collect();
    write(&half, &facts);
    for position in (0..size.sample_count / 2).rev() {
        write(&[position], &[]);
    }
    write(&[oldest, oldest / 2 + 1], &[]);
}

/// The data directory of an engine that wrote samples and, if `is_flushed`, put them into blocks.
pub(crate) fn directory(size: Size, is_flushed: bool) -> MemoryFs {
    let fs = MemoryFs::default();
    if let Some(storage) = open(&fs) {
        fill(&storage, size);
        let outcome = if is_flushed { storage.flush(NOW_MS) } else { Ok(()) };
        debug_assert!(outcome.is_ok(), "{outcome:?}");
    }
    fs
}

/// The data directory of an engine that wrote samples and deleted some of them, twice.
pub(crate) fn deleted(size: Size) -> MemoryFs {
    let fs = directory(size, true);
    if let Some(storage) = open(&fs) {
        let set = |name: &str, value: &str| vec![vec![Matcher::equal(name, value)]];
        for (matchers, first_ms) in [
            (set("__name__", "node_cpu_seconds_total"), NOW_MS - 40_000),
            (set("zone", "zone-1"), NOW_MS - 300_000),
        ] {
            let range = TimeRange::new(first_ms, first_ms + 25_000);
            let outcome = storage.delete_series(&TenantId::anonymous(), &matchers, range, NOW_MS);
            debug_assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
    fs
}

/// The longest file with this ending.
pub(crate) fn longest_file(fs: &MemoryFs, ending: &str) -> Option<(PathBuf, Vec<u8>)> {
    let files = fs.files().into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
    let (path, _) = files.max_by_key(|(_, length_bytes)| *length_bytes)?;
    let bytes = fs.read(&path).ok()?;
    Some((path, bytes))
}

/// A file system with one file.
pub(crate) fn alone(path: &Path, bytes: Vec<u8>) -> MemoryFs {
    let fs = MemoryFs::default();
    let made = fs.create_directories(crate::fs::parent(path));
    debug_assert!(made.is_ok(), "{made:?}");
    fs.put(path, bytes);
    fs
}
