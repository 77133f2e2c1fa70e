"""The pod of MyTSDB, rehearsed without a cluster: the containers of the rendered manifests, in a kubelet's order.

And the way from the OpenTelemetry Collector, with the settings of its rendered configuration, on OpenTelemetry's own SDK.
MYTSDB_REHEARSAL=full seeds as much as the manifest says (with a release build seconds, else minutes).
"""

import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import warnings

from harness import MYTSDB_BIN, ROOT, Server, wait_for
from wire import request as write_request
from wire import series

sys.path.insert(0, str(ROOT / "tests/deploy"))

import yaml  # noqa: E402 (needs the path above)
from grpc import Compression  # noqa: E402
from kubelet import ENTRYPOINT, ContainerFailed, Rehearsal  # noqa: E402
from model import of_kind, pods  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: E402
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler  # noqa: E402
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: E402
from opentelemetry.sdk.resources import Resource  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: E402
from render import DEPLOY, kustomize  # noqa: E402

FULL = os.environ.get("MYTSDB_REHEARSAL") == "full"
# 20 pods x 2 containers x 90 metrics x 432 times; the manifest's own: x 5760 times.
SMALL = {} if FULL else {"SEED_DAYS": "0.005", "SEED_SCRAPE_INTERVAL": "1s"}
SAMPLES = 20_736_000 if FULL else 20 * 2 * 90 * 432


def manifest_pod(overlay: str, name: str, documents: list[dict] | None = None) -> tuple[dict, dict[str, dict[str, str]]]:
    documents = documents or kustomize(DEPLOY / overlay)
    spec = next(pod.spec for pod in pods(documents) if pod.owner["metadata"]["name"] == name)
    return spec, {document["metadata"]["name"]: document.get("data", {}) for document in of_kind(documents, "ConfigMap")}


def ask(port: int, query: str, tenant: str | None = None) -> list:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"X-Scope-OrgID": tenant} if tenant else {})
    try:
        connection.request("POST", "/api/v1/query", urllib.parse.urlencode({"query": query}), headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return json.loads(body)["data"]["result"]
    finally:
        connection.close()


def number(port: int, query: str, tenant: str | None = None) -> float:
    """0 where there is nothing."""
    found = ask(port, query, tenant)
    return float(found[0]["value"][1]) if found else 0.0


def held_samples(port: int) -> int:
    """Samples of all series; name by name, as functions take the name away and series would be alike."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/api/v1/label/__name__/values")
    names = json.loads(connection.getresponse().read())["data"]
    connection.close()
    return sum(int(number(port, f"sum(count_over_time({name}[2d]))")) for name in names)


def write_one(port: int, name: str) -> int:
    """Status of a remote write of one sample."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = write_request(series({"__name__": name}, [(int(time.time() * 1000), 1.0)]))
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    try:
        connection.request("POST", "/api/v1/write", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


class SeededPod(unittest.TestCase):
    def setUp(self) -> None:
        spec, config_maps = manifest_pod("kind/overlays/seeded", "mytsdb")
        self.pod = Rehearsal(spec, config_maps, MYTSDB_BIN.parent, SMALL)
        self.addCleanup(self.pod.close)
        self.http = self.pod.ports[9090]

    def test_it_is_ready_after_the_seed_and_not_before(self) -> None:
        seen = []

        def look(container: dict) -> None:
            seen.append(container["name"])
            self.assertFalse(self.pod.is_ready(), f"ready before {container['name']}")
            if container["name"] == "seed":
                server = self.pod.spec["initContainers"][1]
                self.assertTrue(self.pod.probe(server, "readinessProbe"), "the server itself is ready before the seed")
                self.assertEqual(held_samples(self.http), 0)

        written = self.pod.initialize(look)
        self.assertEqual(seen, ["wipe-data", "mytsdb", "seed"])
        self.assertIn(f"seeded {SAMPLES} samples", written["seed"])
        self.assertFalse(self.pod.is_ready(), "ready without its main container")
        held = held_samples(self.http)
        self.assertEqual(held, SAMPLES)
        self.pod.start_main()
        wait_for("the pod to be ready", self.pod.is_ready)
        server = self.pod.spec["initContainers"][1]
        self.assertTrue(self.pod.probe(server, "livenessProbe"))
        # The seeded cluster lives on.
        wait_for("samples after the seed", lambda: held_samples(self.http) > held)
        self.pod.running["follow"].check_alive()

    def test_the_same_pod_started_again_is_wiped_and_seeded_once_more(self) -> None:
        self.pod.initialize()
        self.assertEqual(write_one(self.http, "left_over"), 204)
        self.assertEqual(number(self.http, "count(left_over)"), 1)
        self.pod.stop()
        self.assertTrue(any(self.pod.volumes["data"].iterdir()))
        self.pod.initialize()
        self.assertEqual(number(self.http, "count(left_over)"), 0)
        self.assertEqual(held_samples(self.http), SAMPLES)

    def test_verify_finds_what_is_there_and_misses_what_is_not(self) -> None:
        """`make verify` on a pod without the rest of the cluster: the seed's checks pass, the sample app's fail."""
        self.pod.initialize()
        urls = {"MYTSDB_URL": f"http://127.0.0.1:{self.http}", "GRAFANA_URL": "http://127.0.0.1:1"}
        done = subprocess.run([DEPLOY / "install.sh", "verify"], env=os.environ | urls, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        for line in ["ok      seeded containers (Arrow Flight): 40", "ok      CPU by pod, a range as dashboards ask: 20",
                     "ok      p99 latency from histograms: 10", "FAILED  spans of tenant1: nothing", "FAILED  GPUs: nothing",
                     "FAILED  dashboards in Grafana: 0"]:
            self.assertIn(line, done.stdout)

    def test_a_seed_that_fails_leaves_the_pod_not_ready(self) -> None:
        """The server ends while it is seeded: the seed ends with an error, so nothing after it begins."""
        self.pod.variables = {**SMALL, "SEED_CONNECT_TIMEOUT": "1s"}

        def end_server(container: dict) -> None:
            if container["name"] == "seed":
                self.pod.running["mytsdb"].stop(signal.SIGKILL)

        with self.assertRaisesRegex(ContainerFailed, "seed ended with"):
            self.pod.initialize(end_server)
        self.assertFalse(self.pod.is_ready())


class PersistentPod(unittest.TestCase):
    def test_it_keeps_what_was_written(self) -> None:
        spec, config_maps = manifest_pod("kind/overlays/persistent", "mytsdb")
        pod = Rehearsal(spec, config_maps, MYTSDB_BIN.parent)
        self.addCleanup(pod.close)
        pod.initialize()
        pod.start_main()
        wait_for("the pod to be ready", pod.is_ready)
        http_port = pod.ports[9090]
        self.assertEqual(write_one(http_port, "kept"), 204)
        pod.stop()
        pod.initialize()
        pod.start_main()
        wait_for("the pod to be ready again", pod.is_ready)
        self.assertEqual(number(http_port, "count(kept)"), 1)


class Senders(unittest.TestCase):
    """What sends to MyTSDB in the cluster, with the very arguments and files of the manifests."""

    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.close)
        self.http = int(self.server.http.rpartition(":")[2])

    def rehearse(self, overlay: str, name: str) -> Rehearsal:
        spec, config_maps = manifest_pod(overlay, name)
        pod = Rehearsal(spec, config_maps, MYTSDB_BIN.parent, addresses={"mytsdb:4317": self.server.addresses["otlp_grpc"]})
        self.addCleanup(pod.close)
        return pod

    def test_the_gpu_replay_sends_every_gpu_of_its_file(self) -> None:
        pod = self.rehearse("kind/overlays/seeded", "gpu-replay")
        pod.initialize()
        pod.start_main()
        wait_for("all GPUs", lambda: number(self.http, 'count(DCGM_FI_DEV_GPU_TEMP{UUID!="",instance!=""})') == 8)
        wait_for("the pod to be ready", pod.is_ready)

    def test_the_load_makes_its_templates_and_sends_them_into_its_tenant(self) -> None:
        pod = self.rehearse("kind/overlays/seeded", "load")
        pod.initialize()
        self.assertTrue(any(pod.volumes["templates"].iterdir()))
        pod.start_main()
        wait_for("the pod to be ready", pod.is_ready)
        wait_for("its series", lambda: number(self.http, 'count({__name__=~".+"})', "load") > 0)
        self.assertEqual(number(self.http, 'count({__name__=~".+"})'), 0, "the tenant anonymous has none")

    def test_the_log_load_writes_lines_for_its_agent(self) -> None:
        pod = self.rehearse("examples", "log-load")
        pod.start_main()
        log = pod.volumes["logs"] / "load.log"
        wait_for("lines", lambda: log.exists() and log.stat().st_size > 100_000)
        pod.running["load"].check_alive()


class Image(unittest.TestCase):
    def test_the_entry_point_is_the_one_that_is_rehearsed(self) -> None:
        found = re.search(r"^ENTRYPOINT (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        self.assertEqual(json.loads(found[1]), ENTRYPOINT)

    def test_every_program_of_the_manifests_is_a_tool(self) -> None:
        """What a container of our image starts is the server, a tool, or `find`, which every Debian has."""
        tools = {path.stem for path in (ROOT / "tools/src/bin").glob("*.rs")} | {"mytsdb", "find"}
        for overlay in ("kind/overlays/seeded", "kind/overlays/persistent", "examples"):
            for pod in pods(kustomize(DEPLOY / overlay)):
                for container in pod.containers:
                    if container["image"].startswith("mytsdb:"):
                        self.assertIn(container.get("command", ENTRYPOINT)[0], tools, f"{pod.name}: {container['name']}")


class CollectorPath(unittest.TestCase):
    """What the Collector of the manifests would send, sent by OpenTelemetry's SDK: same headers, compression and batches."""

    @classmethod
    def setUpClass(cls) -> None:
        documents = kustomize(DEPLOY / "kind/overlays/seeded")
        _, config_maps = manifest_pod("", "otel-collector", documents)
        cls.config = yaml.safe_load(next(d["collector.yaml"] for d in config_maps.values() if "collector.yaml" in d))
        settings = next(data["mytsdb.yaml"] for name, data in config_maps.items() if name.startswith("mytsdb-config"))
        cls.file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        cls.file.write(settings)
        cls.file.flush()
        cls.server = Server(f"--config={cls.file.name}")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()
        cls.file.close()

    def exporter(self, kind: type, tenant: str, **more: object):
        otlp = self.config["exporters"]["otlp"]
        self.assertEqual(otlp["tls"], {"insecure": True})
        [header] = self.config["extensions"]["headers_setter"]["headers"]
        self.assertEqual(otlp["auth"]["authenticator"], "headers_setter")
        return kind(
            endpoint="http://" + self.server.addresses["otlp_grpc"],
            insecure=True,
            headers=((header["key"].lower(), tenant),),
            compression={"gzip": Compression.Gzip, "none": Compression.NoCompression}[otlp["compression"]],
            timeout=float(otlp["timeout"].removesuffix("s")),
            **more,
        )

    def http_port(self) -> int:
        return int(self.server.http.rpartition(":")[2])

    def test_metrics_of_two_tenants_in_full_batches(self) -> None:
        batch = self.config["processors"]["batch"]["send_batch_max_size"]
        # One batch that is full and a second one; one that is not. The SDK keeps at most 2,000 points of an instrument.
        counts = {"tenant1": batch + 2_000, "tenant2": 1_000}
        for tenant, count in counts.items():
            resource = Resource.create({"service.name": "sender-service", "service.instance.id": "pod", "tenant.id": tenant,
                                        "k8s.namespace.name": f"{tenant}-demo"})
            exporter = self.exporter(OTLPMetricExporter, tenant, max_export_batch_size=batch)
            reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
            provider = MeterProvider([reader], resource=resource)
            meter = provider.get_meter("test")
            for instrument in range(count // 1_000):
                counter = meter.create_counter(f"http.requests.{instrument}")
                for index in range(1_000):
                    counter.add(1, {"index": index})
            self.assertTrue(provider.force_flush())
            provider.shutdown()
        counters = '{__name__=~"http_requests_[0-9]+_total"}'
        for tenant, count in counts.items():
            found = ask(self.http_port(), f"count by (tenant_id, k8s_namespace_name) ({counters})", tenant)
            self.assertEqual([(s["metric"]["tenant_id"], s["metric"]["k8s_namespace_name"], float(s["value"][1])) for s in found],
                             [(tenant, f"{tenant}-demo", count)])
        self.assertEqual(number(self.http_port(), f"count({counters})"), 0, "the tenant anonymous has none")

    def test_traces_and_logs_are_counted_for_their_tenant(self) -> None:
        batch = self.config["processors"]["batch"]["send_batch_size"]
        resource = Resource.create({"service.name": "receiver-service", "service.instance.id": "pod"})
        spans = TracerProvider(resource=resource)
        spans.add_span_processor(BatchSpanProcessor(self.exporter(OTLPSpanExporter, "tenant1"), max_queue_size=2 * batch,
                                                    max_export_batch_size=batch))
        tracer = spans.get_tracer("test")
        for _ in range(batch + 10):
            tracer.start_span("POST /process").end()
        self.assertTrue(spans.force_flush())
        spans.shutdown()
        logs = LoggerProvider(resource=resource)
        logs.add_log_record_processor(BatchLogRecordProcessor(self.exporter(OTLPLogExporter, "tenant1")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            handler = LoggingHandler(logger_provider=logs)
        logger = logging.getLogger("test_kubernetes")
        logger.propagate = False
        logger.addHandler(handler)
        for _ in range(25):
            logger.warning("slow")
        logger.removeHandler(handler)
        self.assertTrue(logs.force_flush())
        logs.shutdown()
        wait_for("the spans", lambda: number(self.http_port(), "sum(increase(traces_span_metrics_calls_total[5m]))", "tenant1"))
        for query, count in [("sum(sum_over_time(traces_span_metrics_calls_total[5m]))", batch + 10),
                             ('sum(sum_over_time(log_record_count_total{severity="WARN"}[5m]))', 25)]:
            self.assertEqual(number(self.http_port(), query, "tenant1"), count, query)
            self.assertEqual(number(self.http_port(), query, "tenant2"), 0, query)

    def test_the_second_way_is_remote_write_into_a_tenant_of_its_own(self) -> None:
        exporter = self.config["exporters"]["prometheusremotewrite"]
        path = urllib.parse.urlsplit(exporter["endpoint"]).path
        body = write_request(series({"__name__": "http_requests_total", "job": "sender-service"},
                                           [(int(time.time() * 1000), 7.0)]))
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                   "X-Prometheus-Remote-Write-Version": "0.1.0", **exporter["headers"]}
        status, answer = self.server.request("POST", path, body, headers)
        self.assertEqual(status, 204, answer)
        tenant = exporter["headers"]["X-Scope-OrgID"]
        self.assertEqual(number(self.http_port(), "sum(http_requests_total)", tenant), 7)

