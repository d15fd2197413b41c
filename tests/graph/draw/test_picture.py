"""Nothing in a picture lies on anything else: labels, blobs and lines, in the catalogue and in drawn graphs."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from tests.strategies import module_graphs

from netmorph.errors import GraphError
from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.picture import draw_graph, is_drawable
from netmorph.graph.draw.scene import Box, Curve, Scene
from netmorph.graph.draw.strip import draw_strip
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph

COMPLETE = parse(", ".join(f"{a}-{b}:1x1" for i, a in enumerate("sabcdet") for b in "sabcdet"[i + 1 :]))
LONG = ModuleGraph.from_edges(
    [
        ("s", "a" * 200, 3, {"name": "e" * 200}),
        ("a" * 200, "t", (11, 13), {"name": "f", "dilation": 12, "norm": "n" * 60}),
    ]
)


def on_curve(curve: Curve, steps: int = 12):
    """Yield points of a curve as it is drawn: each piece an S with horizontal ends."""
    for (x, y), (u, v) in pairwise(curve.points):
        middle = (x + u) / 2
        for step in range(steps + 1):
            t = step / steps
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            yield (
                sum(w * p for w, p in zip(weights, (x, middle, middle, u), strict=True)),
                sum(w * p for w, p in zip(weights, (y, y, v, v), strict=True)),
            )


def check(scene: Scene) -> None:
    """Assert that nothing lies on anything else and all lies on the canvas."""
    labels = [label.box for label in scene.labels]
    blobs = [box for box in scene.boxes if box.role != "frame"]
    frames = [box for box in scene.boxes if box.role == "frame"]
    for group in (labels, blobs, frames):
        for index, one in enumerate(group):
            assert not any(one.overlaps(other) for other in group[index + 1 :])
    for label in labels:
        touched = [blob for blob in blobs if blob.overlaps(label)]
        assert all(within(label, blob) for blob in touched)
    for curve in scene.curves:
        assert all(x < u for (x, _), (u, _) in pairwise(curve.points))
        for point in on_curve(curve):
            assert not any(deep_in(point, box) for box in (*labels, *blobs))
            assert within(Box(*point, 0, 0, "line"), canvas(scene))
    assert all(within(box, canvas(scene)) for box in (*labels, *blobs, *frames))


def deep_in(point: tuple[float, float], box: Box) -> bool:
    """Whether a point lies inside a box by more than rounding."""
    (x, y), slack = point, 0.01
    return box.x + slack < x < box.x + box.width - slack and box.y + slack < y < box.y + box.height - slack


def within(inner: Box, outer: Box) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def canvas(scene: Scene) -> Box:
    return Box(0, 0, scene.width, scene.height, "paper")


def everything(graph: ModuleGraph) -> Marks:
    """Return marks with a bit of all."""
    return Marks(
        dict.fromkeys(graph.blobs, 1024),
        frozenset(edge.name for edge in graph.outgoing[graph.source]),
        frozenset(graph.inner[:1]),
        frozenset(edge.name for edge in graph.incoming[graph.sink]),
    )


@pytest.mark.parametrize("name", list(catalogue))
def test_the_catalogue(name: str) -> None:
    graph = catalogue[name]
    for marks in (None, everything(graph)):
        check(draw_graph(graph, marks))
        check(draw_strip(graph, marks))


@pytest.mark.parametrize("graph", [COMPLETE, LONG, ladder(12), parse(" | ".join(["1x1"] * 40))], ids=str)
def test_awkward_graphs(graph: ModuleGraph) -> None:
    check(draw_graph(graph, everything(graph)))


@settings(max_examples=150)
@given(module_graphs(max_blobs=9, max_extra=9, widths=True, fixed=True, names=True, dilations=True))
def test_drawn_graphs(graph: ModuleGraph) -> None:
    scene = draw_graph(graph, everything(graph))
    check(scene)
    assert [box.about.split(",")[0] for box in scene.boxes if box.about] == [f"blob {blob}" for blob in graph.blobs]
    assert len(scene.heads) == len(graph.edges)


@settings(max_examples=40)
@given(module_graphs(max_blobs=6, max_extra=4, widths=True, fixed=True))
def test_strips(graph: ModuleGraph) -> None:
    check(draw_strip(graph, everything(graph), most=5, width=600))


def test_a_strip_has_a_picture_for_each_step_and_ends_with_the_module() -> None:
    scene = draw_strip(catalogue["resnet_morph_3c3"])
    assert [label.text for label in scene.labels if label.bold and label.text.isdigit()] == list("01234")
    words = [label.text for label in scene.labels]
    assert words.count("Type II: in parallel") == words.count("Type I: in series") == 2
    assert "irreducible core: 7 edges" in [label.text for label in draw_strip(catalogue["module_d"]).labels]
    last = max(box.y for box in scene.boxes if box.role == "frame")
    assert sum(box.role == "blob" and box.y > last for box in scene.boxes) == 2


def test_a_long_strip_leaves_out_its_middle_and_says_how_much() -> None:
    scene = draw_strip(parse(" > ".join(["1x1"] * 20)), most=6)
    shown = [int(label.text) for label in scene.labels if label.bold and label.text.isdigit()]
    assert shown == [0, 1, 2, 17, 18, 19]
    assert "14 more steps" in [label.text for label in scene.labels]


def test_lines_that_need_not_bend_are_straight() -> None:
    scene = draw_graph(catalogue["bottleneck"])
    assert {y for curve in scene.curves for _, y in curve.points} == {scene.curves[0].points[0][1]}


def test_marks_are_drawn_and_explained() -> None:
    graph = parse("3x3:16 > 1x1 | id")
    scene = draw_graph(graph, Marks({"s": 64, "a": 16, "t": 64}, frozenset({"s_a"}), frozenset({"a"})))
    assert {"carries the layer's filter", "too narrow", "no weights", "16"} <= {label.text for label in scene.labels}
    assert [box.about for box in scene.boxes if box.role == "narrow"] == ["blob a, width 16, too narrow", ""]
    assert {curve.role for curve in scene.curves} == {"carry", "line", "fixed"}
    assert not draw_graph(parse("3x3 > 1x1")).labels[-1].start  # nothing to explain


def test_a_graph_that_nobody_could_read_is_not_drawn() -> None:
    graph = ladder(100)
    assert not is_drawable(graph)
    assert graph._repr_svg_() is None
    for draw in (draw_graph, draw_strip):
        with pytest.raises(GraphError, match=r"\.dot"):
            draw(graph)
