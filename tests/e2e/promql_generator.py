"""Data and random queries in the language of Prometheus 2.42, for the comparison with it.

Times are chosen so that closed windows (before 3.0) and left-open ones hold the same samples: samples lie 137 ms after a
multiple of five seconds, queries are evaluated seven seconds after a multiple of ten, all ranges, steps and offsets are
multiples of ten seconds; and a subquery within a subquery, which is evaluated at multiples of ten seconds, is moved by
three seconds. So no window begins at a sample or at a step.
"""

import math
import random
import struct

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]

START_S = 1_700_000_000
HOURS = 2
FIRST_MS = START_S * 1000 + 137
INTERVAL_MS = 15_000
SAMPLE_COUNT = HOURS * 3600_000 // INTERVAL_MS

JOBS = ["api", "web", "db"]
INSTANCES = ["a:1", "b:1"]


def all_series(rng: random.Random) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    """Labels and samples (milliseconds, value); values are multiples of 1/8, so that sums do not depend on their order."""
    made = []

    def add(labels: dict[str, str], values) -> None:
        samples = [(FIRST_MS + index * INTERVAL_MS, value) for index, value in enumerate(values) if value is not None]
        made.append((labels, samples))

    for job in JOBS:
        for instance in INSTANCES:
            where = {"job": job, "instance": instance}
            for code in ["200", "404", "500"]:
                add({"__name__": "requests_total", "code": code, **where}, counter(rng, resets=code != "404"))
            add({"__name__": "memory_bytes", **where}, gauge(rng))
            add({"__name__": "temperature", **where}, gauge(rng, signed=True))
            add({"__name__": "up", **where}, (float(rng.random() < 0.9) for _ in range(SAMPLE_COUNT)))
            version = rng.choice(["1.2", "1.10", "2.0"])
            add({"__name__": "build_info", "version": version, **where}, [1.0] * SAMPLE_COUNT)
            for series, values in histogram(rng, where):
                add(series, values)
        add({"__name__": "limit", "job": job}, [float(rng.randrange(1, 400))] * SAMPLE_COUNT)
    add({"__name__": "odd", "kind": "nan"}, [math.nan] * SAMPLE_COUNT)
    add({"__name__": "odd", "kind": "inf"}, [rng.choice([math.inf, 1.0]) for _ in range(SAMPLE_COUNT)])
    add({"__name__": "odd", "kind": "minus_inf"}, [-math.inf] * SAMPLE_COUNT)
    add({"__name__": "odd", "kind": "zero"}, [rng.choice([0.0, -0.0]) for _ in range(SAMPLE_COUNT)])
    add({"__name__": "odd", "kind": "huge"}, [2.0**70] * 240 + [-(2.0**71)] * (SAMPLE_COUNT - 240))
    add({"__name__": "odd", "kind": "tiny"}, [rng.choice([2.0**-900, 2.0**-901, -(2.0**-900)]) for _ in range(SAMPLE_COUNT)])
    add({"__name__": "odd", "kind": "mixed"}, [rng.choice([math.nan, 1.0, 2.0]) for _ in range(SAMPLE_COUNT)])
    add({"__name__": "sparse", "kind": "rare"}, [8.0 if index % 40 == 0 else None for index in range(SAMPLE_COUNT)])
    add({"__name__": "sparse", "kind": "once"}, [3.0 if index == 200 else None for index in range(SAMPLE_COUNT)])
    add({"__name__": "sparse", "kind": "ends"}, [5.0] * 240 + [STALE])
    add({"__name__": "sparse", "kind": "begins"}, [None] * 240 + [7.0] * (SAMPLE_COUNT - 240))
    add({"__name__": "sparse", "kind": "flickers"}, [STALE if index % 7 == 3 else 2.0 for index in range(SAMPLE_COUNT)])
    add({"__name__": "text", "path": "/api/v1/users", "empty": ""}, [1.0] * SAMPLE_COUNT)
    add({"__name__": "text", "path": "/héllo wörld/\"q\"\\"}, [2.0] * SAMPLE_COUNT)
    return made


def counter(rng: random.Random, resets: bool):
    """Grows; where it may be reset it has no gaps (see "extrapolation" in test_differential.py)."""
    value = float(rng.randrange(100_000, 200_000))
    for index in range(SAMPLE_COUNT):
        if resets and index > 10 and rng.random() < 0.01:
            value = float(rng.randrange(0, 50))
        else:
            value += rng.randrange(0, 80) / 8
        yield None if not resets and rng.random() < 0.05 else value


def gauge(rng: random.Random, signed: bool = False):
    value = float(rng.randrange(100, 1000))
    for _ in range(SAMPLE_COUNT):
        value += rng.randrange(-80, 81) / 8
        if not signed:
            value = abs(value)
        yield value


def histogram(rng: random.Random, where: dict[str, str]):
    bounds = ["0.125", "0.5", "1", "2.5", "+Inf"]
    counts = [1000.0 * (index + 1) for index in range(len(bounds))]
    total = 1000.0
    columns = [[] for _ in bounds]
    sums = []
    for _ in range(SAMPLE_COUNT):
        for _ in range(rng.randrange(0, 6)):
            reached = rng.randrange(len(bounds))
            total += reached / 8
            for index in range(reached, len(bounds)):
                counts[index] += 1
        for column, count in zip(columns, counts):
            column.append(count)
        sums.append(total)
    yield from (
        ({"__name__": "latency_bucket", "le": bound, **where}, column) for bound, column in zip(bounds, columns)
    )
    yield {"__name__": "latency_sum", **where}, sums
    yield {"__name__": "latency_count", **where}, columns[-1]


METRICS = {
    "requests_total": ["job", "instance", "code"],
    "memory_bytes": ["job", "instance"],
    "temperature": ["job", "instance"],
    "up": ["job", "instance"],
    "build_info": ["job", "instance", "version"],
    "latency_bucket": ["job", "instance", "le"],
    "latency_sum": ["job", "instance"],
    "latency_count": ["job", "instance"],
    "limit": ["job"],
    "odd": ["kind"],
    "sparse": ["kind"],
    "text": ["path"],
}
VALUES = {
    "job": JOBS,
    "instance": INSTANCES,
    "code": ["200", "404", "500"],
    "version": ["1.2", "1.10", "2.0"],
    "le": ["0.125", "1", "+Inf"],
    "kind": ["zero", "inf", "nan", "rare", "ends", "mixed"],
    "path": ["/api/v1/users"],
}
LABELS = ["job", "instance", "code", "version", "le", "kind", "path"]

RANGE_FUNCTIONS = """absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate
    last_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time
    sum_over_time predict_linear quantile_over_time holt_winters""".split()
MATH_FUNCTIONS = """abs ceil floor exp ln log2 log10 sqrt sgn acos acosh asin asinh atan atanh cos cosh sin sinh tan tanh
    deg rad""".split()
TIME_FUNCTIONS = "hour minute month year day_of_month day_of_week day_of_year days_in_month".split()
OTHER_FUNCTIONS = """absent timestamp sort sort_desc round clamp clamp_max clamp_min histogram_quantile label_replace
    label_join vector scalar time pi""".split()
# Native histograms cannot be sent to 2.42 as it is started here; of floats these make nothing.
NATIVE_FUNCTIONS = "histogram_count histogram_sum".split()
AGGREGATIONS = "sum avg count min max group stddev stdvar topk bottomk quantile count_values".split()
ARITHMETIC = "+ - * / % ^ atan2".split()
COMPARISONS = "== != > < >= <=".split()
SET_OPERATORS = "and or unless".split()
SHAPES = "selector offset at subquery negative parentheses literal range_selector string".split()

FEATURES = (
    RANGE_FUNCTIONS
    + MATH_FUNCTIONS
    + TIME_FUNCTIONS
    + OTHER_FUNCTIONS
    + NATIVE_FUNCTIONS
    + AGGREGATIONS * 3
    + [f"{operator} {form}" for operator in ARITHMETIC + COMPARISONS for form in ["scalar", "vector", "group"]]
    + [f"{operator} bool" for operator in COMPARISONS]
    + SET_OPERATORS * 2
    + SHAPES * 2
)


class Generator:
    """Random expressions; each query has a feature of the list at its root, and anything below."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.in_subquery = 0

    def query(self, index: int) -> str:
        return self.feature(FEATURES[index % len(FEATURES)], depth=self.rng.choice([0, 1, 1, 2, 3]))

    def pick(self, *options):
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def feature(self, name: str, depth: int) -> str:
        operator, _, form = name.partition(" ")
        if name in RANGE_FUNCTIONS:
            return self.range_call(name, depth)
        if name in AGGREGATIONS:
            return self.aggregation(name, depth)
        if form:
            return self.binary(operator, form, depth)
        if name in SET_OPERATORS:
            return f"{self.operand(depth)} {name}{self.matching(one_to_one=True)} {self.operand(depth)}"
        if name in SHAPES:
            return self.shape(name, depth)
        return self.call(name, depth)

    def shape(self, name: str, depth: int) -> str:
        if name == "selector":
            return self.selector()
        if name == "offset":
            return f"{self.selector()} offset {self.pick('', '-')}{self.duration()}"
        if name == "at":
            return f"{self.selector()}{self.at()}"
        if name == "subquery":
            return self.range_call(self.pick(*RANGE_FUNCTIONS), max(depth, 1), self.subquery(max(depth, 1)))
        if name == "negative":
            return f"{self.pick('-', '+', '-', '--')}{self.operand(depth)}"
        if name == "parentheses":
            return f"({self.vector(depth)})"
        if name == "literal":
            return self.scalar(depth)
        if name == "range_selector":
            return self.subquery(1) if self.chance(0.3) else self.matrix_selector()
        return self.pick('"text"', "'a\\tb'", "`raw\\n`", '"\\u00e9\\x41"')

    # Leaves

    def selector(self, metric: str | None = None) -> str:
        metric = metric or self.pick(*METRICS, "requests_total", "memory_bytes", "temperature", "up")
        matchers = []
        if self.chance(0.4):
            label = self.pick(*METRICS[metric], *METRICS[metric], *LABELS)
            matchers.append(self.matcher(label))
        if self.chance(0.1):
            matchers.append(self.matcher(self.pick(*LABELS)))
        if self.chance(0.05):
            regex = self.pick("requests_.*", "mem.+|temp.+", "latency_(sum|count)", "(?i)UP", "[a-m]+", "od[c-e]")
            return "{" + ",".join([f'__name__=~"{regex}"', *matchers]) + "}"
        return metric + ("{" + ",".join(matchers) + "}" if matchers else "")

    def matcher(self, label: str) -> str:
        if self.chance(0.5):
            value = self.pick(*VALUES[label]) if self.chance(0.7) else self.pick("api", "web", "db", "a:1", "200", "500", "zero", "inf", "", "1", "missing")
            return f'{label}{self.pick("=", "!=", "!=")}"{value}"'
        regex = self.pick(".*", ".+", "a.*", "api|web", "[0-9]+", "(a|b):1", "", "^api$", "4..|5..", "(?i:API)", "\\\\d+")
        return f'{label}{self.pick("=~", "!~")}"{regex}"'

    def duration(self) -> str:
        return self.pick("10s", "30s", "1m", "1m30s", "5m", "20m", "1h")

    def at(self) -> str:
        second = START_S + 10 * self.rng.randrange(-30, HOURS * 360 + 60) + 7
        return self.pick(f" @ {second}", f" @ {second}", " @ start()", " @ end()")

    def modifiers(self) -> str:
        text = ""
        if self.chance(0.1):
            text += self.at()
        if self.chance(0.15):
            text += f" offset {self.pick('', '', '-')}{self.duration()}"
        return text

    def matrix_selector(self, metric: str | None = None) -> str:
        return f"{self.selector(metric)}[{self.pick('30s', '1m', '2m', '5m', '5m', '10m', '1h')}]{self.modifiers()}"

    def subquery(self, depth: int) -> str:
        self.in_subquery += 1
        inner = self.operand(depth - 1) if depth > 0 else self.selector()
        self.in_subquery -= 1
        step = self.pick("", "10s", "20s", "30s", "1m", "50s")
        text = f"{inner}[{self.pick('1m', '5m', '10m', '20m')}:{step}]"
        return f"{text} offset 3s" if self.in_subquery else text + self.modifiers()

    def matrix(self, depth: int, metric: str | None = None) -> str:
        if depth > 0 and self.in_subquery < 2 and self.chance(0.35):
            return self.subquery(depth)
        return self.matrix_selector(metric)

    def number(self) -> str:
        return self.pick("0", "1", "2", "0.5", "-1", "3", "10", "100", "1e3", "0x1F", "Inf", "-Inf", "NaN", "0.125", "300")

    def scalar(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.5):
            return self.number()
        kind = self.rng.randrange(5)
        if kind == 0:
            return f"scalar({self.vector(depth - 1)})"
        if kind == 1:
            return self.pick("time()", "pi()")
        if kind == 2:
            return f"({self.scalar(depth - 1)} {self.pick(*ARITHMETIC)} {self.scalar(depth - 1)})"
        if kind == 3:
            return f"({self.scalar(depth - 1)} {self.pick(*COMPARISONS)} bool {self.scalar(depth - 1)})"
        return f"-{self.scalar(depth - 1)}"

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector() + self.modifiers()
        kind = self.rng.randrange(10)
        if kind < 3:
            return self.range_call(self.pick(*RANGE_FUNCTIONS), depth - 1)
        if kind < 5:
            return self.aggregation(self.pick(*AGGREGATIONS), depth - 1)
        if kind < 8:
            return self.feature(self.pick(*FEATURES[: len(FEATURES) - 2 * len(SHAPES)]), depth - 1)
        return self.selector() + self.modifiers()

    def operand(self, depth: int) -> str:
        text = self.vector(depth)
        return text if text.isidentifier() else f"({text})"

    # Calls

    def counters(self) -> str:
        """A range over counters only: see "extrapolation" in test_differential.py."""
        selector = self.pick("requests_total", "requests_total", "latency_sum", "latency_bucket")
        matcher = self.matcher(self.pick(*METRICS[selector]))
        if self.chance(0.4):
            selector += "{" + matcher + "}"
        if self.chance(0.3):
            return f"{selector}[{self.pick('5m', '10m', '20m')}:{self.pick('', '10s', '50s', '1m')}] offset 3s"
        return f"{selector}[{self.pick('30s', '1m', '5m', '10m', '1h')}]{self.modifiers()}"

    def range_call(self, name: str, depth: int, argument: str | None = None) -> str:
        if name in ("rate", "increase"):
            argument = self.counters()
        if name in ("changes", "resets"):
            argument = self.subquery(0) if self.chance(0.3) else self.matrix_selector()
        argument = argument or self.matrix(depth)
        if name in ("predict_linear", "quantile_over_time"):
            while "@" in argument:
                argument = self.matrix_selector()
        if name == "predict_linear":
            return f"predict_linear({argument}, {self.pick('60', '600', '-600', self.scalar(depth))})"
        if name == "quantile_over_time":
            return f"quantile_over_time({self.pick('0', '0.5', '0.9', '1', self.scalar(depth))}, {argument})"
        if name == "holt_winters":
            return f"holt_winters({argument}, 0.{self.rng.randrange(1, 10)}, 0.{self.rng.randrange(1, 10)})"
        return f"{name}({argument})"

    def call(self, name: str, depth: int) -> str:
        if name == "time" or name == "pi":
            return f"{name}()"
        if name == "round":
            to = self.pick("", "", ", 0.5", ", 10", f", {self.scalar(depth)}")
            return f"round({self.vector(depth)}{to})"
        if name == "clamp":
            return f"clamp({self.vector(depth)}, {self.scalar(depth)}, {self.scalar(depth)})"
        if name in ("clamp_max", "clamp_min"):
            return f"{name}({self.vector(depth)}, {self.scalar(depth)})"
        if name == "histogram_quantile":
            quantile = self.pick("0.5", "0.9", "0.99", "0", "1", self.scalar(depth))
            rate = f"{self.pick('rate', 'increase')}({self.matrix_selector('latency_bucket')})"
            by = self.pick("le", "le, job", "job, le, instance")
            inner = self.pick("latency_bucket", rate, f"sum by ({by}) ({rate})", f"sum without (job) ({rate})")
            return f"histogram_quantile({quantile}, {inner})"
        if name == "label_replace":
            regex = self.pick("(.*)", "(.+):(.+)", "a(.*)", "(?P<x>[a-z]+).*", ".*", "[", "([0-9])([0-9]*)")
            replacement = self.pick("$1", "x-$1-$2", "${x}y", "", "$$1", "const", "$1x")
            target = self.pick("dst", "job", "instance", "code", "__name__")
            source = self.pick(*LABELS, "__name__", "missing")
            return f'label_replace({self.vector(depth)}, "{target}", "{replacement}", "{source}", "{regex}")'
        if name == "label_join":
            sources = "".join(f', "{self.pick(*LABELS)}"' for _ in range(self.rng.randrange(0, 4)))
            target = self.pick("dst", "job", "instance")
            return f'label_join({self.vector(depth)}, "{target}", "{self.pick("-", "", ", ")}"{sources})'
        if name == "vector":
            return f"vector({self.scalar(depth)})"
        if name in ("exp", "sinh", "cosh"):
            return f"{name}({self.pick('odd', f'clamp({self.vector(depth)}, -100, 100)')})"
        if name == "tan":
            return f"tan({self.selector()})"
        if name in ("sin", "cos"):
            return f"{name}({self.pick(self.selector(), f'clamp({self.vector(depth)}, -1e3, 1e3)')})"
        if name in TIME_FUNCTIONS and self.chance(0.5):
            return f"{name}({self.selector()} * {self.pick('1', '60', '3600', '864000', '-31557600')})"
        if name == "timestamp":
            return f"timestamp({self.pick(self.selector(), self.selector() + self.at(), f'-{self.operand(depth)}')})"
        if name in TIME_FUNCTIONS and self.chance(0.3):
            return f"{name}()"
        return f"{name}({self.vector(depth)})"

    def count(self, depth: int) -> str:
        """A number of series, at times none or more than one number over a range."""
        return self.pick("1", "2", "3", "5", "0", "-1", "0.9", "NaN", f"scalar(clamp(vector({self.scalar(depth)}), -5, 9))")

    def untied(self) -> str:
        """A vector in which no two values are likely to be equal."""
        values = self.pick(
            "memory_bytes * 1e6 + on (job, instance) latency_sum",
            "temperature * 1e6 + on (instance, job) memory_bytes",
            "requests_total * 1e6 + on (job, instance) group_left () temperature",
        )
        return self.pick(values, f"stddev_over_time({self.pick('memory_bytes', 'temperature')}[10m]{self.modifiers()})", f"sqrt(abs({values}))")

    def grouping(self) -> str:
        kind = self.rng.randrange(4)
        if kind == 0:
            return ""
        labels = ", ".join(self.rng.sample(LABELS + ["__name__"], self.rng.randrange(0, 3)))
        return f"{self.pick('by', 'without')} ({labels})"

    def aggregation(self, name: str, depth: int) -> str:
        arguments = self.vector(depth)
        if name in ("topk", "bottomk"):
            arguments = f"{self.count(depth)}, {self.untied()}"
        if name in ("stddev", "stdvar"):
            arguments = f"({arguments}) < Inf > -Inf"
        if name == "quantile":
            arguments = f"{self.pick('0.5', '0.9', '0', '1', '2', self.scalar(depth))}, {arguments}"
        if name == "count_values":
            exact = self.pick(f"floor((clamp({arguments}, -1e9, 1e9)) + 0.3183)", self.selector())
            arguments = f'"{self.pick("value", "job")}", {exact}'
        grouping = self.grouping()
        if self.chance(0.5):
            return f"{name} {grouping} ({arguments})"
        return f"{name}({arguments}) {grouping}".rstrip()

    # Operators

    def matching(self, one_to_one: bool) -> str:
        kind = self.rng.randrange(4)
        if kind == 0:
            return ""
        if kind == 1 or not one_to_one:
            return f" on ({self.pick('job, instance', 'job', 'instance', 'job, instance, code', '')})"
        return f" ignoring ({self.pick('code', 'version', 'code, version', 'le', 'kind', '')})"

    def binary(self, operator: str, form: str, depth: int) -> str:
        text = self.binary_plain(operator, form, depth)
        return f"({text}) * 1" if operator == "atan2" else text

    def binary_plain(self, operator: str, form: str, depth: int) -> str:
        if form == "scalar":
            pair = [self.operand(depth), self.scalar(depth)]
            self.rng.shuffle(pair)
            if operator == "%":
                pair = [self.selector(), self.number()]
            return f"{pair[0]} {operator} {pair[1]}"
        if form == "bool":
            right = self.scalar(depth) if self.chance(0.5) else self.operand(depth)
            return f"{self.operand(depth)} {operator} bool {right}"
        maybe_bool = " bool" if operator in COMPARISONS and self.chance(0.2) else ""
        if form == "vector":
            if operator != "%" and self.chance(0.3):
                pair = self.operand(depth), self.operand(depth)
            else:
                metrics = ["memory_bytes", "temperature", "up", "latency_sum", "latency_count"]
                pair = self.selector(self.pick(*metrics)), self.selector(self.pick(*metrics))
            return f"{pair[0]} {operator}{maybe_bool}{self.matching(one_to_one=True)} {pair[1]}"
        depth = 0 if operator == "%" else depth
        many = self.pick("requests_total", "latency_bucket", "rate(requests_total[5m])", self.operand(depth))
        one, match = self.pick(
            ("build_info", "on (job, instance)"),
            ("memory_bytes", "ignoring (code, le)"),
            ("temperature", "on (instance, job)"),
            ("limit", "on (job)"),
            (self.operand(depth), "on (job, instance)"),
            (self.operand(depth), "ignoring (code)"),
        )
        carried = self.pick("", "", "()", " (version)", " (version, code)", " (kind)")
        if self.chance(0.5):
            return f"{many} {operator}{maybe_bool} {match} group_left{carried} {one}"
        return f"{one} {operator}{maybe_bool} {match} group_right{carried} {many}"
