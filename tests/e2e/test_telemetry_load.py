"""telemetry-generator and telemetry-sender: what they send is what they say, and what the server has is what they sent."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import MYTSDB_BIN, WAIT_SECONDS, Process, Server, ServerCase, wait_for
from otlp_sink import OtlpSink
from test_security import TOKEN, WEB_CONFIG, Authority, SecureServer

GENERATOR = Path(os.environ.get("TELEMETRY_GENERATOR_BIN", MYTSDB_BIN.parent / "telemetry-generator"))
BENCH_LOAD = Path(os.environ.get("BENCH_LOAD_BIN", MYTSDB_BIN.parent / "bench-load"))
SENDER = Path(os.environ.get("TELEMETRY_SENDER_BIN", MYTSDB_BIN.parent / "telemetry-sender"))
RATE = 1000
TARGETS, NAMES, SERIES_PER_NAME = 40, 20, 3
SERIES = TARGETS * NAMES * SERIES_PER_NAME
GENERATOR_YAML = f"""
seed: 7
services: 2
metrics:
  targets: {TARGETS}
  names: {NAMES}
  seriesPerName: {SERIES_PER_NAME}
  types: {{gauge: 6, counter: 6, upDownCounter: 2, histogram: 2, exponentialHistogram: 2, summary: 2}}
  rate: {{min: {RATE}, max: {RATE}, diurnal: 0, noise: 0}}
  exemplarFraction: 0.5
traces: {{count: 40, spans: {{mean: 8, deviation: 2}}}}
logs: {{count: 200}}
"""


def run(program: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    """Runs to the end; anything but the expected exit code is an error that shows what was said."""
    command = [str(argument) for argument in (program, *arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert ended.returncode == code, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended


def generate(folder: Path, yaml: str) -> Path:
    settings, templates = folder / "generator.yaml", folder / "templates"
    settings.write_text(yaml)
    run(GENERATOR, "--config", settings, "--output", templates)
    return templates


class Folder(unittest.TestCase):
    """A folder with templates that all tests of the class share."""

    yaml = GENERATOR_YAML

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp(prefix="telemetry-load-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.templates = generate(cls.folder, cls.yaml)

    def send(self, *arguments: object, code: int = 0) -> dict:
        """Sends and returns the report."""
        ended = run(SENDER, "--templates", self.templates, *arguments, code=code)
        return json.loads(ended.stdout) | {"stderr": ended.stderr}


class ToMyTSDB(Folder, ServerCase):
    def target(self, instance: str, protocol: str = "otlp-grpc") -> list[str]:
        endpoint = {
            "otlp-grpc": self.server.addresses["otlp_grpc"],
            "otlp-http": self.server.addresses["otlp_http"],
            "remote-write": self.server.http,
            "remote-write-v2": self.server.http,
            "flight": self.server.addresses["arrow"],
        }[protocol]
        flags = ["--endpoint", endpoint, "--insecure", "--verify", f"http://{self.server.http}", "--protocol", protocol]
        return flags + ["--concurrency", "4", "--instance", instance]

    def test_every_protocol_arrives_whole_and_once(self) -> None:
        for protocol in ("otlp-grpc", "otlp-http", "remote-write", "remote-write-v2", "flight"):
            flags = ["--multiplier", 3, "--rate", 0, "--probe-interval", "20ms"]
            report = self.send(*self.target(f"e2e-{protocol}", protocol), *flags)
            self.assertEqual(report["ended_by"], "multiplier", protocol)
            self.assertGreater(report["events"]["accepted"], 1000, protocol)
            self.assertEqual(report["events"]["accepted"], report["events"]["sent"], protocol)
            verify = report["verify"]
            self.assertEqual((verify["lost"], verify["duplicates"], verify["differences"]), (0, 0, []), protocol)
            self.assertEqual(verify["points_found"], verify["points_acknowledged"], protocol)
            # Only OTLP carries exponential histograms: two names of the others are not sent.
            is_whole = protocol.startswith("otlp")
            self.assertEqual(verify["points_found"], (SERIES if is_whole else SERIES * 18 // 20) * 3, protocol)

    def test_rates_are_those_that_were_configured(self) -> None:
        report = self.send(*self.target("e2e-rates"), "--duration", "5s", "--rate", 12_000, "--signal", "metrics")
        self.assertEqual(report["verify"]["loss_ppm"], 0)
        self.assertGreater(report["time_to_queryable_ms"]["count"], 0)
        counters = '{__name__=~".+_total",instance=~"e2e-rates-.*"}'
        last = max(float(one["value"][1]) for one in self.server.instant(f"timestamp({counters})"))
        rates = [float(one["value"][1]) for one in self.server.instant(f"rate({counters}[3s])", at=last)]
        self.assertEqual(len(rates), 6 * TARGETS * SERIES_PER_NAME)
        for rate in rates:
            self.assertAlmostEqual(rate, RATE, delta=RATE * 0.02)
        self.assertEqual({one["value"][1] for one in self.server.instant(f"resets({counters}[1m])", at=last)}, {"0"})

    def test_tenants_and_detours_are_verified_apart(self) -> None:
        flags = ["--tenant", "red,blue", "--sending-detours-duplicate", 0.2, "--sending-detours-out-of-order", 0.2]
        flags += ["--multiplier", 5, "--rate", 0, "--signal", "metrics"]
        report = self.send(*self.target("e2e-detours"), *flags)
        verify = report["verify"]
        self.assertEqual((verify["lost"], verify["duplicates"]), (0, 0), verify)
        self.assertEqual(verify["points_found"], SERIES * 5)
        self.assertGreater(report["events"]["accepted"], verify["points_found"], "repeats are events, too")

    def test_a_missed_objective_is_exit_code_3(self) -> None:
        flags = ["--multiplier", 1, "--rate", 0, "--slo", "p99<1us", "--slo", "rejected_ppm<=0"]
        report = self.send(*self.target("e2e-slo"), *flags, code=3)
        missed = [line for line in report["stderr"].splitlines() if "slo missed" in line]
        self.assertRegex("\n".join(missed), r"^telemetry-sender: slo missed: p99<1us \(measured [0-9.]+\)$")
        is_met = {one["objective"]: one["is_met"] for one in report["slo"]}
        expected = {"p99<1us": False, "rejected_ppm<=0": True, "loss_ppm<=0": True, "duplicate_ppm<=0": True}
        self.assertEqual(is_met, expected)

    def test_a_signal_drains_and_reports(self) -> None:
        for how, name in ((signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")):
            report_file, log = self.folder / f"{name}.json", self.folder / f"{name}.log"
            flags = [*self.target(f"e2e-{name}"), "--rate", 2000, "--report", report_file, "--report-interval", "100ms"]
            flags += ["--metrics-address", f"127.0.0.1:{free_port()}"]
            sender = Process([SENDER, "--templates", self.templates, *flags], log)
            wait_for("acknowledged events", lambda: accepted_so_far(log, sender) > 0)
            scraped = scrape(flags[-1])
            names = ("metrics", "traces", "logs")
            accepted = (scraped[f'telemetry_sender_events_total{{signal="{one}",outcome="accepted"}}'] for one in names)
            self.assertGreater(sum(accepted), 0)
            self.assertEqual(scraped["telemetry_sender_rate_limit"], 2000)
            self.assertEqual(sender.stop(how), 0, log.read_text())
            report = json.loads(report_file.read_text())
            self.assertEqual(report["ended_by"], name)
            self.assertEqual(report["events"]["sent"], report["events"]["accepted"])
            self.assertEqual(report["verify"]["loss_ppm"], 0)


class Restarts(Folder, ServerCase):
    yaml = GENERATOR_YAML.replace("exemplarFraction: 0.5", "restartInterval: 2s")

    def test_a_simulated_restart_is_a_reset(self) -> None:
        flags = ["--endpoint", self.server.addresses["otlp_grpc"], "--insecure", "--instance", "e2e-resets"]
        self.send(*flags, "--concurrency", 2, "--duration", "5s", "--rate", 12_000, "--signal", "metrics")
        counters = '{__name__=~".+_total",instance=~"e2e-resets-.*"}'
        last = max(float(one["value"][1]) for one in self.server.instant(f"timestamp({counters})"))
        resets = [float(one["value"][1]) for one in self.server.instant(f"resets({counters}[1m])", at=last)]
        self.assertTrue(resets and all(1 <= count <= 3 for count in resets), resets)
        for one in self.server.instant(f"rate({counters}[3s])", at=last):
            # What was counted between the last point and the restart is lost, as with any program that restarts.
            self.assertTrue(RATE * 0.7 <= float(one["value"][1]) <= RATE * 1.05, one)


class KilledServer(Folder):
    def test_nothing_acknowledged_is_lost_and_the_sender_catches_up(self) -> None:
        server = Server()
        self.addCleanup(server.close)
        report_file, log = self.folder / "killed.json", self.folder / "killed.log"
        flags = ["--endpoint", server.addresses["otlp_grpc"], "--insecure", "--instance", "e2e-killed", "--concurrency", 4]
        flags += ["--multiplier", 120_000 // SERIES, "--rate", 20_000, "--batch-metrics", 500, "--signal", "metrics"]
        flags += ["--verify", f"http://{server.http}", "--report", report_file, "--report-interval", "50ms"]
        sender = Process([SENDER, "--templates", self.templates, *flags], log)
        for at_least in (10_000, 40_000):
            wait_for(f"{at_least} events", lambda: accepted_so_far(log, sender) > at_least)
            before = counted_so_far("retried", log, sender)
            while_down = lambda: wait_for("a retry", lambda: counted_so_far("retried", log, sender) > before)
            server.restart(signal.SIGKILL, while_down)
        self.assertEqual(wait_for("the sender to end", lambda: ended(sender)), [0], log.read_text())
        report = json.loads(report_file.read_text())
        self.assertGreater(report["events"]["retries"], 0)
        self.assertEqual(report["events"]["failed"], 0, report)
        self.assertEqual(report["verify"]["points_found"], report["verify"]["points_acknowledged"])
        self.assertEqual(report["events"]["accepted"], report["events"]["sent"])
        self.assertEqual(report["events"]["sent"], 120_000)


class ToNobody(Folder):
    def test_the_rate_limit_holds(self) -> None:
        log = self.folder / "sink.log"
        sink = Process([BENCH_LOAD, "sink", "--address", "127.0.0.1:0"], log)
        self.addCleanup(sink.stop)
        address = json.loads(wait_for("the sink's address", lambda: sink.check_alive() or log.read_text()))["address"]
        # Rates that a busy machine can hold, too; the limiter's exactness is a matter of its own tests, with their own clock.
        for rate in (2_000, 10_000):
            flags = ["--endpoint", address, "--insecure", "--duration", "2s", "--rate", rate, "--batch-metrics", 100]
            report = self.send(*flags, "--signal", "metrics", "--concurrency", 12, "--slo", f"rate>={rate * 0.5}")
            self.assertLessEqual(report["events"]["sent"], rate * 2 * 1.02, str(report))
            self.assertGreater(report["events"]["sent"], rate, str(report))


class ToAnyEndpoint(Folder):
    def test_a_python_endpoint_finds_everything_well_formed(self) -> None:
        sink = OtlpSink()
        self.addCleanup(sink.close)
        key = self.folder / "key"
        key.write_text("se-cret\n")
        flags = ["--endpoint", f"http://{sink.address}", "--concurrency", 3, "--multiplier", 4, "--rate", 0]
        flags += ["--api-key-file", key, "--header", "x-team=7", "--compression", "gzip"]
        report = self.send(*flags)
        self.assertNotIn("se-cret", json.dumps(report))
        self.assertTrue(all(one["authorization"] == "Bearer se-cret" and one["x-team"] == "7" for one in sink.metadata))
        self.assertEqual(sink.problems, [])
        for name, signal_report in report["signals"].items():
            self.assertEqual(sink.events[name], signal_report["accepted"], name)
        self.assertEqual(set(report["signals"]), {"metrics", "traces", "logs"})
        self.assertEqual(set(sink.kinds), {"gauge", "sum", "histogram", "exponential_histogram", "summary"})
        self.assertEqual(sink.orphans(), [])
        self.assertEqual(sink.unordered(), [])
        self.assertTrue(sink.exemplars)
        self.assertEqual(sink.exemplars - set(sink.spans), set(), "exemplars of traces that were not sent")
        self.assertTrue(sink.correlated)
        self.assertEqual(sink.correlated - set(sink.spans), set(), "log records of traces that were not sent")


class Secured(Folder):
    def test_tls_and_api_keys_on_every_port(self) -> None:
        authority = Authority(self.folder)
        authority.issue("server", "first")
        (self.folder / "web.yaml").write_text(WEB_CONFIG)
        (self.folder / "tokens").write_text(f"{TOKEN} team-t\n")
        server = SecureServer(self.folder)
        self.addCleanup(server.close)
        key = self.folder / "key"
        ports = {"otlp-grpc": "otlp_grpc", "otlp-http": "otlp_http", "remote-write": "http", "flight": "arrow"}
        for protocol, name in ports.items():
            key.write_text(TOKEN)
            endpoint, api = (server.addresses[one].replace("127.0.0.1", "https://localhost") for one in (name, "http"))
            flags = ["--protocol", protocol, "--endpoint", endpoint, "--ca-file", self.folder / "ca.crt"]
            flags += ["--api-key-file", key, "--tenant", "team-t", "--multiplier", 1, "--rate", 0, "--concurrency", 2]
            report = self.send(*flags, "--verify", api, "--instance", f"e2e-tls-{protocol}")
            self.assertEqual(report["verify"]["points_found"], report["verify"]["points_acknowledged"], protocol)
            self.assertGreater(report["verify"]["points_found"], SERIES * 0.8, protocol)
            self.assertNotIn(TOKEN, json.dumps(report))
            key.write_text("another-token")
            said = self.send(*flags, code=1)["stderr"]
            self.assertRegex(said, "none of [0-9]+ events was accepted: (UNAUTHENTICATED|401)", protocol)
            self.assertNotIn("another-token", said)


class CommandLine(unittest.TestCase):
    def test_help_names_every_key(self) -> None:
        for program in (GENERATOR, SENDER):
            text = run(program, "--help").stdout
            self.assertTrue(all(len(line) < 400 for line in text.splitlines()), text)
            documented = keys_of((Path(__file__).parent.parent.parent / "docs/telemetry-load.md").read_text(), program.name)
            self.assertGreater(len(documented), 20, program.name)
            missing = [key for key in documented if f"--{flag_of(key)}" not in text]
            self.assertEqual(missing, [], program.name)

    def test_wrong_settings_are_exit_code_2_and_say_what_is_allowed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = Path(folder) / "sender.yaml"
            settings.write_text("sending: {rate: 5}\n")
            said = run(SENDER, "--config", settings, code=2).stderr
            self.assertIn("sending.rate", said)
            self.assertIn("sending.rateLimit.eventsPerSecond", said)
        self.assertIn("--speed", run(SENDER, "--speed", 5, code=2).stderr)
        self.assertIn("otlp-grpc", run(SENDER, "--protocol", "smtp", code=2).stderr)
        self.assertIn("needs --verify", run(SENDER, "--slo", "loss_ppm<=0", code=2).stderr)

    def test_what_cannot_be_read_or_reached_is_exit_code_1(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            said = run(SENDER, "--templates", folder, "--endpoint", "127.0.0.1:1", "--insecure", code=1).stderr
            self.assertIn("telemetry-generator --output", said)
            templates = generate(Path(folder), "services: 1\nmetrics: {targets: 1, names: 1}\ntraces: {count: 1}\nlogs: {count: 1}\n")
            nobody = f"127.0.0.1:{free_port()}"
            flags = ["--templates", templates, "--endpoint", nobody, "--insecure", "--otlp-connect-timeout", "1s"]
            said = run(SENDER, *flags, code=1).stderr
            self.assertRegex(said, rf"cannot reach http://{re.escape(nobody)} within 1s: .*refused")


def ended(process: Process) -> list[int]:
    """A list of the exit code once there is one."""
    code = process.child.poll()
    return [] if code is None else [code]


def counted_so_far(what: str, log: Path, process: Process) -> int:
    process.check_alive()
    lines = re.findall(rf'"{what}":(\d+)', log.read_text())
    return int(lines[-1]) if lines else 0


def accepted_so_far(log: Path, process: Process) -> int:
    return counted_so_far("accepted", log, process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def scrape(address: str) -> dict[str, float]:
    connection = http.client.HTTPConnection(address, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def flag_of(key: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"-{letter.group().lower()}", key).replace(".", "-")


def keys_of(text: str, program: str) -> list[str]:
    """Keys of the tables in the document's part on a program."""
    part = text.split(f"## {program}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([A-Za-z.]+)` \|", part, re.MULTILINE)
