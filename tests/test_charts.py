"""Each chart is drawn, well-formed, and takes texts of strangers for nothing but texts."""

import xml.etree.ElementTree as ET

import pytest

from ringserverstats.statistics.charts import (
    COLOURS,
    NARROW,
    REST,
    WIDE,
    MapPoint,
    Series,
    Spec,
    activity,
    coloured,
    for_file,
    hours,
    png,
    ranking,
    svg,
    world,
    world_map,
)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>&<!--",
    "\x00\x1b[31m\x7f\u202e\ufffe",
    "javascript:alert(1)",
]
SERIES = Series(
    ["2026-11-01", "2026-11-02", "2026-11-03"],
    HOSTILE,
    {("2026-11-01", name): 10**9 for name in HOSTILE},
    {"2026-11-02": "no log"},
    [10**9, None, 0],
)


def charts(width: int) -> dict[str, Spec]:
    return {
        "activity": activity(SERIES, coloured(HOSTILE, []), width=width),
        "map": world_map([MapPoint(2.0, 48.0, 10**9, name) for name in HOSTILE], width=width),
        "hours": hours({(1, 0): 5, (7, 23): 10**12}, width=width),
        "ranking": ranking([(name, 10**9) for name in HOSTILE], width=width),
    }


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("is_file", [False, True])
@pytest.mark.parametrize("name", charts(WIDE))
def test_each_is_drawn_and_holds_no_more_than_texts(name: str, is_file: bool, width: int) -> None:
    spec = charts(width)[name]
    drawn = svg(for_file(spec, HOSTILE[0], HOSTILE[3]) if is_file else spec)
    root = ET.fromstring(drawn)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "path" in tags
    assert not tags & {"script", "style", "image", "foreignObject", "a"}
    attributes = {key for element in root.iter() for key in element.attrib}
    assert not [key for key in attributes if key == "style" or key.startswith("on")]
    labels = {element.get("aria-label", "") for element in root.iter()}
    if name in ("activity", "map", "ranking"):
        assert any(HOSTILE[0] in label for label in labels)


@pytest.mark.parametrize("name", charts(WIDE))
def test_each_is_a_picture(name: str) -> None:
    assert png(for_file(charts(NARROW)[name], "Title", "Subtitle")).startswith(b"\x89PNG")


def test_a_day_without_a_log_is_no_bar_of_zero() -> None:
    labels = [
        element.get("aria-label", "")
        for element in ET.fromstring(svg(charts(WIDE)["activity"])).iter()
    ]
    assert "2026-11-02: no log" in labels
    assert not [label for label in labels if label.startswith("2026-11-02") and " B" in label]
    assert labels.count("the period before: 0 B") == 1
    assert labels.count("the period before: 1.00 GB") == 1


def test_a_network_has_the_same_colour_whatever_else_is_shown() -> None:
    order = ["FR", "G", "RA"]
    assert coloured(["FR", "G"], order)["G"] == coloured(["G"], order)["G"] == COLOURS[1]
    shown = coloured([f"N{n}" for n in range(9)], order)
    assert list(shown.values())[7:] == [REST, REST]
    assert len(set(list(shown.values())[:7])) == 7


def test_each_country_has_a_place_on_the_map() -> None:
    places = world()["countries"]
    assert len(places) >= 249
    assert all(-180 <= east <= 180 and -90 <= north <= 90 for east, north in places.values())
    east, north = places["FR"]
    assert 0 < east < 5
    assert 44 < north < 49
