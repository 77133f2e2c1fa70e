"""Traces and logs of OpenTelemetry's own Python SDK: what a program did is counted, and exemplars lead to its traces."""

import logging
import time
import warnings

from harness import ServerCase
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

CALLS = "traces_span_metrics_calls_total"
DURATION = "traces_span_metrics_duration_milliseconds"


def exporters(server) -> dict[str, tuple]:
    """Of each transport one for spans and one for log records."""
    grpc, http = ("http://" + server.addresses[name] for name in ("otlp_grpc", "otlp_http"))
    return {
        "grpc": (GrpcSpans(grpc, insecure=True), GrpcLogs(grpc, insecure=True)),
        "http": (HttpSpans(f"{http}/v1/traces"), HttpLogs(f"{http}/v1/logs")),
    }


class OtlpEvents(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.failed_traces = {}
        for transport, (spans, logs) in exporters(cls.server).items():
            resource = Resource.create({"service.name": transport, "service.instance.id": "pod-7"})
            cls.run_program(transport, resource, spans)
            cls.write_log(transport, resource, logs)

    @classmethod
    def run_program(cls, transport: str, resource: Resource, exporter) -> None:
        provider = TracerProvider(resource=resource)
        # Small batches: one second has many requests.
        provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=50))
        tracer = provider.get_tracer("e2e")
        for index in range(600):
            with tracer.start_as_current_span(f"GET /{index % 3}", kind=SpanKind.SERVER) as span:
                with tracer.start_as_current_span("query", kind=SpanKind.CLIENT):
                    pass
                if index % 10 == 0:
                    span.set_status(Status(StatusCode.ERROR))
                    cls.failed_traces.setdefault(transport, set()).add(f"{span.get_span_context().trace_id:032x}")
        assert provider.force_flush()
        provider.shutdown()

    @classmethod
    def write_log(cls, transport: str, resource: Resource, exporter) -> None:
        provider = LoggerProvider(resource=resource)
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        logger = logging.getLogger(f"e2e.{transport}")
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        with warnings.catch_warnings():
            # The SDK moves the handler to another package; what it sends stays.
            warnings.simplefilter("ignore")
            logger.addHandler(LoggingHandler(logger_provider=provider))
        for index in range(300):
            logger.info("number %d", index)
            if index % 3 == 0:
                logger.error("number %d", index)
        assert provider.force_flush()
        provider.shutdown()

    def counts(self, metric: str, by: str, service: str) -> dict[str, float]:
        query = f'sum by ({by}) (sum_over_time({metric}{{job="{service}",instance="pod-7"}}[1h]))'
        return {one["metric"][by]: float(one["value"][1]) for one in self.server.instant(query)}

    def test_every_span_is_counted_once(self) -> None:
        for service in ("grpc", "http"):
            names = {f"GET /{index}": 200 for index in range(3)} | {"query": 600}
            self.assertEqual(self.counts(CALLS, "span_name", service), names)
            self.assertEqual(self.counts(f"{DURATION}_count", "span_name", service), names)
            statuses = {"STATUS_CODE_ERROR": 60, "STATUS_CODE_UNSET": 1140}
            self.assertEqual(self.counts(CALLS, "status_code", service), statuses)
            kinds = {"SPAN_KIND_CLIENT": 600, "SPAN_KIND_SERVER": 600}
            self.assertEqual(self.counts(CALLS, "span_kind", service), kinds)
            self.assertEqual(self.counts(f"{DURATION}_bucket", "le", service)["+Inf"], 1200)

    def test_increase_says_what_was_sent(self) -> None:
        for service in ("grpc", "http"):
            self.assertEqual(self.server.value(f'sum(increase({CALLS}{{job="{service}"}}[1h]))'), 1200)

    def test_exemplars_lead_to_the_traces(self) -> None:
        now = time.time()
        for service in ("grpc", "http"):
            selector = f'{DURATION}_bucket{{job="{service}",status_code="STATUS_CODE_ERROR"}}'
            found = self.server.api("query_exemplars", query=selector, start=now - 3600, end=now + 60)
            traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
            self.assertTrue(traces, found)
            self.assertLessEqual(traces, self.failed_traces[service])

    def test_every_log_record_is_counted_once(self) -> None:
        for service in ("grpc", "http"):
            self.assertEqual(self.counts("log_record_count_total", "severity", service), {"INFO": 300, "ERROR": 100})
