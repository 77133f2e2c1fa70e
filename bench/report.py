"""Turns the benchmark's figures into the tables of docs/benchmarks.md."""

import math
from pathlib import Path

# More than this taken by other programs makes times doubtful.
OTHERS_CORES_MAX = 0.1
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
OWN = "mytsdb"

# (title, how to get the figure from a result, format, whether more is better; None = a condition, not a result)
ROWS = [
    ("CPU taken by other programs meanwhile, cores", lambda r: r["others_cores"], "{:.2f}", None),
    ("ingest: server CPU, µs/sample", lambda r: r["ingest_cpu_us_per_sample"], "{:.2f}", False),
    ("ingest: the same with flush and merge", lambda r: r["rest_cpu_us_per_sample"], "{:.2f}", False),
    ("ingest: samples/s", lambda r: r["samples_per_second"], "{:,.0f}", True),
    ("ingest: answer to a request, p99, ms", lambda r: r["reply_ms_p99"], "{:.1f}", False),
    ("disk after a rest, bytes/sample", lambda r: r["disk"]["all"] / r["samples"], "{:.2f}", False),
    ("peak memory, MB", lambda r: r["peak_memory_bytes"] / 1e6, "{:.0f}", False),
    ("restart until ready, s", lambda r: r["restart_seconds"], "{:.2f}", False),
    ("18 dashboard queries, geometric mean of medians, ms", lambda r: r["dashboard_ms"], "{:.1f}", False),
    ("the same, eight clients at once, ms", lambda r: geometric_mean(list(r["together_ms"].values())), "{:.1f}", False),
    ('`count({__name__!=""})`, ms', lambda r: r["everything_ms"], "{:.1f}", False),
]


def geometric_mean(numbers: list[float]) -> float:
    return math.exp(sum(math.log(number) for number in numbers) / len(numbers))


def ratio(own: float, other: float, more_is_better: bool | None) -> str:
    if more_is_better is None:
        return ""
    factor = own / other if more_is_better else other / own
    return f"{factor:.1f}×"


def dataset_table(results: dict[str, dict]) -> list[str]:
    """One table: a row per figure, a column per server, and how many times better MyTSDB is."""
    servers = sorted(results, key=lambda name: (name != OWN, name))
    others = [name for name in servers if name != OWN] if OWN in servers else []
    header = ["", *(f"{name} {results[name]['version']}" for name in servers)]
    header += [f"better than {name}" for name in others]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for title, figure, form, more_is_better in ROWS:
        cells = [form.format(figure(results[name])) for name in servers]
        cells += [ratio(figure(results[OWN]), figure(results[name]), more_is_better) for name in others]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return lines


def doubt(results: dict[str, dict]) -> list[str]:
    """Says so when other programs were running; CPU per sample suffers least, times and ratios of times most."""
    busy = {name: row["others_cores"] for name, row in results.items() if row["others_cores"] > OTHERS_CORES_MAX}
    if not busy:
        return []
    cores = ", ".join(f"{name} {value:.2f}" for name, value in sorted(busy.items()))
    return [f"**Doubtful: other programs took CPU during this measurement (cores: {cores}).**", ""]


def query_table(results: dict[str, dict]) -> list[str]:
    servers = sorted(results, key=lambda name: (name != OWN, name))
    columns = [(name, key) for key in ("query_ms", "together_ms") for name in servers]
    titles = [name + (" ×8" if key == "together_ms" else "") for name, key in columns]
    lines = ["| query, median ms | " + " | ".join(titles) + " |", "|---" * (len(columns) + 1) + "|"]
    for title in results[servers[0]]["query_ms"]:
        cells = [f"{results[name][key][title]:.1f}" for name, key in columns]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return lines


def render(everything: dict) -> str:
    """Renders all data sets; `everything` is what compare.py keeps in its results file."""
    machine = everything["machine"]
    lines = [f"Measured {everything['date']}: {machine['cpus']} × {machine['cpu']}, {machine['system']}.", ""]
    for name, dataset in sorted(everything["datasets"].items()):
        about = dataset["about"]
        lines += [
            f"### {name}: {about['series']:,} series, {about['samples']:,} samples,"
            f" {about['requests']:,} requests of {about['bytes'] / about['samples']:.1f} bytes/sample",
            "",
            *doubt(dataset["results"]),
            *dataset_table(dataset["results"]),
            "",
            *query_table(dataset["results"]),
            "",
        ]
        agreement = dataset.get("agreement")
        if agreement:
            lines += [agreement, ""]
        if "otlp" in dataset:
            otlp = dataset["otlp"]
            lines += [
                f"OTLP/gRPC, the same samples as number points, not compressed on the wire: server CPU"
                f" {otlp['cpu_us_per_point']:.2f} µs/point, {otlp['points_per_second']:,.0f} points/s,"
                f" answer p99 {otlp['reply_ms_p99']:.1f} ms, peak memory {otlp['peak_memory_bytes'] / 1e6:.0f} MB."
                " (Debian's VictoriaMetrics and Prometheus take no OTLP/gRPC.)",
                "",
            ]
    if "flight" in everything:
        flight = everything["flight"]
        lines += [
            "### Arrow Flight",
            "",
            f"{flight['samples']:,} samples from `k8s-data-generator` in {flight['seconds']:.2f} s;"
            f" server CPU {flight['cpu_us_per_sample']:.3f} µs/sample. The time includes generating the samples and counting"
            " them in the server at the end.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def write(document: Path, text: str) -> None:
    """Replaces what is between the markers."""
    before, rest = document.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
