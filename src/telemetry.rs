//! The server's own metrics and its log.
//!
//! Output: the Prometheus text format at `/metrics`, log lines on stderr. Label values come from closed sets,
//! except tenants, of which only so many are told apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use mytsdb_storage::StorageStats;

/// Most label sets of one family; what comes after is counted together under `tenant="other"`.
const LABEL_SETS_PER_FAMILY_MAX: usize = 2000;

/// Upper bounds of the buckets of request durations, in seconds.
const DURATION_BOUNDS_S: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// Name and help of every counter, in order of names.
const COUNTERS: [(&str, &str); 8] = [
    ("mytsdb_accepted_samples_total", "Samples accepted, by protocol."),
    ("mytsdb_config_reloads_failed_total", "Bad files that were found while the server runs."),
    ("mytsdb_connections_flooded_total", "Connections that were ended because they flooded, by kind."),
    ("mytsdb_http_requests_total", "HTTP requests answered, by route and status."),
    ("mytsdb_queries_total", "PromQL queries finished, by outcome."),
    ("mytsdb_query_samples_read_total", "Samples that selectors of queries read."),
    ("mytsdb_rejected_points_total", "Points refused, by protocol, reason and tenant."),
    ("mytsdb_write_requests_refused_total", "Write requests refused as a whole, by protocol and reason."),
];

/// Counters and durations of the server, rendered at `/metrics`.
#[derive(Debug, Default)]
pub struct Metrics {
    counters: Mutex<BTreeMap<&'static str, BTreeMap<String, u64>>>,
    durations: Mutex<BTreeMap<String, DurationHistogram>>,
    /// Per file that is read again: whether its last change is in force.
    reloads: Mutex<BTreeMap<&'static str, bool>>,
}

#[derive(Debug, Default, Clone)]
struct DurationHistogram {
    /// Per bound: observations inside this bucket alone.
    bucket_counts: [u64; DURATION_BOUNDS_S.len()],
    count: u64,
    sum_s: f64,
}

impl Metrics {
    /// Counts samples that were accepted over `protocol` (`flight`, `remote_write`, `otlp`).
    pub fn accepted_samples(&self, protocol: &'static str, sample_count: usize) {
        self.add("mytsdb_accepted_samples_total", format!("protocol=\"{protocol}\""), sample_count as u64);
    }

    /// Counts points that were refused over `protocol` for `reason` (a short fixed word).
    pub fn rejected_points(&self, protocol: &'static str, reason: &str, tenant: &str, point_count: usize) {
        let labels = format!("protocol=\"{protocol}\",reason=\"{reason}\",tenant=\"{tenant}\"");
        self.add("mytsdb_rejected_points_total", labels, point_count as u64);
    }

    /// Counts a write request that was refused as a whole for `reason` (a short fixed word).
    pub fn refused_write_request(&self, protocol: &'static str, reason: &'static str) {
        let labels = format!("protocol=\"{protocol}\",reason=\"{reason}\"");
        self.add("mytsdb_write_requests_refused_total", labels, 1);
    }

    /// Counts a connection that was ended as a flood of `kind` (`resets`, `control_frames`).
    pub fn flooded(&self, kind: &'static str) {
        self.add("mytsdb_connections_flooded_total", format!("kind=\"{kind}\""), 1);
    }

    /// Notes whether the last change of `file` (a short fixed word) is in force.
    pub fn reloaded(&self, file: &'static str, is_in_force: bool) {
        if !is_in_force {
            self.add("mytsdb_config_reloads_failed_total", format!("file=\"{file}\""), 1);
        }
        if let Ok(mut reloads) = self.reloads.lock() {
            reloads.insert(file, is_in_force);
        }
    }

    /// Counts a query that ended with `outcome` (`success` or an error type) after reading `sample_count`.
    pub fn query(&self, outcome: &'static str, sample_count: u64) {
        self.add("mytsdb_queries_total", format!("outcome=\"{outcome}\""), 1);
        self.add("mytsdb_query_samples_read_total", String::new(), sample_count);
    }

    /// Counts an answered request of `route` (the pattern, never the path itself).
    pub fn http_request(&self, route: &str, status: u16, duration: Duration) {
        self.add("mytsdb_http_requests_total", format!("route=\"{route}\",status=\"{status}\""), 1);
        let Ok(mut durations) = self.durations.lock() else { return };
        if !durations.contains_key(route) {
            durations.insert(route.to_owned(), DurationHistogram::default());
        }
        let Some(histogram) = durations.get_mut(route) else { return };
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = DURATION_BOUNDS_S.iter().position(|bound| seconds <= *bound) {
            histogram.bucket_counts[bucket] += 1;
        }
        histogram.count += 1;
        histogram.sum_s += seconds;
    }

    fn add(&self, name: &'static str, labels: String, count: u64) {
        let Ok(mut counters) = self.counters.lock() else { return };
        let family = counters.entry(name).or_default();
        let labels = if family.len() >= LABEL_SETS_PER_FAMILY_MAX && !family.contains_key(&labels) {
            match labels.find("tenant=\"") {
                Some(position) => format!("{}tenant=\"other\"", &labels[..position]),
                None => labels,
            }
        } else {
            labels
        };
        *family.entry(labels).or_default() += count;
    }

    /// Renders everything, the storage's and the process' own figures, in the Prometheus text format.
    ///
    /// `queries`: how many run and wait, and the bytes that they hold.
    pub fn render(&self, storage: Option<&StorageStats>, queries: Option<((usize, usize), usize)>) -> String {
        let mut text = String::with_capacity(8192);
        let counters = self.counters.lock().map(|counters| counters.clone()).unwrap_or_default();
        for (name, help) in COUNTERS {
            head(&mut text, name, "counter", help);
            for (labels, count) in counters.get(name).into_iter().flatten() {
                sample(&mut text, name, labels, *count as f64);
            }
        }
        self.render_durations(&mut text);
        self.render_reloads(&mut text);
        if let Some(stats) = storage {
            render_storage(&mut text, stats);
        }
        if let Some(((running, waiting), used_bytes)) = queries {
            for (name, help, value) in [
                ("mytsdb_queries_running", "PromQL queries and reads that run.", running),
                ("mytsdb_queries_waiting", "PromQL queries and reads that wait for their turn.", waiting),
                ("mytsdb_query_memory_bytes", "Bytes that samples of queries take.", used_bytes),
            ] {
                head(&mut text, name, "gauge", help);
                sample(&mut text, name, "", value as f64);
            }
        }
        render_process(&mut text);
        text
    }

    fn render_reloads(&self, text: &mut String) {
        let reloads = self.reloads.lock().map(|reloads| reloads.clone()).unwrap_or_default();
        if reloads.is_empty() {
            return;
        }
        let name = "mytsdb_config_last_reload_successful";
        head(text, name, "gauge", "1 if the file is in force as it was last found.");
        for (file, is_in_force) in reloads {
            sample(text, name, &format!("file=\"{file}\""), f64::from(u8::from(is_in_force)));
        }
    }

    fn render_durations(&self, text: &mut String) {
        let name = "mytsdb_http_request_duration_seconds";
        head(text, name, "histogram", "Time from the request's head to the response's head, by route.");
        let durations = self.durations.lock().map(|durations| durations.clone()).unwrap_or_default();
        for (route, histogram) in durations {
            let mut below = 0;
            for (bound, count) in DURATION_BOUNDS_S.iter().zip(histogram.bucket_counts) {
                below += count;
                let labels = format!("route=\"{route}\",le=\"{bound}\"");
                sample(text, &format!("{name}_bucket"), &labels, below as f64);
            }
            let labels = format!("route=\"{route}\",le=\"+Inf\"");
            sample(text, &format!("{name}_bucket"), &labels, histogram.count as f64);
            let labels = format!("route=\"{route}\"");
            sample(text, &format!("{name}_sum"), &labels, histogram.sum_s);
            sample(text, &format!("{name}_count"), &labels, histogram.count as f64);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    let _infallible = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
}

fn render_storage(text: &mut String, stats: &StorageStats) {
    let gauges = [
        ("mytsdb_storage_tenants", "Tenants with data.", stats.tenant_count as f64),
        ("mytsdb_storage_head_series", "Series known to the heads.", stats.head_series_count as f64),
        ("mytsdb_storage_head_samples", "Samples in the heads.", stats.head_sample_count as f64),
        ("mytsdb_storage_head_bytes", "Memory of the heads' samples.", stats.head_bytes as f64),
        ("mytsdb_storage_wal_bytes", "Bytes in the WAL since the last flush.", stats.wal_bytes as f64),
        ("mytsdb_storage_blocks", "Blocks.", stats.block_count as f64),
        ("mytsdb_storage_block_samples", "Samples in blocks.", stats.block_sample_count as f64),
        ("mytsdb_storage_block_bytes", "Bytes of all block files.", stats.block_bytes as f64),
        (
            "mytsdb_storage_damaged_files",
            "Damaged files, left aside or read only in part; /api/v1/status/tsdb names them.",
            stats.damaged_file_count as f64,
        ),
        (
            "mytsdb_storage_writes_refused",
            "1 while no write is taken, because the disk is full or does not work.",
            f64::from(u8::from(stats.is_refusing_writes)),
        ),
    ];
    for (name, help, value) in gauges {
        head(text, name, "gauge", help);
        sample(text, name, "", value);
    }
    let counters = [
        ("mytsdb_storage_compactions_total", "Compactions that came through.", stats.compactions_done),
        ("mytsdb_storage_compactions_failed_total", "Compactions that failed.", stats.compactions_failed),
        (
            "mytsdb_storage_compaction_input_bytes_total",
            "Bytes of blocks that compactions have replaced.",
            stats.compaction_input_bytes,
        ),
        (
            "mytsdb_storage_compaction_output_bytes_total",
            "Bytes of blocks that compactions have written.",
            stats.compaction_output_bytes,
        ),
    ];
    for (name, help, value) in counters {
        head(text, name, "counter", help);
        sample(text, name, "", value as f64);
    }
    let name = "mytsdb_storage_blocks_dropped_total";
    head(text, name, "counter", "Blocks dropped by retention.");
    sample(text, name, "reason=\"age\"", stats.blocks_dropped_by_age as f64);
    sample(text, name, "reason=\"size\"", stats.blocks_dropped_by_size as f64);
    let name = "mytsdb_storage_long_labels_total";
    head(text, name, "counter", "Labels of new series that were too long, by what became of them.");
    sample(text, name, "action=\"truncated\"", stats.long_labels.truncated as f64);
    sample(text, name, "action=\"dropped\"", stats.long_labels.dropped as f64);
    if let Some(newest_ms) = stats.newest_ms {
        let name = "mytsdb_storage_newest_sample_timestamp_seconds";
        head(text, name, "gauge", "Time of the newest sample.");
        sample(text, name, "", newest_ms as f64 / 1000.0);
    }
}

/// Figures of the process as Linux shows them; absent elsewhere.
fn render_process(text: &mut String) {
    let version = env!("CARGO_PKG_VERSION");
    head(text, "mytsdb_build_info", "gauge", "Always 1; the version is a label.");
    sample(text, "mytsdb_build_info", &format!("version=\"{version}\""), 1.0);
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name in parentheses may hold spaces; the fields after it are numbered from 3 in proc(5).
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    // Linux reports in clock ticks of 1/100 s on every architecture that Rust supports.
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        head(text, "process_cpu_seconds_total", "counter", "User and system CPU time.");
        sample(text, "process_cpu_seconds_total", "", (user + system) / 100.0);
    }
    if let Some(virtual_bytes) = field(23) {
        head(text, "process_virtual_memory_bytes", "gauge", "Virtual memory.");
        sample(text, "process_virtual_memory_bytes", "", virtual_bytes);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    if let Some(resident_kib) = resident_kib {
        head(text, "process_resident_memory_bytes", "gauge", "Resident memory.");
        sample(text, "process_resident_memory_bytes", "", resident_kib * 1024.0);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        head(text, "process_open_fds", "gauge", "Open files.");
        sample(text, "process_open_fds", "", files.count() as f64);
    }
}

/// Starts the log on stderr with `filter`; a second start in one process changes nothing.
pub fn start_log(filter: &str) {
    let outcome = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    if outcome.is_err() {
        tracing::debug!("the log was started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_help_and_type_and_its_samples() {
        let metrics = Metrics::default();
        metrics.accepted_samples("remote_write", 5);
        metrics.accepted_samples("remote_write", 2);
        metrics.rejected_points("otlp", "too_old", "anonymous", 3);
        metrics.query("success", 10);
        metrics.http_request("/api/v1/query", 200, Duration::from_millis(3));
        let text = metrics.render(None, None);
        for line in [
            "# TYPE mytsdb_accepted_samples_total counter",
            "mytsdb_accepted_samples_total{protocol=\"remote_write\"} 7",
            "mytsdb_rejected_points_total{protocol=\"otlp\",reason=\"too_old\",tenant=\"anonymous\"} 3",
            "mytsdb_query_samples_read_total 10",
            "mytsdb_http_request_duration_seconds_bucket{route=\"/api/v1/query\",le=\"0.0025\"} 0",
            "mytsdb_http_request_duration_seconds_bucket{route=\"/api/v1/query\",le=\"0.005\"} 1",
            "mytsdb_http_request_duration_seconds_count{route=\"/api/v1/query\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn tenants_beyond_the_limit_are_counted_together() {
        let metrics = Metrics::default();
        for index in 0..LABEL_SETS_PER_FAMILY_MAX + 5 {
            metrics.rejected_points("otlp", "too_old", &format!("t{index}"), 1);
        }
        assert!(metrics.render(None, None).contains("reason=\"too_old\",tenant=\"other\"} 5"));
    }
}
