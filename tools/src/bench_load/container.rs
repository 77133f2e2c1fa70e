//! One container of a cluster: 90 series with twelve labels each, and the walk of their values.
//!
//! Shares (modelled on kube-prometheus): 27 % histogram buckets, 26 % states that hardly change, 20 % integer
//! counters, 12 % CPU seconds, 7 % page-multiple bytes, the rest gauges and float sums. A third of the containers
//! are idle, a third restart once (every counter starts again).

use super::random::Random;

/// Series per container.
pub const SERIES_PER_CONTAINER: usize = 90;

const BUCKET_BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// Cumulative share of requests that end within each bound.
const BUCKET_SHARES: [f64; 12] = [0.18, 0.35, 0.58, 0.74, 0.86, 0.93, 0.965, 0.983, 0.993, 0.997, 0.999, 1.0];
const HISTOGRAM_METRICS: [&str; 2] = ["http_request_duration_seconds", "rpc_server_duration_seconds"];

/// Metrics whose values hardly ever change: name, label, its values, usual value of the first and of the others.
type StateMetric = (&'static str, &'static str, &'static [&'static str], f64, f64);
const STATE_METRICS: [StateMetric; 11] = [
    ("kube_pod_status_phase", "phase", &["Running", "Pending", "Succeeded", "Failed", "Unknown"], 1.0, 0.0),
    ("kube_pod_container_status_ready", "uid", &["main"], 1.0, 1.0),
    (
        "kube_pod_container_status_waiting_reason",
        "reason",
        &[
            "ContainerCreating",
            "CrashLoopBackOff",
            "ImagePullBackOff",
            "ErrImagePull",
            "CreateContainerError",
        ],
        0.0,
        0.0,
    ),
    ("kube_pod_status_ready", "condition", &["true", "false", "unknown"], 1.0, 0.0),
    ("kube_pod_container_resource_limits", "resource", &["cpu", "memory"], 2.0, 1_073_741_824.0),
    ("kube_pod_container_resource_requests", "resource", &["cpu", "memory"], 0.5, 536_870_912.0),
    ("kube_pod_created", "uid", &["main"], 1_790_000_000.0, 0.0),
    ("kube_pod_start_time", "uid", &["main"], 1_790_000_011.0, 0.0),
    ("up", "uid", &["main"], 1.0, 1.0),
    ("container_start_time_seconds", "uid", &["main"], 1_790_000_019.0, 0.0),
    ("container_spec_memory_limit_bytes", "uid", &["main"], 1_073_741_824.0, 0.0),
];
const SMALL_COUNTERS: [&str; 9] = [
    "kube_pod_container_status_restarts_total",
    "container_fs_reads_total",
    "container_fs_writes_total",
    "container_network_receive_errors_total",
    "container_network_transmit_errors_total",
    "container_memory_failcnt",
    "container_oom_events_total",
    "process_context_switches_total",
    "go_gc_cycles_total",
];
const BIG_COUNTERS: [&str; 7] = [
    "container_network_receive_bytes_total",
    "container_network_transmit_bytes_total",
    "container_network_receive_packets_total",
    "container_network_transmit_packets_total",
    "container_fs_reads_bytes_total",
    "container_fs_writes_bytes_total",
    "container_memory_failures_total",
];
const NANO_SECONDS: [&str; 7] = [
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_pressure_cpu_waiting_seconds_total",
    "container_pressure_memory_waiting_seconds_total",
    "container_pressure_io_waiting_seconds_total",
];
const CPU_MODES: [&str; 4] = ["idle", "user", "system", "iowait"];
const PAGE_BYTES: [&str; 6] = [
    "container_memory_working_set_bytes",
    "container_memory_usage_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_mapped_file",
    "container_memory_max_usage_bytes",
];
const WHOLE_GAUGES: [&str; 4] =
    ["go_goroutines", "process_open_fds", "container_processes", "container_threads"];

/// The values of one container at the current step, and what it needs to take the next.
#[derive(Debug)]
pub struct Container {
    random: Random,
    requests_per_step: f64,
    restart_probability: f64,
    restarted: bool,
    requests: [[u64; 12]; 2],
    request_seconds: [f64; 2],
    counters: Vec<f64>,
    gauges: Vec<f64>,
    states: Vec<f64>,
}

impl Container {
    /// Creates the container of this index; `step_count` is how long it will live, to place its restart.
    pub fn new(seed: u64, index: usize, step_count: usize) -> Self {
        let mut random = Random::new(seed ^ (index as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let requests_per_step = if random.chance(0.3) { 0.02 } else { 2.0 + random.unit() * 28.0 };
        let restarts = random.chance(0.3);
        let counter_count = SMALL_COUNTERS.len() + BIG_COUNTERS.len() + NANO_SECONDS.len() + CPU_MODES.len();
        let counters = (0..counter_count).map(|_| random.below(100_000) as f64).collect();
        let mut gauges = vec![0.0; PAGE_BYTES.len()];
        gauges.fill_with(|| 20_000.0 + random.below(60_000) as f64);
        gauges.resize_with(PAGE_BYTES.len() + WHOLE_GAUGES.len(), || 8.0 + random.below(120) as f64);
        gauges.push(random.unit() * 100.0);
        gauges.push(random.unit());
        let states = STATE_METRICS
            .iter()
            .flat_map(|(_, _, values, first, other)| {
                (0..values.len()).map(move |at| if at == 0 { *first } else { *other })
            })
            .collect();
        Self {
            random,
            requests_per_step,
            restart_probability: if restarts { 3.0 / step_count.max(1) as f64 } else { 0.0 },
            restarted: false,
            requests: [[0; 12]; 2],
            request_seconds: [0.0; 2],
            counters,
            gauges,
            states,
        }
    }

    /// Goes on by one step of 15 s and writes the values of all series, in the order of [`label_sets`].
    ///
    /// # Shape
    /// `values`: cleared, then `[SERIES_PER_CONTAINER]`.
    pub fn step(&mut self, values: &mut Vec<f64>) {
        values.clear();
        if !self.restarted && self.random.chance(self.restart_probability) {
            self.restart();
        }
        for histogram in 0..HISTOGRAM_METRICS.len() {
            self.observe(histogram);
            values.extend(self.requests[histogram].iter().map(|count| *count as f64));
            values.push(self.request_seconds[histogram]);
            values.push(self.requests[histogram][11] as f64);
        }
        if self.random.chance(0.000_5) {
            let flipped = self.random.below(14) as usize;
            self.states[flipped] = 1.0 - self.states[flipped];
        }
        values.extend_from_slice(&self.states);
        self.step_counters(values);
        self.step_gauges(values);
    }

    fn restart(&mut self) {
        self.restarted = true;
        self.requests = [[0; 12]; 2];
        self.request_seconds = [0.0; 2];
        self.counters.fill(0.0);
    }

    fn observe(&mut self, histogram: usize) {
        for _ in 0..self.random.poisson(self.requests_per_step) {
            let share = self.random.unit();
            let first = BUCKET_SHARES.iter().position(|bound| share < *bound).unwrap_or(11);
            for count in &mut self.requests[histogram][first..] {
                *count += 1;
            }
            self.request_seconds[histogram] += (self.random.normal() * 1.2 - 4.0).exp();
        }
    }

    fn step_counters(&mut self, values: &mut Vec<f64>) {
        let busy = self.requests_per_step / 15.0;
        let mut at = 0;
        for name_index in 0..SMALL_COUNTERS.len() {
            let mean = if name_index % 4 == 0 { 0.001 } else { 0.3 * busy };
            self.counters[at] += self.random.poisson(mean) as f64;
            values.push(self.counters[at]);
            at += 1;
        }
        for _ in 0..BIG_COUNTERS.len() {
            let burst = if self.random.chance(0.05) { 20.0 } else { 1.0 };
            self.counters[at] += (burst * busy * (self.random.normal() * 0.5 + 9.0).exp()).floor();
            values.push(self.counters[at]);
            at += 1;
        }
        for _ in 0..NANO_SECONDS.len() {
            // Whole nanoseconds are counted, seconds are shown, as cAdvisor does.
            let nanoseconds = 15e9 * 0.1 * busy * (0.8 + 0.4 * self.random.unit());
            self.counters[at] += nanoseconds.floor();
            values.push(self.counters[at] / 1e9);
            at += 1;
        }
        for mode in 0..CPU_MODES.len() {
            let hundredths = if mode == 0 { 1_350.0 } else { 150.0 * busy };
            self.counters[at] += (hundredths * (0.9 + 0.2 * self.random.unit())).floor();
            values.push(self.counters[at] / 100.0);
            at += 1;
        }
    }

    fn step_gauges(&mut self, values: &mut Vec<f64>) {
        for at in 0..PAGE_BYTES.len() {
            if self.random.chance(0.25) {
                self.gauges[at] = (self.gauges[at] + (self.random.normal() * 60.0).round()).max(1_000.0);
            }
            values.push(self.gauges[at] * 4_096.0);
        }
        for at in PAGE_BYTES.len()..PAGE_BYTES.len() + WHOLE_GAUGES.len() {
            if self.random.chance(0.35) {
                self.gauges[at] = (self.gauges[at] + (self.random.normal() * 2.0).round()).max(1.0);
            }
            values.push(self.gauges[at]);
        }
        let percent_at = PAGE_BYTES.len() + WHOLE_GAUGES.len();
        let percent = (self.gauges[percent_at] + self.random.normal()).clamp(0.0, 100.0);
        self.gauges[percent_at] = percent;
        values.push((percent * 100.0).round() / 100.0);
        let load = (self.gauges[percent_at + 1] + 0.05 * self.random.normal()).abs();
        self.gauges[percent_at + 1] = load;
        values.push(load);
    }
}

/// Returns the label sets of the container of this index: sorted by name, twelve labels each.
pub fn label_sets(container_index: usize) -> Vec<Vec<(String, String)>> {
    metric_names()
        .into_iter()
        .map(|(name, own)| {
            let mut labels = target_labels(container_index);
            labels.push(("__name__".to_owned(), name));
            labels.push(own);
            labels.sort();
            labels
        })
        .collect()
}

fn target_labels(container_index: usize) -> Vec<(String, String)> {
    let pod_index = container_index / 2;
    let app =
        ["checkout", "cart", "search", "payment", "gateway", "mailer", "ledger", "catalog"][pod_index % 8];
    let node_index = pod_index / 12;
    let pod = format!("{app}-{:08x}-{:05x}", 0x5d4f_7c00 + pod_index / 8, 0x7_1000 + pod_index);
    let role = if container_index.is_multiple_of(2) { app } else { "istio-proxy" };
    [
        ("cluster", "prod-eu-1".to_owned()),
        ("container", role.to_owned()),
        ("endpoint", "https-metrics".to_owned()),
        ("image", format!("registry.example.com/{role}:v1.{}.0", pod_index % 8)),
        ("instance", format!("10.{}.{}.{}:10250", node_index / 256, node_index % 256, 10 + pod_index % 200)),
        ("job", "kubelet".to_owned()),
        ("namespace", format!("team-{}", pod_index % 10)),
        ("node", format!("node-{node_index:04}")),
        ("pod", pod),
        ("service", format!("{app}-metrics")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Name and own label of every series of a container, in the order of [`Container::step`].
fn metric_names() -> Vec<(String, (String, String))> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let code = || own("code", "200");
    let mut names = Vec::with_capacity(SERIES_PER_CONTAINER);
    for metric in HISTOGRAM_METRICS {
        names.extend(BUCKET_BOUNDS.iter().map(|bound| (format!("{metric}_bucket"), own("le", bound))));
        names.push((format!("{metric}_sum"), code()));
        names.push((format!("{metric}_count"), code()));
    }
    for (metric, label, values, _, _) in STATE_METRICS {
        names.extend(values.iter().map(|value| (metric.to_owned(), own(label, value))));
    }
    let device = || own("device", "eth0");
    names.extend(SMALL_COUNTERS.iter().map(|name| ((*name).to_owned(), device())));
    names.extend(BIG_COUNTERS.iter().map(|name| ((*name).to_owned(), device())));
    names.extend(NANO_SECONDS.iter().map(|name| ((*name).to_owned(), own("cpu", "total"))));
    names.extend(CPU_MODES.iter().map(|mode| ("node_cpu_seconds_total".to_owned(), own("mode", mode))));
    names.extend(PAGE_BYTES.iter().map(|name| ((*name).to_owned(), own("scope", "container"))));
    names.extend(WHOLE_GAUGES.iter().map(|name| ((*name).to_owned(), own("scope", "container"))));
    names.push(("container_disk_used_percent".to_owned(), device()));
    names.push(("container_load_average_10s".to_owned(), own("scope", "container")));
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Container, SERIES_PER_CONTAINER, label_sets};

    #[test]
    fn every_container_has_ninety_distinct_series_of_twelve_labels_and_as_many_values() {
        let mut all = BTreeSet::new();
        for index in 0..40 {
            for labels in label_sets(index) {
                assert_eq!(labels.len(), 12, "{labels:?}");
                assert!(labels.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels:?}");
                all.insert(labels);
            }
        }
        assert_eq!(all.len(), 40 * SERIES_PER_CONTAINER);
        let mut values = Vec::new();
        Container::new(1, 0, 100).step(&mut values);
        assert_eq!(values.len(), SERIES_PER_CONTAINER);
    }

    #[test]
    fn buckets_are_cumulative_at_every_step() {
        let mut container = Container::new(5, 3, 200);
        let mut values = Vec::new();
        for _ in 0..200 {
            container.step(&mut values);
            assert!(values[..12].windows(2).all(|pair| pair[0] <= pair[1]), "{values:?}");
            assert_eq!(values[11], values[13]);
        }
    }
}
