"""Panels, variables and dashboards as plain data, and the JSON that Grafana loads (schemaVersion 42).

Input: what `boards/` declares. Output: dictionaries, the same for the same input, byte for byte once written.
Not here: which panels there are (`boards/`), writing files (`build.py`), what a query means (`queries.py`).

Sizes are in cells of Grafana's grid, which is 24 wide; a line of panels is filled from the left and is as high as its
highest panel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

SCHEMA_VERSION = 42
GRID_WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "mytsdb"
# Colours of thresholds, from good to bad.
GREEN, YELLOW, RED = "green", "#EAB839", "red"


@dataclass(frozen=True)
class Query:
    """A query of a panel. `instant` asks at the end of the time range only; else Grafana asks for the whole range."""

    promql: str
    legend: str = ""
    instant: bool = False
    exemplars: bool = False
    """Single observations are shown as well; each leads to its trace."""


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    """An id of Grafana's units: `bytes`, `percentunit`, `reqps`, …"""
    kind: str = "timeseries"
    """Or `stat`, `gauge`, `bargauge`, `table`, `heatmap`."""
    width: int = 8
    height: int = 8
    stacked: bool = False
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    thresholds: tuple[tuple[str, float | None], ...] = ((GREEN, None),)
    """Colour and the value from which it holds; the first from minus infinity."""
    if_empty: str = ""
    """What is shown instead of "No data": for panels that are empty when all is well."""
    columns: tuple[tuple[str, str, str], ...] = ()
    """Of a table: field, title, unit (empty = text). Fields that are not listed are hidden."""
    link: tuple[str, str] | None = None
    """Title and address of a link from its series."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """The values of `label` of the series of `selector`; several can be chosen, or all."""

    name: str
    label: str
    selector: str
    title: str = ""
    is_exact: bool = False
    """"All" stands for the values of the list, not for anything: where other series have the metric's name as well."""


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    tags: tuple[str, ...] = ()
    since: str = "now-1h"
    refresh: str = "30s"
    datasource: tuple[str, str] = ("MyTSDB", "mytsdb")
    """Name and uid of the data source that is chosen at first (see provisioning/datasources)."""
    quick_ranges: tuple[tuple[str, str], ...] = field(default=())
    """Name and start of time ranges, all of them until now."""


def query(promql: str, legend: str = "", exemplars: bool = False) -> Query:
    return Query(" ".join(promql.split()), legend, exemplars=exemplars)


def at_end(promql: str, legend: str = "") -> Query:
    return Query(" ".join(promql.split()), legend, instant=True)


def to_json(dashboard: Dashboard) -> dict:
    return {
        "annotations": {"list": [builtin_annotations()]},
        "description": dashboard.description,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [links_to_others()],
        "panels": list(place(dashboard.rows)),
        "preload": False,
        "refresh": dashboard.refresh,
        "schemaVersion": SCHEMA_VERSION,
        "tags": [TAG, *dashboard.tags],
        "templating": {"list": [datasource_variable(dashboard), *map(variable_json, dashboard.variables)]},
        "time": {"from": dashboard.since, "to": "now"},
        "timepicker": timepicker(dashboard),
        "timezone": "browser",
        "title": dashboard.title,
        "uid": dashboard.uid,
        "version": 1,
        "weekStart": "",
    }


def builtin_annotations() -> dict:
    return {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }


def links_to_others() -> dict:
    return {
        "asDropdown": True,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "Dashboards",
        "tooltip": "The other dashboards of MyTSDB",
        "type": "dashboards",
        "url": "",
    }


def timepicker(dashboard: Dashboard) -> dict:
    if not dashboard.quick_ranges:
        return {}
    return {
        "quick_ranges": [{"display": name, "from": start, "to": "now"} for name, start in dashboard.quick_ranges]
    }


def datasource_variable(dashboard: Dashboard) -> dict:
    text, uid = dashboard.datasource
    return {
        "current": {"text": text, "value": uid},
        "hide": 0,
        "includeAll": False,
        "label": "Data source",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    }


def variable_json(variable: Variable) -> dict:
    definition = f"label_values({variable.selector}, {variable.label})"
    return {
        # Anything matches series without the label as well: not every metric has every label.
        "allValue": None if variable.is_exact else ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "definition": definition,
        "hide": 0,
        "includeAll": True,
        "label": variable.title or variable.name.capitalize(),
        "multi": True,
        "name": variable.name,
        "options": [],
        # qryType 1: values of a label.
        "query": {"qryType": 1, "query": definition, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        # Asked again when the time range changes.
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "type": "query",
    }


def place(rows: tuple[Row, ...]) -> Iterator[dict]:
    """Rows and panels from the top to the bottom, with ids from 1."""
    identity, y = 1, 0
    for row in rows:
        yield row_json(row, identity, y)
        identity, y, x, line_height = identity + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > GRID_WIDTH:
                x, y, line_height = 0, y + line_height, 0
            yield panel_json(panel, identity, {"h": panel.height, "w": panel.width, "x": x, "y": y})
            identity, x, line_height = identity + 1, x + panel.width, max(line_height, panel.height)
        y += line_height


def row_json(row: Row, identity: int, y: int) -> dict:
    return {
        "collapsed": False,
        "gridPos": {"h": 1, "w": GRID_WIDTH, "x": 0, "y": y},
        "id": identity,
        "panels": [],
        "title": row.title,
        "type": "row",
    }


def panel_json(panel: Panel, identity: int, position: dict) -> dict:
    made = {
        "datasource": DATASOURCE,
        "description": panel.description,
        "fieldConfig": {"defaults": field_defaults(panel), "overrides": column_overrides(panel)},
        "gridPos": position,
        "id": identity,
        "options": OPTIONS[panel.kind],
        "targets": [target_json(panel, one, chr(ord("A") + index)) for index, one in enumerate(panel.queries)],
        "title": panel.title,
        "type": panel.kind,
    }
    if panel.kind == "table":
        made["transformations"] = table_transformations(panel)
    return made


def target_json(panel: Panel, one: Query, reference: str) -> dict:
    formats = {"table": "table", "heatmap": "heatmap"}
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "exemplar": one.exemplars,
        "expr": one.promql,
        "format": formats.get(panel.kind, "time_series"),
        "instant": one.instant,
        "legendFormat": one.legend or "__auto",
        "range": not one.instant,
        "refId": reference,
    }


def field_defaults(panel: Panel) -> dict:
    steps = [{"color": colour, "value": start} for colour, start in panel.thresholds]
    has_thresholds = len(steps) > 1 or panel.kind in ("stat", "gauge")
    defaults = {
        "color": {"mode": "thresholds" if has_thresholds and panel.kind != "timeseries" else "palette-classic"},
        "custom": custom_of(panel),
        "decimals": panel.decimals,
        "max": panel.maximum,
        "min": panel.minimum,
        "noValue": panel.if_empty or None,
        "thresholds": {"mode": "absolute", "steps": steps},
        "unit": panel.unit,
    }
    if panel.link:
        title, url = panel.link
        defaults["links"] = [{"title": title, "url": url}]
    return {name: value for name, value in defaults.items() if value is not None}


def custom_of(panel: Panel) -> dict | None:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "line",
            "fillOpacity": 30 if panel.stacked else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.thresholds) > 1 else "off"},
        }
    if panel.kind == "table":
        return {"align": "auto", "filterable": True}
    return None


def column_overrides(panel: Panel) -> list[dict]:
    overrides = []
    for _, title, unit in panel.columns:
        # A text column needs no unit; it would get the panel's else.
        properties = [{"id": "unit", "value": unit or "string"}]
        overrides.append({"matcher": {"id": "byName", "options": title}, "properties": properties})
    return overrides


def table_transformations(panel: Panel) -> list[dict]:
    """All queries side by side; only the listed columns, in their order, under their titles."""
    names = [name for name, _, _ in panel.columns]
    return [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": names}}},
        {
            "id": "organize",
            "options": {
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": {name: title for name, title, _ in panel.columns},
            },
        },
    ]


LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS = {
    "timeseries": {
        "legend": {"calcs": ["mean", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": LAST,
        "textMode": "auto",
        "wideLayout": True,
    },
    "gauge": {
        "orientation": "auto",
        "reduceOptions": LAST,
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
    },
    "bargauge": {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": LAST,
        "showUnfilled": True,
        "valueMode": "color",
    },
    "table": {"cellHeight": "sm", "footer": {"show": False}, "showHeader": True},
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "mode": "scheme", "reverse": False, "scheme": "Oranges", "steps": 64},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    },
}
