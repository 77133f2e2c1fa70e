//! Which series exist: every container accounts for exactly `metrics_per_container` of them.
//!
//! Input: a topology and a clock. Output: a [`Plan`], a list of groups with their labels, and their models on demand.
//!
//! A container's slot holds, in this order: its processor, memory, network, filesystem and GET requests; its share of
//! what is not a container's (pod, deployment and node series, each placed with a container of that pod or node);
//! its POST requests, state and runtime; then `app_events_total` for what is left. A slot too small for all of that
//! is cut at its end, hence the total is exact for any scale.

use super::metrics::{GroupKind, Labels, labels};
use super::model::{
    Clock, ConstantModel, ContainerStatusModel, CpuModel, DeploymentModel, EventsModel, FilesystemModel,
    HttpModel, MemoryModel, Method, Model, NetworkModel, NodeCpuModel, NodeDiskModel, NodeLoadModel,
    NodeMachineModel, NodeMemoryModel, NodeNetworkModel, PodStatusModel, Profile, RuntimeModel, StateModel,
    rng::hash,
};
use super::topology::{CPUS_PER_NODE, Topology};

/// A group and how many of its series are sent.
#[derive(Debug, Clone)]
pub struct Group {
    /// What it stands for.
    pub kind: GroupKind,
    /// Labels of the series that are sent: the first ones of the group.
    pub labels: Vec<Labels>,
}

/// The series of a data set.
#[derive(Debug)]
pub struct Plan {
    /// Groups by container.
    pub groups: Vec<Group>,
    /// Series that the dashboard needs and that no slot had room for.
    pub missing_series_count: usize,
}

impl Plan {
    /// Decides which series exist; `seed_run` becomes a label of all of them.
    pub fn new(topology: &Topology, seed_run: Option<&str>) -> Self {
        let slot_size = topology.scale.metrics_per_container as usize;
        let shared = shared_groups(topology);
        let mut plan = Self { groups: Vec::new(), missing_series_count: 0 };
        for (container, shared) in shared.into_iter().enumerate() {
            let mut room = slot_size;
            for (is_needed, kind) in slot(container, shared) {
                plan.push(topology, kind, is_needed, &mut room);
            }
            if room > 0 {
                plan.push(topology, GroupKind::Events(container, room), false, &mut room);
            }
        }
        if let Some(seed_run) = seed_run {
            plan.add_label("seed_run", seed_run);
        }
        plan
    }

    fn push(&mut self, topology: &Topology, kind: GroupKind, is_needed: bool, room: &mut usize) {
        let mut labels = labels(topology, kind);
        if is_needed {
            self.missing_series_count += labels.len().saturating_sub(*room);
        }
        labels.truncate(*room);
        *room -= labels.len();
        if !labels.is_empty() {
            self.groups.push(Group { kind, labels });
        }
    }

    fn add_label(&mut self, name: &'static str, value: &str) {
        let value: std::sync::Arc<str> = value.into();
        for labels in self.groups.iter_mut().flat_map(|group| &mut group.labels) {
            labels.push((name, std::sync::Arc::clone(&value)));
            labels.sort_by_key(|(name, _)| *name);
        }
    }

    /// Returns how many series there are.
    pub fn series_count(&self) -> usize {
        self.groups.iter().map(|group| group.labels.len()).sum()
    }
}

/// The groups of a container's slot, and whether the dashboard needs them.
fn slot(container: usize, shared: Vec<GroupKind>) -> Vec<(bool, GroupKind)> {
    let mut groups = vec![
        (true, GroupKind::Cpu(container)),
        (true, GroupKind::Memory(container)),
        (true, GroupKind::Network(container)),
        (true, GroupKind::Filesystem(container)),
        (true, GroupKind::Http(container, Method::Get)),
        (true, GroupKind::ContainerStatus(container)),
    ];
    groups.extend(shared.into_iter().map(|kind| (true, kind)));
    groups.extend([
        (false, GroupKind::Http(container, Method::Post)),
        (false, GroupKind::State(container)),
        (false, GroupKind::Runtime(container)),
    ]);
    groups
}

/// Places each group that is not a container's with a container, least loaded first.
fn shared_groups(topology: &Topology) -> Vec<Vec<GroupKind>> {
    let mut placed = Placement::new(topology);
    for pod in 0..topology.pods.len() {
        placed.place(&[pod], GroupKind::PodStatus(pod), 8);
    }
    for (index, deployment) in topology.deployments.iter().enumerate() {
        placed.place(&deployment.pods, GroupKind::Deployment(index), 3);
    }
    let mut pods_of_node = vec![Vec::new(); topology.nodes.len()];
    for (index, pod) in topology.pods.iter().enumerate() {
        pods_of_node[pod.node].push(index);
    }
    for (node, pods) in pods_of_node.iter().enumerate() {
        for cpu in 0..CPUS_PER_NODE {
            placed.place(pods, GroupKind::NodeCpu(node, cpu), 8);
        }
        placed.place(pods, GroupKind::NodeStatus(node), 6);
        placed.place(pods, GroupKind::NodeMemory(node), 5);
        placed.place(pods, GroupKind::NodeDisk(node), 5);
        placed.place(pods, GroupKind::NodeNetwork(node), 4);
        placed.place(pods, GroupKind::NodeMachine(node), 4);
        placed.place(pods, GroupKind::NodeLoad(node), 3);
    }
    placed.groups
}

struct Placement {
    containers_per_pod: usize,
    groups: Vec<Vec<GroupKind>>,
    series_counts: Vec<usize>,
}

impl Placement {
    fn new(topology: &Topology) -> Self {
        let count = topology.containers.len();
        let containers_per_pod = topology.scale.containers_per_pod as usize;
        Self { containers_per_pod, groups: vec![Vec::new(); count], series_counts: vec![0; count] }
    }

    fn place(&mut self, pods: &[usize], kind: GroupKind, series_count: usize) {
        let per_pod = self.containers_per_pod;
        let containers = pods.iter().flat_map(|pod| pod * per_pod..(pod + 1) * per_pod);
        if let Some(container) = containers.min_by_key(|container| self.series_counts[*container]) {
            self.groups[container].push(kind);
            self.series_counts[container] += series_count;
        }
    }
}

/// Creates the model of `kind`, at step 0.
pub fn model(topology: &Topology, clock: &Clock, kind: GroupKind) -> Box<dyn Model> {
    let seed = topology.seed;
    let profile = |index: usize| profile(topology, index, clock);
    let first_container = |pod: usize| pod * topology.scale.containers_per_pod as usize;
    let node_seed = |node: usize| hash(seed, &[7, node as u64]);
    match kind {
        GroupKind::Cpu(index) => Box::new(CpuModel::new(&profile(index))),
        GroupKind::Memory(index) => Box::new(MemoryModel::new(&profile(index))),
        GroupKind::Network(index) => Box::new(NetworkModel::new(&profile(index))),
        GroupKind::Filesystem(index) => Box::new(FilesystemModel::new(&profile(index))),
        GroupKind::Http(index, method) => Box::new(HttpModel::new(&profile(index), method, clock)),
        GroupKind::State(index) => Box::new(StateModel::new(&profile(index), clock)),
        GroupKind::Runtime(index) => Box::new(RuntimeModel::new(&profile(index), clock)),
        GroupKind::Events(index, count) => Box::new(EventsModel::new(&profile(index), count)),
        GroupKind::PodStatus(pod) => Box::new(PodStatusModel::new(&profile(first_container(pod)), clock)),
        GroupKind::ContainerStatus(index) => Box::new(ContainerStatusModel::new(&profile(index))),
        GroupKind::Deployment(index) => {
            let pods = topology.deployments[index].pods.iter();
            let seeds = pods.map(|pod| profile(first_container(*pod)).seed);
            Box::new(DeploymentModel::new(seeds, clock))
        }
        GroupKind::NodeStatus(_) => {
            let (cores, memory) = (f64::from(CPUS_PER_NODE), 16_554_328_064.0);
            let allocatable = [cores - 0.1, memory - 1_073_741_824.0];
            Box::new(ConstantModel::new(vec![1.0, 1.0, cores, memory, allocatable[0], allocatable[1]]))
        }
        GroupKind::NodeCpu(node, cpu) => Box::new(NodeCpuModel::new(node_seed(node), u64::from(cpu), clock)),
        GroupKind::NodeMemory(node) => Box::new(NodeMemoryModel::new(node_seed(node))),
        GroupKind::NodeLoad(node) => Box::new(NodeLoadModel::new(node_seed(node))),
        GroupKind::NodeNetwork(node) => Box::new(NodeNetworkModel::new(node_seed(node))),
        GroupKind::NodeDisk(node) => Box::new(NodeDiskModel::new(node_seed(node))),
        GroupKind::NodeMachine(node) => Box::new(NodeMachineModel::new(node_seed(node), clock)),
    }
}

/// Returns what is particular to container `index`.
pub fn profile(topology: &Topology, index: usize, clock: &Clock) -> Profile {
    let container = &topology.containers[index];
    let service = topology.pods[container.pod].service_index;
    Profile::new(topology.seed, index, service, container.position > 0, clock)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::super::topology::Scale;
    use super::*;

    fn topology(services: u32, containers_per_pod: u32, metrics_per_container: u32) -> Topology {
        let scale =
            Scale { namespaces: 2, services, pods_per_service: 2, containers_per_pod, metrics_per_container };
        Topology::new(scale, 3)
    }

    #[test]
    fn every_container_accounts_for_exactly_its_number_of_series() {
        for (services, containers, metrics) in [(5, 2, 90), (5, 1, 90), (3, 2, 7), (1, 3, 1), (2, 1, 500)] {
            let topology = topology(services, containers, metrics);
            let plan = Plan::new(&topology, None);
            assert_eq!(plan.series_count() as u64, topology.scale.series_count());
        }
    }

    #[test]
    fn labels_are_sorted_and_no_series_is_there_twice() {
        let topology = topology(5, 2, 120);
        let plan = Plan::new(&topology, Some("r1"));
        let mut seen = HashSet::new();
        for labels in plan.groups.iter().flat_map(|group| &group.labels) {
            assert!(labels.is_sorted_by(|left, right| left.0 < right.0), "{labels:?}");
            assert!(labels.iter().all(|(_, value)| !value.is_empty()), "{labels:?}");
            assert!(labels.iter().any(|(name, value)| *name == "seed_run" && &**value == "r1"));
            assert!(seen.insert(labels.clone()), "{labels:?}");
        }
    }

    #[test]
    fn default_slots_have_room_for_all_the_dashboard_needs() {
        let plan = Plan::new(&topology(5, 2, 90), None);
        assert_eq!(plan.missing_series_count, 0);
        let names: BTreeSet<&str> = plan
            .groups
            .iter()
            .flat_map(|group| &group.labels)
            .flatten()
            .filter(|(name, _)| *name == "__name__")
            .map(|(_, metric)| &**metric)
            .collect();
        for metric in [
            "container_cpu_usage_seconds_total",
            "container_memory_working_set_bytes",
            "container_network_receive_bytes_total",
            "container_network_transmit_bytes_total",
            "container_fs_reads_bytes_total",
            "container_fs_writes_bytes_total",
            "node_cpu_seconds_total",
            "node_memory_MemTotal_bytes",
            "node_memory_MemAvailable_bytes",
            "kube_pod_status_phase",
            "kube_pod_container_status_restarts_total",
            "http_requests_total",
            "http_request_duration_seconds_bucket",
            "http_request_duration_seconds_sum",
            "http_request_duration_seconds_count",
        ] {
            assert!(names.contains(metric), "{metric} is not in {names:?}");
        }
        assert!(Plan::new(&topology(5, 2, 20), None).missing_series_count > 0);
    }

    #[test]
    fn container_series_have_twelve_dimensions_that_agree() {
        let topology = topology(5, 2, 90);
        let plan = Plan::new(&topology, None);
        let of = |labels: &Labels, wanted: &str| {
            labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_string())
        };
        let dimensions = [
            "cluster",
            "region",
            "zone",
            "namespace",
            "service",
            "deployment",
            "pod",
            "container",
            "node",
            "instance",
            "job",
            "team",
        ];
        for labels in plan.groups.iter().flat_map(|group| &group.labels) {
            let is_container = of(labels, "__name__").is_some_and(|name| name.starts_with("container_"));
            assert!(
                !is_container || dimensions.iter().all(|wanted| of(labels, wanted).is_some()),
                "{labels:?}"
            );
            assert!(
                of(labels, "job").is_some()
                    && of(labels, "instance").is_some()
                    && of(labels, "cluster").is_some()
            );
            if let Some(node) = of(labels, "node") {
                let node = topology.nodes.iter().find(|known| *known.name == *node).unwrap();
                assert_eq!(of(labels, "zone").as_deref(), Some(&*node.zone));
                assert_eq!(of(labels, "region").as_deref(), Some(&*node.region));
            }
        }
    }

    #[test]
    fn every_model_has_as_many_columns_as_its_group_has_labels() {
        let topology = topology(2, 2, 140);
        let clock = Clock::ending_at(0, 15_000, 10);
        let plan = Plan::new(&topology, None);
        for group in &plan.groups {
            let model = model(&topology, &clock, group.kind);
            assert_eq!(model.series_count(), labels(&topology, group.kind).len(), "{:?}", group.kind);
        }
    }
}
