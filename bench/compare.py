#!/usr/bin/env python3
"""Compares MyTSDB with Debian's Prometheus and VictoriaMetrics: same machine, same requests, one after the other.

For each data set the requests are encoded once into a file. Each server gets an empty directory, takes all
requests, rests, answers the dashboard queries, and is started again. Figures are the server's own (CPU and memory
from /proc), except for times, which are the client's. How much CPU other programs took meanwhile is measured too:
times and ratios from a busy machine mean nothing. A run shows only what it measured itself, never figures kept from
an earlier one, as those come from other conditions. docs/benchmarks.md is written with --write-docs, which needs all
servers in this run.
"""

import argparse
import concurrent.futures
import copy
import datetime
import json
import math
import multiprocessing
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import queries
import report
from servers import CLOCK_TICKS_PER_SECOND, BenchError, MyTsdb, Prometheus, Server, VictoriaMetrics

ROOT = Path(__file__).resolve().parent.parent
STEP_SECONDS = 15
QUERY_STEP_SECONDS = 60
# Queries are asked between scrapes, as people do. On the very second of a scrape Prometheus 2 and 3 differ by design:
# 2 counts a sample at the left edge of a window, 3 does not.
OFF_GRID_SECONDS = 7
# Before a five-minute window is full they differ too: 3 extrapolates a young counter less far towards zero.
AGREE_AFTER_SECONDS = 300
# Clients that ask at once, in the second measurement of the dashboard queries.
CLIENTS = 8
# Containers of 90 series, samples per series.
DATASETS = {"A": (40, 5_760), "B": (1_120, 200)}


def say(text: str) -> None:
    print(text, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="A,B", help="which data sets, by comma")
    parser.add_argument("--servers", default="mytsdb,prometheus,victoria-metrics", help="which servers, by comma")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the samples (A) or series (B), for quick runs")
    parser.add_argument("--repeats", type=int, default=5, help="how often each query is asked")
    parser.add_argument("--connections", type=int, default=4, help="connections of the sender")
    parser.add_argument("--bin-dir", type=Path, default=ROOT / "target/release", help="mytsdb, bench-load, generator")
    parser.add_argument("--tools-dir", type=Path, default=ROOT / ".tools/bin", help="prometheus, victoria-metrics")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "target/bench", help="data and results")
    parser.add_argument("--flight", action="store_true", help="also seed MyTSDB over Arrow Flight")
    parser.add_argument("--otlp", action="store_true", help="also send each data set to MyTSDB over OTLP/gRPC")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/benchmarks.md")
    return parser.parse_args()


def encode(options: argparse.Namespace, name: str, protocol: str = "remote-write") -> tuple[Path, dict]:
    """Encodes a data set, or takes the file of an earlier run; returns its path and what is in it."""
    containers, steps = DATASETS[name]
    if name == "A":
        steps = max(int(steps * options.scale), 20)
    else:
        containers = max(int(containers * options.scale), 4)
    suffix = "" if protocol == "remote-write" else f"-{protocol}"
    path = options.work_dir / f"{name}-{containers}-{steps}{suffix}.requests"
    about_path = path.with_suffix(".json")
    fresh_ms = (time.time() - 12 * 3600) * 1000
    if path.exists() and about_path.exists():
        about = json.loads(about_path.read_text())
        if about["end_ms"] > fresh_ms:
            return path, about
    end_ms = int(time.time() // 3600) * 3_600_000 - 60_000
    command = [options.bin_dir / "bench-load", "encode", "--protocol", protocol, "--out", path]
    command += ["--containers", str(containers), "--steps", str(steps), "--end-ms", str(end_ms)]
    about = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    about_path.write_text(json.dumps(about))
    return path, about


def make_server(options: argparse.Namespace, name: str, dataset: str) -> Server:
    kinds = {kind.name: kind for kind in (MyTsdb, Prometheus, VictoriaMetrics)}
    folder = options.work_dir / f"{dataset}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = (options.bin_dir if name == "mytsdb" else options.tools_dir) / name
    if not program.exists():
        raise BenchError(f"{program} is missing; `make bench` builds and fetches what is needed")
    return kinds[name](program, folder)


def version(program: Path) -> str:
    flag = "-version" if program.name == "victoria-metrics" else "--version"
    found = subprocess.run([program, flag], capture_output=True, text=True)
    words = (found.stdout + found.stderr).replace(",", " ").split()
    numbers = [word for word in words if word.strip("v")[:1].isdigit() and "." in word]
    if numbers:
        return numbers[0]
    package = subprocess.run(["apt-cache", "show", program.name], capture_output=True, text=True).stdout
    return next((line.split()[1] for line in package.splitlines() if line.startswith("Version:")), "?")


def busy_seconds() -> float:
    """CPU seconds that all programs of the machine took since it started."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / CLOCK_TICKS_PER_SECOND


def own_seconds(server: Server) -> float:
    """CPU seconds of the server, of this program and of the senders it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return server.cpu_seconds() + sum(usage.ru_utime + usage.ru_stime for usage in usages)


def check_count(server: Server, about: dict, beside: str = '__name__!=""') -> None:
    """Every sample sent must be there, once; `beside` is a matcher of what counts."""
    span_seconds = (about["end_ms"] - about["start_ms"]) // 1000 + 1
    at = about["end_ms"] / 1000
    names = [
        series["metric"]["__name__"]
        for series in server.query(queries.INSTANT, query=f"count by (__name__) ({{{beside}}})", time=at)[1]
    ]
    deadline = time.monotonic() + 60
    while True:
        found = 0
        for name in names:
            query = f"sum(count_over_time({name}[{span_seconds}s]))"
            found += sum(int(float(row["value"][1])) for row in server.query(queries.INSTANT, query=query, time=at)[1])
        if found == about["samples"]:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{server.name} has {found} of {about['samples']} samples")
        time.sleep(0.5)  # VictoriaMetrics shows fresh samples within about a second


def parameters_of(about: dict, kind: str, promql: str) -> dict:
    start = about["start_ms"] / 1000 + OFF_GRID_SECONDS
    end = about["end_ms"] / 1000 - STEP_SECONDS + OFF_GRID_SECONDS
    if kind == queries.RANGE:
        return {"query": promql, "start": start, "end": end, "step": QUERY_STEP_SECONDS}
    return {"query": promql, "time": end}


def ask(server: Server, about: dict, query: tuple[str, str, str], repeats: int) -> tuple[float, list]:
    """Returns the median milliseconds of a query, and its result."""
    _, kind, promql = query
    parameters = parameters_of(about, kind, promql)
    result = server.query(kind, **parameters)[1]
    times = [server.query(kind, **parameters)[0] for _ in range(repeats)]
    return statistics.median(times) * 1000, result


def ask_as_client(server: Server, about: dict, first: int, rounds: int, start_line: object) -> list[tuple[str, float]]:
    """One of several clients: asks all dashboard queries in turn, beginning with the one numbered `first`."""
    asked = queries.DASHBOARD[first:] + queries.DASHBOARD[:first]
    start_line.wait()
    return [
        (name, server.ask(kind, **parameters_of(about, kind, promql))[0] * 1000)
        for _ in range(rounds)
        for name, kind, promql in asked
    ]


def ask_together(server: Server, about: dict, rounds: int) -> dict[str, float]:
    """Median milliseconds of each dashboard query while eight clients ask at once."""
    asked = copy.copy(server)
    asked.process = asked.connection = None  # the clients have their own connections and leave the process alone
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        start_line = manager.Barrier(CLIENTS)
        with concurrent.futures.ProcessPoolExecutor(CLIENTS, mp_context=context) as pool:
            firsts = [client * len(queries.DASHBOARD) // CLIENTS for client in range(CLIENTS)]
            waiting = [pool.submit(ask_as_client, asked, about, first, rounds, start_line) for first in firsts]
            times: dict[str, list[float]] = {name: [] for name, _, _ in queries.DASHBOARD}
            for client in waiting:
                for name, milliseconds in client.result():
                    times[name].append(milliseconds)
    return {name: statistics.median(found) for name, found in times.items()}


def measure(options: argparse.Namespace, dataset: str, name: str, requests: Path, about: dict) -> tuple[dict, dict]:
    """Runs one server through one data set; returns its figures and its answers."""
    server = make_server(options, name, dataset)
    try:
        server.start()
        others_before, began = busy_seconds() - own_seconds(server), time.monotonic()
        cpu_before = server.cpu_seconds()
        command = [options.bin_dir / "bench-load", "send", "--file", requests, "--server", f"127.0.0.1:{server.port}"]
        command += ["--connections", str(options.connections)]
        sent = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        sent = json.loads(sent.stdout)
        cpu_sent = server.cpu_seconds()
        server.tidy_up()
        server.wait_for_rest()
        cpu_rest = server.cpu_seconds()
        peak_memory_bytes = server.peak_memory_bytes()
        check_count(server, about)
        server.wait_for_rest()
        disk = server.disk_bytes()
        query_ms, answers = {}, {}
        for query in [*queries.DASHBOARD, queries.EVERYTHING]:
            query_ms[query[0]], answers[query[0]] = ask(server, about, query, options.repeats)
        everything_ms = query_ms.pop(queries.EVERYTHING[0])
        together_ms = ask_together(server, about, options.repeats)
        others_cores = (busy_seconds() - own_seconds(server) - others_before) / (time.monotonic() - began)
        server.stop()
        restart_seconds = server.start()
        check_count(server, about)
    finally:
        server.stop()
    shutil.rmtree(server.data)
    samples = about["samples"]
    return {
        "version": version(server.program),
        "samples": samples,
        "others_cores": max(others_cores, 0.0),
        "ingest_cpu_us_per_sample": (cpu_sent - cpu_before) * 1e6 / samples,
        "rest_cpu_us_per_sample": (cpu_rest - cpu_before) * 1e6 / samples,
        "samples_per_second": samples / sent["seconds"],
        "reply_ms_p99": sent["reply_seconds_p99"] * 1000,
        "disk": disk,
        "peak_memory_bytes": peak_memory_bytes,
        "restart_seconds": restart_seconds,
        "query_ms": query_ms,
        "dashboard_ms": report.geometric_mean(list(query_ms.values())),
        "everything_ms": everything_ms,
        "together_ms": together_ms,
    }, answers


def by_labels(result: list, after: float) -> dict:
    found = {}
    for series in result:
        points = series.get("values") or [series["value"]]
        points = [point for point in points if point[0] > after]
        if points:
            found[tuple(sorted(series["metric"].items()))] = points
    return found


def same_answer(one: list, other: list, after: float) -> bool:
    """Same series, same times, same values but for the order of summation; points up to `after` do not count."""
    one, other = by_labels(one, after), by_labels(other, after)
    if one.keys() != other.keys():
        return False
    for labels, points in one.items():
        others = other[labels]
        if len(points) != len(others):
            return False
        for (time_one, value_one), (time_other, value_other) in zip(points, others):
            value_one, value_other = float(value_one), float(value_other)
            both_nan = math.isnan(value_one) and math.isnan(value_other)
            if time_one != time_other or not (both_nan or math.isclose(value_one, value_other, rel_tol=1e-9)):
                return False
    return True


def agreement(answers: dict[str, dict], about: dict) -> str:
    """Says which queries MyTSDB answers otherwise than Prometheus."""
    own, other = answers["mytsdb"], answers["prometheus"]
    after = about["start_ms"] / 1000 + AGREE_AFTER_SECONDS
    different = [name for name in own if not same_answer(own[name], other[name], after)]
    same_count = len(own) - len(different)
    text = f"MyTSDB and Prometheus give the same answer to {same_count} of {len(own)} queries (after the first five minutes)"
    return text + (f"; different: {', '.join(different)}." if different else ".")


def measure_flight(options: argparse.Namespace) -> dict:
    """Seeds a fresh MyTSDB with the generator's default set over Arrow Flight."""
    server = make_server(options, "mytsdb", "flight")
    assert isinstance(server, MyTsdb)
    try:
        server.start()
        command = [options.bin_dir / "k8s-data-generator", "--endpoint", server.arrow_endpoint()]
        command += ["--http-endpoint", f"http://127.0.0.1:{server.port}"]
        cpu_before, started = server.cpu_seconds(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, cpu_seconds = time.perf_counter() - started, server.cpu_seconds() - cpu_before
    finally:
        server.stop()
    samples = 20_736_000
    return {"samples": samples, "seconds": seconds, "cpu_us_per_sample": cpu_seconds * 1e6 / samples}


def measure_otlp(options: argparse.Namespace, dataset: str) -> dict:
    """Sends a data set to a fresh MyTSDB over OTLP/gRPC: the same samples, each a number point."""
    requests, about = encode(options, dataset, "otlp")
    server = make_server(options, "mytsdb", f"{dataset}-otlp")
    assert isinstance(server, MyTsdb)
    try:
        server.start()
        cpu_before = server.cpu_seconds()
        command = [options.bin_dir / "bench-load", "send", "--protocol", "otlp", "--file", requests]
        command += ["--server", server.otlp_address(), "--connections", str(options.connections)]
        sent = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        cpu_seconds = server.cpu_seconds() - cpu_before
        peak_memory_bytes = server.peak_memory_bytes()
        # `target_info` is one series per resource beside those of the data set.
        check_count(server, about, beside='__name__!="target_info"')
    finally:
        server.stop()
    shutil.rmtree(server.data)
    samples = about["samples"]
    return {
        "samples": samples,
        "cpu_us_per_point": cpu_seconds * 1e6 / samples,
        "points_per_second": samples / sent["seconds"],
        "reply_ms_p99": sent["reply_seconds_p99"] * 1000,
        "peak_memory_bytes": peak_memory_bytes,
    }


def machine() -> dict:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.machine(),
        "system": f"Linux {platform.release()}",
    }


def main() -> int:
    options = arguments()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    results_path = options.work_dir / f"results-{options.scale:g}.json"
    if options.write_docs and set(options.servers.split(",")) != {"mytsdb", "prometheus", "victoria-metrics"}:
        raise BenchError("--write-docs needs all servers in one run: figures of different runs cannot be compared")
    kept = {"datasets": {}, "machine": machine(), "date": datetime.date.today().isoformat()}
    for dataset in options.datasets.split(","):
        requests, about = encode(options, dataset)
        say(f"{dataset}: {about['series']:,} series, {about['samples']:,} samples, {about['bytes'] / 1e6:,.0f} MB")
        place = kept["datasets"].setdefault(dataset, {"results": {}})
        place["about"] = about
        answers = {}
        for name in options.servers.split(","):
            place["results"][name], answers[name] = measure(options, dataset, name, requests, about)
            figures = place["results"][name]
            say(
                f"  {name}: {figures['ingest_cpu_us_per_sample']:.2f} µs/sample,"
                f" {figures['samples_per_second']:,.0f} samples/s,"
                f" {figures['disk']['all'] / about['samples']:.2f} bytes/sample,"
                f" queries {figures['dashboard_ms']:.1f} ms"
            )
            results_path.write_text(json.dumps(kept, indent=1))
        if {"mytsdb", "prometheus"} <= answers.keys():
            place["agreement"] = agreement(answers, about)
        if options.otlp:
            place["otlp"] = measure_otlp(options, dataset)
            results_path.write_text(json.dumps(kept, indent=1))
    if options.flight:
        kept["flight"] = measure_flight(options)
    results_path.write_text(json.dumps(kept, indent=1))
    text = report.render(kept)
    say("\n" + text)
    if options.write_docs:
        report.write(ROOT / "docs/benchmarks.md", text)
        say("written to docs/benchmarks.md")
    return 0


if __name__ == "__main__":
    # Ending on SIGTERM as on Ctrl-C: no server is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    try:
        sys.exit(main())
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
