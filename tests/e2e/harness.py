"""What the end-to-end tests share: processes that never outlive the run, a server, a small HTTP client.

Everything waits for a condition with a deadline; nothing sleeps for a guessed time.
"""

import atexit
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent.parent
MYTSDB_BIN = Path(os.environ.get("MYTSDB_BIN", ROOT / "target/debug/mytsdb"))
GENERATOR_BIN = Path(os.environ.get("GENERATOR_BIN", MYTSDB_BIN.parent / "k8s-data-generator"))
PROMETHEUS_BIN = Path(os.environ.get("PROMETHEUS_BIN", ROOT / ".tools/bin/prometheus"))

WAIT_SECONDS = 60
POLL_SECONDS = 0.02


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, body: str):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def wait_for(what: str, condition: Callable[[], object], seconds: float = WAIT_SECONDS):
    """Returns what `condition` returns once that is true; fails when it stays false."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(POLL_SECONDS)


class Process:
    """A child that is killed, by its own pid, at the latest when the run ends."""

    running: set["Process"] = set()

    def __init__(self, arguments: list, log: Path, variables: dict[str, str] | None = None, folder: Path | None = None):
        """`variables` are added to the environment; `folder` is where it runs (default: here)."""
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | (variables or {}),
                cwd=folder,
            )
        Process.running.add(self)

    def check_alive(self) -> None:
        if self.child.poll() is not None:
            text = self.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{self.child.args[0]} ended with {self.child.returncode}:\n{text}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Sends a signal and waits until the process is gone; returns its exit status."""
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError(f"{self.child.args[0]} ignored signal {how}") from None
        Process.running.discard(self)
        return self.child.returncode


@atexit.register
def kill_everything() -> None:
    for process in list(Process.running):
        process.child.kill()
        process.child.wait()


class Server:
    """The real server on any free ports, in a directory of its own."""

    def __init__(self, *flags: str):
        self.folder = Path(tempfile.mkdtemp(prefix="mytsdb-e2e-"))
        self.flags = flags
        self.ports = {"http": 0, "arrow": 0, "otlp_grpc": 0, "otlp_http": 0}
        self.start()

    def start(self) -> None:
        addresses = self.folder / "addresses.json"
        addresses.unlink(missing_ok=True)
        ports = self.ports
        fixed = ["--http-host=127.0.0.1", f"--http-port={ports['http']}", f"--arrow-port={ports['arrow']}"]
        fixed += [f"--address=127.0.0.1:{ports['otlp_grpc']}", f"--otlp-http-address=127.0.0.1:{ports['otlp_http']}"]
        fixed += ["--enable-admin-api"]
        fixed += [f"--data-dir={self.folder / 'data'}", f"--addresses-file={addresses}"]
        self.process = Process([MYTSDB_BIN, *fixed, *self.flags], self.folder / "log")

        def is_written() -> bool:
            self.process.check_alive()
            return addresses.exists()

        wait_for("the server to be ready", is_written)
        self.addresses = json.loads(addresses.read_text())
        assert self.request("GET", "/-/ready")[0] == 200, "ready, but /-/ready says otherwise"

    def restart(self, how: int = signal.SIGKILL, while_down=lambda: None) -> None:
        """Ends the server and starts it again on the same ports, for clients that go on; `while_down` in between."""
        self.ports = {name: int(self.addresses[name].rsplit(":", 1)[1]) for name in self.ports}
        self.process.stop(how)
        while_down()
        self.start()

    @property
    def http(self) -> str:
        return self.addresses["http"]

    @property
    def flight(self) -> str:
        return "grpc://" + self.addresses["arrow"]

    def request(self, method: str, path: str, body: bytes = b"", headers: dict | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.http, timeout=WAIT_SECONDS)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def api(self, path: str, **parameters: object):
        """`data` of an answer of the Prometheus API; parameters travel as a form."""
        form = urllib.parse.urlencode(parameters).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = self.request("POST", f"/api/v1/{path}", form, headers)
        if status != 200:
            raise Refused(status, body)
        return json.loads(body)["data"]

    def instant(self, promql: str, at: float | None = None) -> list:
        parameters = {"query": promql} if at is None else {"query": promql, "time": at}
        return self.api("query", **parameters)["result"]

    def value(self, promql: str, at: float | None = None) -> float:
        """The value of a query that must give exactly one series."""
        result = self.instant(promql, at)
        assert len(result) == 1, f"{promql} gives {len(result)} series: {result}"
        return float(result[0]["value"][1])

    def write(self, body: bytes) -> tuple[int, str]:
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        return self.request("POST", "/api/v1/write", body, headers)

    def close(self) -> None:
        self.process.stop(signal.SIGKILL)
        shutil.rmtree(self.folder)


class ServerCase(unittest.TestCase):
    """Tests that share one fresh server."""

    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()
