"""Debian's Prometheus scrapes and sends what it finds by remote write, also while the server is killed again and again."""

import json
import signal
import socket
import struct
import threading
import unittest
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import wire
from harness import PROMETHEUS_BIN, Process, Server, ServerCase, wait_for

CONFIG = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}, external_labels: {{sender: debian}}}}
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: ["{target}"]}}]
remote_write:
  - url: http://{server}/api/v1/write
    send_native_histograms: true
    queue_config: {{batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 100ms, max_samples_per_send: 200}}
"""

# How often the server is killed while Prometheus sends.
KILL_COUNT = 4
# Scrapes that the target answers between two kills.
SCRAPES_PER_KILL = 12
SERIES_COUNT = 50


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    """The real Prometheus, with one target and one receiver."""

    def __init__(self, folder: Path, **settings: str):
        assert PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(**settings))
        self.address = f"127.0.0.1:{free_port()}"
        flags = [
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--enable-feature=native-histograms",
        ]
        self.process = Process([PROMETHEUS_BIN, *flags], folder / "log")

    def instant(self, promql: str) -> list:
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{query}", timeout=30) as response:
            return json.load(response)["data"]["result"]


class PrometheusRemoteWrite(ServerCase):
    def test_what_prometheus_scrapes_and_sends_can_be_queried(self) -> None:
        http = self.server.http
        folder = self.server.folder / "prometheus"
        prometheus = Prometheus(folder, interval="500ms", job="mytsdb", target=http, server=http)

        def has_three_scrapes() -> bool:
            prometheus.process.check_alive()
            result = self.server.instant('count_over_time(up{job="mytsdb", sender="debian"}[1h])')
            return bool(result) and float(result[0]["value"][1]) >= 3

        try:
            wait_for("three scrapes sent by Prometheus", has_three_scrapes)
            self.assertEqual(self.server.value('up{job="mytsdb"}'), 1)
            accepted = self.server.value('sum(mytsdb_accepted_samples_total{job="mytsdb"})')
            self.assertGreaterEqual(accepted, 1)
            self.assertGreater(self.server.value("scrape_samples_scraped"), 1)
        finally:
            self.assertEqual(prometheus.process.stop(), 0)


def number(position: int, value: int) -> bytes:
    return wire.varint(position << 3) + wire.varint(value)


def double(position: int, value: float) -> bytes:
    return wire.varint(position << 3 | 1) + struct.pack("<d", value)


def family(name: str, kind: int, *metrics: bytes) -> bytes:
    """A length-delimited `io.prometheus.client.MetricFamily`."""
    content = wire.field(1, name.encode()) + number(3, kind) + b"".join(wire.field(4, metric) for metric in metrics)
    return wire.varint(len(content)) + content


def exposition(scrape: int) -> bytes:
    """Gauges that say which scrape this is, and a native histogram that has observed as much."""
    gauges = []
    for index in range(SERIES_COUNT):
        label = wire.field(1, wire.field(1, b"i") + wire.field(2, str(index).encode()))
        gauges.append(label + wire.field(2, double(1, scrape * 1000 + index)))
    # Schema 0: `scrape` observations in each of two buckets beside each other, one at zero.
    span = number(1, 2) + number(2, 2)
    histogram = number(1, 2 * scrape + 1) + double(2, 1.5 * scrape) + number(5, 0) + double(6, 0.001) + number(7, 1)
    histogram += wire.field(12, span) + wire.varint(13 << 3) + wire.zigzag(scrape) + wire.varint(13 << 3) + wire.zigzag(0)
    return family("scrape_number", 1, *gauges) + family("observed", 4, wire.field(7, histogram))


class Target:
    """Something to scrape that tells how often it was."""

    def __init__(self) -> None:
        self.scrape_count = 0
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target.scrape_count += 1
                body = exposition(target.scrape_count)
                self.send_response(200)
                media = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class PrometheusAcrossKills(unittest.TestCase):
    def test_no_sample_and_no_native_histogram_is_lost_while_the_server_is_killed(self) -> None:
        server, target = Server(), Target()
        folder = server.folder / "prometheus"
        prometheus = Prometheus(folder, interval="100ms", job="counted", target=target.address, server=server.http)

        def has_scrapes(scrape_count: int) -> bool:
            prometheus.process.check_alive()
            return target.scrape_count >= scrape_count

        def newest(where) -> float:
            result = where.instant('max(scrape_number{i="0"})')
            return float(result[0]["value"][1]) if result else 0.0

        try:
            wait_for("the first samples to arrive", lambda: newest(server) > 0)
            for _ in range(KILL_COUNT):
                scrape_count = target.scrape_count + SCRAPES_PER_KILL
                wait_for(f"scrape {scrape_count}", lambda: has_scrapes(scrape_count))
                server.restart(signal.SIGKILL)
            scrape_count = target.scrape_count + SCRAPES_PER_KILL
            wait_for(f"scrape {scrape_count}", lambda: has_scrapes(scrape_count))
            target.close()
            # A scrape that fails ends the series: from then on Prometheus has no more than it has now.
            wait_for("the target to be down", lambda: prometheus.instant('up{job="counted"} == 0'))
            wait_for("the end of the series", lambda: server.instant('up{job="counted"} == 0'))
            for name in ("scrape_number", "observed"):
                expected, found = self.everything(prometheus, name), self.everything(server, name)
                self.assertEqual(found.keys(), expected.keys())
                for labels, samples in expected.items():
                    self.assertEqual(found[labels], samples, f"{name}{labels}")
            counts = [len(samples) for samples in self.everything(server, "observed").values()]
            self.assertEqual(len(counts), 1)
            self.assertGreaterEqual(counts[0], (KILL_COUNT + 1) * SCRAPES_PER_KILL)
            self.assertIn("buckets", self.everything(server, "observed").popitem()[1][-1][1])
        finally:
            self.assertEqual(prometheus.process.stop(), 0)
            server.close()

    def everything(self, where, name: str) -> dict[tuple, list]:
        """All samples of a metric by labels, but for the label that Prometheus adds when it sends."""
        found = {}
        for series in where.instant(f"{name}[1h]"):
            labels = tuple(sorted(pair for pair in series["metric"].items() if pair[0] != "sender"))
            found[labels] = series.get("values", []) + series.get("histograms", [])
        return found
