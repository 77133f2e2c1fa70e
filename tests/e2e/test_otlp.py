"""OpenTelemetry's own Python SDK over gRPC, read back with PromQL under Prometheus' names."""

import json
import time

from harness import ServerCase, wait_for
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from pyarrow import flight


class OtlpSdk(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.before_s = time.time()
        endpoint = "http://" + cls.server.addresses["otlp_grpc"]
        exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        resource = Resource.create(
            {"service.name": "checkout", "service.namespace": "shop", "service.instance.id": "pod-7"}
        )
        provider = MeterProvider(metric_readers=[reader], resource=resource)
        meter = provider.get_meter("e2e")
        meter.create_gauge("pool.size", unit="By").set(4_096, {"pool": "main"})
        counter = meter.create_counter("requests.handled")
        counter.add(3, {"http.route": "/pay"})
        counter.add(4, {"http.route": "/pay"})
        latency = meter.create_histogram(
            "request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
        )
        for seconds in (0.05, 0.5, 0.5, 5.0):
            latency.record(seconds)
        provider.force_flush()
        provider.shutdown()
        wait_for("the gauge", lambda: cls.server.instant("pool_size_bytes"))

    def test_a_gauge_has_its_unit_in_its_name_and_the_service_in_its_labels(self) -> None:
        (series,) = self.server.instant("pool_size_bytes")
        self.assertEqual(float(series["value"][1]), 4_096)
        labels = series["metric"]
        self.assertEqual(labels["job"], "shop/checkout")
        self.assertEqual(labels["instance"], "pod-7")
        self.assertEqual(labels["pool"], "main")

    def test_a_counter_ends_in_total_and_its_attribute_is_a_label(self) -> None:
        (series,) = self.server.instant('requests_handled_total{http_route="/pay"}')
        self.assertEqual(float(series["value"][1]), 7)

    def test_a_histogram_is_cumulative_buckets_with_sum_and_count(self) -> None:
        buckets = {
            series["metric"]["le"]: float(series["value"][1])
            for series in self.server.instant("request_duration_seconds_bucket")
        }
        self.assertEqual({float(le): count for le, count in buckets.items()}, {0.1: 1, 1.0: 3, float("inf"): 4})
        self.assertEqual(self.server.value("request_duration_seconds_count"), 4)
        self.assertAlmostEqual(self.server.value("request_duration_seconds_sum"), 6.05)
        self.assertAlmostEqual(
            self.server.value("histogram_quantile(0.5, request_duration_seconds_bucket)"), 0.55
        )

    def test_what_counts_says_when_counting_began_and_a_gauge_does_not(self) -> None:
        client = flight.connect(self.server.flight)
        ticket = json.dumps({"table": "samples", "start_timestamps": True}).encode()
        rows = client.do_get(flight.Ticket(ticket)).read_all().to_pylist()
        client.close()
        starts: dict[str, set] = {}
        for row in rows:
            starts.setdefault(dict(row["labels"])["__name__"], set()).add(row["start_timestamp"])
        for name in ("pool_size_bytes", "target_info"):
            self.assertEqual(starts[name], {None}, name)
        for name in ("requests_handled_total", "request_duration_seconds_bucket", "request_duration_seconds_sum"):
            (start,) = starts[name]
            # Milliseconds, rounded down.
            self.assertTrue(self.before_s - 0.001 <= start.timestamp() <= time.time(), f"{name}: {start}")

    def test_the_resource_is_target_info(self) -> None:
        (series,) = self.server.instant('target_info{job="shop/checkout"}')
        self.assertEqual(float(series["value"][1]), 1)
