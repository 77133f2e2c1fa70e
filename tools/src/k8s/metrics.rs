//! Names and labels: which series a group of values stands for.
//!
//! Input: a [`GroupKind`] and the topology. Output: one [`Labels`] per series, in the order in which the group's model
//! fills its columns. Label sets are those of the usual exporters: cAdvisor, kube-state-metrics, node-exporter and
//! the programs themselves; the labels of a pod (service, deployment, team, node, zone …) are on all its series.

use std::sync::Arc;

use super::model::{BUCKET_BOUNDS, CPU_MODES, Method, PHASES};
use super::topology::{Container, Deployment, Node, Pod, Topology};

/// Label name and value pairs, sorted by name, `__name__` first.
pub type Labels = Vec<(&'static str, Arc<str>)>;

/// Series whose values are drawn together. Numbers are indexes into the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// Processor time of a container.
    Cpu(usize),
    /// Memory of a container.
    Memory(usize),
    /// Network of a container.
    Network(usize),
    /// Filesystem of a container.
    Filesystem(usize),
    /// Requests of a container.
    Http(usize, Method),
    /// State and limits of a container.
    State(usize),
    /// Process and language runtime of a container.
    Runtime(usize),
    /// Events of a container, this many kinds.
    Events(usize, usize),
    /// Phase and readiness of a pod.
    PodStatus(usize),
    /// Restarts and limits of a container as Kubernetes sees them.
    ContainerStatus(usize),
    /// Replicas of a deployment.
    Deployment(usize),
    /// What Kubernetes knows of a node.
    NodeStatus(usize),
    /// Modes of one processor of a node.
    NodeCpu(usize, u32),
    /// Memory of a node.
    NodeMemory(usize),
    /// Load averages of a node.
    NodeLoad(usize),
    /// Network of a node.
    NodeNetwork(usize),
    /// Disk of a node.
    NodeDisk(usize),
    /// Filesystem, boot time, context switches of a node.
    NodeMachine(usize),
}

/// Returns the labels of the series of `kind`.
pub fn labels(topology: &Topology, kind: GroupKind) -> Vec<Labels> {
    match kind {
        GroupKind::Cpu(index) => with_names(&cadvisor(topology, index), &CPU),
        GroupKind::Memory(index) => memory(&cadvisor(topology, index)),
        GroupKind::Network(index) => {
            with_names(&cadvisor(topology, index).with("interface", "eth0"), &NETWORK)
        }
        GroupKind::Filesystem(index) => {
            with_names(&cadvisor(topology, index).with("device", "/dev/nvme0n1p1"), &FILESYSTEM)
        }
        GroupKind::State(index) => with_names(&cadvisor(topology, index), &STATE),
        GroupKind::Http(index, method) => {
            http(&program(topology, index).with("method", method.label()), method)
        }
        GroupKind::Runtime(index) => with_names(&program(topology, index), &RUNTIME),
        GroupKind::Events(index, count) => events(&program(topology, index), count),
        GroupKind::PodStatus(index) => pod_status(&kube_pod(topology, &topology.pods[index])),
        GroupKind::ContainerStatus(index) => {
            let container = &topology.containers[index];
            let pod = kube_pod(topology, &topology.pods[container.pod]);
            container_status(&pod.with("container", &container.name))
        }
        GroupKind::Deployment(index) => {
            with_names(&kube_deployment(&topology.deployments[index]), &DEPLOYMENT)
        }
        GroupKind::NodeStatus(index) => node_status(&kube_node(&topology.nodes[index])),
        GroupKind::NodeCpu(index, cpu) => {
            let base = exporter(&topology.nodes[index]).with("cpu", &cpu.to_string());
            let modes = CPU_MODES.iter().map(|mode| base.clone().with("mode", mode));
            modes.map(|labels| labels.named("node_cpu_seconds_total")).collect()
        }
        GroupKind::NodeMemory(index) => with_names(&exporter(&topology.nodes[index]), &NODE_MEMORY),
        GroupKind::NodeLoad(index) => {
            with_names(&exporter(&topology.nodes[index]), &["node_load1", "node_load5", "node_load15"])
        }
        GroupKind::NodeNetwork(index) => {
            with_names(&exporter(&topology.nodes[index]).with("device", "eth0"), &NODE_NETWORK)
        }
        GroupKind::NodeDisk(index) => {
            with_names(&exporter(&topology.nodes[index]).with("device", "nvme0n1"), &NODE_DISK)
        }
        GroupKind::NodeMachine(index) => node_machine(&exporter(&topology.nodes[index])),
    }
}

const CPU: [&str; 6] = [
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
];
const MEMORY: [&str; 6] = [
    "container_memory_working_set_bytes",
    "container_memory_usage_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_mapped_file",
    "container_memory_failcnt",
];
const NETWORK: [&str; 6] = [
    "container_network_receive_bytes_total",
    "container_network_transmit_bytes_total",
    "container_network_receive_packets_total",
    "container_network_transmit_packets_total",
    "container_network_receive_packets_dropped_total",
    "container_network_transmit_packets_dropped_total",
];
const FILESYSTEM: [&str; 6] = [
    "container_fs_reads_bytes_total",
    "container_fs_writes_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_total",
    "container_fs_usage_bytes",
    "container_fs_limit_bytes",
];
const STATE: [&str; 7] = [
    "container_threads",
    "container_file_descriptors",
    "container_processes",
    "container_start_time_seconds",
    "container_spec_memory_limit_bytes",
    "container_spec_cpu_quota",
    "container_oom_events_total",
];
const RUNTIME: [&str; 10] = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "go_goroutines",
    "go_memstats_alloc_bytes_total",
    "scrape_duration_seconds",
    "go_memstats_heap_inuse_bytes",
    "process_open_fds",
    "process_start_time_seconds",
    "go_gc_duration_seconds_count",
    "go_gc_duration_seconds_sum",
];
const DEPLOYMENT: [&str; 3] = [
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_deployment_status_replicas_available",
];
const NODE_MEMORY: [&str; 5] = [
    "node_memory_MemTotal_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_Cached_bytes",
    "node_memory_Buffers_bytes",
];
const NODE_NETWORK: [&str; 4] = [
    "node_network_receive_bytes_total",
    "node_network_transmit_bytes_total",
    "node_network_receive_packets_total",
    "node_network_transmit_packets_total",
];
const NODE_DISK: [&str; 5] = [
    "node_disk_read_bytes_total",
    "node_disk_written_bytes_total",
    "node_disk_reads_completed_total",
    "node_disk_writes_completed_total",
    "node_disk_io_time_seconds_total",
];

/// Labels without a metric name, in any order.
#[derive(Debug, Clone, Default)]
struct Base(Labels);

impl Base {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.into()));
        self
    }

    fn shared(mut self, name: &'static str, value: &Arc<str>) -> Self {
        self.0.push((name, Arc::clone(value)));
        self
    }

    fn named(mut self, metric: &str) -> Labels {
        self.0.push(("__name__", metric.into()));
        self.0.sort_by_key(|(name, _)| *name);
        self.0
    }
}

fn with_names(base: &Base, names: &[&str]) -> Vec<Labels> {
    names.iter().map(|name| base.clone().named(name)).collect()
}

fn place(node: &Node) -> Base {
    Base::default()
        .shared("cluster", &node.cluster)
        .shared("region", &node.region)
        .shared("zone", &node.zone)
        .shared("node", &node.name)
}

/// What all series of a container have: ten labels; `instance` and `job` depend on who tells.
fn container_labels(topology: &Topology, index: usize) -> (Base, &Container, &Pod, &Node) {
    let container = &topology.containers[index];
    let pod = &topology.pods[container.pod];
    let node = &topology.nodes[pod.node];
    let base = place(node)
        .shared("namespace", &pod.namespace)
        .shared("service", &pod.service)
        .shared("deployment", &pod.deployment)
        .shared("pod", &pod.name)
        .shared("container", &container.name)
        .shared("team", &pod.team);
    (base, container, pod, node)
}

fn cadvisor(topology: &Topology, index: usize) -> Base {
    let (base, _, _, node) = container_labels(topology, index);
    base.with("instance", &format!("{}:10250", node.address)).with("job", "kubelet")
}

fn program(topology: &Topology, index: usize) -> Base {
    let (base, container, pod, _) = container_labels(topology, index);
    base.with("instance", &format!("{}:{}", pod.address, 8_080 + container.position))
        .shared("job", &pod.service)
}

fn kube_state_metrics(base: Base) -> Base {
    base.with("instance", "kube-state-metrics:8080").with("job", "kube-state-metrics")
}

fn kube_pod(topology: &Topology, pod: &Pod) -> Base {
    let node = &topology.nodes[pod.node];
    kube_state_metrics(place(node))
        .shared("namespace", &pod.namespace)
        .shared("service", &pod.service)
        .shared("deployment", &pod.deployment)
        .shared("pod", &pod.name)
        .shared("team", &pod.team)
}

fn kube_deployment(deployment: &Deployment) -> Base {
    kube_state_metrics(Base::default())
        .shared("cluster", &deployment.cluster)
        .shared("region", &deployment.region)
        .shared("namespace", &deployment.namespace)
        .shared("deployment", &deployment.name)
}

fn kube_node(node: &Node) -> Base {
    kube_state_metrics(place(node))
}

fn exporter(node: &Node) -> Base {
    place(node).with("instance", &format!("{}:9100", node.address)).with("job", "node-exporter")
}

fn memory(base: &Base) -> Vec<Labels> {
    let mut all = with_names(base, &MEMORY);
    for failure in ["pgfault", "pgmajfault"] {
        all.push(base.clone().with("failure_type", failure).named("container_memory_failures_total"));
    }
    all
}

fn http(base: &Base, method: Method) -> Vec<Labels> {
    let bounds = BUCKET_BOUNDS.iter().map(bound_text).chain(["+Inf".to_owned()]);
    let mut all: Vec<_> = bounds
        .map(|bound| base.clone().with("le", &bound).named("http_request_duration_seconds_bucket"))
        .collect();
    all.push(base.clone().named("http_request_duration_seconds_sum"));
    all.push(base.clone().named("http_request_duration_seconds_count"));
    all.extend(
        method.codes().iter().map(|code| base.clone().with("code", code).named("http_requests_total")),
    );
    all
}

/// `le` as OpenMetrics and Prometheus 3 write it: whole numbers with `.0`.
fn bound_text(bound: &f64) -> String {
    format!("{bound:?}")
}

fn events(base: &Base, count: usize) -> Vec<Labels> {
    (0..count)
        .map(|event| base.clone().with("event", &format!("event-{event:03}")).named("app_events_total"))
        .collect()
}

fn pod_status(base: &Base) -> Vec<Labels> {
    let phases = PHASES.iter().map(|phase| base.clone().with("phase", phase).named("kube_pod_status_phase"));
    let mut all: Vec<_> = phases.collect();
    all.extend(with_names(base, &["kube_pod_info", "kube_pod_created"]));
    all.push(base.clone().with("condition", "true").named("kube_pod_status_ready"));
    all
}

fn container_status(base: &Base) -> Vec<Labels> {
    let status = [
        "kube_pod_container_status_restarts_total",
        "kube_pod_container_status_ready",
        "kube_pod_container_status_running",
    ];
    let mut all = with_names(base, &status);
    for name in ["kube_pod_container_resource_requests", "kube_pod_container_resource_limits"] {
        for (resource, unit) in [("cpu", "core"), ("memory", "byte")] {
            all.push(base.clone().with("resource", resource).with("unit", unit).named(name));
        }
    }
    all
}

fn node_status(base: &Base) -> Vec<Labels> {
    let ready = base.clone().with("condition", "Ready").with("status", "true");
    let mut all = vec![base.clone().named("kube_node_info"), ready.named("kube_node_status_condition")];
    for name in ["kube_node_status_capacity", "kube_node_status_allocatable"] {
        for (resource, unit) in [("cpu", "core"), ("memory", "byte")] {
            all.push(base.clone().with("resource", resource).with("unit", unit).named(name));
        }
    }
    all
}

fn node_machine(base: &Base) -> Vec<Labels> {
    let root = base.clone().with("device", "/dev/nvme0n1p1").with("fstype", "ext4").with("mountpoint", "/");
    let mut all = with_names(&root, &["node_filesystem_avail_bytes", "node_filesystem_size_bytes"]);
    all.extend(with_names(base, &["node_boot_time_seconds", "node_context_switches_total"]));
    all
}
