"""Load test: what `telemetry-sender` sends, how it is answered, and what that does to the server.

Needs the `/metrics` of the senders (`--metrics-address`) and of the server, scraped: grafana/README.md. An event is a metric
point, a span or a log record; a histogram's point is many samples in the server.
"""

from model import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable, at_end, query

SENDER = 'job=~"$job", instance=~"$instance"'
SERVER = 'instance=~"$server"'
EVENTS = "telemetry_sender_events_total"
DIRECTION_SENT = 'direction="sent"'


def events(outcome: str, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f'sum{grouping} (rate({EVENTS}{{{SENDER}, outcome="{outcome}"}}[$__rate_interval]))'


def sender_rate(metric: str, more: str = "") -> str:
    selector = f"{SENDER}, {more}" if more else SENDER
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def server_rate(metric: str) -> str:
    return f"rate({metric}{{{SERVER}}}[$__rate_interval])"


def stat(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
    return Panel(title, description, (query(promql, title),), unit, kind="stat", width=4, height=4, **rest)


def graph(title: str, description: str, unit: str, *named: tuple[str, str], **rest) -> Panel:
    return Panel(title, description, tuple(query(promql, legend) for promql, legend in named), unit, **rest)


LOST = f"({events('rejected')} + {events('failed')}) / ({events('sent')} > 0)"

OVERVIEW = Row(
    "Overview",
    (
        stat("Accepted", "Events per second that were acknowledged.", events("accepted"), "ops"),
        stat(
            "Asked for",
            "Events per second that the senders were told to send; 0 = as fast as they can.",
            f"sum(telemetry_sender_rate_limit{{{SENDER}}})",
            "ops",
        ),
        stat(
            "Lost",
            "Share of events sent that were rejected, or given up after all attempts.",
            LOST,
            "percentunit",
            thresholds=((GREEN, None), (YELLOW, 0.0001), (RED, 0.01)),
            decimals=2,
            if_empty="nothing is sent",
        ),
        stat(
            "p99",
            "99 of 100 requests were answered for good within this time, counted from when they were due.",
            f'max(telemetry_sender_request_duration_seconds{{{SENDER}, quantile="0.99"}})',
            "s",
        ),
        stat("In flight", "Events sent but not answered.", f"sum(telemetry_sender_events_in_flight{{{SENDER}}})", "short"),
        stat("Senders", "Processes that send.", f"count(telemetry_sender_rate_limit{{{SENDER}}})", "short"),
    ),
)

SENT = Row(
    "Senders",
    (
        graph(
            "Events accepted by signal",
            "Metric points, spans and log records per second that were acknowledged.",
            "ops",
            (events("accepted", "signal"), "{{signal}}"),
            stacked=True,
        ),
        graph(
            "Events by outcome",
            "Every event sent ends as accepted, rejected or failed; retried ones were sent again.",
            "ops",
            (f"sum by (outcome) ({sender_rate(EVENTS)})", "{{outcome}}"),
        ),
        graph(
            "Attempts by answer",
            "Requests per second, repeated ones too, by how they were answered.",
            "reqps",
            (f"sum by (signal, code) ({sender_rate('telemetry_sender_attempts_total')})", "{{signal}} {{code}}"),
            stacked=True,
        ),
        graph(
            "Time to the answer",
            "Quantiles since the start, of the slowest sender; counted from when a request was due, so that waiting is in it.",
            "s",
            (
                f"max by (quantile) (telemetry_sender_request_duration_seconds{{{SENDER}}})",
                "{{quantile}}",
            ),
        ),
        graph(
            "Mean time to the answer",
            "Of the requests that were answered lately.",
            "s",
            (
                f"sum({sender_rate('telemetry_sender_request_duration_seconds_sum')}) "
                f"/ sum({sender_rate('telemetry_sender_request_duration_seconds_count')})",
                "mean",
            ),
        ),
        graph(
            "Events waiting for their answer",
            "Events sent but not answered, by sender.",
            "short",
            (f"sum by (instance) (telemetry_sender_events_in_flight{{{SENDER}}})", "{{instance}}"),
        ),
        graph(
            "Bytes on the wire",
            "Bytes per second on all connections.",
            "Bps",
            (f"sum by (direction) ({sender_rate('telemetry_sender_wire_bytes_total')})", "{{direction}}"),
        ),
        graph(
            "Bytes per event",
            "Bytes of an acknowledged event before compression, and what is sent for it on the wire.",
            "bytes",
            (f"sum({sender_rate('telemetry_sender_accepted_bytes_total')}) / ({events('accepted')} > 0)", "uncompressed"),
            (
                f"sum({sender_rate('telemetry_sender_wire_bytes_total', DIRECTION_SENT)}) / ({events('accepted')} > 0)",
                "on the wire",
            ),
            decimals=1,
        ),
        Panel(
            "Events by sender",
            "What each sender had acknowledged in the time range.",
            (
                at_end(
                    f'sum by (instance) (increase({EVENTS}{{{SENDER}, outcome="accepted"}}[$__range]))',
                    "{{instance}}",
                ),
            ),
            "short",
            kind="bargauge",
        ),
    ),
)

SERVER_ROW = Row(
    "Server",
    (
        graph(
            "Samples stored by protocol",
            "Samples per second that the server accepts, from everybody.",
            "wps",
            (f"sum by (protocol) ({server_rate('mytsdb_accepted_samples_total')})", "{{protocol}}"),
            stacked=True,
        ),
        graph(
            "Points refused",
            "Points per second that the server refuses, by reason.",
            "wps",
            (f"sum by (reason) ({server_rate('mytsdb_rejected_points_total')})", "{{reason}}"),
            if_empty="none",
        ),
        graph(
            "Requests refused as a whole",
            "Requests per second of which the server stored nothing, by reason.",
            "reqps",
            (f"sum by (reason) ({server_rate('mytsdb_write_requests_refused_total')})", "{{reason}}"),
            if_empty="none",
        ),
        graph("CPU of the server", "Cores that the server uses.", "cores", (f"sum({server_rate('process_cpu_seconds_total')})", "cores")),
        graph(
            "CPU per sample",
            "Processor time of the whole server, queries included, divided by samples stored.",
            "s",
            (
                f"sum({server_rate('process_cpu_seconds_total')}) "
                f"/ (sum({server_rate('mytsdb_accepted_samples_total')}) > 0)",
                "per sample",
            ),
        ),
        graph(
            "Memory of the server",
            "Resident memory, and what of it are samples of the head.",
            "bytes",
            (f"sum(process_resident_memory_bytes{{{SERVER}}})", "resident"),
            (f"sum(mytsdb_storage_head_bytes{{{SERVER}}})", "samples of the head"),
        ),
        graph("Series", "Series in the heads of all tenants.", "short", (f"sum(mytsdb_storage_head_series{{{SERVER}}})", "series")),
        graph(
            "Log and blocks",
            "The WAL since the last flush, and all blocks.",
            "bytes",
            (f"sum(mytsdb_storage_wal_bytes{{{SERVER}}})", "WAL"),
            (f"sum(mytsdb_storage_block_bytes{{{SERVER}}})", "blocks"),
        ),
        graph(
            "Queries meanwhile, p99",
            "99 of 100 questions were answered within this time.",
            "s",
            (
                "histogram_quantile(0.99, sum by (le) (rate(mytsdb_http_request_duration_seconds_bucket"
                f'{{{SERVER}, route=~"/api/v1/query(_range)?"}}[$__rate_interval])))',
                "p99",
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="load-test",
    title="Load test",
    description="Load generators and the server under them: events sent, answers, latencies, bytes, and what they cost.",
    variables=(
        Variable("job", "job", "telemetry_sender_rate_limit"),
        Variable("instance", "instance", 'telemetry_sender_rate_limit{job=~"$job"}', "Sender"),
        # Programs of all kinds have process_cpu_seconds_total.
        Variable("server", "instance", "mytsdb_build_info", is_exact=True),
    ),
    rows=(OVERVIEW, SENT, SERVER_ROW),
    tags=("load-test",),
    since="now-30m",
    refresh="10s",
)
