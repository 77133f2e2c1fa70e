"""Numbers with Grafana's units, as short text.

Input: an id of a unit and a number. Output: text such as `1.2 GiB`, `350 ms`, `12.5 %`.
"""

import math

SCALED = {
    "bytes": (1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
    "Bps": (1000, ["B/s", "kB/s", "MB/s", "GB/s"]),
    "short": (1000, ["", "K", "Mil", "Bil"]),
    "none": (1000, ["", "K", "Mil", "Bil"]),
    "hertz": (1000, ["Hz", "kHz", "MHz", "GHz"]),
    "watt": (1000, ["W", "kW", "MW"]),
    "watth": (1000, ["Wh", "kWh", "MWh"]),
    "ops": (1000, ["ops/s", "K ops/s", "M ops/s"]),
    "reqps": (1000, ["req/s", "K req/s", "M req/s"]),
    "rps": (1000, ["rd/s", "K rd/s", "M rd/s"]),
    "wps": (1000, ["wr/s", "K wr/s", "M wr/s"]),
    "pps": (1000, ["p/s", "K p/s", "M p/s"]),
    "cores": (1000, ["cores", "K cores"]),
}
SECONDS = [("week", 604_800), ("day", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)]


def text(unit: str, value: float, decimals: int | None = None) -> str:
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{number(value * 100, decimals)} %"
    if unit == "percent":
        return f"{number(value, decimals)} %"
    if unit == "celsius":
        return f"{number(value, decimals)} °C"
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit == "ms":
        return text("s", value / 1000, decimals)
    if unit == "s":
        return duration(value, decimals)
    base, names = SCALED[unit]
    power = 0
    while abs(value) >= base and power + 1 < len(names):
        value, power = value / base, power + 1
    return f"{number(value, decimals)} {names[power]}".strip()


def ticks(unit: str, low: float, high: float) -> list[float]:
    """Three to six round numbers of a unit between two limits: powers of two for bytes, whole minutes for time."""
    exact = (high - low) / 4
    if unit == "bytes" and exact >= 1:
        step = 2.0 ** math.ceil(math.log2(exact))
    elif unit == "s" and exact >= 60:
        step = next((step for step in (60, 300, 600, 1800, 3600, 21_600, 86_400, 604_800) if step >= exact), exact)
    else:
        magnitude = 10.0 ** math.floor(math.log10(exact))
        step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= exact)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def duration(seconds: float, decimals: int | None) -> str:
    if seconds == 0:
        return "0 s"
    for name, length in SECONDS:
        if abs(seconds) >= length:
            return f"{number(seconds / length, decimals)} {name}"
    return f"{number(seconds / 1e-9, decimals)} ns"


def number(value: float, decimals: int | None) -> str:
    """Three digits that count, unless told otherwise."""
    if decimals is None:
        size = abs(value)
        decimals = 0 if size >= 100 or abs(value - round(value)) < 0.005 * min(size, 1) else 1 if size >= 10 else 2 if size >= 0.01 else 4
    written = f"{value:.{decimals}f}"
    return "0" if float(written) == 0 else written
