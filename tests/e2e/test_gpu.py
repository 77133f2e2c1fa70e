"""A recording of 247 GPUs is replayed by three protocols, asked back over the GPU API and PromQL, interrupted and resumed."""

import http.client
import json
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

from harness import GENERATOR_BIN, MYTSDB_BIN, Process, Server, wait_for

REPLAY_BIN = MYTSDB_BIN.parent / "gpu-csv-replay"
LOG_LOAD_BIN = MYTSDB_BIN.parent / "log-load"
ROWS, GPUS = 2470, 247
PROTOCOLS = {"otlp": "otlp_grpc", "remote-write": "http", "flight": "arrow"}

# Of NVIDIA's dashboard, with its variables filled in.
DASHBOARD = [
    'DCGM_FI_DEV_GPU_TEMP{instance=~".+", gpu=~"0|1"}',
    'avg(DCGM_FI_DEV_GPU_TEMP{instance=~".+", gpu=~".+"})',
    'sum(DCGM_FI_DEV_POWER_USAGE{instance=~".+", gpu=~".+"})',
    'DCGM_FI_DEV_SM_CLOCK{instance=~".+", gpu=~".+"} * 1000000',
    'DCGM_FI_DEV_GPU_UTIL{instance=~".+", gpu=~".+"}',
    'DCGM_FI_DEV_FB_USED{instance=~".+", gpu=~".+"}',
]


def sample(folder: Path, start_s: float) -> Path:
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start_s))
    made = subprocess.run([REPLAY_BIN, "sample", "--start", start], capture_output=True, check=True)
    path = folder / "dcgm.csv"
    path.write_bytes(made.stdout)
    return path


def ended(arguments: list, code: int = 0) -> tuple[dict, str]:
    """Runs a replay to its end; returns its report and what it said beside."""
    done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{done.returncode} instead of {code}: {done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}, done.stderr


def endpoint(server: Server, protocol: str) -> str:
    path = "/api/v1/write" if protocol == "remote-write" else ""
    return f"http://{server.addresses[PROTOCOLS[protocol]]}{path}"


def replay(server: Server, csv: Path, protocol: str, *flags: str) -> list:
    return [REPLAY_BIN, "--csv", csv, "--protocol", protocol, "--endpoint", endpoint(server, protocol), *flags]


def fix_ports(server: Server) -> None:
    """Another start listens where this one does, for clients that go on."""
    ports = {name: address.rsplit(":", 1)[1] for name, address in server.addresses.items()}
    server.flags += (f"--address={server.addresses['otlp_grpc']}", f"--arrow-port={ports['arrow']}")


def gateway(server: Server, path: str, tenant: str = "anonymous", **parameters: object) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(server.addresses["gateway"], timeout=60)
    try:
        query = urllib.parse.urlencode(parameters)
        connection.request("GET", f"{path}?{query}", headers={"X-Scope-OrgID": tenant})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def progress(process: Process) -> dict:
    """The last line of JSON that a running process has written whole."""
    process.check_alive()
    lines = [line for line in process.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return json.loads(lines[-1]) if lines else {}


class Gpu(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="mytsdb-gpu-"))
        cls.server = Server("--gateway-port=any")
        fix_ports(cls.server)
        cls.start_s = int(time.time()) - 300
        cls.csv = sample(cls.folder, cls.start_s)
        cls.reports = {
            protocol: ended(replay(cls.server, cls.csv, protocol, "--rate=0", "--loops=1", f"--tenant={protocol}"))[0]
            for protocol in PROTOCOLS
        }

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    def series(self, tenant: str) -> list:
        path = "/api/v1/series?" + urllib.parse.urlencode({"match[]": '{__name__=~"DCGM_.+"}'})
        status, body = self.server.request("GET", path, headers={"X-Scope-OrgID": tenant})
        self.assertEqual(status, 200, body)
        return json.loads(body)["data"]

    def test_every_protocol_brings_the_same_series_and_all_gpus_are_listed(self) -> None:
        self.assertEqual(len(self.csv.read_text().splitlines()), ROWS + 1)
        for protocol, report in self.reports.items():
            counts = [report[name] for name in ("event", "accepted", "rejected", "gpus", "series")]
            self.assertEqual(counts, ["finished", ROWS, 0, GPUS, ROWS], protocol)
        first = self.series("otlp")
        self.assertEqual(len(first), ROWS)
        self.assertEqual(first, self.series("remote-write"))
        self.assertEqual(first, self.series("flight"))
        for protocol in PROTOCOLS:
            status, answer = gateway(self.server, "/api/v1/gpus", protocol)
            self.assertEqual((status, answer["success"], answer["count"]), (200, True, GPUS))
            self.assertEqual({gpu["status"] for gpu in answer["data"]}, {"active"})
            self.assertEqual(len({gpu["hostname"] for gpu in answer["data"]}), 31)
        self.assertEqual(gateway(self.server, "/api/v1/gpus", "nobody")[1]["count"], 0)
        status, answer = gateway(self.server, "/api/v1/gpus", "otlp", hostname="dgx-h100-031")
        self.assertEqual((status, answer["count"]), (200, 7))
        status, body = self.server.request("GET", "/api/v1/metadata", headers={"X-Scope-OrgID": "otlp"})
        known = json.loads(body)["data"]["DCGM_FI_DEV_GPU_TEMP"]
        self.assertEqual(known, [{"type": "gauge", "unit": "", "help": "GPU temperature (in C)."}])
        for protocol in ("remote-write", "flight"):
            status, body = self.server.request("GET", "/api/v1/metadata", headers={"X-Scope-OrgID": protocol})
            self.assertEqual(json.loads(body)["data"]["DCGM_FI_DEV_GPU_TEMP"], known)

    def test_telemetry_is_ordered_and_filtered_and_mistakes_are_answered(self) -> None:
        tenant, path = "original", "/api/v1/gpus/dgx-h100-001:nvidia3/telemetry"
        flags = ["--rate=0", "--time=original", f"--tenant={tenant}"]
        self.assertEqual(ended(replay(self.server, self.csv, "otlp", *flags))[0]["accepted"], ROWS)
        status, answer = gateway(self.server, path, tenant)
        self.assertEqual((status, answer["count"], answer["has_more"]), (200, 10, False))
        rows = answer["data"]
        self.assertEqual([row["timestamp"] for row in rows], sorted(row["timestamp"] for row in rows))
        self.assertEqual(answer["gpu"]["name"], "NVIDIA H100 80GB HBM3")
        seconds = sorted({row["timestamp"] for row in rows})
        self.assertEqual(len(seconds), 4)
        status, answer = gateway(self.server, path, tenant, start_time=seconds[1], end_time=seconds[2])
        expected = [row for row in rows if seconds[1] <= row["timestamp"] <= seconds[2]]
        self.assertEqual(answer["data"], expected)
        status, answer = gateway(self.server, path, tenant, start_time=self.start_s, end_time=self.start_s)
        self.assertEqual({row["timestamp"] for row in answer["data"]}, {seconds[0]})
        status, answer = gateway(self.server, path, tenant, format="pivot", metric="temperature,power_draw")
        cells = {name: row[name] for row in answer["data"] for name in row if name != "timestamp"}
        raw = {row["metric"]: row["value"] for row in rows}
        self.assertEqual(cells["temperature"], raw["DCGM_FI_DEV_GPU_TEMP"])
        self.assertEqual(cells["power_draw"], raw["DCGM_FI_DEV_POWER_USAGE"])
        for parameters, expected_status in [({"start_time": "soon"}, 400), ({"limit": "0"}, 400), ({"limit": 3}, 200)]:
            self.assertEqual(gateway(self.server, path, tenant, **parameters)[0], expected_status)
        for unknown in ("/api/v1/gpus/GPU-none/telemetry", "/api/v1/gpus/dgx-h100-099:nvidia3/telemetry"):
            status, answer = gateway(self.server, unknown, tenant)
            self.assertEqual((status, answer["success"]), (404, False))

    def test_the_queries_of_nvidias_dashboard_answer(self) -> None:
        flags = ["--rate=0", "--loops=3", "--hostname-label=both"]
        report, _ = ended(replay(self.server, self.csv, "otlp", *flags))
        self.assertEqual((report["accepted"], report["loops"]), (3 * ROWS, 3))
        at = time.time() + 2
        for query in DASHBOARD:
            self.assertTrue(self.server.instant(query, at=at), query)
        instances = self.server.api("series", **{"match[]": "DCGM_FI_DEV_GPU_TEMP"})
        self.assertEqual(len({labels["instance"] for labels in instances}), 31)
        self.assertEqual({labels["hostname"] for labels in instances}, {labels["Hostname"] for labels in instances})
        memory = "DCGM_FI_DEV_FB_USED + ignoring(__name__) DCGM_FI_DEV_FB_FREE"
        totals = {series["value"][1] for series in self.server.instant(memory, at=at)}
        self.assertEqual(totals, {"81079"})

    def test_bad_rows_are_counted_with_their_lines_and_the_rest_is_sent(self) -> None:
        lines = self.csv.read_text().splitlines()

        def change(at: int, field: int, text: str) -> None:
            fields = lines[at][1:-1].split('","')
            lines[at] = ",".join(f'"{text if found == field else old}"' for found, old in enumerate(fields))

        lines[2] = lines[2].split(',"DCGM_FI_DRIVER_VERSION')[0]
        change(3, 0, "yesterday")
        change(4, 10, "x")
        change(5, 10, "9223372036854775794")
        bad = self.folder / "bad.csv"
        bad.write_text("\n".join(lines) + "\n")
        flags = ["--rate=0", "--loops=1", "--tenant=bad", "--shard=0/1"]
        report, _ = ended(replay(self.server, bad, "remote-write", *flags))
        self.assertEqual(report["accepted"], ROWS - 4)
        expected = {"fields": [3], "time": [4], "value": [5], "blank": [6]}
        found = {reason: rows["first_lines"] for reason, rows in report["skipped"].items()}
        self.assertEqual(found, expected)

    def test_a_replay_that_is_stopped_goes_on_where_it_was(self) -> None:
        checkpoint = self.folder / "position.json"
        flags = ["--time=original", "--flush-interval=50ms", "--tenant=resumed", f"--checkpoint={checkpoint}"]
        slow = replay(self.server, self.csv, "flight", *flags, "--rate=200", "--report-interval=50ms")
        process = Process(slow, self.folder / "stopped.log")
        wait_for("some rows", lambda: progress(process).get("accepted", 0) > 100)
        self.assertEqual(process.stop(signal.SIGTERM), 0)
        first = json.loads(process.log.read_text().splitlines()[-1])
        self.assertEqual(first["event"], "stopped")
        self.assertLess(first["accepted"], ROWS)
        fast = replay(self.server, self.csv, "flight", *flags, "--rate=0")
        second, _ = ended(fast)
        self.assertEqual(first["accepted"] + second["accepted"], ROWS)
        self.assertEqual(ended(fast)[0]["accepted"], 0)
        self.assertEqual(len(self.series("resumed")), ROWS)
        other = self.folder / "other.csv"
        other.write_text(self.csv.read_text().rsplit("\n", 2)[0] + "\n")
        _, said = ended(replay(self.server, other, "flight", *flags), code=1)
        self.assertIn("another file", said)

    def test_a_server_that_is_killed_meanwhile_loses_nothing(self) -> None:
        flags = ["--time=original", "--rate=500", "--flush-interval=50ms", "--report-interval=50ms"]
        process = Process(replay(self.server, self.csv, "otlp", *flags, "--tenant=killed"), self.folder / "killed.log")
        wait_for("some rows", lambda: progress(process).get("accepted", 0) > 200)
        self.server.process.stop(signal.SIGKILL)
        wait_for("a try that nobody answers", lambda: progress(process).get("retries", 0) > 0)
        self.server.http_port = int(self.server.http.rsplit(":", 1)[1])
        self.server.start()
        wait_for("the end of the replay", lambda: process.child.poll() is not None)
        self.assertEqual(process.stop(), 0, process.log.read_text())
        report = json.loads(process.log.read_text().splitlines()[-1])
        self.assertEqual((report["event"], report["accepted"], report["unacknowledged"]), ("finished", ROWS, 0))
        self.assertGreater(report["retries"], 0)
        self.assertEqual(len(self.series("killed")), ROWS)
        _, answer = gateway(self.server, "/api/v1/gpus", "killed")
        self.assertEqual(answer["count"], GPUS)


class Follow(unittest.TestCase):
    def test_the_generator_goes_on_without_gap_or_overlap_while_the_server_is_killed(self) -> None:
        server = Server()
        fix_ports(server)
        folder = Path(tempfile.mkdtemp(prefix="mytsdb-follow-"))
        ready = folder / "ready"
        flags = ["--scrape-interval=200ms", "--days=0.0002", "--namespaces=1", "--services=1", "--pods-per-service=1"]
        flags += ["--containers-per-pod=1", "--metrics-per-container=20", "--follow", f"--ready-file={ready}"]
        process = Process(
            [GENERATOR_BIN, "--endpoint", f"http://{server.addresses['arrow']}", *flags], folder / "log"
        )
        wait_for("the backfill", lambda: process.check_alive() or ready.exists())

        def newest() -> list:
            found = server.api("query", query="container_cpu_usage_seconds_total[10m]", time=time.time() + 1)["result"]
            return found[0]["values"] if found else []

        before = newest()
        wait_for("new samples", lambda: len(newest()) > len(before))
        server.restart(signal.SIGKILL)
        again = time.time()
        wait_for("samples after the restart", lambda: newest()[-1][0] > again)
        self.assertEqual(process.stop(signal.SIGTERM), 0, process.log.read_text())
        report = json.loads(process.log.read_text().splitlines()[-1])
        self.assertEqual((report["event"], report["rejected"]), ("stopped", 0))
        values = newest()
        self.assertEqual(len(values), 86 + report["steps"])
        distances = {round(later[0] - earlier[0], 3) for earlier, later in zip(values, values[1:])}
        self.assertEqual(distances, {0.2})
        numbers = [float(value) for _, value in values]
        self.assertEqual(numbers, sorted(numbers), "the counter fell")
        server.close()


class LogLoad(unittest.TestCase):
    def test_lines_have_their_length_and_files_are_rotated(self) -> None:
        log = Path(tempfile.mkdtemp(prefix="mytsdb-log-")) / "app.log"
        flags = ["--bytes-per-second=2MB", "--duration=1s", "--rotate-bytes=800KB", f"--output={log}"]
        done = subprocess.run([LOG_LOAD_BIN, *flags], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stderr.splitlines()[-1])
        self.assertEqual((report["event"], report["bytes"] + report["missed_bytes"]), ("finished", 2_000_000))
        lines = b"".join(path.read_bytes() for path in sorted(log.parent.iterdir())).splitlines(keepends=True)
        self.assertEqual((len(lines), {len(line) for line in lines}), (report["lines"], {200}))
        self.assertTrue(all(json.loads(line)["level"] in ("info", "warn", "error") for line in lines))
        self.assertTrue(log.with_name("app.log.1").exists())

    def test_a_signal_ends_it_and_a_reader_that_goes_away_is_a_failure(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mytsdb-log-"))
        process = Process([LOG_LOAD_BIN, "--format=text", f"--output={folder / 'app.log'}"], folder / "log")
        wait_for("lines", lambda: process.check_alive() or (folder / "app.log").exists())
        self.assertEqual(process.stop(signal.SIGTERM), 0)
        self.assertEqual(progress_of(process)["event"], "stopped")
        child = subprocess.Popen([LOG_LOAD_BIN], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.read(1000)
        child.stdout.close()
        said = child.stderr.read().decode()
        child.stderr.close()
        self.assertEqual(child.wait(60), 1)
        self.assertIn("went away", said)


def progress_of(process: Process) -> dict:
    return json.loads(process.log.read_text().splitlines()[-1])


class Usage(unittest.TestCase):
    def test_mistakes_are_named_and_have_their_exit_code(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mytsdb-usage-"))
        csv = folder / "wide.csv"
        csv.write_text("gpu_id,utilization,temperature,memory_used\ngpu-001,85.5,72.3,4096\n")
        strange = folder / "strange.csv"
        strange.write_text("uuid,colour\nGPU-1,red\n")
        # Nobody listens there: the port is the system's to give away, and it has given it to nobody.
        unreachable = ["--csv", csv, "--retry-for=200ms", "--loops=1", "--rate=0", "--endpoint"]
        cases = [
            ([REPLAY_BIN], 2, "--csv FILE"),
            ([REPLAY_BIN, "--csv", csv, "--protocol=mqtt"], 2, "remote-write"),
            ([REPLAY_BIN, "--csv", csv, "--time=original", "--loops=2"], 2, "--loops 1"),
            ([REPLAY_BIN, "--csv", folder / "none.csv"], 1, "none.csv"),
            ([REPLAY_BIN, "--csv", folder], 1, "directory"),
            ([REPLAY_BIN, "--csv", strange], 1, "--map colour="),
            ([REPLAY_BIN, "--csv", csv, "--time=shift"], 1, "needs a column with times"),
            ([REPLAY_BIN, *unreachable, "http://127.0.0.1:1"], 1, "127.0.0.1:1"),
            ([REPLAY_BIN, *unreachable, "http://127.0.0.1:1/w", "--protocol=remote-write"], 1, "127.0.0.1:1"),
            ([REPLAY_BIN, *unreachable, "http://127.0.0.1:1", "--protocol=flight"], 1, "127.0.0.1:1"),
            ([REPLAY_BIN, *unreachable, "https://example.org"], 1, "http://"),
            ([LOG_LOAD_BIN, "--line-bytes=1"], 2, "160 to 65536"),
            ([LOG_LOAD_BIN, f"--output={folder / 'no' / 'x.log'}"], 1, "x.log"),
            ([GENERATOR_BIN, "--scrape-interval=soon"], 2, "15s"),
        ]
        for arguments, code, part in cases:
            _, said = ended(arguments, code)
            self.assertIn(part, said, arguments)
        for tool in (REPLAY_BIN, LOG_LOAD_BIN, GENERATOR_BIN):
            shown = subprocess.run([tool, "--help"], capture_output=True, text=True, check=True).stdout
            self.assertIn("Usage:", shown)
            self.assertGreater(shown.count("--"), 10)
