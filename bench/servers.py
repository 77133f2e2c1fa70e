"""The three servers of the benchmark: start, ask, look at from outside, stop. Standard library only."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 300
REST_SECONDS_MAX = 300


class BenchError(Exception):
    """A server did not do what the benchmark needs."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def tree_bytes(folder: Path, only: str = "") -> int:
    """Bytes of all files below `folder` whose path contains `only`; a file with two names counts once."""
    seen, total = set(), 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except FileNotFoundError:  # merged away between listing and looking
            continue
        if path.is_file() and only in str(path) and status.st_ino not in seen:
            seen.add(status.st_ino)
            total += status.st_size
    return total


class Server:
    """One server process with its data directory."""

    name = ""
    ready_path = "/-/ready"
    query_extra: dict[str, str] = {}

    def __init__(self, program: Path, folder: Path):
        self.program = program
        self.data = folder / "data"
        self.log_path = folder / "log"
        self.port = 0
        self.process: subprocess.Popen | None = None
        self.connection: http.client.HTTPConnection | None = None

    def arguments(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> float:
        """Starts the server; returns the seconds until it said that it is ready."""
        self.port = free_port()
        started = time.perf_counter()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), *self.arguments()], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.wait_for_start(self.is_ready, started)
        return time.perf_counter() - started

    def is_ready(self) -> bool:
        try:
            return self.request("GET", self.ready_path)[0] == 200
        except OSError:
            return False

    def wait_for_start(self, condition: Callable[[], bool], started: float) -> None:
        """Waits for a condition of a server that was started then, as long as it lives and has time."""
        while not condition():
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.process.returncode}, see {self.log_path}")
            if time.perf_counter() - started > START_SECONDS_MAX:
                raise BenchError(f"{self.name} was not ready within {START_SECONDS_MAX} s, see {self.log_path}")
            time.sleep(0.005)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.connection = None

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        """One request on a kept-alive connection; one that the server closed while idle is opened again."""
        is_reused = self.connection is not None
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            self.connection.request(method, path)
            response = self.connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = None
            if is_reused:
                return self.request(method, path)
            raise OSError(f"{self.name}: {error}") from error

    def ask(self, kind: str, **parameters: object) -> tuple[float, bytes]:
        """Asks once; returns the seconds until the last byte of the answer, and the answer."""
        path = f"/api/v1/{kind}?" + urllib.parse.urlencode({**parameters, **self.query_extra})
        started = time.perf_counter()
        status, body = self.request("GET", path)
        seconds = time.perf_counter() - started
        if status != 200:
            raise BenchError(f"{self.name} answered {status} to {parameters['query']}: {body[:300]!r}")
        return seconds, body

    def query(self, kind: str, **parameters: object) -> tuple[float, list]:
        """Asks once; returns the seconds until the last byte of the answer, and the result."""
        seconds, body = self.ask(kind, **parameters)
        return seconds, json.loads(body)["data"]["result"]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_SECOND

    def peak_memory_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise BenchError("no VmHWM in /proc")

    def tidy_up(self) -> None:
        """Asks the server to write what it holds in memory and to merge its files."""

    def wait_for_rest(self) -> None:
        """Returns when the server neither computes nor changes its files any more."""
        deadline = time.monotonic() + REST_SECONDS_MAX
        before = None
        quiet_count = 0
        while quiet_count < 3:
            now = (self.cpu_seconds(), tree_bytes(self.data))
            quiet = before is not None and now[1] == before[1] and now[0] - before[0] < 0.04
            quiet_count = quiet_count + 1 if quiet else 0
            before = now
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} did not come to rest within {REST_SECONDS_MAX} s")
            time.sleep(1)

    def disk_bytes(self) -> dict[str, int]:
        """Bytes on disk by what they are; `all` is what is compared."""
        return {"all": tree_bytes(self.data)}


class MyTsdb(Server):
    name = "mytsdb"

    def arguments(self) -> list[str]:
        self.addresses_path = self.data.parent / "addresses.json"
        self.addresses_path.unlink(missing_ok=True)
        return [
            f"--http-port={self.port}",
            "--arrow-port=0",
            "--address=127.0.0.1:0",
            "--otlp-http-address=127.0.0.1:0",
            f"--data-dir={self.data}",
            f"--addresses-file={self.addresses_path}",
            "--enable-admin-api",
        ]

    def tidy_up(self) -> None:
        for step in ("flush", "compact"):
            status, body = self.request("POST", f"/api/v1/admin/tsdb/{step}")
            if status not in (200, 204):
                raise BenchError(f"{step} was answered with {status}: {body!r}")

    def start(self) -> float:
        seconds = super().start()
        # The server is ready a moment before it has written where.
        self.wait_for_start(self.addresses_path.exists, time.perf_counter())
        return seconds

    def arrow_endpoint(self) -> str:
        return "http://" + json.loads(self.addresses_path.read_text())["arrow"]

    def otlp_address(self) -> str:
        return json.loads(self.addresses_path.read_text())["otlp_grpc"]


class Prometheus(Server):
    name = "prometheus"

    def arguments(self) -> list[str]:
        config = self.data.parent / "prometheus.yml"
        config.write_text("storage:\n  tsdb:\n    out_of_order_time_window: 25h\n")
        return [
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-admin-api",
            "--log.level=warn",
        ]

    def disk_bytes(self) -> dict[str, int]:
        # The head is in the WAL as well as in memory; a snapshot shows what it becomes as a block.
        status, body = self.request("POST", "/api/v1/admin/tsdb/snapshot")
        if status != 200:
            raise BenchError(f"snapshot was answered with {status}: {body!r}")
        snapshot = self.data / "snapshots" / json.loads(body)["data"]["name"]
        return {"all": tree_bytes(snapshot), "chunks": tree_bytes(snapshot, only="/chunks/")}


class VictoriaMetrics(Server):
    name = "victoria-metrics"
    ready_path = "/health"
    # Engines are compared, not a cache of answers.
    query_extra = {"nocache": "1"}

    def arguments(self) -> list[str]:
        return [
            f"-storageDataPath={self.data}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=10y",
            "-loggerLevel=WARN",
        ]

    def tidy_up(self) -> None:
        for path in ("/internal/force_flush", "/internal/force_merge"):
            status, body = self.request("GET", path)
            if status != 200:
                raise BenchError(f"{path} was answered with {status}: {body!r}")
