//! Who exists: clusters, nodes, namespaces, services, deployments, pods and containers, and their consistent labels.
//!
//! Input: counts and a seed. Output: a [`Topology`]; nothing here depends on time.
//!
//! Invariants: a pod is on one node, a node in one cluster and one zone, a zone and a cluster in one region; pods are
//! spread over the nodes round robin; names are unique per cluster, pod names everywhere.

use std::sync::Arc;

use super::model::rng::hash;

/// Pods that share a node on average.
const PODS_PER_NODE: u32 = 5;
/// Logical processors of a node.
pub const CPUS_PER_NODE: u32 = 4;
const CLUSTERS: [(&str, &str); 2] = [("prod-eu-1", "eu-west-1"), ("prod-us-1", "us-east-1")];
const ZONES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 6] = ["shop", "payments", "search", "identity", "logistics", "media"];
const TEAMS: [&str; 4] = ["storefront", "ledger", "discovery", "platform"];
const SERVICES: [&str; 10] = [
    "frontend",
    "checkout",
    "cart",
    "catalog",
    "pricing",
    "inventory",
    "recommendation",
    "notification",
    "session",
    "gateway",
];
const CONTAINERS: [&str; 4] = ["app", "envoy", "log-agent", "metrics-agent"];
const NAME_ALPHABET: &[u8; 32] = b"0123456789abcdfghjklmnpqrstvwxyz";

/// How many of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Namespaces.
    pub namespaces: u32,
    /// Services in each namespace.
    pub services: u32,
    /// Pods of each service, over all clusters.
    pub pods_per_service: u32,
    /// Containers in each pod.
    pub containers_per_pod: u32,
    /// Series that each container accounts for.
    pub metrics_per_container: u32,
}

impl Scale {
    /// Pods in all.
    pub fn pod_count(&self) -> u64 {
        u64::from(self.namespaces) * u64::from(self.services) * u64::from(self.pods_per_service)
    }

    /// Series in all: pods × containers per pod × metrics per container.
    pub fn series_count(&self) -> u64 {
        self.pod_count() * u64::from(self.containers_per_pod) * u64::from(self.metrics_per_container)
    }
}

/// A machine.
#[derive(Debug, Clone)]
pub struct Node {
    /// Value of `node`.
    pub name: Arc<str>,
    /// Value of `cluster`.
    pub cluster: Arc<str>,
    /// Value of `region`.
    pub region: Arc<str>,
    /// Value of `zone`.
    pub zone: Arc<str>,
    /// Its address, without port.
    pub address: String,
}

/// The pods of one service in one cluster.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Value of `deployment`.
    pub name: Arc<str>,
    /// Value of `cluster`.
    pub cluster: Arc<str>,
    /// Value of `region`.
    pub region: Arc<str>,
    /// Value of `namespace`.
    pub namespace: Arc<str>,
    /// Indexes into [`Topology::pods`], at least one.
    pub pods: Vec<usize>,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Value of `pod`.
    pub name: Arc<str>,
    /// Value of `namespace`.
    pub namespace: Arc<str>,
    /// Value of `service`.
    pub service: Arc<str>,
    /// Value of `deployment`.
    pub deployment: Arc<str>,
    /// Value of `team`.
    pub team: Arc<str>,
    /// Index into [`Topology::nodes`].
    pub node: usize,
    /// Number of its service, the same in every cluster.
    pub service_index: usize,
    /// Its address, without port.
    pub address: String,
}

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Value of `container`.
    pub name: Arc<str>,
    /// Index into [`Topology::pods`].
    pub pod: usize,
    /// Position in its pod; 0 is the application, others are sidecars.
    pub position: u32,
}

/// Everything that exists.
#[derive(Debug, Clone)]
pub struct Topology {
    /// What it was built from.
    pub scale: Scale,
    /// Decides names and values.
    pub seed: u64,
    /// Machines.
    pub nodes: Vec<Node>,
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// Pods, by namespace, service, replica.
    pub pods: Vec<Pod>,
    /// Containers, by pod.
    pub containers: Vec<Container>,
}

impl Topology {
    /// Builds what `scale` counts; `seed` decides the random parts of names.
    pub fn new(scale: Scale, seed: u64) -> Self {
        let nodes = nodes(scale.pod_count(), seed);
        let pods = pods(&scale, seed, &nodes);
        let deployments = deployments(&pods, &nodes);
        let containers = (0..pods.len())
            .flat_map(|pod| (0..scale.containers_per_pod).map(move |position| (pod, position)))
            .map(|(pod, position)| Container {
                name: indexed_name(&CONTAINERS, position as usize),
                pod,
                position,
            })
            .collect();
        Self { scale, seed, nodes, deployments, pods, containers }
    }

    /// Names of the clusters that have nodes.
    pub fn clusters(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| Arc::clone(&node.cluster)).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn nodes(pod_count: u64, seed: u64) -> Vec<Node> {
    let node_count = pod_count.div_ceil(u64::from(PODS_PER_NODE)).max(1) as usize;
    (0..node_count)
        .map(|index| {
            let (cluster, region) = CLUSTERS[index % CLUSTERS.len()];
            let number = index / CLUSTERS.len();
            let zone = format!("{region}{}", ZONES[number % ZONES.len()]);
            let suffix = random_name(hash(seed, &[1, index as u64]), 5);
            Node {
                name: format!("{cluster}-worker-{number}-{suffix}").into(),
                cluster: cluster.into(),
                region: region.into(),
                zone: zone.into(),
                address: format!("10.{}.{}.{}", index % CLUSTERS.len(), number / 250, number % 250 + 4),
            }
        })
        .collect()
}

fn pods(scale: &Scale, seed: u64, nodes: &[Node]) -> Vec<Pod> {
    let mut pods = Vec::with_capacity(scale.pod_count() as usize);
    for namespace_index in 0..scale.namespaces as usize {
        let namespace = indexed_name(&NAMESPACES, namespace_index);
        for service in 0..scale.services as usize {
            let service_index = namespace_index * scale.services as usize + service;
            // Service names are unique over namespaces, as they are in most companies.
            let service = indexed_name(&SERVICES, service_index);
            for _ in 0..scale.pods_per_service {
                pods.push(pod(pods.len(), service_index, &namespace, &service, seed, nodes));
            }
        }
    }
    pods
}

fn pod(
    index: usize,
    service_index: usize,
    namespace: &Arc<str>,
    service: &Arc<str>,
    seed: u64,
    nodes: &[Node],
) -> Pod {
    let node = index % nodes.len();
    let cluster_number = (node % CLUSTERS.len()) as u64;
    let replica_set = random_name(hash(seed, &[2, service_index as u64, cluster_number]), 9);
    // An odd factor permutes the 2^25 names of five letters: no two pods get the same.
    let suffix = random_name((index as u64).wrapping_mul(0x9E37_79B1).wrapping_add(hash(seed, &[3])), 5);
    Pod {
        name: format!("{service}-{replica_set}-{suffix}").into(),
        namespace: Arc::clone(namespace),
        service: Arc::clone(service),
        deployment: Arc::clone(service),
        team: TEAMS[service_index % TEAMS.len()].into(),
        node,
        service_index,
        address: format!("10.{}.{}.{}", 100 + index / 62_500, index / 250 % 250, index % 250 + 4),
    }
}

fn deployments(pods: &[Pod], nodes: &[Node]) -> Vec<Deployment> {
    let mut deployments: Vec<Deployment> = Vec::new();
    let mut first_of_service = 0;
    for (index, pod) in pods.iter().enumerate() {
        if index == 0 || pods[index - 1].service_index != pod.service_index {
            first_of_service = deployments.len();
        }
        let node = &nodes[pod.node];
        let known = deployments[first_of_service..].iter_mut().find(|known| known.cluster == node.cluster);
        match known {
            Some(deployment) => deployment.pods.push(index),
            None => deployments.push(Deployment {
                name: Arc::clone(&pod.deployment),
                cluster: Arc::clone(&node.cluster),
                region: Arc::clone(&node.region),
                namespace: Arc::clone(&pod.namespace),
                pods: vec![index],
            }),
        }
    }
    deployments
}

/// The `index`th name: the list itself, then its names with a number.
fn indexed_name(names: &[&str], index: usize) -> Arc<str> {
    match index / names.len() {
        0 => names[index].into(),
        round => format!("{}-{}", names[index % names.len()], round + 1).into(),
    }
}

fn random_name(bits: u64, length: u32) -> String {
    (0..length).map(|position| char::from(NAME_ALPHABET[(bits >> (5 * position)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SCALES: [Scale; 3] = [
        Scale {
            namespaces: 2,
            services: 5,
            pods_per_service: 2,
            containers_per_pod: 2,
            metrics_per_container: 90,
        },
        Scale {
            namespaces: 1,
            services: 1,
            pods_per_service: 1,
            containers_per_pod: 1,
            metrics_per_container: 1,
        },
        Scale {
            namespaces: 7,
            services: 11,
            pods_per_service: 13,
            containers_per_pod: 5,
            metrics_per_container: 3,
        },
    ];

    #[test]
    fn counts_follow_the_scale() {
        for scale in SCALES {
            let topology = Topology::new(scale, 7);
            assert_eq!(topology.pods.len() as u64, scale.pod_count());
            assert_eq!(
                topology.containers.len() as u64,
                scale.pod_count() * u64::from(scale.containers_per_pod)
            );
            let in_deployments: usize =
                topology.deployments.iter().map(|deployment| deployment.pods.len()).sum();
            assert_eq!(in_deployments, topology.pods.len());
        }
        assert_eq!(SCALES[0].series_count(), 3_600);
    }

    #[test]
    fn names_are_unique_and_every_node_has_a_pod() {
        for scale in SCALES {
            let topology = Topology::new(scale, 7);
            let pods: HashSet<_> = topology.pods.iter().map(|pod| &pod.name).collect();
            assert_eq!(pods.len(), topology.pods.len());
            let nodes: HashSet<_> = topology.nodes.iter().map(|node| &node.name).collect();
            assert_eq!(nodes.len(), topology.nodes.len());
            let used: HashSet<_> = topology.pods.iter().map(|pod| pod.node).collect();
            assert_eq!(used.len(), topology.nodes.len());
        }
    }

    #[test]
    fn zones_clusters_and_deployments_agree() {
        let topology = Topology::new(SCALES[2], 7);
        for node in &topology.nodes {
            assert!(node.zone.starts_with(&*node.region), "{node:?}");
            let cluster = CLUSTERS.iter().find(|(name, _)| *name == &*node.cluster).unwrap();
            assert_eq!(cluster.1, &*node.region);
        }
        for deployment in &topology.deployments {
            for pod in deployment.pods.iter().map(|pod| &topology.pods[*pod]) {
                assert_eq!(pod.deployment, deployment.name);
                assert_eq!(pod.namespace, deployment.namespace);
                assert_eq!(topology.nodes[pod.node].cluster, deployment.cluster);
                assert!(pod.name.starts_with(&*deployment.name));
            }
        }
    }

    #[test]
    fn the_seed_decides_names_and_nothing_else() {
        let (one, other) = (Topology::new(SCALES[0], 1), Topology::new(SCALES[0], 2));
        assert_ne!(one.pods[0].name, other.pods[0].name);
        assert_eq!(one.pods[0].name, Topology::new(SCALES[0], 1).pods[0].name);
        assert_eq!(one.pods[0].service, other.pods[0].service);
    }
}
