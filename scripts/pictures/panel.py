"""One panel: a graph, a number, bars, a table or a heatmap, in a rectangle of a figure.

Input: the panel's JSON and its queries' answers. Output: something drawn.
Not here: where panels are (`page.py`), what is asked (`grafana/queries.py`).
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime

import matplotlib.dates
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import units

TEXT, FAINT, GRID, BACKGROUND = "#d8d9da", "#8e8e93", "#2c3035", "#181b1f"
# Colours of Grafana that can be read on a dark ground.
PALETTE = [
    "#73BF69", "#F2CC0C", "#5794F2", "#FF9830", "#F2495C", "#8AB8FF", "#CA95E5", "#56A64B", "#FADE2A", "#B877D9",
    "#96D98D", "#FFB357", "#C0D8FF", "#FF7383", "#DEB6F2", "#FFEE52", "#37872D", "#E02F44", "#3274D9", "#FF780A",
]  # fmt: skip
COLOURS = {"green": "#73BF69", "red": "#F2495C"}
LEGEND_MAX, BARS_MAX = 6, 10
TIME_STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440]


@dataclass(frozen=True)
class Series:
    name: str
    times: list[datetime]
    values: numpy.ndarray

    @property
    def last(self) -> float:
        return float(self.values[-1])


@dataclass(frozen=True)
class Place:
    """Pixels of a figure, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


def legend(target: dict, labels: dict[str, str]) -> str:
    if target["legendFormat"] == "__auto":
        return ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found.group(1), ""), target["legendFormat"])


def series_of(panel: dict, answers: list[list[dict]]) -> list[Series]:
    found = []
    for target, result in zip(panel["targets"], answers, strict=True):
        for one in result:
            samples = one.get("values") or [one["value"]]
            times = [datetime.fromtimestamp(float(at)) for at, _ in samples]
            values = numpy.array([float(value) for _, value in samples])
            found.append(Series(legend(target, one["metric"]), times, values))
    return found


def draw(figure: Figure, panel: dict, answers: list[list[dict]], place: Place) -> None:
    back = axes(figure, place)
    back.set_facecolor(BACKGROUND)
    back.set_xticks([])
    back.set_yticks([])
    for spine in back.spines.values():
        spine.set_color(GRID)
    write(figure, place.x + 8, place.y + 8, panel["title"], size=8.5, weight="bold")
    inside = Place(place.x + 8, place.y + 26, place.width - 16, place.height - 34)
    if panel["type"] == "table":
        table(figure, panel, answers, inside)
        return
    series = series_of(panel, answers)
    if not series:
        empty = panel["fieldConfig"]["defaults"].get("noValue", "No data")
        write(figure, place.x + place.width / 2, place.y + place.height / 2, empty, size=11, across="center", colour=FAINT)
        return
    DRAWN[panel["type"]](figure, panel, series, inside)


def axes(figure: Figure, place: Place) -> Axes:
    width, height = figure.get_size_inches() * figure.dpi
    bottom = 1 - (place.y + place.height) / height
    return figure.add_axes((place.x / width, bottom, place.width / width, place.height / height))


def write(figure: Figure, x: float, y: float, text: str, size: float, across: str = "left", colour: str = TEXT, **rest) -> None:
    """Text whose top is at `y`."""
    width, height = figure.get_size_inches() * figure.dpi
    # A dollar sign would begin a formula.
    plain = text.replace("$", r"\$")
    figure.text(x / width, 1 - y / height, plain, fontsize=size, ha=across, va="top", color=colour, **rest)


def colour_at(panel: dict, value: float) -> str:
    found = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return COLOURS.get(found, found)


def formatted(panel: dict, value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    return units.text(defaults["unit"], value, defaults.get("decimals"))


def graph(figure: Figure, panel: dict, series: list[Series], place: Place) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    shown = sorted(series, key=lambda one: -float(numpy.nan_to_num(one.values).mean()))[:LEGEND_MAX]
    legend_height = 15 * len(shown) + (15 if len(series) > len(shown) else 0)
    drawn = axes(figure, Place(place.x + 54, place.y + 6, place.width - 62, place.height - legend_height - 32))
    style(drawn)
    if defaults["custom"]["stacking"]["mode"] == "normal":
        stack(drawn, series)
    else:
        for index, one in enumerate(series):
            drawn.plot(one.times, one.values, color=PALETTE[index % len(PALETTE)], linewidth=1)
            if len(series) <= 3:
                drawn.fill_between(one.times, one.values, color=PALETTE[index % len(PALETTE)], alpha=0.08, linewidth=0)
    limits(drawn, defaults)
    ticks = units.ticks(defaults["unit"], *drawn.get_ylim())
    drawn.set_yticks(ticks, [units.text(defaults["unit"], tick) for tick in ticks])
    places = {one.name: index for index, one in enumerate(series)}
    top = place.y + place.height - legend_height + 2
    for line, one in enumerate(shown):
        y = top + 15 * line
        write(figure, place.x + 4, y - 2, "━", size=8, colour=PALETTE[places[one.name] % len(PALETTE)])
        write(figure, place.x + 22, y, clipped(one.name, place.width * 0.6), size=7)
        finite = one.values[~numpy.isnan(one.values)]
        if finite.size:
            facts = f"mean {formatted(panel, float(finite.mean()))}   max {formatted(panel, float(finite.max()))}"
            write(figure, place.x + place.width, y, facts, size=7, across="right", colour=FAINT)
    if len(series) > len(shown):
        more = f"and {len(series) - len(shown)} more"
        write(figure, place.x + 22, top + 15 * len(shown), more, size=7, colour=FAINT)


def stack(drawn: Axes, series: list[Series]) -> None:
    """On top of each other, on the times of all of them."""
    times = sorted({at for one in series for at in one.times})
    rows = []
    for one in series:
        known = dict(zip(one.times, one.values, strict=True))
        rows.append([numpy.nan_to_num(known.get(at, 0.0)) for at in times])
    colours = [PALETTE[index % len(PALETTE)] for index in range(len(series))]
    drawn.stackplot(times, rows, colors=colours, alpha=0.45, linewidth=0)
    for height, colour in zip(numpy.cumsum(rows, axis=0), colours, strict=True):
        drawn.plot(times, height, color=colour, linewidth=0.8)


def style(drawn: Axes) -> None:
    drawn.set_facecolor(BACKGROUND)
    drawn.grid(color=GRID, linewidth=0.6)
    drawn.tick_params(colors=FAINT, labelsize=7, length=0)
    for spine in drawn.spines.values():
        spine.set_visible(False)


def time_axis(drawn: Axes) -> None:
    """Whole minutes, at most six of them."""
    start, end = drawn.get_xlim()
    minutes = (end - start) * 24 * 60
    step = next((step for step in TIME_STEPS_MIN if minutes / step <= 6), TIME_STEPS_MIN[-1])
    day = 24 * 60
    drawn.set_xticks([mark / day for mark in range(math.ceil(start * day / step) * step, int(end * day) + 1, step)])
    drawn.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))


def limits(drawn: Axes, defaults: dict) -> None:
    """From zero, unless all values are far from it; Grafana's minimum and maximum win."""
    low, high = drawn.dataLim.y0, drawn.dataLim.y1
    room = (high - low) * 0.05
    if low > high * 0.7 and low < high:
        low = low - room
    else:
        low = min(low, 0.0)
    low = defaults.get("min", low)
    high = defaults.get("max", high + room)
    # A flat line needs room as well.
    drawn.set_ylim(low, high if high > low else low + 1)
    drawn.margins(x=0)
    time_axis(drawn)


def clipped(text: str, width: float) -> str:
    longest = int(width / 5.2)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def stat(figure: Figure, panel: dict, series: list[Series], place: Place) -> None:
    one = series[0]
    finite = one.values[~numpy.isnan(one.values)]
    value = float(finite[-1]) if finite.size else float("nan")
    colour = colour_at(panel, value)
    if finite.size > 1:
        drawn = axes(figure, Place(place.x - 7, place.y + place.height * 0.55, place.width + 14, place.height * 0.45 + 7))
        drawn.axis("off")
        drawn.fill_between(one.times, one.values, min(0.0, float(finite.min())), color=colour, alpha=0.18, linewidth=0)
        drawn.plot(one.times, one.values, color=colour, linewidth=1)
        drawn.margins(x=0)
    middle = place.x + place.width / 2
    write(figure, middle, place.y + place.height * 0.12, formatted(panel, value), size=17, across="center", colour=colour)


def bars(figure: Figure, panel: dict, series: list[Series], place: Place) -> None:
    shown = sorted(series, key=lambda one: -one.last)[:BARS_MAX]
    most = max([one.last for one in shown] + [panel["fieldConfig"]["defaults"].get("max") or 0]) or 1
    step = min(place.height / len(shown), 34)
    left, right = place.width * 0.42, 64
    for index, one in enumerate(shown):
        y = place.y + step * index
        write(figure, place.x, y + step * 0.25, clipped(one.name, left), size=7)
        room = place.width - left - right
        back = axes(figure, Place(place.x + left, y + 3, room, step - 7))
        back.set_facecolor("#22252b")
        back.set_xlim(0, most)
        back.set_xticks([])
        back.set_yticks([])
        for spine in back.spines.values():
            spine.set_visible(False)
        colour = colour_at(panel, one.last)
        back.barh([0], [one.last], height=1.0, color=colour, alpha=0.75)
        back.set_ylim(-0.5, 0.5)
        write(figure, place.x + place.width, y + step * 0.25, formatted(panel, one.last), size=8, across="right", colour=colour)


def heatmap(figure: Figure, panel: dict, series: list[Series], place: Place) -> None:
    """Answers are cumulative by `le`; a cell is what is in its bucket alone."""
    ordered = sorted(series, key=lambda one: float(one.name.replace("+Inf", "inf")))
    times = sorted({at for one in ordered for at in one.times})
    rows = []
    for one in ordered:
        known = dict(zip(one.times, one.values, strict=True))
        rows.append([known.get(at, 0.0) for at in times])
    cells = numpy.diff(numpy.array(rows), axis=0, prepend=0.0).clip(min=0)
    drawn = axes(figure, Place(place.x + 54, place.y + 6, place.width - 62, place.height - 28))
    style(drawn)
    drawn.grid(False)
    shaded = numpy.ma.masked_equal(cells, 0) ** 0.5
    edges = range(len(ordered) + 1)
    if len(times) < 2:
        return
    ends = [*times, times[-1] + (times[-1] - times[-2])]
    drawn.pcolormesh(ends, edges, shaded, cmap="Oranges", shading="flat", rasterized=True)
    drawn.margins(x=0)
    time_axis(drawn)
    every = max(1, len(ordered) // 8)
    marks = list(range(0, len(ordered), every))
    drawn.set_yticks([mark + 1 for mark in marks])
    unit = panel["options"]["yAxis"]["unit"]
    names = ["∞" if ordered[mark].name == "+Inf" else units.text(unit, float(ordered[mark].name)) for mark in marks]
    drawn.set_yticklabels(names)


def table(figure: Figure, panel: dict, answers: list[list[dict]], place: Place) -> None:
    """Queries side by side, joined by their labels."""
    renamed = next(one for one in panel["transformations"] if one["id"] == "organize")["options"]["renameByName"]
    unit_of = {
        override["matcher"]["options"]: override["properties"][0]["value"] for override in panel["fieldConfig"]["overrides"]
    }
    rows: dict[tuple, dict[str, float]] = {}
    for target, result in zip(panel["targets"], answers, strict=True):
        for one in result:
            row = rows.setdefault(tuple(sorted(one["metric"].items())), {})
            row[f"Value #{target['refId']}"] = float(one["value"][1])
    lines = [dict(labels) | numbers for labels, numbers in rows.items()]
    first_number = next((field for field in renamed if field.startswith("Value")), None)
    if first_number:
        lines.sort(key=lambda line: -line.get(first_number, 0.0))
    room = int((place.height - 22) / 18)
    texts = [[cell(line.get(field, ""), unit_of.get(title, "")) for field, title in renamed.items()] for line in lines[:room]]
    widths = [max([len(title), *(len(row[index]) for row in texts)]) + 2 for index, title in enumerate(renamed.values())]
    starts = numpy.cumsum([0, *widths]) / sum(widths) * place.width
    for index, title in enumerate(renamed.values()):
        write(figure, place.x + starts[index], place.y, title, size=8, colour="#6E9FFF", weight="bold")
        for line, row in enumerate(texts):
            longest = (starts[index + 1] - starts[index]) * 1.05
            write(figure, place.x + starts[index], place.y + 20 + 18 * line, clipped(row[index], longest), size=7.5)


def cell(value: str | float, unit: str) -> str:
    return value if isinstance(value, str) else units.text(unit, value)


DRAWN = {"timeseries": graph, "stat": stat, "gauge": stat, "bargauge": bars, "heatmap": heatmap}
