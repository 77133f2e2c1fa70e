"""Rules for dashboards, after Grafana's dashboard-linter, and some of our own. Nothing here talks to a server.

Input: a dashboard's JSON. Output: complaints, one line each; none if all is well.
`EXCLUDED` says which rule does not hold where, and why.
"""

import json
import re
from collections.abc import Iterator

import queries

EXCLUDED = {
    ("k8s-seeded-cluster", "template-job"): "series of five jobs are shown together; nine labels of the cluster choose",
    ("k8s-seeded-cluster", "template-instance"): "the same: instances are chosen as nodes and pods",
    ("k8s-seeded-cluster", "target-job"): "the same",
    ("k8s-seeded-cluster", "target-instance"): "the same",
    ("load-test", "target-job"): "half of it is the server, which has a variable of its own",
    ("load-test", "target-instance"): "the same",
    ("k8s-seeded-cluster: Restarts in the last hour", "rate-interval"): "restarts are rare: a window of an hour shows them",
}
UNITS = {
    "bool_yes_no", "Bps", "bytes", "celsius", "cores", "decbytes", "hertz", "ms", "none", "ops", "percent", "percentunit",
    "pps", "reqps", "rps", "s", "short", "string", "watt", "watth", "wps",
}  # fmt: skip
KINDS = {"bargauge", "gauge", "heatmap", "stat", "table", "timeseries"}
# Sums of what happened carry these endings; everything else is a value at a time.
COUNTER = re.compile(r"\b[a-zA-Z_:]\w*(?:_total|_bucket|_count|_sum)\b(?=\s*\{)")
COUNTING = ("rate", "increase", "irate", "resets")


def complaints(dashboards: dict[str, dict]) -> list[str]:
    found = []
    for uid, dashboard in dashboards.items():
        found += [line for rule, line in of_dashboard(dashboard, set(dashboards)) if (uid, rule) not in EXCLUDED]
        for panel in queries.panels(dashboard):
            place = f"{uid}: {panel['title']}"
            for rule, line in of_panel(dashboard, panel):
                if (uid, rule) not in EXCLUDED and (place, rule) not in EXCLUDED:
                    found.append(f"{place}: {rule}: {line}")
    return found


def of_dashboard(dashboard: dict, uids: set[str]) -> Iterator[tuple[str, str]]:
    uid = dashboard["uid"]
    if not re.fullmatch(r"[a-z0-9-]{1,40}", uid) or dashboard["id"] is not None or dashboard["schemaVersion"] != 42:
        yield "identity", f"{uid}: uid, id or schemaVersion are not as they should be"
    variables = dashboard["templating"]["list"]
    first = variables[0]
    if (first["type"], first["name"], first["query"], first["label"]) != ("datasource", "datasource", "prometheus", "Data source"):
        yield "template-datasource", f"{uid}: the first variable does not choose the data source"
    names = [variable["name"] for variable in variables]
    for name in ("job", "instance"):
        if name not in names:
            yield f"template-{name}", f"{uid}: no variable {name}"
    for variable in variables[1:]:
        if variable["datasource"]["uid"] != "${datasource}" or variable["refresh"] != 2 or not variable["label"]:
            yield "template-label-promql", f"{uid}: variable {variable['name']} has no label, data source or refresh"
    known = set(names)
    for name in re.findall(r"(?<!\$)\$\{?([a-z]\w*)", json.dumps([variables, dashboard["panels"]])):
        if name not in known and name != "datasource":
            yield "variables", f"{uid}: ${name} is not a variable"
    for target in re.findall(r"/d/([a-z0-9-]+)", json.dumps(dashboard["panels"])):
        if target not in uids:
            yield "links", f"{uid}: link to {target}, which does not exist"
    if not any(link["type"] == "dashboards" and link["tags"] == ["mytsdb"] for link in dashboard["links"]):
        yield "links", f"{uid}: no links to the other dashboards"
    yield from of_layout(dashboard)


def of_layout(dashboard: dict) -> Iterator[tuple[str, str]]:
    uid, taken = dashboard["uid"], {}
    identities = [panel["id"] for panel in dashboard["panels"]]
    if len(set(identities)) != len(identities) or min(identities) < 1:
        yield "panel-ids", f"{uid}: ids of panels are not unique"
    titles = [panel["title"] for panel in queries.panels(dashboard)]
    for title in {title for title in titles if titles.count(title) > 1}:
        yield "panel-title", f"{uid}: {title} is there twice"
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > 24:
            yield "layout", f"{uid}: {panel['title']} is not inside the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield "layout", f"{uid}: {panel['title']} covers {taken[cell]}"
                break
            taken[cell] = panel["title"]


def of_panel(dashboard: dict, panel: dict) -> Iterator[tuple[str, str]]:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] not in KINDS:
        yield "panel-type", panel["type"]
    if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
        yield "panel-datasource", str(panel["datasource"])
    if not panel["title"] or not panel["description"].endswith("."):
        yield "panel-title-description", "title and description (a sentence) are needed"
    if defaults.get("unit") not in UNITS:
        yield "panel-units", f"unit {defaults.get('unit')}"
    for override in panel["fieldConfig"]["overrides"]:
        for one in override["properties"]:
            if one["id"] == "unit" and one["value"] not in UNITS:
                yield "panel-units", f"unit {one['value']}"
    values = [step["value"] for step in defaults["thresholds"]["steps"]]
    if values[0] is not None or values[1:] != sorted(values[1:]):
        yield "thresholds", f"{values}"
    references = [target["refId"] for target in panel["targets"]]
    if not references or len(set(references)) != len(references):
        yield "targets", f"refIds {references}"
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for target in panel["targets"]:
        yield from of_target(panel, target, variables)


def of_target(panel: dict, target: dict, variables: set[str]) -> Iterator[tuple[str, str]]:
    promql = target["expr"]
    if target["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
        yield "target-datasource", promql
    for name in ("job", "instance"):
        matcher = f'{name}=~"${name}"'
        if any(matcher not in selector for selector in re.findall(r"\w\{([^}]*)\}", promql)):
            yield f"target-{name}", f"a selector lacks {matcher}: {promql}"
    used = set(re.findall(r"\$([a-z]\w*)", promql))
    if not used <= variables or not used:
        yield "target-variables", f"no variables, or unknown ones: {promql}"
    unquoted = re.sub(r'"[^"]*"', '""', promql)
    for call, window in re.findall(r"\b(\w+)\([^\[\]()]*\[([^\]:]+)\]", unquoted):
        if call not in COUNTING:
            continue
        if window != "$__rate_interval" and not (window == "$__range" and target["instant"]):
            yield "rate-interval", f"{call} over {window}: {promql}"
    for found in COUNTER.finditer(promql):
        before = promql[: found.start()].rstrip()
        if not before.endswith(tuple(f"{call}(" for call in COUNTING)):
            yield "counters", f"{found.group()} is used without rate or increase: {promql}"
    if "histogram_quantile(" in promql and not re.search(r"histogram_quantile\([^,]+, sum by \(le\b", promql):
        yield "histograms", f"buckets are not summed by le: {promql}"
    if "_bucket{" in promql and "le" not in " ".join(re.findall(r"by \(([^)]*)\)", promql)):
        yield "histograms", f"buckets without le: {promql}"
    if panel["type"] == "timeseries" and (target["instant"] or target["legendFormat"] == "__auto"):
        yield "legend", f"a graph needs a range query and a legend: {promql}"
