"""Charts as Vega-Lite 6 specifications, for pages, reports and files.

A specification holds all data of its chart, and a text for each mark.
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

#: Colours of series, in the order of use.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
#: Colour of all other series together.
REST = "#999999"
ACCENT = COLOURS[0]
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Widths in pixels: a whole page, half of it, a telephone.
WIDE, HALF, NARROW = 1100, 540, 330

_INK, _GRID, _LAND, _SEA, _GAP = "#555555", "#dddddd", "#d5d8dc", "#f4f6f8", "#888888"
_MOST_TICKS = {WIDE: 16, HALF: 8, NARROW: 4}
_PALE, _DARK = "#deebf7", "#08306b"
_DECIMALS = re.compile(r"(\d+\.\d\d)\d+")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_FONT = "system-ui, sans-serif"


def unit_of(largest: float) -> tuple[float, str]:
    """Return the number of bytes and the name of the unit for amounts up to ``largest`` bytes."""
    size, units = 1.0, iter(UNITS)
    unit = next(units)
    while largest >= size * 1000 and unit != UNITS[-1]:
        size, unit = size * 1000, next(units)
    return size, unit


@dataclass(frozen=True)
class Series:
    """Bytes by time and name, for a stacked chart.

    Args:
        times: labels of all times, in order, also those without data.
        names: names of the series, in stacking order.
        amounts: bytes by time and name.
        gaps: by time, a text on missing or incomplete logs, or that it is not over.
        before: total bytes by time in the period before, None if unknown; empty: no comparison.
        known: times with logs; without amounts they are zero, other times are unknown.
    """

    times: Sequence[str]
    names: Sequence[str]
    amounts: Mapping[tuple[str, str], int]
    gaps: Mapping[str, str]
    before: Sequence[int | None] = ()
    known: frozenset[str] | set[str] = frozenset()


def coloured(names: Sequence[str], order: Sequence[str]) -> dict[str, str]:
    """Return a colour for each of ``names``; the first of ``order`` always have the same."""
    fixed = dict(zip(order, COLOURS, strict=False))
    used = {fixed.get(name) for name in names}
    free = iter([colour for colour in COLOURS if colour not in used])
    return {name: fixed.get(name) or next(free, REST) for name in names}


def activity(series: Series, colours: Mapping[str, str], *, width: int) -> Spec:
    """Return bars of bytes by time, stacked by name.

    Args:
        series: the data.
        colours: by name, the colour.
        width: pixels.
    """
    totals = dict.fromkeys(series.times, 0)
    for (time, _), amount in series.amounts.items():
        totals[time] += amount
    largest = max([*totals.values(), *(amount or 0 for amount in series.before)], default=0)
    size, unit = unit_of(largest)
    x = {"field": "time", "type": "ordinal", "axis": _times(series.times, width), "title": None}
    x["scale"] = {"domain": list(series.times), "paddingInner": 0.15, "paddingOuter": 0.05}
    y = {
        "field": "amount",
        "type": "quantitative",
        "axis": {"title": unit, "tickCount": 4, "titleAngle": 0, "titleY": -8, "titleX": -6},
        "stack": "zero",
    }
    position = {"x": x, "y": y, "description": {"field": "text"}}
    layers = [_gap_layer(series, position), _bar_layer(series, colours, totals, size, position)]
    if series.before:
        layers.append(_before_layer(series, size, position))
    return _spec(layers, width, 240)


def _gap_layer(series: Series, position: Spec) -> Spec:
    """Return bands over times with missing or incomplete logs."""
    values = [{"time": time, "text": f"{time}: {text}"} for time, text in series.gaps.items()]
    return {
        "name": "gaps",
        "data": {"values": values},
        "mark": {"type": "bar", "color": _GAP, "opacity": 0.18},
        "encoding": {**position, "y": {"value": 0}, "y2": {"value": "height"}},
    }


def _bar_layer(
    series: Series,
    colours: Mapping[str, str],
    totals: Mapping[str, int],
    size: float,
    position: Spec,
) -> Spec:
    """Return the stacked bars; ``size`` is the number of bytes of the unit."""
    values = [
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
    names = list(series.names)
    scale = {"domain": names, "range": [colours[name] for name in names]}
    return {
        "name": "bars",
        "data": {"values": values},
        "mark": {"type": "bar"},
        "encoding": {
            **position,
            "order": {"field": "order"},
            "color": {"field": "series", "type": "nominal", "scale": scale, "legend": None},
        },
    }


def _before_layer(series: Series, size: float, position: Spec) -> Spec:
    """Return a tick at the total of each time in the period before."""
    values = [
        {
            "time": time,
            "amount": amount / size,
            "text": f"the period before: {human_bytes(amount)}",
        }
        for time, amount in zip(series.times, series.before, strict=True)
        if amount is not None
    ]
    return {
        "name": "before",
        "data": {"values": values},
        "mark": {"type": "tick", "color": _INK, "thickness": 2},
        "encoding": {**position, "y": {**position["y"], "stack": None}},
    }


def _times(times: Sequence[str], width: int) -> Spec:
    """Return an axis with labels at some of ``times``."""
    step = max(1, -(-len(times) // _MOST_TICKS[width]))
    values = list(times[::step])
    labels = json.dumps({time: _label(time) for time in values})
    return {
        "values": values,
        "labelExpr": f"{labels}[datum.value]",
        "labelAngle": 0,
        "grid": False,
        "ticks": False,
    }


def _label(time: str) -> str:
    """Return ``3 Nov`` for ``2026-11-03``; weeks, months and years stay as they are."""
    if len(time) != len("2026-11-03"):
        return time
    day = date.fromisoformat(time)
    return f"{day.day} {day:%b}"


@dataclass(frozen=True)
class MapPoint:
    """A point of the map: longitude and latitude in degrees, bytes, and a text."""

    longitude: float
    latitude: float
    bytes: int
    text: str


@cache
def world() -> dict[str, Any]:
    """Return land as TopoJSON, and longitude and latitude of countries by ISO 3166 code.

    The data are from Natural Earth, which is in the public domain.
    """
    text = (files("ringserverstats.statistics") / "world.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def world_map(map_points: Sequence[MapPoint], *, width: int) -> Spec:
    """Return circles with an area by bytes, the largest below the others."""
    values = [vars(point) for point in sorted(map_points, key=lambda point: -point.bytes)]
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
            "name": "points",
            "data": {"values": values},
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
    spec = _spec(layers, width, round(width * 0.49))
    return {**spec, "projection": {"type": "equalEarth"}}


def hours(amounts: Mapping[tuple[int, int], int], *, width: int) -> Spec:
    """Return a heat map of mean bytes by weekday (1 is Monday) and hour."""
    values = [
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
        "data": {"values": values},
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
    return _spec([layer], width, 200)


def ranking(rows: Sequence[tuple[str, int]], *, width: int) -> Spec:
    """Return horizontal bars; ``rows`` are names and bytes, in order."""
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
    return _spec([layer], width, 22 * max(1, len(rows)))


def _spec(layers: list[Spec], width: int, height: int) -> Spec:
    """Return a specification; ``width`` and ``height`` are pixels."""
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
    """Return ``spec`` for a file of its own: with a title, a legend, on white."""
    layers = [_with_legend(layer) for layer in spec["layer"]]
    heading = {"text": title, "subtitle": subtitle, "anchor": "start", "fontSize": 16}
    return {**spec, "layer": layers, "background": "white", "title": heading, "padding": 12}


def _with_legend(layer: Spec) -> Spec:
    encoding = dict(layer.get("encoding", {}))
    if encoding.get("color", {}).get("type") == "nominal":
        encoding["color"] = {**encoding["color"], "legend": {"title": None, "orient": "bottom"}}
    return {**layer, "encoding": encoding} if encoding else layer


def svg(spec: Spec) -> str:
    """Return ``spec`` as SVG; needs the extra ``web``."""
    import vl_convert

    image: str = vl_convert.vegalite_to_svg(_printable(spec), allowed_base_urls=[])
    return _DECIMALS.sub(r"\1", image)  # to a hundredth of a pixel


def png(spec: Spec) -> bytes:
    """Return ``spec`` as PNG with twice its width and height; needs the extra ``web``."""
    import vl_convert

    image: bytes = vl_convert.vegalite_to_png(_printable(spec), scale=2, allowed_base_urls=[])
    return image


def _printable(value: Any) -> Any:
    """Return ``value`` without characters that XML forbids: they would end the renderer."""
    if isinstance(value, str):
        return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {name: _printable(item) for name, item in value.items()}
    return value
