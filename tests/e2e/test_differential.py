"""Debian's Prometheus 2.42 and MyTSDB are given the same samples and asked the same random queries.

Values agree to 1e-9 of the larger one, labels, timestamps and result types are equal, and there is an error of the same kind
on both sides or on none. `MYTSDB_DIFFERENTIAL_QUERIES` says how many queries (default 5000), `MYTSDB_DIFFERENTIAL_SEED`
which data and queries (default 1). All of 2.42's functions, aggregations and operators are asked in turn.

What 2.42 does otherwise than the 3.14 that MyTSDB follows, and how this test avoids or undoes it:

- windows: closed on both sides before 3.0, left-open since. No sample and no step lies on the edge of a window
  (promql_generator.py says how the times are chosen).
- holt_winters: has been double_exponential_smoothing since 3.0. Renamed before it is asked here.
- atan2: keeps the metric name, as no other arithmetic does. Always written as `(a atan2 b) * 1`.
- filtered: a comparison that filters looks for two matches of one series only among those that hold; since 3.5 or so it
  looks first and filters then. Such answers count as equal if 2.42 finds the fault when the query is asked with `bool`.
- extrapolation: where the first sample of rate() is far from the window's start and its counter near zero, 2.42 goes back
  to zero, 3.x half an interval. rate() and increase() are asked of counters that have gaps or resets, not both.
- predict_linear, and any call with a number that changes from step to step: a selector in it with `@` moves along with the
  steps (repaired since). Not asked.
- stddev, stdvar of one infinite number or NaN: 0, now NaN; in windows with an overflow: NaN, now +Inf. The arguments are
  finite, and squares of the data do not overflow.
- means: avg_over_time and avg add up parts of a mean, now divide the sum. Texts of count_values show the last digit, so
  its argument is made whole; where values cancel out, what remains below 1e-14 counts as zero; what magnifies the last
  digit (`%`, changes, resets; sin, cos and tan of large results) is given numbers that have no such digit. Among hundreds
  of thousands of queries one may still be found, such as a date of a mean just below a whole second.
- limits: topk(Inf, ..) is an error, now only if a step has a number above 1. The parameter is finite or NaN.
- timestamp() of a selector with `@` and an offset: every version up to 3.14 forgets the offset where it looks for the
  sample, but reads only the samples that the offset allows. MyTSDB obeys the offset. Not asked.
- ties: which of two equal values topk keeps depends on the order of the series in the store. Asked of what has no ties.
- ln of subnormal numbers is wrong in Go 1.19 on amd64. The data has none.
- regular expressions: `.` did not match a line break, label names were ASCII only. The data has neither.
"""

import concurrent.futures
import http.client
import json
import math
import os
import random
import re
import threading
import time
import urllib.parse

import wire
from harness import PROMETHEUS_BIN, Process, Server, ServerCase, wait_for
from promql_generator import HOURS, START_S, FEATURES, Generator, all_series
from test_prometheus import free_port

QUERY_COUNT = int(os.environ.get("MYTSDB_DIFFERENTIAL_QUERIES", "5000"))
SEED = int(os.environ.get("MYTSDB_DIFFERENTIAL_SEED", "1"))
TOLERANCE = 1e-9
CANCELLED = 1e-14  # what is left of numbers of the size of the data when they cancel out
SLICE_MS = 600_000


def write_requests(series) -> list[bytes]:
    """The samples in slices of time: within a request and from request to request each series only grows."""
    slices: dict[int, list[bytes]] = {}
    for labels, samples in series:
        parts: dict[int, list] = {}
        for sample in samples:
            parts.setdefault(sample[0] // SLICE_MS, []).append(sample)
        for number, part in parts.items():
            slices.setdefault(number, []).append(wire.series(labels, part))
    return [wire.request(*slices[number]) for number in sorted(slices)]


class Client:
    """One kept connection per thread."""

    def __init__(self, address: str):
        self.address = address
        self.local = threading.local()

    def post(self, path: str, body: bytes, headers: dict) -> tuple[int, bytes]:
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.address, timeout=60)
        self.local.connection.request("POST", path, body, headers)
        response = self.local.connection.getresponse()
        return response.status, response.read()

    def write(self, body: bytes) -> tuple[int, bytes]:
        return self.post("/api/v1/write", body, {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})

    def ask(self, path: str, parameters: dict) -> tuple[int, dict]:
        form = urllib.parse.urlencode(parameters).encode()
        status, body = self.post(f"/api/v1/{path}", form, {"Content-Type": "application/x-www-form-urlencoded"})
        return status, json.loads(body)


def renamed(query: str) -> str:
    return query.replace("holt_winters(", "double_exponential_smoothing(")


def parameters_of(rng: random.Random, query: str) -> tuple[str, dict]:
    """An instant or a range query at times seven seconds after a multiple of ten."""
    start = START_S + 7 + 10 * rng.randrange(0, HOURS * 360)
    if rng.random() < 0.45:
        return "query", {"query": query, "time": start}
    step = 10 * rng.choice([1, 2, 3, 6, 9, 30])
    end = start + step * rng.randrange(0, 25) + 10 * rng.randrange(0, 2)
    return "query_range", {"query": query, "start": start, "end": end, "step": step}


def same_number(left: str, right: str) -> bool:
    left, right = float(left), float(right)
    if left == right or (math.isnan(left) and math.isnan(right)):
        return True
    return abs(left - right) <= TOLERANCE * max(abs(left), abs(right)) + CANCELLED


def same_points(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        a[0] == b[0] and same_number(a[1], b[1]) for a, b in zip(left, right)
    )


def keyed(result: list) -> dict:
    found = {}
    for series in result:
        key = tuple(sorted(series["metric"].items()))
        assert key not in found, f"{key} is there twice"
        found[key] = series["values"] if "values" in series else [series["value"]]
    return found


def difference(query: str, theirs: tuple[int, dict], ours: tuple[int, dict]) -> str | None:
    """What distinguishes two answers, if anything."""
    if theirs[0] != ours[0]:
        return "one answer is an error"
    if theirs[0] != 200:
        return None if theirs[1]["errorType"] == ours[1]["errorType"] else "the kinds of the errors differ"
    theirs, ours = theirs[1]["data"], ours[1]["data"]
    if theirs["resultType"] != ours["resultType"]:
        return "the types differ"
    if theirs["resultType"] == "string":
        return None if theirs["result"] == ours["result"] else "the texts differ"
    if theirs["resultType"] == "scalar":
        return None if same_points([theirs["result"]], [ours["result"]]) else "the numbers differ"
    if query.startswith("sort") and theirs["resultType"] == "vector":
        values = [[series["value"] for series in data["result"]] for data in (theirs, ours)]
        if not same_points(*values):
            return "the order differs"
    left, right = keyed(theirs["result"]), keyed(ours["result"])
    if left.keys() != right.keys():
        missing = [dict(key) for key in left.keys() - right.keys()]
        extra = [dict(key) for key in right.keys() - left.keys()]
        return f"series differ: missing {missing[:3]}, extra {extra[:3]}"
    for key in left:
        if not same_points(left[key], right[key]):
            pairs = [
                (a, b)
                for a, b in zip(left[key], right[key])
                if a[0] != b[0] or not same_number(a[1], b[1])
            ]
            return f"{dict(key)}: {len(left[key])} points, {len(right[key])} here; {pairs[:3]}"
    return None


COMPARISON = re.compile(r" (==|!=|<=|>=|<|>) (?!bool)")


def is_known(theirs: Client, path: str, parameters: dict, answers: tuple) -> bool:
    """The difference "filtered" of the list above: with `bool`, which filters nothing, 2.42 finds the same fault."""
    if answers[0][0] != 200 or not answers[1][1].get("error", "").startswith("multiple matches for labels: "):
        return False
    query = COMPARISON.sub(r" \1 bool ", parameters["query"])
    return query != parameters["query"] and theirs.ask(path, parameters | {"query": query})[0] == 422


class SameAsPrometheus(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server("--retention=0")

    def test_random_queries_have_the_same_answers(self) -> None:
        self.assertTrue(PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test")
        folder = self.server.folder / "prometheus"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text("global: {evaluation_interval: 1m}\n")
        address = f"127.0.0.1:{free_port()}"
        prometheus = Process(
            [
                PROMETHEUS_BIN,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--web.enable-remote-write-receiver",
            ],
            folder / "log",
        )
        self.addCleanup(prometheus.stop)
        theirs, ours = Client(address), Client(self.server.http)

        def is_ready() -> bool:
            prometheus.check_alive()
            try:
                return theirs.post("/-/ready", b"", {})[0] in (200, 405)
            except OSError:
                del theirs.local.connection
                return False

        wait_for("Prometheus to be ready", is_ready)
        for body in write_requests(all_series(random.Random(SEED))):
            for client in (theirs, ours):
                status, text = client.write(body)
                self.assertEqual(status, 204, text)

        generator, rng = Generator(SEED), random.Random(SEED)
        queries = [parameters_of(rng, generator.query(index)) for index in range(QUERY_COUNT)]
        counts = {"answered": 0, "empty": 0, "errors": 0, "filtered": 0}
        differing = []

        def compare(asked: tuple[str, dict]) -> tuple[str | None, str]:
            path, parameters = asked
            answers = theirs.ask(path, parameters), ours.ask(path, parameters | {"query": renamed(parameters["query"])})
            kind = "errors" if answers[0][0] != 200 else "answered" if answers[0][1]["data"]["result"] else "empty"
            found = difference(asked[1]["query"], *answers)
            if found and is_known(theirs, path, parameters, answers):
                return None, "filtered"
            if found and "error" in found:
                found += f" {[answer[1].get('error', 'none') for answer in answers]}"
            return found, kind

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            for asked, (found, kind) in zip(queries, threads.map(compare, queries)):
                counts[kind] += 1
                if found:
                    differing.append(f"{asked[0]} {asked[1]}\n    {found}")
        seconds = time.monotonic() - began
        print(
            f"       seed {SEED}: {len(queries)} queries on {len(set(FEATURES))} features in {seconds:.0f} s: {counts}, "
            f"{len(differing)} differ",
            flush=True,
        )
        if differing:
            self.fail("\n".join([f"{len(differing)} of {len(queries)} differ:", *differing[:50]]))
        self.assertGreater(counts["answered"], len(queries) * 0.6, f"too many queries say nothing: {counts}")
