#!/usr/bin/env python3
"""Fills a server with everything that the dashboards show, measures every query, and draws the dashboards into docs/img.

usage: scripts/render-dashboards.py [--minutes 5] [--out docs/img] [--no-pictures]

Needs a release build (`cargo build --release --workspace --bins`), `scripts/install-test-deps.sh test`, and for pictures
`.venv/bin/python -m pip install -r scripts/requirements-render.txt`. The full seed of 20.7 M samples, the sample app of two
tenants under Locust, GPUs, a load generator and the server's own metrics go in; somebody looks at all dashboards meanwhile.
Every query is then asked three times as Grafana asks it. Exit code 1 if one gives nothing, or takes a second or longer.
"""

import argparse
import json
import os
import statistics
import sys
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MYTSDB_BIN", str(ROOT / "target/release/mytsdb"))
sys.path[:0] = [str(ROOT / folder) for folder in ("grafana", "tests/e2e", "scripts")]

import queries  # noqa: E402 (needs the path above)
import showcase  # noqa: E402
from harness import Server  # noqa: E402
from sample_app import SampleApp  # noqa: E402

TENANTS = {"mytsdb": "", "mytsdb-tenant1": "tenant1"}
DAY_S = 86_400
REPEATS = 3
TOO_SLOW_MS = 1000


class Viewer:
    """Asks a server what Grafana would ask it."""

    def __init__(self, server: Server):
        self.server = server

    def api(self, tenant: str, path: str, form: dict) -> dict | list:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"X-Scope-OrgID": tenant} if tenant else {})
        status, text = self.server.request("POST", f"/api/v1/{path}", urllib.parse.urlencode(form).encode(), headers)
        if status != 200:
            raise SystemExit(f"{form}: {status} {text}")
        return json.loads(text)["data"]

    def label_values(self, tenant: str, over: queries.Range) -> queries.LabelValues:
        def values(label: str, selector: str) -> list[str]:
            form = urllib.parse.urlencode({"match[]": selector, "start": over.start_s, "end": over.end_s})
            headers = {"X-Scope-OrgID": tenant} if tenant else {}
            status, text = self.server.request("GET", f"/api/v1/label/{label}/values?{form}", headers=headers)
            if status != 200:
                raise SystemExit(f"{selector}: {status} {text}")
            return json.loads(text)["data"]

        return values

    def answer(self, one: queries.Asked, tenant: str, over: queries.Range) -> list[dict]:
        if one.is_instant:
            return self.api(tenant, "query", {"query": one.promql, "time": over.end_s})["result"]
        form = {"query": one.promql, "start": over.start_s, "end": over.end_s, "step": one.step_s}
        return self.api(tenant, "query_range", form)["result"]

    def asked(self, dashboard: dict, over: queries.Range) -> tuple[str, list[queries.Asked]]:
        """The dashboard's tenant, and its queries with all values of every variable."""
        tenant = TENANTS[dashboard["templating"]["list"][0]["current"]["value"]]
        chosen, offered = queries.choose_all(dashboard, self.label_values(tenant, over))
        empty = [name for name, values in offered.items() if not values]
        if empty:
            raise SystemExit(f"{dashboard['uid']}: no values for {empty}")
        return tenant, queries.asked(dashboard, chosen, over)


def over_of(uid: str, minutes: int, seed_end_s: float, end_s: float) -> queries.Range:
    """What is shown: the day of the seeded cluster, else as long as everything ran."""
    if uid == "k8s-seeded-cluster":
        return queries.Range(seed_end_s - DAY_S, seed_end_s)
    return queries.Range(end_s - minutes * 60, end_s)


def now_s() -> float:
    """Of the last whole step."""
    return time.time() // 15 * 15


def fill(server: Server, sender_port: int, minutes: int) -> tuple[float, float]:
    """Takes `minutes`. Looks at every dashboard again and again meanwhile. Returns the ends of the seed and of all else."""
    seed_end_s = now_s()
    print(showcase.seed_cluster(server, "--end", str(int(seed_end_s))), flush=True)
    variables = {"tenant1": {"ERROR_RATE": "0.01", "LATENCY_MS": "5"}, "tenant2": {"ERROR_RATE": "0.05"}}
    apps = [
        SampleApp(server.folder, tenant, server.addresses["otlp_grpc"], PROCESSING_TIME_MS="20", **own)
        for tenant, own in variables.items()
    ]
    for app in apps:
        app.start_locust(minutes * 60)
    # Every GPU tells its ten metrics about every five seconds.
    gpus = showcase.replay_gpus(server, showcase.record_gpus(server, 247), "--workers", "2", "--rate", "250")
    others = [gpus, showcase.start_load(server, sender_port, rate=5_000)]
    viewer, deadline = Viewer(server), time.monotonic() + minutes * 60
    showcase.flush(server)
    compact_at = time.monotonic() + minutes * 30
    while time.monotonic() < deadline:
        began = time.monotonic()
        showcase.make_mistakes(server)
        for uid, dashboard in queries.load().items():
            over = over_of(uid, minutes, seed_end_s, now_s())
            try:
                tenant, asked = viewer.asked(dashboard, over)
            except SystemExit:
                # Not everything has begun to tell about itself.
                continue
            for one in asked:
                viewer.answer(one, tenant, over)
        if began > compact_at:
            showcase.flush(server)
            showcase.admin(server, "compact")
            compact_at = deadline
        time.sleep(max(0.0, 5 - (time.monotonic() - began)))
    end_s = now_s()
    for process in others:
        status = process.stop()
        print(f"{process.log.stem} ended with {status}", flush=True)
    for app in apps:
        for name, one in app.locust_statistics(60).items():
            print(f"{app.tenant}: {one['num_requests']} requests to {name}, slowest {one['max_response_time']:.0f} ms")
        print(f"{app.tenant}: the services ended with {app.stop()}", flush=True)
    return seed_end_s, end_s


def measure(viewer: Viewer, dashboard: dict, over: queries.Range) -> tuple[dict[int, list], list[tuple[float, str]]]:
    """The answers by panel, and the median of each query's milliseconds."""
    tenant, asked = viewer.asked(dashboard, over)
    answers: dict[int, list] = {}
    times = []
    for one in asked:
        taken = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            result = viewer.answer(one, tenant, over)
            taken.append((time.perf_counter() - began) * 1000)
        answers.setdefault(one.panel["id"], []).append(result)
        times.append((statistics.median(taken), one.name))
        if not result:
            print(f"nothing: {one.name}: {one.promql}", flush=True)
    return answers, times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/img")
    parser.add_argument("--no-pictures", action="store_true")
    settings = parser.parse_args()
    server = Server()
    prometheus = showcase.Prometheus(server, "5s")
    ends_s = fill(server, prometheus.sender_port, settings.minutes)
    viewer, all_times, empty = Viewer(server), [], 0
    settings.out.mkdir(parents=True, exist_ok=True)
    for uid, dashboard in queries.load().items():
        answers, times = measure(viewer, dashboard, over_of(uid, settings.minutes, *ends_s))
        empty += sum(not result for results in answers.values() for result in results)
        all_times += times
        milliseconds = [taken for taken, _ in times]
        print(f"{uid}: {len(times)} queries, median {statistics.median(milliseconds):.1f} ms, slowest {max(milliseconds):.1f} ms")
        if not settings.no_pictures:
            from pictures import page

            shown = "Last 24 hours" if uid == "k8s-seeded-cluster" else f"Last {settings.minutes} minutes"
            names = [variable["label"] for variable in queries.query_variables(dashboard)]
            subtitle = f"{shown}      " + "   ".join(f"{name}: All" for name in names)
            for path in page.render(dashboard, answers, subtitle, settings.out):
                print(f"  {path.name} {path.stat().st_size // 1024} KiB")
    slowest = sorted(all_times, reverse=True)[:5]
    for taken, name in slowest:
        print(f"{taken:8.1f} ms  {name}")
    prometheus.stop()
    server.close()
    return 1 if empty or slowest[0][0] >= TOO_SLOW_MS else 0


if __name__ == "__main__":
    sys.exit(main())
