"""OpenTelemetry's own Python SDK over HTTP: the same numbers as over gRPC, in every encoding; every refusal's code."""

import gzip
import http.client
import json
import time
import urllib.parse
import zlib

import grpc
from google.protobuf import json_format
from harness import WAIT_SECONDS, ServerCase
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.resources import Resource

PROTOBUF, JSON = "application/x-protobuf", "application/json"


def recorded():
    """What a program with every kind of instrument has recorded."""
    reader = InMemoryMetricReader()
    resource = Resource.create({"service.name": "checkout", "service.instance.id": "pod-7", "host.name": "h1"})
    meter = MeterProvider(metric_readers=[reader], resource=resource).get_meter("e2e")
    meter.create_gauge("pool.size", unit="By").set(0.1 + 0.2, {"pool": "main"})
    meter.create_counter("requests.handled").add(7, {"http.route": "/pay", "ok": True, "codes": [1, 2]})
    meter.create_up_down_counter("queue.length").add(-3)
    meter.create_observable_gauge("room.temperature", [lambda _: [Observation(-1e-300)]], unit="Cel")
    meter.create_observable_counter("cpu.time", [lambda _: [Observation(2**53 - 1, {"cpu": 0})]], unit="s")
    latency = meter.create_histogram("request.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for seconds in (0.05, 0.5, 0.5, 5.0):
        latency.record(seconds)
    return reader.get_metrics_data()


class OtlpHttp(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.recorded = recorded()
        exporter = GrpcExporter("http://" + cls.server.addresses["otlp_grpc"], insecure=True, headers=cls.tenant("grpc"))
        assert exporter.export(cls.recorded) is MetricExportResult.SUCCESS
        exporter.shutdown()
        cls.expected = cls.series("grpc")
        assert len(cls.expected) >= 12, cls.expected

    @staticmethod
    def tenant(name: str) -> dict:
        return {"x-scope-orgid": name}

    @classmethod
    def series(cls, tenant: str) -> dict[str, str]:
        """Labels and value of everything that a tenant has."""
        form = urllib.parse.urlencode({"query": '{__name__=~".+"}', "time": time.time()}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | cls.tenant(tenant)
        status, body = cls.server.request("POST", "/api/v1/query", form, headers)
        assert status == 200, body
        result = json.loads(body)["data"]["result"]
        return {json.dumps(one["metric"], sort_keys=True): one["value"][1] for one in result}

    def post(self, body: bytes, path: str = "/v1/metrics", **headers: str) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection(self.server.addresses["otlp_http"], timeout=WAIT_SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, named)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def test_the_exporter_gives_the_same_series_as_over_grpc(self) -> None:
        for compression in Compression:
            for prefix, address in (("", "otlp_http"), ("/api/v1/otlp", "http")):
                tenant = f"http-{compression.value}-{address}"
                exporter = HttpExporter(
                    f"http://{self.server.addresses[address]}{prefix}/v1/metrics",
                    headers=self.tenant(tenant),
                    compression=compression,
                )
                self.assertIs(exporter.export(self.recorded), MetricExportResult.SUCCESS)
                exporter.shutdown()
                self.assertEqual(self.series(tenant), self.expected, tenant)

    def test_json_gives_the_same_series_as_over_grpc(self) -> None:
        request = encode_metrics(self.recorded)
        packings = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
        for has_numbers in (True, False):
            text = json_format.MessageToJson(request, use_integers_for_enums=has_numbers).encode()
            for encoding, pack in packings.items():
                tenant = f"json-{encoding}-{has_numbers}"
                status, headers, body = self.post(
                    pack(text), content_type=JSON, content_encoding=encoding, x_scope_orgid=tenant
                )
                self.assertEqual((status, body), (200, b"{}"))
                self.assertEqual(headers["content-type"], JSON)
                self.assertEqual(self.series(tenant), self.expected, tenant)

    def test_refusals_have_their_codes(self) -> None:
        good = encode_metrics(self.recorded).SerializeToString()
        invalid, exhausted = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
        # The limit is 64 MiB; zeros of three times that are small when compressed.
        bomb = gzip.compress(bytes(192 << 20), 1)
        for status, code, body, headers in [
            (400, invalid, b"\xff", {"content_type": JSON}),
            (400, invalid, good[:-1], {"content_type": JSON}),
            (415, invalid, good, {"content_type": "text/plain"}),
            (415, invalid, good, {"content_type": JSON, "content_encoding": "br"}),
            (400, invalid, good, {"content_type": JSON, "content_encoding": "gzip"}),
            (400, invalid, good, {"content_type": JSON, "x_scope_orgid": "../etc"}),
            (413, exhausted, bomb, {"content_type": JSON, "content_encoding": "gzip"}),
        ]:
            found, answered, answer = self.post(body, **headers)
            self.assertEqual(found, status, answer)
            self.assertEqual(answered["content-type"], JSON)
            self.assertEqual(json.loads(answer)["code"], code.value[0], answer)
        self.assertEqual(self.post(good[:-1], content_type=PROTOBUF)[0], 400)
        self.assertEqual(self.post(b"", path="/v1/nothing")[0], 404)
