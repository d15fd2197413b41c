from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmorph.lab.report.chart import HEIGHT, WIDTH, Line, chart, ticks

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
SLACK = 1e-6


@given(FINITE, FINITE)
def test_ticks_cover_the_range_and_are_few(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    values = ticks(low, high)
    assert values[0] <= low + SLACK * max(high - low, 1e-3)
    assert values[-1] >= high - SLACK * max(high - low, 1e-3)
    assert 2 <= len(values) <= 8
    assert all(a < b for a, b in pairwise(values))


@pytest.mark.parametrize(
    ("low", "high", "whole", "values"),
    [
        (0, 100, False, [0, 20, 40, 60, 80, 100]),
        (1, 4, True, [1, 2, 3, 4]),
        (0.97, 1.06, False, [0.96, 0.98, 1.0, 1.02, 1.04, 1.06]),
        (3, 3, True, [3, 4]),
    ],
)
def test_ticks_are_round(low, high, whole, values):
    assert ticks(low, high, whole=whole) == pytest.approx(values)


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 100)), min_size=1, max_size=30))
def test_lines_stay_inside(points):
    points = sorted(dict(points).items())
    svg = chart([Line("a", points), Line("b", points[:1], dashed=True)], across="epoch", up="error", births=[2.0])
    root = ET.fromstring(f"<div>{svg}</div>")
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == len(points) + 1
    for circle in circles:
        assert 0 < float(circle.get("cx")) < WIDTH
        assert 0 < float(circle.get("cy")) < HEIGHT


def test_a_lower_error_is_drawn_lower():
    svg = chart([Line("a", [(0, 10.0), (1, 5.0)])], across="epoch", up="error")
    first, second = ET.fromstring(f"<div>{svg}</div>").iter("{http://www.w3.org/2000/svg}circle")
    assert float(first.get("cy")) < float(second.get("cy"))
    assert float(first.get("cx")) < float(second.get("cx"))


def test_nothing_to_draw():
    assert chart([Line("a", [])], across="epoch", up="error") == ""


def test_what_lies_above_the_top_is_cut_off_and_controls_lie_below():
    lines = [Line("a", [(0, 90.0), (1, 20.0)]), Line("b", [(0, 30.0), (1, 25.0)], dashed=True)]
    root = ET.fromstring(f"<div>{chart(lines, across='epoch', up='error', top=40.0)}</div>")
    svg = "{http://www.w3.org/2000/svg}"
    rectangle = root.find(f".//{svg}clipPath[@id='plot']/{svg}rect")
    top, height = (float(rectangle.get(key)) for key in ("y", "height"))
    assert top + height == HEIGHT
    inner = root.find(f".//{svg}g[@clip-path='url(#plot)']")
    dots = {
        group.get("class"): [float(each.get("cy")) for each in group]
        for group in inner.iter(f"{svg}g")
        if group is not inner
    }
    assert list(dots) == ["dot c1", "dot c0"]
    assert dots["dot c0"][0] < top < dots["dot c1"][0]
    assert min(dots["dot c0"][1], *dots["dot c1"]) > top
    numbers = [text.text for text in root.iter(f"{svg}text") if text.get("text-anchor") == "end"]
    assert numbers == ["0", "10", "20", "30", "40"]
