"""What Grafana asks when it shows a dashboard: the values of its variables, and its queries with everything filled in.

Input: a dashboard's JSON, a time range, and a function that asks a server for a label's values. Output: `Asked` per
query of every panel. Follows Grafana's Prometheus data source: how values are quoted in matchers, how `$__interval`,
`$__rate_interval` and `$__range` come about.
Not here: HTTP; what is right or wrong about a dashboard (`tests/e2e/dashboard_lint.py`).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "dashboards"
# `timeInterval` of the provisioned data sources.
SCRAPE_INTERVAL_S = 15
# A screen that is this wide shows 24 columns.
SCREEN_WIDTH_PX = 1600
# Steps that Grafana rounds intervals to: what is below the first number becomes the second (seconds).
ROUNDED_S = (
    (1.5, 1), (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30), (90, 60), (210, 120), (450, 300),
    (750, 600), (1050, 900), (1500, 1200), (2700, 1800), (5400, 3600), (9000, 7200), (16200, 10800),
)  # fmt: skip

LabelValues = Callable[[str, str], list[str]]
"""From a label and a selector to its values, sorted."""


@dataclass(frozen=True)
class Range:
    start_s: float
    end_s: float

    @property
    def length_s(self) -> int:
        return round(self.end_s - self.start_s)


@dataclass(frozen=True)
class Asked:
    """A query as it goes to the server. `step_s`: of a range query; an instant query is at the end of the range."""

    dashboard: str
    panel: dict
    target: dict
    promql: str
    is_instant: bool
    step_s: int

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.panel['title']} {self.target['refId']}"


def load() -> dict[str, dict]:
    """All dashboards by uid."""
    dashboards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return {dashboard["uid"]: dashboard for dashboard in dashboards}


def panels(dashboard: dict) -> list[dict]:
    """Everything but rows, those of collapsed rows included."""
    found = []
    for panel in dashboard["panels"]:
        found += panel["panels"] if panel["type"] == "row" else [panel]
    return found


def query_variables(dashboard: dict) -> list[dict]:
    return [variable for variable in dashboard["templating"]["list"] if variable["type"] == "query"]


def label_values_of(variable: dict) -> tuple[str, str]:
    """Selector and label of `label_values(selector, label)`."""
    found = re.fullmatch(r"label_values\((.*), *([a-zA-Z_][a-zA-Z0-9_]*)\)", variable["query"]["query"])
    if found is None:
        raise ValueError(f"variable {variable['name']} is no label_values: {variable['query']['query']}")
    return found.group(1), found.group(2)


def choose_all(dashboard: dict, label_values: LabelValues) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Every variable is "All": what is put into queries, and the values that the lists offer."""
    chosen, offered = {}, {}
    for variable in query_variables(dashboard):
        selector, label = label_values_of(variable)
        offered[variable["name"]] = label_values(label, fill_variables(selector, chosen))
        chosen[variable["name"]] = variable["allValue"] or quoted(offered[variable["name"]] or [""])
    return chosen, offered


def choose_first(dashboard: dict, label_values: LabelValues) -> dict[str, str]:
    """Every variable is the first value that its list offers once those before it are chosen."""
    chosen = {}
    for variable in query_variables(dashboard):
        selector, label = label_values_of(variable)
        offered = label_values(label, fill_variables(selector, chosen))
        if not offered:
            raise ValueError(f"variable {variable['name']} of {dashboard['uid']} has no value for {selector} with {chosen}")
        chosen[variable["name"]] = quoted(offered[:1])
    return chosen


def quoted(values: list[str]) -> str:
    """Values of a variable that allows several, as a regular expression within PromQL's quotes."""
    escaped = [
        re.sub(r"[$^*{}\[\]+?.()|]", lambda found: "\\\\" + found.group(), value.replace("\\", "\\" * 4))
        for value in values
    ]
    return escaped[0] if len(escaped) == 1 else "(" + "|".join(escaped) + ")"


def fill_variables(promql: str, values: dict[str, str]) -> str:
    """`$name` and `${name}`; names of Grafana's own (`$__…`) stay."""

    def value(found: re.Match) -> str:
        name = found.group(1) or found.group(2)
        return found.group() if name.startswith("__") else values[name]

    return re.sub(r"\$(?:\{([a-zA-Z_]\w*)\}|([a-zA-Z_]\w*))", value, promql)


def asked(dashboard: dict, values: dict[str, str], over: Range) -> list[Asked]:
    """Every query of every panel."""
    found = []
    for panel in panels(dashboard):
        for target in panel["targets"]:
            step_s = interval_s(over, panel)
            promql = fill_times(fill_variables(target["expr"], values), over, step_s)
            found.append(Asked(dashboard["uid"], panel, target, promql, target["instant"], step_s))
    return found


def interval_s(over: Range, panel: dict) -> int:
    """`$__interval`, which is the step as well: a point for each pixel, rounded, and no finer than samples come."""
    points = SCREEN_WIDTH_PX * panel["gridPos"]["w"] / 24
    exact = over.length_s / points
    rounded = next((step for below, step in ROUNDED_S if exact < below), 21600)
    return max(rounded, SCRAPE_INTERVAL_S)


def fill_times(promql: str, over: Range, step_s: int) -> str:
    rate_interval_s = max(step_s + SCRAPE_INTERVAL_S, 4 * SCRAPE_INTERVAL_S)
    own = {
        "__rate_interval": f"{rate_interval_s}s",
        "__interval": f"{step_s}s",
        "__range": f"{over.length_s}s",
        "__range_s": str(over.length_s),
    }
    return re.sub(r"\$\{?(__\w+)\}?", lambda found: own[found.group(1)], promql)
