"""The dashboard queries of the benchmark: what Kubernetes dashboards ask, on the data of `bench-load`."""

RANGE, INSTANT = "query_range", "query"

# (name, kind, PromQL). Range queries go over the whole data set (24 h for A) with a step of 60 s.
DASHBOARD = [
    ("cpu by namespace", RANGE, "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))"),
    (
        "cpu by pod of one namespace",
        RANGE,
        'sum by (pod) (rate(container_cpu_usage_seconds_total{namespace="team-3"}[5m]))',
    ),
    ("cpu by node, now", INSTANT, "sum by (node) (rate(container_cpu_usage_seconds_total[5m]))"),
    ("top 10 receivers", RANGE, "topk(10, sum by (pod) (rate(container_network_receive_bytes_total[5m])))"),
    (
        "latency p99",
        RANGE,
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "latency p90 by namespace",
        RANGE,
        "histogram_quantile(0.9, sum by (le, namespace) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "mean latency by namespace",
        RANGE,
        "sum by (namespace) (rate(http_request_duration_seconds_sum[5m]))"
        " / sum by (namespace) (rate(http_request_duration_seconds_count[5m]))",
    ),
    ("requests per second", RANGE, "sum by (code) (rate(rpc_server_duration_seconds_count[1m]))"),
    ("pods by phase", RANGE, "count by (phase) (kube_pod_status_phase == 1)"),
    ("memory by namespace", RANGE, "sum by (namespace) (container_memory_working_set_bytes)"),
    ("memory by node, greatest", RANGE, "max by (node) (container_memory_working_set_bytes)"),
    ("memory of some pods (prefix)", RANGE, 'container_memory_working_set_bytes{pod=~"checkout-.*"}'),
    (
        "receive rate of some pods (middle)",
        RANGE,
        'sum by (pod) (rate(container_network_receive_bytes_total{pod=~".*-7100.*"}[5m]))',
    ),
    ("goroutines, smoothed", RANGE, 'avg_over_time(go_goroutines{namespace="team-1"}[10m])'),
    ("restarts within an hour", RANGE, "increase(kube_pod_container_status_restarts_total[1h]) > 0"),
    (
        "memory against its limit",
        RANGE,
        "sum by (pod) (container_memory_working_set_bytes)"
        ' / sum by (pod) (kube_pod_container_resource_limits{resource="memory"})',
    ),
    ("memory peaks by namespace", RANGE, "sum by (namespace) (max_over_time(container_memory_rss[30m]))"),
    ("series by metric, now", INSTANT, 'count by (__name__) ({__name__=~".+"})'),
]

# Touches every series of the data set.
EVERYTHING = ("everything", RANGE, 'count({__name__!=""})')
