"""Hostile queries end in time, with an error or an answer, within the memory they may take, while samples come in.

One query is evaluated at a time (`--query-max-concurrency=1`), so a small query that is answered afterwards shows that the
work of the hostile one has ended too, not only its answer.
"""

import http.client
import json
import os
import resource
import threading
import time
import urllib.parse

import wire
from harness import Server, ServerCase
from hostile_queries import hostile_queries

QUERY_BYTES = 64 << 20
TIMEOUT_S = 2
SLACK_S = float(os.environ.get("MYTSDB_HOSTILE_SLACK", "4"))  # debug build on a busy machine
# Beside the samples: text of the query and its tree, labels, the answer's text, ingest, and what the allocator keeps.
BASE_BYTES = 192 << 20
ADDRESS_SPACE_BYTES = 10 << 30
SERIES_COUNT = 1_000
SAMPLE_COUNT = 240
INTERVAL_MS = 15_000


class Hostile(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(
            f"--query-max-bytes={QUERY_BYTES}", f"--query-timeout={TIMEOUT_S}s", "--query-max-concurrency=1"
        )

    def test_each_ends_in_time_and_within_its_memory_while_samples_come_in(self) -> None:
        # Should memory grow without limit after all, the server falls and not the machine.
        resource.prlimit(self.server.process.child.pid, resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
        now_ms = int(time.time() * 1000)
        self.fill(now_ms)
        queries = hostile_queries(now_ms // 1000)
        self.assertGreaterEqual(len(queries), 200)
        before = self.status_bytes("VmRSS")
        allowed = before + QUERY_BYTES + BASE_BYTES
        written, stop = [], threading.Event()
        writer = threading.Thread(target=self.write_until, args=(stop, written))
        writer.start()
        problems, slowest, answered = [], [], 0
        largest = 0
        try:
            for name, query, times in queries:
                self.reset_peak()
                began = time.monotonic()
                status = self.ask(query, times)
                seconds = time.monotonic() - began
                answered += status == 200
                began = time.monotonic()
                after = self.ask("1 + 1", None)
                rest = time.monotonic() - began
                peak = self.status_bytes("VmHWM")
                largest = max(largest, peak)
                slowest.append((seconds + rest, name))
                if status not in (200, 400, 422, 503):
                    problems.append(f"{name}: status {status}")
                if seconds > TIMEOUT_S + SLACK_S:
                    problems.append(f"{name}: answered after {seconds:.1f} s")
                if after != 200 or rest > SLACK_S:
                    problems.append(f"{name}: the next query was answered with {after} after {rest:.1f} s")
                if peak > allowed:
                    problems.append(f"{name}: {(peak - before) >> 20} MiB more than before")
        finally:
            stop.set()
            writer.join()
        slowest.sort(reverse=True)
        print(
            f"       {len(queries)} queries, {answered} answered; at most {(largest - before) >> 20} MiB above "
            f"{before >> 20} MiB; slowest {[(round(seconds, 1), name[:40]) for seconds, name in slowest[:4]]}; "
            f"{len(written)} writes meanwhile",
            flush=True,
        )
        self.assertEqual(problems, [], "\n".join(problems))
        self.assertTrue(all(status == 204 for status, _ in written), written[:3])
        self.assertGreater(len(written), 20)
        self.assertLess(max(seconds for _, seconds in written), TIMEOUT_S + SLACK_S)

    def fill(self, now_ms: int) -> None:
        series = []
        for name in ["many", "other"]:
            for number in range(SERIES_COUNT):
                labels = {"__name__": name, "id": str(number), "a": f"v{number % 10}" * 4, "b": str(number % 3)}
                samples = [
                    (now_ms - INTERVAL_MS * index, number + index / 8.0) for index in range(SAMPLE_COUNT, 0, -1)
                ]
                series.append(wire.series(labels, samples))
        for start in range(0, len(series), 100):
            status, text = self.server.write(wire.request(*series[start : start + 100]))
            self.assertEqual(status, 204, text)

    def write_until(self, stop: threading.Event, written: list) -> None:
        while not stop.wait(0.1):
            began = time.monotonic()
            now_ms = int(time.time() * 1000)
            series = [wire.series({"__name__": "meanwhile", "id": str(number)}, [(now_ms, 1.0)]) for number in range(50)]
            status, _ = self.server.write(wire.request(*series))
            written.append((status, time.monotonic() - began))

    def ask(self, query: bytes | str, times: tuple | None) -> int:
        form = {"query": query}
        if times:
            form |= dict(zip(("start", "end", "step"), times))
        connection = http.client.HTTPConnection(self.server.http, timeout=TIMEOUT_S + SLACK_S + 30)
        try:
            path = "/api/v1/query_range" if times else "/api/v1/query"
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", path, urllib.parse.urlencode(form), headers)
            response = connection.getresponse()
            self.check(response.status, response)
            return response.status
        finally:
            connection.close()

    def check(self, status: int, response: http.client.HTTPResponse) -> None:
        """Reads the answer without keeping it; an error must say what it is."""
        if status == 200:
            while response.read(1 << 20):
                pass
            return
        self.assertLess(len(text := response.read()), 10_000_000)
        if response.getheader("Content-Type", "").startswith("application/json"):
            self.assertNotEqual(json.loads(text)["error"], "")

    def status_bytes(self, field: str) -> int:
        self.server.process.check_alive()
        with open(f"/proc/{self.server.process.child.pid}/status") as status:
            line = next(line for line in status if line.startswith(field + ":"))
        return int(line.split()[1]) << 10

    def reset_peak(self) -> None:
        with open(f"/proc/{self.server.process.child.pid}/clear_refs", "w") as clear:
            clear.write("5")
