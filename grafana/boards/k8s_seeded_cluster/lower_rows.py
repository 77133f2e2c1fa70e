"""The lower rows of the seeded cluster: Kubernetes' own state, nodes, programs, and questions across all of them."""

from boards.k8s_seeded_cluster.selectors import CONTAINER, DEPLOYMENT, NODE, POD
from model import GREEN, RED, YELLOW, Panel, Row, at_end, query

FULL = ((GREEN, None), (YELLOW, 0.8), (RED, 0.95))


def kubernetes() -> Row:
    return Row(
        "Kubernetes",
        (
            Panel(
                "Pods by phase",
                "Pods of each namespace in each phase.",
                (
                    query(
                        f"count by (namespace, phase) (kube_pod_status_phase{{{POD}}} == 1)",
                        "{{namespace}} {{phase}}",
                    ),
                ),
                "short",
                stacked=True,
                decimals=0,
            ),
            Panel(
                "Restarts in the last hour",
                "Containers that were started again, by namespace.",
                (
                    query(
                        f"sum by (namespace) (increase(kube_pod_container_status_restarts_total{{{CONTAINER}}}[1h]))",
                        "{{namespace}}",
                    ),
                ),
                "short",
                decimals=0,
            ),
            Panel(
                "Replicas missing",
                "Replicas that a deployment should have and that are not available.",
                (
                    query(
                        f"sum by (deployment) (kube_deployment_spec_replicas{{{DEPLOYMENT}}}) "
                        f"- sum by (deployment) (kube_deployment_status_replicas_available{{{DEPLOYMENT}}})",
                        "{{deployment}}",
                    ),
                ),
                "short",
                decimals=0,
                minimum=0,
            ),
            Panel(
                "Requested of what nodes have",
                "What the chosen containers request, as share of what the chosen nodes can give.",
                tuple(
                    query(
                        f'sum(kube_pod_container_resource_requests{{{CONTAINER}, resource="{resource}"}}) '
                        f'/ sum(kube_node_status_allocatable{{{NODE}, resource="{resource}"}})',
                        resource,
                    )
                    for resource in ("cpu", "memory")
                ),
                "percentunit",
                minimum=0,
                thresholds=FULL,
            ),
            Panel(
                "Pods",
                "Each chosen pod: where it runs, what it used in the time range, how often its containers were started again.",
                (
                    at_end(
                        f"sum by (namespace, pod, node) (increase(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__range]))"
                    ),
                    at_end(
                        "sum by (namespace, pod, node) "
                        f"(last_over_time(container_memory_working_set_bytes{{{CONTAINER}}}[$__range]))"
                    ),
                    at_end(
                        "sum by (namespace, pod, node) "
                        f"(increase(kube_pod_container_status_restarts_total{{{CONTAINER}}}[$__range]))"
                    ),
                ),
                "short",
                kind="table",
                width=16,
                columns=(
                    ("namespace", "Namespace", ""),
                    ("pod", "Pod", ""),
                    ("node", "Node", ""),
                    ("Value #A", "CPU time", "s"),
                    ("Value #B", "Memory", "bytes"),
                    ("Value #C", "Restarts", "none"),
                ),
            ),
        ),
    )


def nodes() -> Row:
    def by_node(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
        return Panel(title, description, (query(promql, "{{node}}"),), unit, **rest)

    return Row(
        "Nodes",
        (
            by_node(
                "Node CPU busy",
                "Share of a node's processor time that is not idle.",
                f'1 - avg by (node) (rate(node_cpu_seconds_total{{{NODE}, mode="idle"}}[$__rate_interval]))',
                "percentunit",
                minimum=0,
                maximum=1,
                thresholds=FULL,
            ),
            by_node(
                "Node memory used",
                "Share of a node's memory that programs cannot get any more.",
                f"1 - sum by (node) (node_memory_MemAvailable_bytes{{{NODE}}}) "
                f"/ sum by (node) (node_memory_MemTotal_bytes{{{NODE}}})",
                "percentunit",
                minimum=0,
                maximum=1,
                thresholds=FULL,
            ),
            Panel(
                "Node CPU by mode",
                "Cores of the chosen nodes by what they do, idle left out.",
                (
                    query(
                        f'sum by (mode) (rate(node_cpu_seconds_total{{{NODE}, mode!="idle"}}[$__rate_interval]))',
                        "{{mode}}",
                    ),
                ),
                "cores",
                stacked=True,
            ),
            by_node(
                "Load per processor",
                "Runnable tasks of a node (one minute's mean), divided by its processors. Above 1 they wait.",
                f"avg by (node) (node_load1{{{NODE}}}) "
                f'/ sum by (node) (kube_node_status_capacity{{{NODE}, resource="cpu"}})',
                "short",
                minimum=0,
            ),
            by_node(
                "Disk busy",
                "Share of time in which a node's disk works.",
                f"max by (node) (rate(node_disk_io_time_seconds_total{{{NODE}}}[$__rate_interval]))",
                "percentunit",
                minimum=0,
                thresholds=FULL,
            ),
            by_node(
                "Node file system used",
                "Share of a node's root file system that is in use.",
                f'1 - sum by (node) (node_filesystem_avail_bytes{{{NODE}, mountpoint="/"}}) '
                f'/ sum by (node) (node_filesystem_size_bytes{{{NODE}, mountpoint="/"}})',
                "percentunit",
                minimum=0,
                maximum=1,
                thresholds=FULL,
            ),
            Panel(
                "Node network",
                "Bytes per second of all chosen nodes.",
                (
                    query(f"sum(rate(node_network_receive_bytes_total{{{NODE}}}[$__rate_interval]))", "received"),
                    query(f"sum(rate(node_network_transmit_bytes_total{{{NODE}}}[$__rate_interval]))", "sent"),
                ),
                "Bps",
            ),
            Panel(
                "Disk read and written",
                "Bytes per second of all chosen nodes.",
                (
                    query(f"sum(rate(node_disk_read_bytes_total{{{NODE}}}[$__rate_interval]))", "read"),
                    query(f"sum(rate(node_disk_written_bytes_total{{{NODE}}}[$__rate_interval]))", "written"),
                ),
                "Bps",
            ),
            by_node(
                "Uptime",
                "Time since a node was started.",
                f"max by (node) (timestamp(node_boot_time_seconds{{{NODE}}}) - node_boot_time_seconds{{{NODE}}})",
                "s",
                kind="bargauge",
            ),
        ),
    )


def runtime() -> Row:
    return Row(
        "Programs",
        (
            Panel(
                "Goroutines",
                "Goroutines of each service's programs together; growth without end is a leak.",
                (query(f"sum by (service) (go_goroutines{{{CONTAINER}}})", "{{service}}"),),
                "short",
            ),
            Panel(
                "Heap",
                "Heap in use and bytes allocated per second, of all chosen programs.",
                (
                    query(f"sum(go_memstats_heap_inuse_bytes{{{CONTAINER}}})", "in use"),
                    query(
                        f"sum(rate(go_memstats_alloc_bytes_total{{{CONTAINER}}}[$__rate_interval]))",
                        "allocated per second",
                    ),
                ),
                "bytes",
            ),
            Panel(
                "Open files and threads",
                "Of all chosen programs.",
                (
                    query(f"sum(process_open_fds{{{CONTAINER}}})", "open files"),
                    query(f"sum(container_threads{{{CONTAINER}}})", "threads"),
                ),
                "short",
            ),
        ),
    )


def analysis() -> Row:
    return Row(
        "Across all",
        (
            Panel(
                "Five pods that used most CPU",
                "Processor time in the whole time range.",
                (
                    at_end(
                        f"topk(5, sum by (pod) (increase(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__range])))",
                        "{{pod}}",
                    ),
                ),
                "s",
                kind="bargauge",
            ),
            Panel(
                "CPU and its peak",
                "Cores used by the chosen containers, and the highest use within the last hour.",
                (
                    query(
                        f"sum(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))",
                        "now",
                    ),
                    query(
                        "max_over_time("
                        f"sum(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval]))[1h:5m])",
                        "peak of an hour",
                    ),
                ),
                "cores",
            ),
            Panel(
                "Requests against an hour ago",
                "Requests per second, as ratio to those of an hour before; 1 is no change.",
                (
                    query(
                        f"sum by (namespace) (rate(http_requests_total{{{CONTAINER}}}[$__rate_interval])) "
                        f"/ sum by (namespace) (rate(http_requests_total{{{CONTAINER}}}[$__rate_interval] offset 1h))",
                        "{{namespace}}",
                    ),
                ),
                "short",
            ),
            Panel(
                "Spread of CPU over pods",
                "Median, 95th percentile and standard deviation of the pods' use: few busy pods pull the upper one away.",
                (
                    query(
                        "quantile(0.5, sum by (pod) "
                        f"(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval])))",
                        "median",
                    ),
                    query(
                        "quantile(0.95, sum by (pod) "
                        f"(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval])))",
                        "95th percentile",
                    ),
                    query(
                        "stddev(sum by (pod) "
                        f"(rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval])))",
                        "standard deviation",
                    ),
                ),
                "cores",
            ),
            Panel(
                "Memory of pods on their node",
                "What the chosen containers take of the memory that their node can give.",
                (
                    query(
                        f"sum by (node) (container_memory_working_set_bytes{{{CONTAINER}}}) "
                        f'/ on (node) group_left (zone) kube_node_status_allocatable{{{NODE}, resource="memory"}}',
                        "{{node}} ({{zone}})",
                    ),
                ),
                "percentunit",
                minimum=0,
                thresholds=FULL,
            ),
            Panel(
                "Disk free in a day",
                "Bytes that a node's root file system will have free in 24 hours if the last hour goes on. Below 0 it is full.",
                (
                    query(
                        "min by (node) "
                        f'(predict_linear(node_filesystem_avail_bytes{{{NODE}, mountpoint="/"}}[1h], 86400))',
                        "{{node}}",
                    ),
                ),
                "bytes",
            ),
        ),
    )
