"""Sample app: the requests, traces and logs of deploy/sample-app, one tenant at a time.

The data source chooses the tenant: each has its own (provisioning/datasources). Names: deploy/sample-app/README.md.
Spans and log records are series of increases; `rate` and `increase` add them up.
"""

from model import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable, at_end, query

TARGET = 'job=~"$job", instance=~"$instance"'
REQUESTS = f'{TARGET}, http_route=~"$route"'
CALLS = "traces_span_metrics_calls_total"
SPANS = "traces_span_metrics_duration_milliseconds"
ERRORS = ((GREEN, None), (YELLOW, 0.01), (RED, 0.05))


def stat(title: str, description: str, promql: str, unit: str, **rest) -> Panel:
    return Panel(title, description, (query(promql, title),), unit, kind="stat", width=4, height=4, **rest)


def latency(share: str, by: str = "") -> str:
    grouping = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({grouping}) "
        f"(rate(http_server_request_duration_seconds_bucket{{{REQUESTS}}}[$__rate_interval])))"
    )


OVERVIEW = Row(
    "Overview",
    (
        stat(
            "Requests",
            "Requests per second that the chosen services answer.",
            f"sum(rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))",
            "reqps",
        ),
        stat(
            "Errors",
            "Share of requests that were answered with 5xx.",
            f'sum(rate(http_requests_total{{{REQUESTS}, http_response_status_code=~"5.."}}[$__rate_interval])) '
            f"/ sum(rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))",
            "percentunit",
            decimals=1,
            thresholds=ERRORS,
            if_empty="none",
        ),
        stat("p95", "95 of 100 requests are answered within this time.", latency("0.95"), "s"),
        stat(
            "In work",
            "Requests that are worked on at the moment.",
            f"sum(http_server_active_requests{{{TARGET}}})",
            "short",
        ),
        stat(
            "Spans",
            "Spans per second that arrive over OTLP.",
            f"sum(rate({CALLS}{{{TARGET}}}[$__rate_interval]))",
            "ops",
        ),
        stat(
            "Log records",
            "Log records per second that arrive over OTLP.",
            f"sum(rate(log_record_count_total{{{TARGET}}}[$__rate_interval]))",
            "ops",
        ),
    ),
)

REQUESTS_ROW = Row(
    "Requests",
    (
        Panel(
            "Requests by service",
            "Requests per second that each service answers.",
            (query(f"sum by (job) (rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))", "{{job}}"),),
            "reqps",
        ),
        Panel(
            "Requests by route",
            "Requests per second, by method and route.",
            (
                query(
                    "sum by (http_request_method, http_route) "
                    f"(rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))",
                    "{{http_request_method}} {{http_route}}",
                ),
            ),
            "reqps",
            stacked=True,
        ),
        Panel(
            "Requests by status",
            "Requests per second, by the answer's status.",
            (
                query(
                    "sum by (http_response_status_code) "
                    f"(rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))",
                    "{{http_response_status_code}}",
                ),
            ),
            "reqps",
            stacked=True,
        ),
        Panel(
            "Errors by service",
            "Share of each service's requests that were answered with 5xx.",
            (
                query(
                    "sum by (job) "
                    f'(rate(http_requests_total{{{REQUESTS}, http_response_status_code=~"5.."}}[$__rate_interval])) '
                    f"/ sum by (job) (rate(http_requests_total{{{REQUESTS}}}[$__rate_interval]))",
                    "{{job}}",
                ),
            ),
            "percentunit",
            minimum=0,
            thresholds=ERRORS,
            if_empty="none",
        ),
        Panel(
            "Requests in the time range",
            "How many requests were answered, by service and route.",
            (
                at_end(
                    f"sum by (job, http_route) (increase(http_requests_total{{{REQUESTS}}}[$__range]))",
                    "{{job}} {{http_route}}",
                ),
            ),
            "short",
            kind="bargauge",
            decimals=0,
        ),
        Panel(
            "Requests in work",
            "Requests that are worked on at the moment, by service.",
            (query(f"sum by (job) (http_server_active_requests{{{TARGET}}})", "{{job}}"),),
            "short",
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Latency p50, p95, p99",
            "Of all chosen requests together.",
            tuple(query(latency(share), name) for share, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))),
            "s",
        ),
        Panel(
            "Latency p95 by route",
            "95 of 100 requests of a route are answered within this time. Dots are single requests, which lead to their traces.",
            (query(latency("0.95", "job, http_route"), "{{job}} {{http_route}}", exemplars=True),),
            "s",
        ),
        Panel(
            "Mean latency by service",
            "Mean time to an answer.",
            (
                query(
                    f"sum by (job) (rate(http_server_request_duration_seconds_sum{{{REQUESTS}}}[$__rate_interval])) "
                    f"/ sum by (job) (rate(http_server_request_duration_seconds_count{{{REQUESTS}}}[$__rate_interval]))",
                    "{{job}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Latency, all of it",
            "How many requests took how long; darker is more.",
            (
                query(
                    "sum by (le) "
                    f"(increase(http_server_request_duration_seconds_bucket{{{REQUESTS}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "short",
            kind="heatmap",
            width=12,
        ),
        Panel(
            "Calls to the receiver, p95",
            "What the sender waits for the receiver.",
            (
                query(
                    "histogram_quantile(0.95, sum by (le) "
                    f"(rate(http_client_request_duration_seconds_bucket{{{TARGET}}}[$__rate_interval])))",
                    "p95",
                ),
            ),
            "s",
            width=6,
        ),
        Panel(
            "Database, p95",
            "What the receiver waits for its pretended database.",
            (
                query(
                    "histogram_quantile(0.95, sum by (le, db_operation_name) "
                    f"(rate(db_client_operation_duration_seconds_bucket{{{TARGET}}}[$__rate_interval])))",
                    "{{db_operation_name}}",
                ),
            ),
            "s",
            width=6,
        ),
    ),
)

EVENTS = Row(
    "Traces and logs",
    (
        Panel(
            "Spans by name",
            "Spans per second, by service and name.",
            (
                query(
                    f"sum by (service_name, span_name, span_kind) (rate({CALLS}{{{TARGET}}}[$__rate_interval]))",
                    "{{service_name}} {{span_name}} {{span_kind}}",
                ),
            ),
            "ops",
            width=12,
        ),
        Panel(
            "Span durations p95",
            "95 of 100 spans of a name take no longer. Dots are single spans, which lead to their traces.",
            (
                query(
                    "histogram_quantile(0.95, sum by (le, service_name, span_name) "
                    f"(rate({SPANS}_bucket{{{TARGET}}}[$__rate_interval])))",
                    "{{service_name}} {{span_name}}",
                    exemplars=True,
                ),
            ),
            "ms",
            width=12,
        ),
        Panel(
            "Spans that failed",
            "Spans per second with the status ERROR.",
            (
                query(
                    "sum by (service_name, span_name) "
                    f'(rate({CALLS}{{{TARGET}, status_code="STATUS_CODE_ERROR"}}[$__rate_interval]))',
                    "{{service_name}} {{span_name}}",
                ),
            ),
            "ops",
            if_empty="none",
        ),
        Panel(
            "Log records by severity",
            "Log records per second.",
            (
                query(
                    f"sum by (severity) (rate(log_record_count_total{{{TARGET}}}[$__rate_interval]))",
                    "{{severity}}",
                ),
            ),
            "ops",
            stacked=True,
        ),
        Panel(
            "Instances",
            "What runs: the resource of every instance of this tenant, as OpenTelemetry describes it.",
            (at_end(f"last_over_time(target_info{{{TARGET}}}[$__range])"),),
            "short",
            kind="table",
            columns=(
                ("job", "Service", ""),
                ("instance", "Instance", ""),
                ("tenant_id", "Tenant", ""),
                ("service_version", "Version", ""),
                ("telemetry_sdk_version", "SDK", ""),
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="sample-app",
    title="Sample app",
    description="Sender and receiver of one tenant: requests, latencies, traces and logs. Choose the tenant by its data source.",
    variables=(
        Variable("job", "job", "http_requests_total", "Service", is_exact=True),
        Variable("instance", "instance", 'http_requests_total{job=~"$job"}'),
        Variable("route", "http_route", f"http_requests_total{{{TARGET}}}"),
    ),
    rows=(OVERVIEW, REQUESTS_ROW, LATENCY, EVENTS),
    tags=("sample-app",),
    since="now-30m",
    refresh="10s",
    datasource=("MyTSDB (tenant1)", "mytsdb-tenant1"),
)
