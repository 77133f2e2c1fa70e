"""Grafana's own Prometheus data source (npm `@grafana/prometheus`), without its user interface, works against MyTSDB."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import wire
from harness import ROOT, ServerCase

FOLDER = Path(os.environ.get("GRAFANA_PACKAGES", ROOT / ".tools/grafana"))
DRIVE = Path(__file__).resolve().parent / "grafana/drive.cjs"


class GrafanaDataSource(ServerCase):
    def test_its_start_labels_variables_and_queries_work(self) -> None:
        if shutil.which("node") is None or shutil.which("npm") is None:
            print("       skipped: node and npm are missing, which Grafana's data source needs", flush=True)
            return
        packages = FOLDER / "node_modules/@grafana/prometheus"
        self.assertTrue(packages.exists(), f"{packages} is missing: scripts/install-test-deps.sh test")
        now_ms = int(time.time() * 1000)
        self.fill(now_ms)
        done = subprocess.run(
            ["node", DRIVE, FOLDER, self.server.http, str(now_ms)], capture_output=True, text=True, timeout=120
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        steps = [line for line in lines if "step" in line]
        requests = [line for line in lines if "request" in line]
        wrong = [line for line in steps if not line["holds"]]
        self.assertEqual(wrong, [], f"{done.stdout}\n{done.stderr}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreaterEqual(len(steps), 15)
        # The one query that is wrong on purpose is the only request that is refused.
        refused = [line for line in requests if line["status"] != 200]
        self.assertEqual([line["status"] for line in refused], [400], refused)
        endpoints = sorted({line["request"] for line in requests})
        print(f"       {len(steps)} steps, {len(requests)} requests to {len(endpoints)} endpoints", flush=True)
        for endpoint in ["query_range", "query", "query_exemplars", "labels", "series", "metadata", "rules", "status/buildinfo"]:
            self.assertTrue(any(found.endswith(f"/api/v1/{endpoint}") for found in endpoints), f"{endpoint}: {endpoints}")

    def fill(self, now_ms: int) -> None:
        times = range(now_ms - 3_600_000, now_ms + 1, 15_000)
        series = []
        for job in ["api", "web"]:
            for number, instance in enumerate(["a:1", "b:1"]):
                labels = {"__name__": "requests_total", "job": job, "instance": instance}
                series.append(wire.series(labels, [(at, (at - now_ms) / 1000 + 4000.0 * (number + 1)) for at in times]))
        for bound in ["0.1", "1", "+Inf"]:
            labels = {"__name__": "latency_bucket", "le": bound}
            series.append(wire.series(labels, [(at, (at - now_ms) / 1000 + 4000.0) for at in times]))
        series.append(wire.series({"__name__": "disk.free", "host.name": "a"}, [(at, 1.0) for at in times]))
        status, text = self.server.write(wire.request(*series))
        self.assertEqual(status, 204, text)
