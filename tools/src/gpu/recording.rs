//! A file in memory: its series, their samples in the order in which they are played, what was left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metric::{Known, known};

/// Lines of skipped rows that a report names.
const LINE_COUNT_MAX: usize = 5;
/// Time between two loops of a recording that has no second time.
const GAP_MS_DEFAULT: i64 = 1_000;

/// Labels sorted by name, without `__name__`.
pub type Labels = Vec<(String, String)>;

/// A series.
#[derive(Debug, Clone)]
pub struct Series {
    /// DCGM's name.
    pub metric: String,
    /// Sorted, without the name.
    pub labels: Labels,
    /// Position in [`Recording::gpus`].
    pub gpu: usize,
    /// What is known of the metric.
    pub known: Known,
    /// Its first and its last value.
    pub first_value: f64,
    /// See `first_value`.
    pub last_value: f64,
}

impl Series {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.binary_search_by(|(known, _)| known.as_str().cmp(name));
        found.ok().and_then(|at| self.labels.get(at)).map_or("", |(_, value)| value)
    }
}

/// A sample of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Position in [`Recording::series`].
    pub series: u32,
    /// Milliseconds since the Unix epoch; 0 if the file has no times.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
}

/// A GPU, and what the values of its series have to keep.
#[derive(Debug, Clone, Default)]
pub struct Gpu {
    /// UUID, or what stands for it.
    pub key: String,
    /// Smallest memory in use, in MiB.
    pub used_min: f64,
    /// Smallest free memory, in MiB.
    pub free_min: f64,
    /// First power, in watts; 0 if it is not recorded.
    pub power: f64,
}

/// Rows that were left out for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SkippedRows {
    /// How many.
    pub count: u64,
    /// Where the first ones are.
    pub first_lines: Vec<u64>,
}

/// All that was left out, by reason.
pub type Skipped = BTreeMap<&'static str, SkippedRows>;

/// A file in memory.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Every series once.
    pub series: Vec<Series>,
    /// By time, then by GPU, then as in the file.
    pub rows: Vec<Row>,
    /// Every GPU once.
    pub gpus: Vec<Gpu>,
    /// Rows of the file that were left out, or values of them.
    pub skipped: Skipped,
    /// Whether rows have times.
    pub has_times: bool,
    /// Tells this file from others, for checkpoints.
    pub digest: u64,
}

impl Recording {
    /// Counts a row that is left out.
    pub fn skip(&mut self, reason: &'static str, line: u64) {
        let skipped = self.skipped.entry(reason).or_default();
        skipped.count += 1;
        if skipped.first_lines.len() < LINE_COUNT_MAX {
            skipped.first_lines.push(line);
        }
    }

    /// Puts the rows in order and finds out what the series have to keep. Call it once, when all rows are there.
    pub fn finish(&mut self) {
        let series = &self.series;
        let gpu_of = |row: &Row| series.get(row.series as usize).map_or(0, |series| series.gpu);
        self.rows.sort_by_key(|row| (row.time_ms, gpu_of(row)));
        let mut seen = vec![false; self.series.len()];
        for row in &self.rows {
            let at = row.series as usize;
            let (Some(series), Some(seen)) = (self.series.get_mut(at), seen.get_mut(at)) else { continue };
            let Some(gpu) = self.gpus.get_mut(series.gpu) else { continue };
            let is_first = !std::mem::replace(seen, true);
            if is_first {
                series.first_value = row.value;
            }
            series.last_value = row.value;
            let smallest = |known: &mut f64| *known = if is_first { row.value } else { known.min(row.value) };
            match series.metric.as_str() {
                "DCGM_FI_DEV_FB_USED" => smallest(&mut gpu.used_min),
                "DCGM_FI_DEV_FB_FREE" => smallest(&mut gpu.free_min),
                "DCGM_FI_DEV_POWER_USAGE" if is_first => gpu.power = row.value,
                _ => {}
            }
        }
    }

    /// Time of the last row.
    pub fn end_ms(&self) -> i64 {
        self.rows.last().map_or(0, |row| row.time_ms)
    }

    /// From the first row of one loop to the first row of the next one, in milliseconds: the span of the recording and one
    /// of its usual distances.
    pub fn loop_ms(&self) -> i64 {
        let start_ms = self.rows.first().map_or(0, |row| row.time_ms);
        let span_ms = self.end_ms() - start_ms;
        let distances = self.rows.windows(2).filter_map(|pair| match pair {
            [left, right] => Some(right.time_ms - left.time_ms),
            _ => None,
        });
        let distance_count = distances.filter(|distance_ms| *distance_ms > 0).count() as i64;
        span_ms + if distance_count == 0 { GAP_MS_DEFAULT } else { (span_ms / distance_count).max(1) }
    }

    /// The metrics of the recording, each once.
    pub fn metrics(&self) -> BTreeMap<&str, Known> {
        self.series.iter().map(|series| (series.metric.as_str(), known(&series.metric))).collect()
    }
}
