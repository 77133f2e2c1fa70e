"""Slow clients and floods of HTTP/2 frames: others are served, memory and descriptors stay bounded.

Latencies are printed, not asserted: the clients here share the machine with the server. MYTSDB_FLOOD_PROBES=2000 makes them
steady.
"""

import os
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import grpc
import http2
import wire
from harness import Server, wait_for
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc

MIB = 1 << 20
FLOODER = Path(__file__).parent / "flooder.py"
PORTS = ["http", "otlp_http", "otlp_grpc", "arrow"]
IDLE_COUNT, DRIP_COUNT = 1_000, 200
PROBE_COUNT = int(os.environ.get("MYTSDB_FLOOD_PROBES", "200"))
MEMORY_GROWTH_MAX = 128 * MIB
DESCRIPTORS_MAX = 2_048 + 256

OTLP_PATH = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
PATHS = {
    "http": "/api/v1/labels",
    "otlp_http": "/v1/metrics",
    "otlp_grpc": OTLP_PATH,
    "arrow": "/arrow.flight.protocol.FlightService/DoAction",
}
HTTP_PORTS = ("http", "otlp_http")


def setUpModule() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Probe:
    """A client that behaves: queries, writes and exports, one after the other."""

    def __init__(self, server: Server):
        self.server = server
        self.channel = grpc.insecure_channel(server.addresses["otlp_grpc"])
        self.stub = metrics_grpc.MetricsServiceStub(self.channel)

    def once(self) -> None:
        now_ms = int(time.time() * 1000)
        assert self.server.request("GET", "/api/v1/query?query=probe")[0] == 200
        assert self.server.write(wire.request(wire.series({"__name__": "probe"}, [(now_ms, 1.0)])))[0] == 204
        self.stub.Export(metrics_service.ExportMetricsServiceRequest(), timeout=60)

    def p99_ms(self) -> float:
        """Of so many rounds of the three requests."""
        elapsed = []
        for _ in range(PROBE_COUNT):
            started = time.monotonic()
            self.once()
            elapsed.append((time.monotonic() - started) * 1000)
        return statistics.quantiles(elapsed, n=100)[98]


class Floods(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server("--http-read-timeout=10s")
        self.pid = self.server.process.child.pid
        self.probe = Probe(self.server)
        self.probe.p99_ms()  # what every server takes with its first requests does not count
        self.memory_before = self.resident()
        self.descriptors_before = self.descriptors()
        self.before_ms = self.probe.p99_ms()

    def tearDown(self) -> None:
        self.server.process.check_alive()
        self.probe.channel.close()
        self.server.close()

    def resident(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def address(self, port: str) -> tuple[str, int]:
        host, number = self.server.addresses[port].split(":")
        return host, int(number)

    def report(self, name: str, during_ms: float) -> None:
        growth, descriptors = self.resident() - self.memory_before, self.descriptors()
        print(
            f"{name}: p99 {self.before_ms:.1f} ms before, {during_ms:.1f} ms during (x {during_ms / self.before_ms:.2f}), "
            f"+{growth / MIB:.1f} MiB, {descriptors} descriptors",
            flush=True,
        )
        self.assertLessEqual(growth, MEMORY_GROWTH_MAX, name)
        self.assertLessEqual(descriptors, DESCRIPTORS_MAX, name)

    def slow_clients(self, port: str) -> None:
        opening = b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\n" + b"X-Pad: " + b"x" * 4_000
        if port not in HTTP_PORTS:
            opening = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + b"\0" * 4_000
        idle, drips = [], []
        try:
            for _ in range(IDLE_COUNT):
                idle.append(socket.create_connection(self.address(port), timeout=60))
            for _ in range(DRIP_COUNT):
                drips.append(socket.create_connection(self.address(port), timeout=60))
            stop = threading.Event()

            def drip() -> None:
                position = 0
                while not stop.wait(1):
                    for connection in drips:
                        try:
                            connection.send(opening[position : position + 1])
                        except OSError:
                            pass  # the server had enough
                    position += 1

            thread = threading.Thread(target=drip)
            thread.start()
            during_ms = self.probe.p99_ms()
            self.report(f"{port}: {IDLE_COUNT} idle and {DRIP_COUNT} dripping connections", during_ms)
            # They are all closed in the end: who has not asked within the limit goes.
            closed = selectors.DefaultSelector()
            for connection in idle + drips:
                connection.setblocking(False)
                closed.register(connection, selectors.EVENT_READ)

            def are_all_closed() -> bool:
                for key, _ in closed.select(1):
                    try:
                        if key.fileobj.recv(65_536):
                            continue
                    except BlockingIOError:
                        continue
                    except OSError:
                        pass
                    closed.unregister(key.fileobj)
                return not closed.get_map()

            wait_for("the server to close them", are_all_closed)
            stop.set()
            thread.join()
            wait_for("the descriptors", lambda: self.descriptors() <= self.descriptors_before + 16)
        finally:
            for connection in idle + drips:
                connection.close()

    def test_slow_clients_of_http(self) -> None:
        self.slow_clients("http")

    def test_slow_clients_of_otlp_http(self) -> None:
        self.slow_clients("otlp_http")

    def test_slow_clients_of_otlp(self) -> None:
        self.slow_clients("otlp_grpc")

    def test_slow_clients_of_flight(self) -> None:
        self.slow_clients("arrow")

    def flood(self, kind: str) -> None:
        """Floods every port, one after the other, while the probe works."""
        for port in PORTS:
            headers = [] if port in HTTP_PORTS else ["content-type=application/grpc", "te=trailers"]
            command = [sys.executable, str(FLOODER), kind, self.server.addresses[port], PATHS[port], *headers]
            flooder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                self.assertEqual(flooder.stdout.readline(), "ready\n")
                flooder.send_signal(signal.SIGSTOP)
                self.before_ms = self.probe.p99_ms()
                flooder.send_signal(signal.SIGCONT)
                during_ms = self.probe.p99_ms()
                summary, _ = flooder.communicate("", timeout=60)
            finally:
                flooder.kill()
                flooder.wait()
            self.assertEqual(flooder.returncode, 0)
            self.report(f"{port}: {kind}, {summary.strip()}", during_ms)

    def open(self, port: str) -> http2.Connection:
        return http2.Connection(self.server.addresses[port])

    def headers(self, connection: http2.Connection, port: str, is_last: bool = False) -> tuple[int, bytes]:
        extra = {"content-type": "application/grpc", "te": "trailers"} if port not in HTTP_PORTS else {}
        return connection.headers(PATHS[port], extra, is_last)

    def test_rapid_reset(self) -> None:
        self.flood("rapid-reset")

    def test_continuation_flood(self) -> None:
        for port in PORTS:
            connection = self.open(port)
            stream, opening = self.headers(connection, port)
            endless = bytearray(opening)
            endless[4] &= ~http2.END_HEADERS
            connection.socket.sendall(endless)
            sent = 0
            junk = connection.encoder.encode([("x-junk", "j" * 12_000)])
            is_closed = False
            while sent < 64 * MIB and not is_closed:
                try:
                    connection.socket.sendall(http2.frame(http2.CONTINUATION, 0, stream, junk) * 8)
                    sent += 8 * len(junk)
                except OSError:
                    is_closed = True
            is_closed = is_closed or connection.is_closed_within(30)
            self.assertTrue(is_closed, f"{port} takes {sent} bytes of headers and goes on")
            connection.close()
            self.report(f"{port}: CONTINUATION flood, closed after {sent / MIB:.1f} MiB", self.probe.p99_ms())

    def test_pings(self) -> None:
        self.flood("pings")

    def test_settings_flood(self) -> None:
        self.flood("settings")

    def test_a_connection_has_only_so_many_streams(self) -> None:
        for port in PORTS:
            connection = self.open(port)
            streams = [self.headers(connection, port) for _ in range(400)]
            connection.socket.sendall(b"".join(opening for _, opening in streams))
            refused = 0
            while refused < 400 - 256:
                kind, _, _, payload = connection.read_frame()
                if kind == http2.RST_STREAM and int.from_bytes(payload, "big") == 7:  # REFUSED_STREAM
                    refused += 1
                self.assertNotEqual(kind, http2.GOAWAY, port)
            connection.close()
            self.probe.once()

    def test_a_lack_of_descriptors_is_survived(self) -> None:
        few = self.descriptors() + 40
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (few, hard))
        connections = [
            socket.create_connection(self.address(port), timeout=60) for port in PORTS for _ in range(100)
        ]
        wait_for("the lack", lambda: "cannot accept connections" in self.server.process.log.read_text())
        self.server.process.check_alive()
        for connection in connections:
            connection.close()
        self.probe.once()
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (hard, hard))
        self.probe.once()
