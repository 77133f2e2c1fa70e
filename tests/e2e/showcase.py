"""Fills a server with what the dashboards show: a seeded cluster, the sample app of a tenant, GPUs, the server's own metrics.

Input: a running server, and how much of everything. Output: series of now, and a Prometheus that goes on scraping the server
and writing back to it. Used by the tests of the dashboards and by scripts/render-dashboards.py.
Not here: what is asked and checked.
"""

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import wire
from harness import GENERATOR_BIN, PROMETHEUS_BIN, Process, Server, wait_for

PROMETHEUS_CONFIG = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}
scrape_configs:
  - job_name: mytsdb
    static_configs: [{{targets: ["{server}"]}}]
remote_write:
  - url: http://{server}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""
# Remote write refuses them one by one: much too far ahead of the clock, a year too old for 15 days of retention.
AHEAD_MS, OLD_MS = 7 * 86_400_000, -400 * 86_400_000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    """Debian's, which scrapes the server and writes what it finds back to it."""

    def __init__(self, server: Server, interval: str):
        assert PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test"
        folder = server.folder / "own-metrics"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(PROMETHEUS_CONFIG.format(server=server.http, interval=interval))
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


def seed_gpus(server: Server, host_count: int, minutes: int) -> None:
    """Hosts of eight GPUs as dcgm-exporter describes them, for the last `minutes`."""
    now_ms = int(time.time() * 1000)
    times = range(now_ms - minutes * 60_000, now_ms + 1, 15_000)
    for host in range(host_count):
        written = []
        for gpu in range(8):
            labels = {
                "job": "dgx_dcgm_exporter", "instance": f"dgx-{host:03}:9400", "Hostname": f"dgx-{host:03}", "gpu": str(gpu),
                "device": f"nvidia{gpu}", "UUID": f"GPU-{host:04}-{gpu}", "modelName": "NVIDIA H100 80GB HBM3",
            }  # fmt: skip
            columns: dict[str, list] = {}
            for index, at in enumerate(times):
                load = 0 if gpu == 7 else 50 + 45 * math.sin(index / 30 + host + gpu / 3)
                used = 2000 + load * 700
                values = {
                    "GPU_UTIL": round(load), "MEM_COPY_UTIL": round(load / 2), "ENC_UTIL": 0, "DEC_UTIL": 0,
                    "FB_USED": round(used), "FB_FREE": round(81_000 - used), "GPU_TEMP": round(30 + load / 2.2),
                    "POWER_USAGE": round(70 + load * 6, 1), "SM_CLOCK": 1980 if load else 345, "MEM_CLOCK": 2619,
                }  # fmt: skip
                for field, value in values.items():
                    columns.setdefault(f"DCGM_FI_DEV_{field}", []).append((at, float(value)))
            written += [wire.series({"__name__": name} | labels, samples) for name, samples in columns.items()]
        status, text = server.write(wire.request(*written))
        assert status == 204, text


def seed_load(server: Server, minutes: int) -> None:
    """Two senders as their own metrics describe them, for the last `minutes`."""
    now_ms = int(time.time() * 1000)
    times = list(range(now_ms - minutes * 60_000, now_ms + 1, 15_000))
    written = []
    for sender in range(2):
        target = {"job": "telemetry-sender", "instance": f"sender-{sender}:9464"}

        def put(name: str, values: list[float], **labels: str) -> None:
            every = {"__name__": f"telemetry_sender_{name}"} | target | labels
            written.append(wire.series(every, list(zip(times, values, strict=True))))

        def counted(per_second: float) -> list[float]:
            return [per_second * 15 * index for index in range(len(times))]

        for signal, rate in (("metrics", 40_000), ("traces", 6_000), ("logs", 4_000)):
            for outcome, share in (("sent", 1), ("accepted", 0.9999), ("rejected", 0.0001), ("failed", 0), ("retried", 0.001)):
                put("events_total", counted(rate * share), signal=signal, outcome=outcome)
            put("attempts_total", counted(rate / 500), signal=signal, code="OK")
        put("events_in_flight", [1500.0] * len(times))
        put("accepted_bytes_total", counted(4e6))
        put("wire_bytes_total", counted(6e5), direction="sent")
        put("wire_bytes_total", counted(2e4), direction="received")
        put("rate_limit", [50_000.0] * len(times))
        for quantile, seconds in (("0.5", 0.004), ("0.9", 0.009), ("0.99", 0.021), ("0.999", 0.06)):
            put("request_duration_seconds", [seconds] * len(times), quantile=quantile)
        put("request_duration_seconds_sum", counted(0.5))
        put("request_duration_seconds_count", counted(100))
    status, text = server.write(wire.request(*written))
    assert status == 204, text


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
    status, text = server.request("POST", "/api/v1/admin/tsdb/flush")
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


def wait_for_own_metrics(server: Server, scrape_count: int) -> None:
    """Until Prometheus has written back so many scrapes that know of the mistakes and of blocks."""
    promql = (
        f"count_over_time(mytsdb_rejected_points_total[10m]) >= {scrape_count} "
        f"and on () mytsdb_storage_block_samples > 0"
    )
    wait_for(f"{scrape_count} scrapes of the server's own metrics", lambda: server.instant(promql))
