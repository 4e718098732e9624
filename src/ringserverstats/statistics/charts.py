"""Charts: one specification each (Vega-Lite 6), for pages, reports and files.

All that a chart shows lies in its specification, each mark with a text that says what it is.
Colours of series: Okabe and Ito, https://jfly.uni-koeln.de/color/.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from ringserverstats.statistics.sizes import UNITS, human_bytes

Spec = dict[str, Any]

#: Of series, in the order in which they are taken.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
#: Of all others together.
REST = "#999999"
ACCENT = COLOURS[0]
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: How wide charts are drawn, in pixels: for a whole page, half of one, and a telephone.
WIDE, HALF, NARROW = 1100, 540, 330

_INK, _GRID, _LAND, _SEA, _HOLE = "#555555", "#dddddd", "#d5d8dc", "#f4f6f8", "#888888"
_FEW_TICKS = {WIDE: 16, HALF: 8, NARROW: 4}
_PALE, _DARK = "#deebf7", "#08306b"
_FAINT = re.compile(r"(\d+\.\d\d)\d+")
_NOT_DRAWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_FONT = "system-ui, sans-serif"


def unit_of(most: float) -> tuple[float, str]:
    """In which unit amounts of bytes up to ``most`` are told, and how many bytes it has."""
    size = 1.0
    for unit in UNITS:
        if most < size * 1000 or unit == UNITS[-1]:
            return size, unit
        size *= 1000
    raise AssertionError


@dataclass(frozen=True)
class Series:
    """Amounts by time and name: what a stacked chart shows.

    Args:
        times: all of them in order, as answers tell them, also those of which nothing is known.
        names: of series in the order in which they are stacked.
        amounts: bytes by time and name.
        holes: by time what is not known of it.
        before: bytes by time of the period before, in all, None where they are not known; none:
            it is not compared.
    """

    times: Sequence[str]
    names: Sequence[str]
    amounts: Mapping[tuple[str, str], int]
    holes: Mapping[str, str]
    before: Sequence[int | None] = ()


def coloured(names: Sequence[str], order: Sequence[str]) -> dict[str, str]:
    """A colour for each of ``names``: those that are first in ``order`` always have the same."""
    fixed = dict(zip(order, COLOURS, strict=False))
    free = iter([colour for colour in COLOURS if colour not in {fixed.get(n) for n in names}])
    return {name: fixed.get(name) or next(free, REST) for name in names}


def activity(series: Series, colours: Mapping[str, str], *, width: int) -> Spec:
    """Bars of bytes by time, stacked by name.

    Args:
        series: what is shown.
        colours: of each name.
        width: pixels.
    """
    totals = dict.fromkeys(series.times, 0)
    for (time, _), amount in series.amounts.items():
        totals[time] += amount
    size, unit = unit_of(max([*totals.values(), *(one or 0 for one in series.before)], default=0))
    bars = [
        {
            "time": time,
            "series": name,
            "order": number,
            "amount": series.amounts[time, name] / size,
            "text": f"{time}: {name} {human_bytes(series.amounts[time, name])}, "
            f"in all {human_bytes(totals[time])}",
        }
        for number, name in enumerate(series.names)
        for time in series.times
        if (time, name) in series.amounts
    ]
    holes = [{"time": time, "text": f"{time}: {what}"} for time, what in series.holes.items()]
    x = {"field": "time", "type": "ordinal", "axis": _times(series.times, width), "title": None}
    x["scale"] = {"domain": list(series.times), "paddingInner": 0.15, "paddingOuter": 0.05}
    y = {
        "field": "amount",
        "type": "quantitative",
        "axis": {"title": unit, "tickCount": 4, "titleAngle": 0, "titleY": -8, "titleX": -6},
        "stack": "zero",
    }
    text = {"description": {"field": "text"}}
    domain = list(series.names)
    colour = {"domain": domain, "range": [colours[name] for name in domain]}
    layers: list[Spec] = [
        {
            "name": "holes",
            "data": {"values": holes},
            "mark": {"type": "bar", "color": _HOLE, "opacity": 0.18},
            "encoding": {"x": x, "y": {"value": 0}, "y2": {"value": "height"}, **text},
        },
        {
            "name": "bars",
            "data": {"values": bars},
            "mark": {"type": "bar"},
            "encoding": {
                "x": x,
                "y": y,
                "order": {"field": "order"},
                "color": {"field": "series", "type": "nominal", "scale": colour, "legend": None},
                **text,
            },
        },
    ]
    if series.before:
        pairs = zip(series.times, series.before, strict=True)
        before = [
            {
                "time": time,
                "amount": amount / size,
                "text": f"the period before: {human_bytes(amount)}",
            }
            for time, amount in pairs
            if amount is not None
        ]
        layers.append(
            {
                "name": "before",
                "data": {"values": before},
                "mark": {"type": "tick", "color": _INK, "thickness": 2},
                "encoding": {"x": x, "y": {**y, "stack": None}, **text},
            }
        )
    return _whole(layers, width, 240)


def _times(times: Sequence[str], width: int) -> Spec:
    """An axis that tells some of ``times``."""
    step = max(1, -(-len(times) // _FEW_TICKS[width]))
    shown = list(times[::step])
    labels = json.dumps({time: _label(time) for time in shown})
    return {
        "values": shown,
        "labelExpr": f"{labels}[datum.value]",
        "labelAngle": 0,
        "grid": False,
        "ticks": False,
    }


def _label(time: str) -> str:
    """``2026-11-03`` as ``3 Nov``; weeks, months and years as they are."""
    if len(time) != len("2026-11-03"):
        return time
    day = date.fromisoformat(time)
    return f"{day.day} {day:%b}"


@dataclass(frozen=True)
class MapPoint:
    """A place on the map: degrees, bytes, and what it is in words."""

    longitude: float
    latitude: float
    bytes: int
    text: str


@cache
def world() -> dict[str, Any]:
    """Land as TopoJSON, and a place (longitude, latitude) of each country by its ISO 3166 code.

    Made of Natural Earth's data, which are in the public domain.
    """
    text = (files("ringserverstats.statistics") / "world.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def world_map(map_points: Sequence[MapPoint], *, width: int) -> Spec:
    """Circles whose area is that of the bytes, the largest first, so that all are seen."""
    rows = [vars(spot) for spot in sorted(map_points, key=lambda spot: -spot.bytes)]
    largest = (width / 18) ** 2
    land = {"values": world()["land"], "format": {"type": "topojson", "feature": "land"}}
    layers: list[Spec] = [
        {"name": "sea", "data": {"sphere": True}, "mark": {"type": "geoshape", "fill": _SEA}},
        {
            "name": "land",
            "data": land,
            "mark": {"type": "geoshape", "fill": _LAND, "aria": False},
        },
        {
            "name": "spots",
            "data": {"values": rows},
            "mark": {"type": "circle", "opacity": 0.65, "color": ACCENT, "stroke": "white"},
            "encoding": {
                "longitude": {"field": "longitude", "type": "quantitative"},
                "latitude": {"field": "latitude", "type": "quantitative"},
                "size": {
                    "field": "bytes",
                    "type": "quantitative",
                    "legend": None,
                    "scale": {"range": [16, largest], "zero": True},
                },
                "description": {"field": "text"},
            },
        },
    ]
    whole = _whole(layers, width, round(width * 0.49))
    return {**whole, "projection": {"type": "equalEarth"}}


def hours(amounts: Mapping[tuple[int, int], int], *, width: int) -> Spec:
    """A heat map of mean bytes by weekday (1 is Monday) and hour."""
    rows = [
        {
            "day": WEEKDAYS[day - 1],
            "hour": hour,
            "amount": amount,
            "text": f"{WEEKDAYS[day - 1]} {hour:02}:00 to {hour:02}:59:"
            f" {human_bytes(amount)} on average",
        }
        for (day, hour), amount in sorted(amounts.items())
    ]
    ticks = {"values": [0, 6, 12, 18, 23], "labelAngle": 0, "grid": False, "ticks": False}
    layer = {
        "name": "hours",
        "data": {"values": rows},
        "mark": {"type": "rect"},
        "encoding": {
            "x": {
                "field": "hour",
                "type": "ordinal",
                "scale": {"domain": list(range(24)), "padding": 0.08},
                "axis": {**ticks, "title": "local hour of the server"},
            },
            "y": {
                "field": "day",
                "type": "ordinal",
                "scale": {"domain": list(WEEKDAYS), "padding": 0.08},
                "axis": {"title": None, "grid": False, "ticks": False},
            },
            "color": {
                "field": "amount",
                "type": "quantitative",
                "scale": {"range": [_PALE, _DARK], "zero": True},
                "legend": None,
            },
            "description": {"field": "text"},
        },
    }
    return _whole([layer], width, 200)


def ranking(rows: Sequence[tuple[str, int]], *, width: int) -> Spec:
    """Horizontal bars of bytes, in the order of ``rows``: a name and its bytes each."""
    size, unit = unit_of(max((amount for _, amount in rows), default=0))
    values = [
        {"name": name, "amount": amount / size, "text": f"{name}: {human_bytes(amount)}"}
        for name, amount in rows
    ]
    layer = {
        "name": "bars",
        "data": {"values": values},
        "mark": {"type": "bar", "color": ACCENT},
        "encoding": {
            "x": {"field": "amount", "type": "quantitative", "axis": {"title": unit}},
            "y": {
                "field": "name",
                "type": "ordinal",
                "sort": None,
                "axis": {"title": None, "ticks": False, "labelLimit": width // 2},
            },
            "description": {"field": "text"},
        },
    }
    return _whole([layer], width, 22 * max(1, len(rows)))


def _whole(layers: list[Spec], width: int, height: int) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": None,
        "width": width,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 4,
        "layer": layers,
        "config": {
            "font": _FONT,
            "view": {"stroke": None},
            "axis": {
                "domain": False,
                "gridColor": _GRID,
                "labelColor": _INK,
                "titleColor": _INK,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
            },
        },
    }


def for_file(spec: Spec, title: str, subtitle: str) -> Spec:
    """``spec`` as it stands for itself: with a title, on white, with what its colours mean."""
    layers = [_with_legend(layer) for layer in spec["layer"]]
    heading = {"text": title, "subtitle": subtitle, "anchor": "start", "fontSize": 16}
    return {**spec, "layer": layers, "background": "white", "title": heading, "padding": 12}


def _with_legend(layer: Spec) -> Spec:
    encoding = dict(layer.get("encoding", {}))
    if encoding.get("color", {}).get("type") == "nominal":
        encoding["color"] = {**encoding["color"], "legend": {"title": None, "orient": "bottom"}}
    return {**layer, "encoding": encoding} if encoding else layer


def svg(spec: Spec) -> str:
    """``spec`` drawn; needs the extra ``web``."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(_printable(spec), allowed_base_urls=[])
    return _FAINT.sub(r"\1", drawn)  # a hundredth of a pixel is fine enough


def png(spec: Spec) -> bytes:
    """``spec`` drawn, with two pixels for one; needs the extra ``web``."""
    import vl_convert

    drawn: bytes = vl_convert.vegalite_to_png(_printable(spec), scale=2, allowed_base_urls=[])
    return drawn


def _printable(value: Any) -> Any:
    """``value`` with its texts as they may be drawn.

    A character that XML does not know ends the process that draws it.
    """
    if isinstance(value, str):
        return _NOT_DRAWN.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_printable(one) for one in value]
    if isinstance(value, dict):
        return {name: _printable(one) for name, one in value.items()}
    return value
