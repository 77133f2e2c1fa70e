"""Fills a server with what the dashboards show: a seeded cluster, GPUs, a load test, the sample app, its own metrics.

Input: a running server, and how much of everything. Output: series of now, and a Prometheus that goes on scraping the server
and writing back to it. Used by the tests of the dashboards and by scripts/render-dashboards.py.
Not here: what is asked and checked.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import wire
from harness import GENERATOR_BIN, MYTSDB_BIN, PROMETHEUS_BIN, Process, Server, wait_for

PROMETHEUS_CONFIG = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}
scrape_configs:
  - job_name: mytsdb
    static_configs: [{{targets: ["{server}"]}}]
  - job_name: telemetry-sender
    static_configs: [{{targets: ["127.0.0.1:{sender_port}"]}}]
remote_write:
  - url: http://{server}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""
# Remote write refuses them one by one: much too far ahead of the clock, a year too old for 15 days of retention.
AHEAD_MS, OLD_MS = 7 * 86_400_000, -400 * 86_400_000
# Load goes to a tenant of its own, so that it does not stand beside what the dashboards show.
LOAD_TENANT = "load"


def tool(name: str) -> Path:
    """A program of the same build as the server; `TOOLS_BIN` says another folder."""
    return Path(os.environ.get("TOOLS_BIN", MYTSDB_BIN.parent)) / name


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    """Debian's, which scrapes the server and a load generator and writes what it finds to the server."""

    def __init__(self, server: Server, interval: str):
        assert PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test"
        folder = server.folder / "own-metrics"
        folder.mkdir()
        config = folder / "prometheus.yml"
        self.sender_port = free_port()
        settings = {"server": server.http, "interval": interval, "sender_port": self.sender_port}
        config.write_text(PROMETHEUS_CONFIG.format(**settings))
        self.address = f"127.0.0.1:{free_port()}"
        flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.address}"]
        self.process = Process([PROMETHEUS_BIN, *flags], folder / "log")

        def is_ready() -> bool:
            self.process.check_alive()
            return self.status("/-/ready")[0] == 200

        wait_for("Prometheus to be ready", is_ready)

    def status(self, path: str, form: dict | None = None) -> tuple[int, str]:
        body = urllib.parse.urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", body, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError as error:
            return 0, str(error)

    def parse_error(self, promql: str) -> str:
        """What it says about a query that it cannot parse; empty if it can."""
        status, text = self.status("/api/v1/query", {"query": promql})
        if status == 400:
            return json.loads(text)["error"]
        assert status == 200, text
        return ""

    def stop(self) -> None:
        assert self.process.stop() == 0, self.process.log.read_text()[-2000:]


def seed_cluster(server: Server, *flags: str) -> str:
    """Runs the seed tool until now; returns its last line."""
    arguments = ["--endpoint", "http://" + server.addresses["arrow"], "--http-endpoint", "http://" + server.http]
    ended = subprocess.run([GENERATOR_BIN, *arguments, *flags], capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip().splitlines()[-1]


def record_gpus(server: Server, count: int) -> Path:
    """A made-up recording of so many GPUs; a row for each of their metrics."""
    path = server.folder / "gpus.csv"
    with open(path, "wb") as out:
        subprocess.run([tool("gpu-csv-replay"), "sample", "--gpus", str(count)], stdout=out, check=True, timeout=60)
    return path


def replay_gpus(server: Server, recording: Path, *flags: str) -> Process:
    """Plays it over OTLP."""
    endpoint = "http://" + server.addresses["otlp_grpc"]
    arguments = [tool("gpu-csv-replay"), "--csv", recording, "--endpoint", endpoint, "--protocol", "otlp", *flags]
    return Process(arguments, server.folder / "gpu-csv-replay.log")


def start_load(server: Server, metrics_port: int, rate: int) -> Process:
    """Sends metrics, traces and logs of a tenant of its own, `rate` events a second, until it is stopped."""
    templates = server.folder / "templates"
    size = ["--metrics-targets", "20", "--metrics-names", "20", "--metrics-series-per-name", "5"]
    size += ["--traces-count", "200", "--logs-count", "2000"]
    generator = [tool("telemetry-generator"), "--output", templates, *size]
    ended = subprocess.run(generator, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    arguments = [tool("telemetry-sender"), "--templates", templates, "--endpoint", server.addresses["otlp_grpc"]]
    arguments += ["--insecure", "--tenant", LOAD_TENANT, "--rate", rate, "--concurrency", "4"]
    arguments += ["--metrics-address", f"127.0.0.1:{metrics_port}"]
    return Process(arguments, server.folder / "telemetry-sender.log")


def make_mistakes(server: Server) -> None:
    """What a healthy server has none of: refused points and requests, queries that fail."""
    now_ms = int(time.time() * 1000)
    for shift_ms in (AHEAD_MS, OLD_MS):
        status, text = server.write(wire.request(wire.series({"__name__": "misplaced"}, [(now_ms + shift_ms, 1.0)])))
        assert status == 400, (status, text)
    assert server.write(b"no snappy")[0] == 400
    for promql in ("sum(", "vector(1) * on (a) group_left () (vector(1) or on () vector(2))"):
        server.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": promql}))


def flush(server: Server) -> None:
    """Brings the heads to blocks, which a server does by itself when they are full."""
    admin(server, "flush")


def admin(server: Server, what: str) -> None:
    status, text = server.request("POST", f"/api/v1/admin/tsdb/{what}")
    assert status == 204, text


def use_sample_app(url: str, count: int) -> None:
    """Sends messages to a sender, one after the other; some may fail on purpose."""
    body = json.dumps({"message": "hello"}).encode()
    for index in range(count):
        request = urllib.request.Request(f"{url}/send", body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except urllib.error.HTTPError as error:
            error.close()
        if index % 10 == 0:
            urllib.request.urlopen(f"{url}/health", timeout=30).read()


def wait_for_export(server: Server, tenant: str, request_count: int) -> None:
    """Until the sender has told of so many requests."""
    form = urllib.parse.urlencode({"query": f'sum(http_requests_total{{job="sender-service"}}) >= {request_count}'})

    def is_told() -> bool:
        status, text = server.request("GET", f"/api/v1/query?{form}", headers={"X-Scope-OrgID": tenant})
        assert status == 200, text
        return bool(json.loads(text)["data"]["result"])

    wait_for(f"{request_count} requests to be told", is_told)


def wait_for_own_metrics(server: Server, scrape_count: int) -> float:
    """Until Prometheus has written so many scrapes that know of the mistakes, of blocks and of the load.

    Returns a time (seconds) at which all of them are there: a scrape that fails later ends series.
    """
    accepted = 'min by (signal) (telemetry_sender_events_total{outcome="accepted"})'
    promql = (
        f"count_over_time(mytsdb_rejected_points_total[10m]) >= {scrape_count} "
        f"and on () mytsdb_storage_block_samples > 0 "
        f"and on () count_over_time(({accepted} > 0)[10m:1s]) >= {scrape_count} "
        f"and on () telemetry_sender_rate_limit "
        # Both grew between scrapes: means over nothing are no numbers. Waiting asks queries itself.
        f"and on () sum(rate(telemetry_sender_request_duration_seconds_count[1m])) > 0 "
        f'and on () sum(rate(mytsdb_http_request_duration_seconds_count{{route="/api/v1/query"}}[1m])) > 0'
    )

    def holding_time() -> float | None:
        now_s = time.time()
        return now_s if server.instant(promql, at=now_s) else None

    return wait_for(f"{scrape_count} scrapes of the server's own metrics", holding_time)
