"""Dashboards as pictures: rows and panels where the grid says, cut into pages between rows.

Input: a dashboard's JSON, the answers to its queries by panel, and what its variables are. Output: PNG files.
"""

from io import BytesIO
from pathlib import Path

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .panel import FAINT, TEXT, Place, draw, write

COLUMN_PX, CELL_PX, GAP_PX, HEAD_PX = 62, 33, 4, 56
DPI = 100
# Cells of the grid that a page may be high.
PAGE_CELLS = 64
COLOURS_MAX = 200


def pages(dashboard: dict) -> list[list[dict]]:
    """Panels, rows included; a new page begins with a row."""
    found: list[list[dict]] = [[]]
    rows: list[list[dict]] = []
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            rows.append([])
        rows[-1].append(panel)
    for row in rows:
        if found[-1] and bottom(row) - found[-1][0]["gridPos"]["y"] > PAGE_CELLS:
            found.append([])
        found[-1] += row
    return found


def bottom(panels: list[dict]) -> int:
    return max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)


def render(dashboard: dict, answers: dict[int, list[list[dict]]], subtitle: str, folder: Path) -> list[Path]:
    """Writes `uid.png`, `uid-2.png`, …; `answers` are by the panel's id, a result for each of its queries."""
    written = []
    for number, panels in enumerate(pages(dashboard), 1):
        path = folder / (f"{dashboard['uid']}.png" if number == 1 else f"{dashboard['uid']}-{number}.png")
        path.write_bytes(page(dashboard, panels, answers, subtitle))
        written.append(path)
    return written


def page(dashboard: dict, panels: list[dict], answers: dict[int, list[list[dict]]], subtitle: str) -> bytes:
    first = panels[0]["gridPos"]["y"]
    width = 24 * COLUMN_PX + 2 * GAP_PX
    height = HEAD_PX + (bottom(panels) - first) * CELL_PX + 2 * GAP_PX
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="#111217")
    write(figure, 12, 8, dashboard["title"], size=14, weight="bold")
    write(figure, 12, 34, subtitle, size=8, colour=FAINT)
    for panel in panels:
        at = panel["gridPos"]
        place = Place(
            GAP_PX + at["x"] * COLUMN_PX + GAP_PX / 2,
            HEAD_PX + (at["y"] - first) * CELL_PX + GAP_PX / 2,
            at["w"] * COLUMN_PX - GAP_PX,
            at["h"] * CELL_PX - GAP_PX,
        )
        if panel["type"] == "row":
            write(figure, place.x + 6, place.y + 8, "▾ " + panel["title"], size=10, colour=TEXT, weight="bold")
        else:
            draw(figure, panel, answers[panel["id"]], place)
    return small_png(figure)


def small_png(figure: Figure) -> bytes:
    """Few colours are enough, and make the file a third."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(numpy.asarray(canvas.buffer_rgba())).convert("RGB")
    out = BytesIO()
    image.quantize(COLOURS_MAX, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
