"""K8s Seeded Cluster (7d): what `k8s-data-generator` seeds, and what a real cluster has under the same names.

Metrics and labels: docs/k8s-data-generator.md. Pictures of single values are taken over the whole time range and show the
last one, so that a seed that ended a while ago is seen as well.
"""

from boards.k8s_seeded_cluster.lower_rows import analysis, kubernetes, nodes, runtime
from boards.k8s_seeded_cluster.selectors import CONTAINER, NODE, POD
from model import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable, query

STATES = ((GREEN, None), (YELLOW, 0.7), (RED, 0.9))
ERRORS = ((GREEN, None), (YELLOW, 0.01), (RED, 0.05))
POD_LINK = (
    "This pod alone",
    "/d/k8s-seeded-cluster?var-pod=${__field.labels.pod}&${datasource:queryparam}&from=${__from}&to=${__to}",
)


def latency(share: str) -> str:
    return (
        f"histogram_quantile({share}, sum by (le, service) "
        f"(rate(http_request_duration_seconds_bucket{{{CONTAINER}}}[$__rate_interval])))"
    )


def stat(title: str, description: str, promql: str, unit: str = "short", **rest) -> Panel:
    return Panel(title, description, (query(promql, title),), unit, kind="stat", width=3, height=4, **rest)


VARIABLES = (
    Variable("region", "region", "kube_node_info"),
    Variable("zone", "zone", 'kube_node_info{region=~"$region"}'),
    Variable("cluster", "cluster", 'kube_node_info{region=~"$region", zone=~"$zone"}'),
    Variable("namespace", "namespace", 'kube_pod_info{cluster=~"$cluster", zone=~"$zone"}'),
    Variable("service", "service", 'kube_pod_info{cluster=~"$cluster", zone=~"$zone", namespace=~"$namespace"}'),
    Variable(
        "deployment",
        "deployment",
        'kube_pod_info{cluster=~"$cluster", zone=~"$zone", namespace=~"$namespace", service=~"$service"}',
    ),
    Variable(
        "pod",
        "pod",
        'kube_pod_info{cluster=~"$cluster", zone=~"$zone", namespace=~"$namespace", service=~"$service", '
        'deployment=~"$deployment"}',
    ),
    Variable("container", "container", 'kube_pod_container_status_running{cluster=~"$cluster", pod=~"$pod"}'),
    Variable("node", "node", 'kube_pod_info{cluster=~"$cluster", zone=~"$zone", pod=~"$pod"}'),
)

OVERVIEW = Row(
    "Overview",
    (
        stat("Clusters", "Clusters with at least one node.", f"count(count by (cluster) (kube_node_info{{{NODE}}}))"),
        stat("Nodes", "Nodes that the API server knows.", f"count(kube_node_info{{{NODE}}})"),
        stat(
            "Pods running",
            "Pods in the phase Running.",
            f'sum(kube_pod_status_phase{{{POD}, phase="Running"}})',
        ),
        stat(
            "Containers not ready",
            "Containers that do not pass their readiness probe.",
            f"count(kube_pod_container_status_ready{{{CONTAINER}}}) - sum(kube_pod_container_status_ready{{{CONTAINER}}})",
            thresholds=((GREEN, None), (RED, 1)),
        ),
        stat(
            "CPU used",
            "Processor time of all chosen containers, in cores.",
            f"sum(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))",
            "cores",
            decimals=2,
        ),
        stat(
            "Memory used",
            "Working sets of all chosen containers: what the kernel cannot take away.",
            f"sum(container_memory_working_set_bytes{{{CONTAINER}}})",
            "bytes",
        ),
        stat(
            "Requests",
            "HTTP requests per second.",
            f"sum(rate(http_requests_total{{{CONTAINER}}}[$__rate_interval]))",
            "reqps",
        ),
        stat(
            "Errors",
            "Share of HTTP requests that were answered with 5xx.",
            f'sum(rate(http_requests_total{{{CONTAINER}, code=~"5.."}}[$__rate_interval])) '
            f"/ sum(rate(http_requests_total{{{CONTAINER}}}[$__rate_interval]))",
            "percentunit",
            decimals=2,
            thresholds=ERRORS,
        ),
    ),
)

CPU = Row(
    "CPU",
    (
        Panel(
            "CPU by pod",
            "Cores that each pod uses.",
            (
                query(
                    f"sum by (pod, namespace) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{namespace}}/{{pod}}",
                ),
            ),
            "cores",
            width=12,
            link=POD_LINK,
        ),
        Panel(
            "CPU by namespace",
            "Cores that each namespace uses, on top of each other.",
            (
                query(
                    f"sum by (namespace) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{namespace}}",
                ),
            ),
            "cores",
            width=12,
            stacked=True,
        ),
        Panel(
            "CPU by container",
            "Application and sidecars of all chosen pods.",
            (
                query(
                    f"sum by (container) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{container}}",
                ),
            ),
            "cores",
            stacked=True,
        ),
        Panel(
            "CPU used of limit",
            "Cores used by each service, as share of its limits. At 100 % the kernel throttles.",
            (
                query(
                    f"sum by (service) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval])) "
                    f"/ sum by (service) (container_spec_cpu_quota{{{CONTAINER}}} / 100000)",
                    "{{service}}",
                ),
            ),
            "percentunit",
            minimum=0,
            thresholds=STATES,
        ),
        Panel(
            "CPU throttled",
            "Share of the scheduler's periods in which a service's containers had to wait.",
            (
                query(
                    f"sum by (service) (rate(container_cpu_cfs_throttled_periods_total{{{CONTAINER}}}[$__rate_interval])) "
                    f"/ sum by (service) (rate(container_cpu_cfs_periods_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{service}}",
                ),
            ),
            "percentunit",
            minimum=0,
        ),
    ),
)

MEMORY = Row(
    "Memory",
    (
        Panel(
            "Memory by pod",
            "Working set of each pod.",
            (
                query(
                    f"sum by (pod, namespace) (container_memory_working_set_bytes{{{CONTAINER}}})",
                    "{{namespace}}/{{pod}}",
                ),
            ),
            "bytes",
            width=12,
            link=POD_LINK,
        ),
        Panel(
            "Memory by kind",
            "What the memory of the chosen containers is: anonymous, page cache, mapped files.",
            (
                query(f"sum(container_memory_rss{{{CONTAINER}}})", "rss"),
                query(f"sum(container_memory_cache{{{CONTAINER}}})", "page cache"),
                query(f"sum(container_memory_mapped_file{{{CONTAINER}}})", "mapped files"),
            ),
            "bytes",
            width=12,
        ),
        Panel(
            "Memory used of limit",
            "The fullest container of each service. At 100 % the kernel kills it.",
            (
                query(
                    f"max by (service) (container_memory_working_set_bytes{{{CONTAINER}}} "
                    f"/ container_spec_memory_limit_bytes{{{CONTAINER}}})",
                    "{{service}}",
                ),
            ),
            "percentunit",
            minimum=0,
            thresholds=STATES,
        ),
        Panel(
            "Page faults",
            "Page faults per second, by kind; major ones wait for the disk.",
            (
                query(
                    f"sum by (failure_type) (rate(container_memory_failures_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{failure_type}}",
                ),
            ),
            "ops",
        ),
        Panel(
            "Killed for memory",
            "Containers that the kernel killed because they were over their limit, per hour.",
            (
                query(
                    f"sum by (namespace) (rate(container_oom_events_total{{{CONTAINER}}}[$__rate_interval])) * 3600",
                    "{{namespace}}",
                ),
            ),
            "short",
        ),
    ),
)


def traffic(title: str, description: str, metric: str, unit: str, by: str = "pod", **rest) -> Panel:
    promql = f"sum by ({by}) (rate({metric}{{{CONTAINER}}}[$__rate_interval]))"
    return Panel(title, description, (query(promql, f"{{{{{by}}}}}"),), unit, **rest)


NETWORK = Row(
    "Network and file system",
    (
        traffic("Network received", "Bytes per second that each pod receives.", "container_network_receive_bytes_total", "Bps", width=12),
        traffic("Network sent", "Bytes per second that each pod sends.", "container_network_transmit_bytes_total", "Bps", width=12),
        Panel(
            "Packets dropped",
            "Packets per second that were dropped, of each namespace, by direction.",
            (
                query(
                    f"sum by (namespace) (rate(container_network_receive_packets_dropped_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{namespace}} received",
                ),
                query(
                    f"sum by (namespace) (rate(container_network_transmit_packets_dropped_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{namespace}} sent",
                ),
            ),
            "pps",
        ),
        Panel(
            "Files read and written",
            "Bytes per second, of all chosen containers.",
            (
                query(f"sum(rate(container_fs_reads_bytes_total{{{CONTAINER}}}[$__rate_interval]))", "read"),
                query(f"sum(rate(container_fs_writes_bytes_total{{{CONTAINER}}}[$__rate_interval]))", "written"),
            ),
            "Bps",
        ),
        Panel(
            "File system used",
            "The fullest file system of each service's containers.",
            (
                query(
                    f"max by (service) (container_fs_usage_bytes{{{CONTAINER}}} / container_fs_limit_bytes{{{CONTAINER}}})",
                    "{{service}}",
                ),
            ),
            "percentunit",
            minimum=0,
        ),
    ),
)

HTTP = Row(
    "HTTP",
    (
        Panel(
            "HTTP requests by service",
            "Requests per second that each service answers.",
            (
                query(
                    f"sum by (service, namespace) (rate(http_requests_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{namespace}}/{{service}}",
                ),
            ),
            "reqps",
            width=12,
            stacked=True,
        ),
        Panel(
            "HTTP latency p99",
            "99 of 100 requests of a service are answered within this time.",
            (query(latency("0.99"), "{{service}}"),),
            "s",
            width=12,
        ),
        Panel(
            "HTTP errors by service",
            "Share of a service's requests that were answered with 5xx.",
            (
                query(
                    f'sum by (service) (rate(http_requests_total{{{CONTAINER}, code=~"5.."}}[$__rate_interval])) '
                    f"/ sum by (service) (rate(http_requests_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{service}}",
                ),
            ),
            "percentunit",
            thresholds=ERRORS,
        ),
        Panel(
            "HTTP requests by code",
            "Requests per second, by the answer's status.",
            (
                query(
                    f"sum by (code) (rate(http_requests_total{{{CONTAINER}}}[$__rate_interval]))",
                    "{{code}}",
                ),
            ),
            "reqps",
        ),
        Panel(
            "HTTP latency: mean, p50, p90",
            "Of all chosen services together.",
            (
                query(
                    f"sum(rate(http_request_duration_seconds_sum{{{CONTAINER}}}[$__rate_interval])) "
                    f"/ sum(rate(http_request_duration_seconds_count{{{CONTAINER}}}[$__rate_interval]))",
                    "mean",
                ),
                *(
                    query(
                        f"histogram_quantile({share}, sum by (le) "
                        f"(rate(http_request_duration_seconds_bucket{{{CONTAINER}}}[$__rate_interval])))",
                        name,
                    )
                    for share, name in (("0.5", "p50"), ("0.9", "p90"))
                ),
            ),
            "s",
        ),
        Panel(
            "HTTP latency, all of it",
            "How many requests took how long; darker is more.",
            (
                query(
                    f"sum by (le) (increase(http_request_duration_seconds_bucket{{{CONTAINER}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "short",
            kind="heatmap",
            width=24,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="k8s-seeded-cluster",
    title="K8s Seeded Cluster (7d)",
    description="Two clusters as k8s-data-generator seeds them: processors, memory, network, HTTP, Kubernetes' own state.",
    variables=VARIABLES,
    rows=(OVERVIEW, CPU, MEMORY, NETWORK, HTTP, kubernetes(), nodes(), runtime(), analysis()),
    tags=("kubernetes",),
    # The seed is a day unless it is told otherwise; the longer ranges are one click away.
    since="now-24h",
    refresh="1m",
    quick_ranges=(
        ("Last hour", "now-1h"),
        ("Last 6 hours", "now-6h"),
        ("Last 24 hours", "now-24h"),
        ("Last 2 days", "now-2d"),
        ("Last 7 days", "now-7d"),
    ),
)
