"""Starts the sample app of one tenant as processes on free ports, and lets Locust use it.

Input: where OTLP goes, and the tenant. Output: two running services, later Locust's own statistics.
Not here: what is checked (`test_sample_app.py`).
"""

import json
import re
import sys
from pathlib import Path

from harness import ROOT, Process, wait_for

FOLDER = ROOT / "deploy/sample-app"


class Service:
    """A service under gunicorn, exactly as in its image."""

    def __init__(self, name: str, tenant: str, log: Path, variables: dict[str, str]):
        self.name, self.log = name, log
        fixed = {"PORT": "0", "BIND_HOST": "127.0.0.1", "TENANT_ID": tenant, "POD_NAME": f"{name}-of-{tenant}"}
        arguments = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", f"demo_app.main:{name}()"]
        self.process = Process(arguments, log, fixed | variables, FOLDER)
        self.url = wait_for(f"{name} to listen", self.listening)

    def listening(self) -> str | None:
        self.process.check_alive()
        text = self.log.read_text()
        found = re.search(r"Listening at: (http://\S+)", text)
        # The port is open before the application is there: requests that come early wait for it.
        return found.group(1) if found and "Booting worker" in text else None

    def log_lines(self) -> list[dict]:
        """The application's own lines, which are JSON; one that is not written to its end is left out."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1] if line.startswith("{")]


class SampleApp:
    def __init__(self, folder: Path, tenant: str, otlp_grpc: str, **variables: str):
        """`otlp_grpc`: `host:port`. `variables`: of both services, such as `ERROR_RATE`."""
        self.folder, self.tenant = folder, tenant
        shared = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{otlp_grpc}", "OTEL_METRIC_EXPORT_INTERVAL": "1000"} | variables
        self.receiver = Service("receiver", tenant, folder / f"{tenant}-receiver.log", shared)
        shared = shared | {"RECEIVER_SERVICE_URL": self.receiver.url}
        self.sender = Service("sender", tenant, folder / f"{tenant}-sender.log", shared)

    def start_locust(self, seconds: int, users: int = 8) -> None:
        self.statistics = self.folder / f"{self.tenant}-locust"
        arguments = [sys.executable, "-m", "locust", "--locustfile", FOLDER / "loadgen/locustfile.py", "--headless"]
        arguments += ["--users", users, "--spawn-rate", users, "--run-time", f"{seconds}s", "--stop-timeout", 60]
        # Requests that fail on purpose are no reason to end with an error.
        arguments += ["--host", self.sender.url, "--json-file", self.statistics, "--exit-code-on-error", 0]
        waits = {"WAIT_MIN_S": "0.02", "WAIT_MAX_S": "0.2"}
        self.locust = Process(arguments, self.folder / f"{self.tenant}-locust.log", waits)

    def end_locust(self) -> None:
        """Tells it to stop; its users finish what they began."""
        self.locust.child.terminate()

    def locust_statistics(self, seconds: int) -> dict[str, dict]:
        """Waits for Locust's end; returns its figures by name of the request."""
        wait_for("Locust to end", lambda: self.locust.child.poll() is not None, seconds + 60)
        text = self.locust.log.read_text(errors="replace")
        assert self.locust.stop() == 0, text[-4000:]
        return {entry["name"]: entry for entry in json.loads(self.statistics.with_suffix(".json").read_text())}

    def stop(self) -> list[int]:
        """Ends the services as Kubernetes does; returns their exit codes."""
        return [self.sender.process.stop(), self.receiver.process.stop()]
