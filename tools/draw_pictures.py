"""Draw the pictures of README and docs, with the package's own drawings.

python tools/draw_pictures.py         # writes docs/morph.svg and docs/pictures/*.svg
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netmorph as nm
from netmorph.filters import ConvSpec
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.picture import draw_graph
from netmorph.graph.draw.scene import Curve, Head, Label, Scene
from netmorph.graph.draw.strip import draw_strip
from netmorph.graph.draw.svg import to_svg
from netmorph.solver import plan_site

DOCS = Path(__file__).parents[1] / "docs"


def beside(left: Scene, right: Scene, title: str, captions: tuple[str, str], verb: str) -> Scene:
    """Return two pictures with an arrow between them and a caption below each."""
    gap, room = 150.0, 34.0
    height = max(left.height, right.height)
    first = left.moved(10, (height - left.height) / 2)
    second = right.moved(10 + left.width + gap, (height - right.height) / 2)
    start, tip, middle = left.width + 22, left.width + gap, height / 2
    arrow = Curve(((start, middle), (tip - 8, middle)), "fresh")
    below = height + room / 2 - 4
    labels = [
        Label((start + tip) / 2, middle - 14, verb, 14, "fresh", bold=True),
        Label((start + tip) / 2, middle + 16, "same function", 11.5, "faint"),
        Label(10 + left.width / 2, below, captions[0], 12, "faint"),
        Label(10 + left.width + gap + right.width / 2, below, captions[1], 12, "faint"),
    ]
    edge = min(label.box.x for label in labels)
    whole = Scene(
        20 + left.width + gap + right.width,
        height + room,
        title,
        (*first.boxes, *second.boxes),
        (*first.curves, *second.curves, arrow),
        (*first.heads, *second.heads, Head(tip, middle, "fresh")),
        (*first.labels, *second.labels, *labels),
    )
    shift = max(0.0, 12 - edge)
    moved = whole.moved(shift, 0)
    return Scene(whole.width + shift, whole.height, title, moved.boxes, moved.curves, moved.heads, moved.labels)


def first_screen() -> Scene:
    """Draw one convolution that becomes the paper's module (D)."""
    graph = nm.catalogue["module_d"]
    return beside(
        draw_graph(nm.parse("3x3")),
        draw_graph(graph, Marks(fresh=frozenset(edge.name for edge in graph.edges)), legend=False),
        "One trained convolution becomes the paper's module (D), and the network computes the same",
        ("one trained convolution", "seven, to train on: the paper's module (D)"),
        "nm.morph",
    )


def planned(graph: nm.ModuleGraph | str, channels: int = 16) -> Scene:
    """Draw a graph at a 3x3 site: what carries its filter, and what is too narrow."""
    plan = plan_site(graph, ConvSpec.same(channels, channels, 3))
    return draw_graph(plan.graph, plan.marks)


PICTURES: dict[str, Callable[[], Scene]] = {
    "morph.svg": first_screen,
    "pictures/steps.svg": lambda: draw_strip(nm.parse("3x3 > 1x1 | 1x1")),
    "pictures/shortcut.svg": lambda: draw_strip(nm.catalogue["resnet_morph_1c1"]),
    "pictures/cut.svg": lambda: planned(nm.catalogue["module_d"]),
    "pictures/middle.svg": lambda: planned("1x1 > 3x3 > 1x1"),
    "pictures/both.svg": lambda: planned("1x3:3x > 3x1"),
    "pictures/narrow.svg": lambda: planned("3x3 > (1x1:0.25x | 1x1:0.5x > 1x1:0.25x) > 1x1"),
}


def main() -> None:
    """Write all pictures."""
    for name, make in PICTURES.items():
        target = DOCS / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(to_svg(make()) + "\n", encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main()
