"""MyTSDB: the server as its own `/metrics` describes it (src/telemetry.rs).

Something has to scrape the server and write the samples back to it: grafana/README.md.
"""

from model import GREEN, RED, Dashboard, Panel, Row, Variable, query

TARGET = 'job=~"$job", instance=~"$instance"'
# Questions for data; everything else on the port writes, or is asked by machines.
QUERY_ROUTES = 'route=~"/api/v1/(query|query_range|query_exemplars|series|labels|label/.*|read)"'

FAILED = 'status=~"[45].."'


def stat(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
    return Panel(title, description, (query(promql, title),), unit, kind="stat", width=3, height=4, **rest)


def rate(metric: str, more: str = "") -> str:
    selector = f"{TARGET}, {more}" if more else TARGET
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def per_second(title: str, description: str, metric: str, by: str, unit: str, **rest) -> Panel:
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return Panel(title, description, (query(f"sum by ({by}) ({rate(metric)})", legend),), unit, **rest)


def gauges(title: str, description: str, unit: str, *named: tuple[str, str], **rest) -> Panel:
    queries = tuple(query(f"sum({metric}{{{TARGET}}})", legend) for metric, legend in named)
    return Panel(title, description, queries, unit, **rest)


def latency(share: str) -> str:
    buckets = rate("mytsdb_http_request_duration_seconds_bucket", QUERY_ROUTES)
    return f"histogram_quantile({share}, sum by (le) ({buckets}))"


OVERVIEW = Row(
    "Overview",
    (
        stat("Ingest", "Samples per second that are accepted.", f"sum({rate('mytsdb_accepted_samples_total')})", "wps"),
        stat(
            "Rejected",
            "Points per second that are refused.",
            f"sum({rate('mytsdb_rejected_points_total')})",
            "wps",
            thresholds=((GREEN, None), (RED, 0.001)),
            if_empty="none",
        ),
        stat("Queries", "PromQL queries that finish, per second.", f"sum({rate('mytsdb_queries_total')})", "ops"),
        stat("Query p99", "99 of 100 questions are answered within this time.", latency("0.99"), "s"),
        stat("Active series", "Series in the heads of all tenants.", f"sum(mytsdb_storage_head_series{{{TARGET}}})", "short"),
        stat(
            "Samples on disk",
            "Samples in blocks; those in memory are not counted.",
            f"sum(mytsdb_storage_block_samples{{{TARGET}}})",
            "short",
        ),
        stat("Memory", "Resident memory of the process.", f"sum(process_resident_memory_bytes{{{TARGET}}})", "bytes"),
        stat(
            "Writes refused",
            "1 while no write is taken, because the disk is full or does not work.",
            f"max(mytsdb_storage_writes_refused{{{TARGET}}})",
            "bool_yes_no",
            thresholds=((GREEN, None), (RED, 1)),
        ),
    ),
)

INGEST = Row(
    "Ingest and rejections",
    (
        per_second(
            "Samples accepted by protocol",
            "Samples per second over OTLP, remote write and Arrow Flight.",
            "mytsdb_accepted_samples_total",
            "protocol",
            "wps",
            stacked=True,
        ),
        per_second(
            "Points rejected by reason",
            "Points per second that are refused one by one; /api/v1/status/rejected_points shows the last of them.",
            "mytsdb_rejected_points_total",
            "protocol, reason",
            "wps",
            if_empty="none",
        ),
        per_second(
            "Points rejected by tenant",
            "Whose points are refused.",
            "mytsdb_rejected_points_total",
            "tenant",
            "wps",
            if_empty="none",
        ),
        per_second(
            "Write requests refused as a whole",
            "Requests that are no protobuf, too large, too many at a time: nothing of them is stored.",
            "mytsdb_write_requests_refused_total",
            "protocol, reason",
            "reqps",
            if_empty="none",
        ),
        gauges("Tenants", "Tenants with data.", "short", ("mytsdb_storage_tenants", "tenants"), decimals=0),
        Panel(
            "Age of the newest sample",
            "How far the newest sample is behind the clock. It grows when nobody writes.",
            (query(f"time() - max(mytsdb_storage_newest_sample_timestamp_seconds{{{TARGET}}})", "age"),),
            "s",
        ),
    ),
)

QUERIES = Row(
    "Queries",
    (
        Panel(
            "Latency of questions",
            "Time from a question's head to its answer's head, all routes that read data.",
            tuple(query(latency(share), name) for share, name in (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"))),
            "s",
        ),
        Panel(
            "Mean latency by route",
            "Which kind of question takes long.",
            (
                query(
                    f"sum by (route) ({rate('mytsdb_http_request_duration_seconds_sum', QUERY_ROUTES)}) "
                    f"/ sum by (route) ({rate('mytsdb_http_request_duration_seconds_count', QUERY_ROUTES)})",
                    "{{route}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Latency, all of it",
            "How many questions took how long; darker is more.",
            (
                query(
                    "sum by (le) (increase(mytsdb_http_request_duration_seconds_bucket"
                    f"{{{TARGET}, {QUERY_ROUTES}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "short",
            kind="heatmap",
        ),
        per_second("Queries by outcome", "PromQL queries that finish.", "mytsdb_queries_total", "outcome", "ops", stacked=True),
        Panel(
            "Samples read",
            "Samples that selectors of queries read, per second.",
            (query(f"sum({rate('mytsdb_query_samples_read_total')})", "samples"),),
            "rps",
        ),
        gauges(
            "Queries running and waiting",
            "Those that wait have no free place (--query-max-concurrency).",
            "short",
            ("mytsdb_queries_running", "running"),
            ("mytsdb_queries_waiting", "waiting"),
            decimals=0,
        ),
        gauges(
            "Memory of queries",
            "Bytes that samples of running queries take (--query-max-total-bytes).",
            "bytes",
            ("mytsdb_query_memory_bytes", "samples"),
        ),
        per_second(
            "HTTP requests by route",
            "Everything that the HTTP port answers.",
            "mytsdb_http_requests_total",
            "route",
            "reqps",
        ),
        Panel(
            "HTTP errors",
            "Requests per second that were answered with 4xx or 5xx.",
            (
                query(
                    f"sum by (route, status) ({rate('mytsdb_http_requests_total', FAILED)})",
                    "{{status}} {{route}}",
                ),
            ),
            "reqps",
            if_empty="none",
        ),
    ),
)

STORAGE = Row(
    "Head, WAL and blocks",
    (
        gauges(
            "Samples in the head",
            "Newest samples, in memory until a flush writes them to blocks.",
            "short",
            ("mytsdb_storage_head_samples", "samples"),
        ),
        gauges(
            "Bytes of head and WAL",
            "Memory of the heads' samples, and the log since the last flush. A flush brings both down.",
            "bytes",
            ("mytsdb_storage_head_bytes", "head"),
            ("mytsdb_storage_wal_bytes", "WAL"),
        ),
        gauges("Series in the head", "Series that were written to lately.", "short", ("mytsdb_storage_head_series", "series")),
        gauges("Blocks", "Block files of all tenants.", "short", ("mytsdb_storage_blocks", "blocks"), decimals=0),
        gauges("Bytes of blocks", "What blocks take on disk.", "bytes", ("mytsdb_storage_block_bytes", "blocks")),
        Panel(
            "Bytes per sample on disk",
            "Bytes of all blocks divided by their samples.",
            (
                query(
                    f"sum(mytsdb_storage_block_bytes{{{TARGET}}}) / (sum(mytsdb_storage_block_samples{{{TARGET}}}) > 0)",
                    "bytes per sample",
                ),
            ),
            "bytes",
            decimals=2,
            if_empty="no blocks yet",
        ),
        Panel(
            "Compactions",
            "Compactions per hour, by outcome.",
            (
                query(f"sum({rate('mytsdb_storage_compactions_total')}) * 3600", "done"),
                query(f"sum({rate('mytsdb_storage_compactions_failed_total')}) * 3600", "failed"),
            ),
            "short",
        ),
        Panel(
            "Bytes compacted",
            "Bytes per second of blocks that compactions replaced, and of those that they wrote instead.",
            (
                query(f"sum({rate('mytsdb_storage_compaction_input_bytes_total')})", "replaced"),
                query(f"sum({rate('mytsdb_storage_compaction_output_bytes_total')})", "written"),
            ),
            "Bps",
        ),
        Panel(
            "Blocks dropped by retention",
            "Blocks per hour that were too old (--retention) or too many (--retention-size).",
            (
                query(
                    f"sum by (reason) ({rate('mytsdb_storage_blocks_dropped_total')}) * 3600",
                    "{{reason}}",
                ),
            ),
            "short",
        ),
        gauges(
            "Damaged files",
            "Files left aside or read only in part; /api/v1/status/tsdb names them.",
            "short",
            ("mytsdb_storage_damaged_files", "files"),
            thresholds=((GREEN, None), (RED, 1)),
            decimals=0,
        ),
        per_second(
            "Labels too long",
            "Labels of new series that were too long, by what became of them (--limit-long-labels).",
            "mytsdb_storage_long_labels_total",
            "action",
            "ops",
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel(
            "CPU",
            "Cores that the server uses.",
            (query(f"sum by (instance) ({rate('process_cpu_seconds_total')})", "{{instance}}"),),
            "cores",
            width=6,
        ),
        gauges(
            "Memory of the process",
            "Resident memory, and the heads' samples in it.",
            "bytes",
            ("process_resident_memory_bytes", "resident"),
            ("mytsdb_storage_head_bytes", "samples of the head"),
            width=6,
        ),
        gauges(
            "Open files",
            "Files, connections and mappings that the process has open.",
            "short",
            ("process_open_fds", "open"),
            width=6,
        ),
        Panel(
            "Versions",
            "How many instances run which version.",
            (query(f"count by (version) (mytsdb_build_info{{{TARGET}}})", "{{version}}"),),
            "short",
            width=6,
            decimals=0,
            minimum=0,
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="mytsdb",
    title="MyTSDB",
    description="The server itself: ingest, rejections, queries, head, WAL, blocks, compaction, process.",
    variables=(
        # Programs of all kinds have process_cpu_seconds_total.
        Variable("job", "job", "mytsdb_build_info", is_exact=True),
        Variable("instance", "instance", 'mytsdb_build_info{job=~"$job"}'),
    ),
    rows=(OVERVIEW, INGEST, QUERIES, STORAGE, PROCESS),
    tags=("server",),
)
