"""An OTLP/gRPC endpoint that decodes every message with the official protobufs and keeps what it needs to judge them."""

import collections
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.metrics.v1 import metrics_pb2

CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = metrics_pb2.AGGREGATION_TEMPORALITY_DELTA
MESSAGE_BYTES_MAX = 64 << 20


class OtlpSink:
    """Serves on a free port until `close`; `problems` has a line for everything that is not well-formed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.problems: list[str] = []
        self.metadata: list[dict[str, str]] = []
        self.events = collections.Counter()
        self.kinds = collections.Counter()
        # (trace, span) -> parent span, which is empty for a root.
        self.spans: dict[tuple[bytes, bytes], bytes] = {}
        self.exemplars: set[tuple[bytes, bytes]] = set()
        self.correlated: set[tuple[bytes, bytes]] = set()
        # Series -> its points in the order in which they came: (start, time, value that must not fall).
        self.series: dict[tuple, list[tuple[int, int, float]]] = collections.defaultdict(list)
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        services = {
            "metrics.v1.MetricsService": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse, self.take_metrics),
            "trace.v1.TraceService": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse, self.take_traces),
            "logs.v1.LogsService": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse, self.take_logs),
        }
        for name, (request, response, take) in services.items():
            export = grpc.unary_unary_rpc_method_handler(
                self.handler(take, response), request.FromString, response.SerializeToString
            )
            name = f"opentelemetry.proto.collector.{name}"
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": export}),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def close(self) -> None:
        self.server.stop(None).wait()

    def handler(self, take, response):
        def export(request, context):
            with self.lock:
                self.metadata.append(dict(context.invocation_metadata()))
                take(request)
            return response()

        return export

    def require(self, is_so: bool, what: str) -> None:
        if not is_so and len(self.problems) < 50:
            self.problems.append(what)

    def instance_of(self, resource) -> str:
        found = {one.key: one.value.string_value for one in resource.attributes}
        self.require(bool(found.get("service.name")), f"no service.name: {found}")
        self.require(bool(found.get("service.instance.id")), f"no service.instance.id: {found}")
        return found.get("service.instance.id", "")

    def attributes(self, attributes, where: str) -> tuple:
        keys = [one.key for one in attributes]
        self.require(len(set(keys)) == len(keys) and all(keys), f"{where}: keys {keys}")
        self.require(all(one.value.WhichOneof("value") for one in attributes), f"{where}: a value without a type")
        return tuple(sorted((one.key, one.value.SerializeToString()) for one in attributes))

    def take_metrics(self, request) -> None:
        for of_resource in request.resource_metrics:
            instance = self.instance_of(of_resource.resource)
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    self.take_metric(instance, metric)

    def take_metric(self, instance: str, metric) -> None:
        kind = metric.WhichOneof("data")
        self.require(bool(metric.name) and kind is not None, f"metric {metric.name!r} of kind {kind}")
        if kind is None:
            return
        data = getattr(metric, kind)
        if kind in ("sum", "histogram", "exponential_histogram"):
            self.require(data.aggregation_temporality in (CUMULATIVE, DELTA), f"{metric.name}: no temporality")
        is_counting = kind in ("histogram", "exponential_histogram", "summary") or kind == "sum" and data.is_monotonic
        is_delta = kind not in ("gauge", "summary") and data.aggregation_temporality == DELTA
        self.kinds[f"{kind}{' delta' if is_delta else ''}"] += len(data.data_points)
        self.events["metrics"] += len(data.data_points)
        for point in data.data_points:
            where = f"{metric.name} of {instance}"
            series = (instance, metric.name, self.attributes(point.attributes, where))
            value = self.check_point(kind, point, where)
            start = point.start_time_unix_nano
            if is_counting:
                self.require(0 < start < point.time_unix_nano, f"{where}: starts {start}, time {point.time_unix_nano}")
            counted = value if is_counting and not is_delta else 0.0
            self.series[series].append((start, point.time_unix_nano, counted))
            for exemplar in getattr(point, "exemplars", ()):
                self.require(0 < exemplar.time_unix_nano <= point.time_unix_nano, f"{where}: exemplar's time")
                self.exemplars.add((exemplar.trace_id, exemplar.span_id))

    def check_point(self, kind: str, point, where: str) -> float:
        if kind in ("gauge", "sum"):
            self.require(point.WhichOneof("value") is not None, f"{where}: no value")
            return float(getattr(point, point.WhichOneof("value") or "as_int"))
        if kind == "histogram":
            bounds, counts = point.explicit_bounds, point.bucket_counts
            self.require(len(counts) == len(bounds) + 1, f"{where}: {len(counts)} buckets, {len(bounds)} bounds")
            self.require(list(bounds) == sorted(set(bounds)), f"{where}: bounds {bounds}")
            self.require(sum(counts) == point.count, f"{where}: buckets have {sum(counts)}, the count is {point.count}")
        if kind == "exponential_histogram":
            counted = point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
            self.require(counted == point.count, f"{where}: buckets have {counted}, the count is {point.count}")
        if kind == "summary":
            values = [quantile.value for quantile in point.quantile_values]
            self.require(values == sorted(values), f"{where}: quantiles {values}")
        return float(point.count)

    def take_traces(self, request) -> None:
        for of_resource in request.resource_spans:
            self.instance_of(of_resource.resource)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.events["traces"] += 1
                    key = (span.trace_id, span.span_id)
                    self.require_ids(*key, span.name)
                    self.require(key not in self.spans, f"span {span.span_id.hex()} came twice")
                    self.require(bool(span.name), "a span without a name")
                    self.require(0 < span.start_time_unix_nano <= span.end_time_unix_nano, f"{span.name}: times")
                    self.attributes(span.attributes, span.name)
                    self.spans[key] = span.parent_span_id

    def take_logs(self, request) -> None:
        for of_resource in request.resource_logs:
            self.instance_of(of_resource.resource)
            for of_scope in of_resource.scope_logs:
                for record in of_scope.log_records:
                    self.events["logs"] += 1
                    self.require(record.time_unix_nano > 0, "a record without a time")
                    self.require(1 <= record.severity_number <= 24, f"severity {record.severity_number}")
                    self.require(record.body.WhichOneof("value") is not None, "a record without a body")
                    self.attributes(record.attributes, "log record")
                    if record.trace_id:
                        self.require_ids(record.trace_id, record.span_id, "log record")
                        self.correlated.add((record.trace_id, record.span_id))

    def require_ids(self, trace: bytes, span: bytes, where: str) -> None:
        is_valid = len(trace) == 16 and len(span) == 8 and any(trace) and any(span)
        self.require(is_valid, f"{where}: trace {trace.hex()!r}, span {span.hex()!r}")

    def orphans(self) -> list[bytes]:
        """Spans whose parent was not sent."""
        return [key[1] for key, parent in self.spans.items() if parent and (key[0], parent) not in self.spans]

    def unordered(self) -> list[str]:
        """Series whose times do not rise, or that fall without a new start."""
        found = []
        for series, points in self.series.items():
            for before, after in zip(points, points[1:]):
                if after[1] <= before[1] or after[0] < before[0] or (after[2] < before[2] and after[0] == before[0]):
                    found.append(f"{series[:2]}: {before} then {after}")
        return found
