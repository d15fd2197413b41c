"""The morphing sequence as a strip of pictures, from a single edge to the module (as the paper's Figure 2b)."""

from __future__ import annotations

from dataclasses import replace

from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.picture import draw_graph, is_drawable
from netmorph.graph.draw.scene import Box, Label, Role, Scene
from netmorph.graph.draw.words import shorten
from netmorph.graph.reduce import Reduction, Step, reduce
from netmorph.graph.spec import ModuleGraph

__all__ = ["draw_strip"]

_WIDTH = 1100.0  # a row's
_GAP = 14.0
_CAPTION = 13.0
_ABOVE = 30.0
_MOST = 16


def draw_strip(graph: ModuleGraph, marks: Marks | None = None, *, most: int = _MOST, width: float = _WIDTH) -> Scene:
    """Draw how atomic morphs make a module: what remains of it in the end (one edge, if it is simple), then each step.

    The edges that a step has made are coloured.

    Args:
        graph: any module of at most `netmorph.graph.draw.picture.LARGEST` edges.
        marks: what the last picture, the module itself, points out.
        most: pictures at most; where there are more steps, those in the middle are left out.
        width: of a row.

    Raises:
        GraphError: if the graph is too large for a picture.
    """
    reduction = reduce(graph)
    if not is_drawable(graph):
        return draw_graph(graph)  # raises
    frames = [_captioned(*frame) for frame in _frames(reduction, marks or Marks(), most)]
    placed, x, y, tall = [], 0.0, 0.0, 0.0
    for frame in frames:
        if x and x + frame.width > width:
            x, y, tall = 0.0, y + tall + _GAP, 0.0
        placed.append(frame.moved(x, y))
        x, tall = x + frame.width + _GAP, max(tall, frame.height)
    return Scene.together(placed, f"morphing sequence of {shorten(str(graph), 200)}")


def _frames(reduction: Reduction, marks: Marks, most: int) -> list[tuple[str, str, Scene | None]]:
    """Return (number, caption, picture) of each frame."""
    steps = reduction.steps
    first = "one edge" if reduction.is_simple else f"irreducible core: {len(reduction.core.edges)} edges"
    shown = [*range(most // 2), *range(len(steps) + 1 - most // 2, len(steps) + 1)]
    if len(steps) < most:
        shown = list(range(len(steps) + 1))
    frames: list[tuple[str, str, Scene | None]] = []
    for number in shown:
        if frames and number - 1 not in shown:
            frames.append(("", f"{number - shown[len(frames) - 1] - 1} more steps", None))
        step = steps[number - 1] if number else None
        fresh = frozenset() if step is None else frozenset(part.name for part in step.edges)
        last = number == len(steps)
        points = replace(marks, fresh=fresh, carrying=frozenset()) if last else Marks(fresh=fresh)
        picture = draw_graph(_before(reduction, number), points, legend=False)
        frames.append((str(number), first if step is None else _caption(step), picture))
    return frames


def _before(reduction: Reduction, number: int) -> ModuleGraph:
    """Return the graph before a step, its edges in the module's order, so that branches keep their places."""
    first = {edge.name: index for index, edge in enumerate(reduction.graph.edges)}
    for step in reversed(reduction.steps):
        first[step.edge.name] = min(first[part.name] for part in step.edges)
    graph = reduction.before(number)
    return replace(graph, edges=tuple(sorted(graph.edges, key=lambda edge: first[edge.name])))


def _caption(step: Step) -> str:
    return "Type I: in series" if step.type == "I" else "Type II: in parallel"


def _captioned(number: str, caption: str, picture: Scene | None) -> Scene:
    """Return a picture in a frame with its number and caption above."""
    inner = picture.moved(0, _ABOVE) if picture is not None else Scene(0, _ABOVE + 40)
    role: Role = "faint"
    labels = [Label(12, 17, number, _CAPTION, bold=True, start=True)] if number else []
    text = Label(12 + (10 + 8 * len(number) if number else 0), 17, caption, 11, role, start=True)
    width = max(inner.width, text.box.x + text.box.width + 12)
    frame = Box(0.5, 0.5, width - 1, inner.height - 1, "frame")
    return replace(inner, width=width, boxes=(frame, *inner.boxes), labels=(*labels, text, *inner.labels))
