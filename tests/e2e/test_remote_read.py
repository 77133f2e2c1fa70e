"""Debian's Prometheus reads through remote read what MyTSDB answers itself, and promtool asks MyTSDB.

Prometheus 2.42 counts both ends of a window, 3.0 and MyTSDB one of them: no time of an evaluation, nor of a
subquery's step, falls on a sample's here.
"""

import json
import math
import random
import subprocess
import time
import urllib.parse
import urllib.request

import wire
from harness import PROMETHEUS_BIN, Process, ServerCase, wait_for
from test_prometheus import free_port

PROMTOOL_BIN = PROMETHEUS_BIN.resolve().parent / "promtool"

CONFIG = """
remote_read:
  - url: http://{address}/api/v1/read
    read_recent: true
"""

STEP_MS = 15_000
SAMPLE_COUNT = 700
SEED = 20_261_121

QUERIES = [
    "gauge",
    'gauge{place!="a"}',
    'counter_total{job=~"a|b"}',
    "sum by (job) (rate(counter_total[5m]))",
    "increase(counter_total[17m])",
    "count_over_time(gauge[1h])",
    "max_over_time(odd[2h])",
    "quantile_over_time(0.9, gauge[30m])",
    "topk(2, gauge)",
    "gauge > 0.5",
    "gauge offset 20m",
    "last_over_time(gone[20m])",
    "gone",
    "avg(gauge) by (place) + on (place) group_left gauge",
    "changes(odd[1h])",
    "max_over_time(rate(counter_total[5m])[30m:1m])",
    "absent(nothing)",
    "nothing",
]


class RemoteRead(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.end_ms = (int(time.time() * 1000) - 60_000) // STEP_MS * STEP_MS + 3_000
        random_numbers = random.Random(SEED)
        times = [cls.end_ms - STEP_MS * index for index in reversed(range(SAMPLE_COUNT))]
        jittered = [time_ms + random_numbers.randrange(900) for time_ms in times]
        all_series = []
        for job in "abc":
            count = 0
            values = []
            for _ in times:
                count = 0 if random_numbers.random() < 0.01 else count + random_numbers.randrange(50)
                values.append(float(count))
            all_series.append(wire.series({"__name__": "counter_total", "job": job}, list(zip(times, values))))
        for place in "abcd":
            values = [random_numbers.random() for _ in times]
            all_series.append(wire.series({"__name__": "gauge", "place": place}, list(zip(jittered, values))))
        odd = [random_numbers.choice([0.0, -0.0, 1e300, 5e-324, math.inf, -math.inf, -1.5]) for _ in times]
        all_series.append(wire.series({"__name__": "odd"}, list(zip(times, odd))))
        stale = wire.struct.unpack("<d", wire.struct.pack("<Q", 0x7FF0000000000002))[0]
        all_series.append(
            wire.series({"__name__": "gone"}, [(times[-40], 1.0), (times[-39], 2.0), (times[-38], stale)])
        )
        status, text = cls.server.write(wire.request(*all_series))
        assert status == 204, text
        # Half of it from blocks, half from the head.
        status, text = cls.server.request("POST", "/api/v1/admin/tsdb/flush")
        assert status == 204, text
        cls.server.write(wire.request(wire.series({"__name__": "gauge", "place": "a"}, [(cls.end_ms + 1_000, 7.0)])))
        cls.start_prometheus()

    @classmethod
    def start_prometheus(cls) -> None:
        assert PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test"
        folder = cls.server.folder / "prometheus"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(address=cls.server.http))
        cls.port = free_port()
        cls.prometheus = Process(
            [
                PROMETHEUS_BIN,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{cls.port}",
                "--enable-feature=promql-at-modifier",
            ],
            folder / "log",
        )

        def is_ready() -> bool:
            cls.prometheus.check_alive()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{cls.port}/-/ready") as response:
                    return response.status == 200
            except OSError:
                return False

        wait_for("Prometheus to be ready", is_ready)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.prometheus.stop()
        super().tearDownClass()

    def ask_prometheus(self, path: str, **parameters: object) -> dict:
        form = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", form) as response:
            answer = json.load(response)
        self.assertEqual(answer["status"], "success")
        self.assertNotIn("warnings", answer)
        return answer["data"]

    def check_same(self, what: str, ours: dict, theirs: dict) -> int:
        """Compares results without regard to order; numbers to 1e-12. Returns how many points there are."""
        self.assertEqual(ours["resultType"], theirs["resultType"], what)
        key = lambda series: sorted(series["metric"].items())  # noqa: E731
        ours, theirs = sorted(ours["result"], key=key), sorted(theirs["result"], key=key)
        self.assertEqual([series["metric"] for series in ours], [series["metric"] for series in theirs], what)
        points = 0
        for left, right in zip(ours, theirs):
            left = left.get("values") or [left["value"]]
            right = right.get("values") or [right["value"]]
            self.assertEqual([point[0] for point in left], [point[0] for point in right], what)
            for (_, one), (_, other) in zip(left, right):
                one, other = float(one), float(other)
                is_same = one == other or (math.isnan(one) and math.isnan(other))
                self.assertTrue(is_same or math.isclose(one, other, rel_tol=1e-12), f"{what}: {one} {other}")
            points += len(left)
        return points

    def test_prometheus_gives_the_same_answers_through_remote_read(self) -> None:
        at = self.end_ms / 1000 + 7.123
        points = 0
        for query in QUERIES:
            ours = self.server.api("query", query=query, time=at)
            points += self.check_same(query, ours, self.ask_prometheus("query", query=query, time=at))
            spans = {"query": query, "start": at - 9_000, "end": at, "step": 60}
            ours = self.server.api("query_range", **spans)
            points += self.check_same(query, ours, self.ask_prometheus("query_range", **spans))
        self.assertGreater(points, 5_000)
        ours = self.server.api("series", **{"match[]": '{__name__=~".+"}'})
        theirs = self.ask_prometheus("series", **{"match[]": '{__name__=~".+"}'})
        self.assertEqual(sorted(map(str, ours)), sorted(map(str, theirs)))
        self.assertEqual(len(ours), 9)

    def promtool(self, *arguments: str) -> str:
        done = subprocess.run([PROMTOOL_BIN, *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def test_promtool_asks_mytsdb_as_it_asks_prometheus(self) -> None:
        ours, theirs = f"http://{self.server.http}", f"http://127.0.0.1:{self.port}"
        at = self.end_ms / 1000 + 7.123
        for query in ["sum by (job) (counter_total)", "sort(gauge)", "1 + 1", "gone[20m]", "nothing"]:
            arguments = ["query", "instant", f"--time={at}"]
            found = self.promtool(*arguments, ours, query)
            self.assertEqual(found, self.promtool(*arguments, theirs, query), query)
        self.assertIn("=> 7 @[", self.promtool("query", "instant", f"--time={at}", ours, 'gauge{place="a"}'))
        span = [f"--start={at - 600}", f"--end={at}", "--step=1m"]
        found = self.promtool("query", "range", *span, ours, "rate(counter_total[5m])")
        self.assertEqual(found, self.promtool("query", "range", *span, theirs, "rate(counter_total[5m])"))
        self.assertEqual(found.count("counter_total") + found.count('job="'), 3)
        found = self.promtool("query", "series", "--match=gauge", "--match=odd", ours)
        self.assertEqual(len(found.strip().splitlines()), 5)
        self.assertIn('{__name__="gauge", place="a"}', found)
        self.assertEqual(self.promtool("query", "labels", ours, "job").split(), ["a", "b", "c"])
