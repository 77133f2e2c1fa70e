"""Traces, metrics and logs of one process, on their way over OTLP/gRPC.

Input: `Settings`, and what the standard `logging` is told. Output: three providers, set as OpenTelemetry's global ones;
log lines as JSON on stdout that carry the ids of their trace and span.
Not here: what is measured (`web.py`, `sender.py`, `receiver.py`).

`OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_BSP_SCHEDULE_DELAY` and the like work as OpenTelemetry's SDK has them.
"""

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime

from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.re import parse_env_headers

from demo_app.settings import Settings

VERSION = "1.0.0"
# Bounds in seconds that OpenTelemetry's semantic conventions advise for durations of HTTP and database calls.
DURATION_BOUNDS_S = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
SEVERITIES = {
    logging.DEBUG: (_logs.SeverityNumber.DEBUG, "DEBUG"),
    logging.INFO: (_logs.SeverityNumber.INFO, "INFO"),
    logging.WARNING: (_logs.SeverityNumber.WARN, "WARN"),
    logging.ERROR: (_logs.SeverityNumber.ERROR, "ERROR"),
    logging.CRITICAL: (_logs.SeverityNumber.FATAL, "FATAL"),
}


class Telemetry:
    """Owns the providers from start to `shutdown`."""

    def __init__(self, settings: Settings):
        resource = Resource.create(resource_attributes(settings))
        target = {"endpoint": settings.otlp_endpoint, "headers": export_headers(settings.tenant)}

        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**target)))
        durations = View(
            instrument_name="*.duration", aggregation=ExplicitBucketHistogramAggregation(boundaries=DURATION_BOUNDS_S)
        )
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(**target))
        self.meters = MeterProvider([reader], resource=resource, views=[durations], shutdown_on_exit=False)
        self.loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**target)))

        trace.set_tracer_provider(self.tracers)
        metrics.set_meter_provider(self.meters)
        start_log(settings, self.loggers)

    def shutdown(self) -> None:
        """Sends what is left. Logs go last: sending the others may write some."""
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()


def resource_attributes(settings: Settings) -> dict[str, str]:
    attributes = {
        "service.name": settings.service_name,
        "service.version": VERSION,
        "service.instance.id": settings.instance,
        "tenant.id": settings.tenant,
        "k8s.namespace.name": settings.namespace,
    }
    return {name: value for name, value in attributes.items() if value}


def export_headers(tenant: str) -> list[tuple[str, str]]:
    """Headers of `OTEL_EXPORTER_OTLP_HEADERS`, which the SDK leaves out once it is given others, and the tenant's."""
    headers = dict(parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True))
    if tenant:
        headers["x-scope-orgid"] = tenant
    return list(headers.items())


def start_log(settings: Settings, loggers: LoggerProvider) -> None:
    on_stdout = logging.StreamHandler(sys.stdout)
    on_stdout.setFormatter(JsonLines(settings))
    app = logging.getLogger("demo_app")
    app.setLevel(logging.INFO)
    app.propagate = False
    app.handlers = [on_stdout, OtlpHandler(loggers)]
    # The SDK's own complaints (a collector that is away) go to stdout only: over OTLP they would feed themselves.
    sdk = logging.getLogger("opentelemetry")
    sdk.propagate = False
    sdk.handlers = [on_stdout]


def fields_of(record: logging.LogRecord) -> dict[str, str | int | float]:
    """What a caller gave as `extra={"fields": {…}}`."""
    return getattr(record, "fields", {})


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.service = {"service": settings.service_name, "tenant": settings.tenant}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **self.service,
            "message": record.getMessage(),
            **fields_of(record),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class OtlpHandler(logging.Handler):
    """Hands log records to OpenTelemetry, which puts the ids of the current span on them."""

    def __init__(self, loggers: LoggerProvider):
        super().__init__()
        self.loggers = loggers

    def emit(self, record: logging.LogRecord) -> None:
        number, text = SEVERITIES.get(record.levelno, (_logs.SeverityNumber.UNSPECIFIED, record.levelname))
        self.loggers.get_logger(record.name).emit(
            _logs.LogRecord(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time.time_ns(),
                severity_number=number,
                severity_text=text,
                body=record.getMessage(),
                attributes=fields_of(record),
                exception=record.exc_info[1] if record.exc_info else None,
            )
        )
